"""Units of features: what differs by a factor is doubted, new people are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helo.data.dataset import Dataset
from helo.data.simulated import simulate
from helo.training.feature_ranges import doubted_units, feature_ranges

FEATURES = {"rate": (70, 8), "interval": (850, 60), "level": (0, 1), "count": (4, 2)}


def people(seed: int, subjects: int = 8) -> Dataset:
    """Windows of features with typical values, and differences between people as large as within them."""
    data = simulate(subjects=subjects, clips=2, windows=10)
    draw = np.random.default_rng(seed)
    features = data.features.copy()
    for position, (centre, spread) in enumerate(FEATURES.values()):
        for subject in data.subject_names:
            rows = data.rows((subject,))
            own, width = centre + spread * draw.normal(), spread * draw.uniform(0.4, 1.6)
            features[rows, position] = own + width * draw.normal(size=len(rows))
    features[:, 3] = features[:, 3].clip(0).round()
    return replace(data, features=features)


RANGES = feature_ranges(people(0))
NAMES = people(0, 3).schema.features[:4]


@pytest.mark.parametrize("subjects", [2, 8])
@pytest.mark.parametrize("seed", range(1, 6))
def test_new_people_are_not_doubted(seed: int, subjects: int) -> None:
    assert doubted_units(people(seed, subjects), RANGES) == {}


@pytest.mark.parametrize("factor", [1e-3, 1e3, 1e6, 1e-2])
@pytest.mark.parametrize("position", range(4))
def test_other_units_are_doubted(position: int, factor: float) -> None:
    data = people(1)
    features = data.features.copy()
    features[:, position] *= factor
    assert set(doubted_units(replace(data, features=features), RANGES)) == {NAMES[position]}


def test_a_single_window_is_judged_by_its_values() -> None:
    data = people(1, 2)
    features = data.features.copy()
    features[:, 1] /= 1000
    first = [data.rows((subject,))[0] for subject in data.subject_names]
    few = Dataset(data.schema, data.subjects[first], features[first], data.labels[first])
    assert doubted_units(few, RANGES) == {
        NAMES[1]: f"{features[first, 1].min():.3g} to {features[first, 1].max():.3g}, in the fit "
        f"{RANGES[NAMES[1]][0]:.3g} to {RANGES[NAMES[1]][1]:.3g}"
    }


def test_features_without_values_are_left_out() -> None:
    data = people(1, 3)
    features = data.features.copy()
    features[:, 0] = np.nan
    features[:, 1] = 5
    blind = replace(data, features=features)
    assert set(data.schema.features) - set(feature_ranges(blind)) == {NAMES[0], NAMES[1]}
    assert not {NAMES[0], NAMES[1]} & set(doubted_units(blind, {name: [0, 1, 0.5, 0.1, 0.2] for name in NAMES[:1]}))
