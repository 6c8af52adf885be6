"""What a dataset shows of itself in a terminal and in a notebook."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np

from helo.data import Dataset, Modality, Schema, simulate
from helo.data.dataset import Signals

DATASET = simulate(subjects=3, clips=2, windows=2)


def test_a_dataset_is_described_in_a_few_lines() -> None:
    features = DATASET.features.copy()
    features[:3, DATASET.schema.slices["eda"]] = np.nan
    assert repr(replace(DATASET, features=features)).splitlines() == [
        "Dataset 'simulated': 3 subjects, 12 windows, 20 features",
        "  ecg: physiological, main, 4 × 2, none missing",
        "  eda: physiological, 3 × 1, missing in 25.0 % of windows",
        "  resp: physiological, 3 × 1, none missing",
        "  motion: behavioural, 6 × 1, none missing",
        "  emotions: joy, enthusiasm, tension, fear, sadness, fatigue",
    ]


def test_windows_without_labels_show_no_emotions() -> None:
    text = repr(Signals(DATASET.schema, DATASET.subjects, DATASET.features))
    assert text.startswith("Signals 'simulated': 3 subjects")
    assert "emotions" not in text


def _wide_dataset() -> Dataset:
    """Return a dataset with 40 modalities and 30 emotions, all with long names."""
    modalities = [Modality("m" * 300, "physiological", ("a",), 1, main=True)]
    modalities += [Modality(f"face {number}", "behavioural", (f"f{number}",), 1) for number in range(39)]
    emotions = {f"{'joy' * 20}{number}": f"label_{number}" for number in range(30)}
    schema = Schema("x" * 500, tuple(modalities), emotions)
    return Dataset(schema, np.array(["A", "B"]), np.ones((2, 40), np.float32), np.full((2, 30), 1 / 30))


def test_a_description_fits_a_screen() -> None:
    lines = repr(_wide_dataset()).splitlines()
    assert len(lines) <= 15
    assert max(map(len, lines)) <= 100
    assert "and 28 more" in lines[-2]
    assert _wide_dataset()._repr_html_().count("<tr>") <= 14


def test_the_html_is_well_formed_and_names_everything() -> None:
    page = ElementTree.fromstring(DATASET._repr_html_())
    rows = [[cell.text for cell in row] for row in page.iter("tr")]
    assert rows[0] == ["modality", "role", "tokens", "missing"]
    assert rows[1] == ["ecg", "physiological, main", "4 × 2", "none missing"]
    assert len(rows) == 5
    assert "class=" not in DATASET._repr_html_()


def test_text_from_the_data_is_escaped() -> None:
    evil = "<script>alert('x')</script>"  # names with control characters are refused
    modalities = tuple(replace(m, name=f"{m.name}{evil}") for m in DATASET.schema.modalities)
    emotions = {f"{evil}{name}": column for name, column in DATASET.schema.emotions.items()}
    schema = replace(DATASET.schema, name=evil, modalities=modalities, emotions=emotions, best_possible={})
    dataset = replace(DATASET, schema=schema, best_possible=None)
    html = dataset._repr_html_()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 1 + 4 + 6
    ElementTree.fromstring(html)
