"""The whole path on signals of one kind: table, check, cost estimate, search, report, predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import helo
import helo.data.__main__ as data_command
import helo.predict as predict_command
import helo.search.__main__ as search_command
from helo.data import Dataset, read_dataset, simulate
from helo.errors import InputError
from helo.names import Column, Prefix
from helo.search.planning.space import load_space
from helo.search.planning.space_for_data import space_for_roles
from helo.search.setup.inputs import read_inputs
from helo.search.setup.request import Request
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.resources import Resources
from helo.settings import TrainingSettings
from helo.storage import LocalFolder

SPACE = """
configurations: 10
parameters:
  ot_entropy: {low: 1e-2, high: 1, log: true}
  dropout: {low: 0.1, high: 0.5}
  width: 8
  epochs: 2
"""
MODALITIES = {
    "physiological": ["ecg=physiological:ecg_*:4", "eda=physiological:eda_*"],
    "behavioural": ["motion=behavioural:motion_*"],
}


def write_table(path: Path) -> None:
    dataset = simulate(subjects=4, clips=3, windows=5, emotions=3)
    columns: dict[str, Any] = {"id": dataset.subjects, "clip": dataset.groups}
    columns |= {name: dataset.features[:, number] for number, name in enumerate(dataset.schema.features)}
    columns |= {f"rating_{name}": dataset.labels[:, number] for number, name in enumerate(dataset.emotions)}
    pd.DataFrame(columns).to_csv(path, index=False)


@pytest.mark.slow
@pytest.mark.parametrize("role", list(MODALITIES))
def test_from_a_table_to_predictions(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(Path("windows.csv"))
    Path("space.yaml").write_text(SPACE, encoding="utf-8")
    note = f"all modalities are {role}, so transport is off"
    dropped = "not searched, because without effect on such data: ot_entropy"
    words = ["--subject", "id", "--group", "clip", "--emotions", "rating_*", "--modality", *MODALITIES[role]]
    assert data_command.main(["table", "windows.csv", *words, "--out", "data"]) == 0
    assert data_command.main(["check", "data"]) == 0
    assert note in capsys.readouterr().out

    search = ["--data", "data", "--space", "space.yaml"]
    assert search_command.main([*search, "--plan"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line in (note, dropped)] == [note, dropped]
    assert (
        search_command.main([*search, "--no-racing", "--baselines", "ridge", "--inner-folds", "1", "--out", "run"]) == 0
    )
    assert [line for line in capsys.readouterr().out.splitlines() if line in (note, dropped)] == [note, dropped]

    run = helo.load_run("run")
    assert run.complete
    assert run.cells[f"{Prefix.PARAM}modalities"].unique().tolist() == [role]
    assert run.cells[f"{Prefix.PARAM}transport"].unique().tolist() == ["none"]
    assert set(run.importance[Column.PARAMETER]) <= {"dropout"}
    with pytest.raises(InputError, match=note):
        run.figure("transport")
    report = Path("run/report.html").read_text(encoding="utf-8")
    assert f"Nothing to show: {note}." in report
    assert dropped in report

    assert predict_command.main(["run/model", "data", "--out", "predictions.parquet"]) == 0
    assert len(pd.read_parquet("predictions.parquet")) == len(read_dataset("data"))
    assert search_command.main(["--resume", "run"]) == 0


def setup_of(dataset: Dataset, **given: object) -> SearchSetup:
    return read_inputs(Request(data=dataset, **given), "command", 0.0)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("role", list(MODALITIES))
def test_a_request_is_adapted_to_the_data(role: str, tmp_path: Path) -> None:
    setup = setup_of(simulate(subjects=4, modalities=role), space="small", out=tmp_path / "run")
    assert "ot_entropy" not in setup.space.searched
    assert setup.notes == (f"all modalities are {role}, so transport is off", *setup.space.left_out)
    assert len(setup.notes) == 2
    assert setup_of(simulate(subjects=4), space="small", out=tmp_path / "run").notes == ()


def test_a_space_with_too_few_models_is_cut_and_says_so(tmp_path: Path) -> None:
    """`ot_entropy` has no effect on data with one role, so eight configurations would be two models."""
    space = {
        "configurations": 8,
        "parameters": {"width": {"choices": [8, 16]}, "ot_entropy": {"choices": [0.1, 1.0]}, "epochs": 2},
    }
    found = setup_of(simulate(subjects=4, modalities="behavioural"), space=space, out=tmp_path / "run")
    assert found.space.configurations == 2
    assert found.notes[-1] == "the space holds 2 different models, fewer than the 8 configurations that were asked for"
    assert setup_of(simulate(subjects=4), space=space, out=tmp_path / "run").space.configurations == 4


def test_an_ablation_without_a_comparison_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    space = {"parameters": {"width": 8}, "variants": {"whole": {}, "none": {"transport": "none"}}}
    with pytest.raises(InputError, match=r"^space unnamed: variants must be at least two"):
        setup_of(simulate(subjects=4, modalities="behavioural"), space=space, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_setup_needs_an_adapted_space() -> None:
    dataset, space = simulate(subjects=4, modalities="behavioural"), load_space("demo")
    others = LocalFolder(Path("nowhere")), TrainingSettings(), Resources(None, 1, 0.0)
    with pytest.raises(ValueError, match="space must be adapted"):
        SearchSetup(dataset, space, *others)
    adapted = space_for_roles(space, dataset.schema.roles)
    assert SearchSetup(dataset, adapted, *others).space is adapted
