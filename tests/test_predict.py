"""The command that predicts, where its output cannot be written."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

import helo.predict
from helo.configuration import Configuration
from helo.data import simulate, write_dataset
from helo.settings import TrainingSettings
from helo.training.fitted import fit_model


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a fitted model and its data."""
    folder = tmp_path_factory.mktemp("predict")
    dataset = simulate(subjects=4, clips=3, windows=4)
    write_dataset(dataset, folder / "data")
    params = {"width": 8, "heads": 2, "epochs": 1, "batch_size": 16}
    fit_model(dataset, {Configuration.from_params(params): 1.0}, TrainingSettings(), 1).save(folder / "model")
    return folder


def predict(place: Path, out: str) -> int:
    return helo.predict.main([str(place / "model"), str(place / "data"), "--out", out])


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_full_disk_is_said_in_one_line(place: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        assert predict(place, str(place / f"out{suffix}")) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    errors = capsys.readouterr().err
    assert errors.startswith("helo-predict: error: ")
    assert errors.count("\n") == 1
    assert sorted(path.name for path in place.iterdir()) == ["data", "model"]


def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helo.training.fitted.load_model", lambda place: pytest.fail("the work has begun"))
    assert predict(place, "/sys/out.parquet") == 2
    errors = capsys.readouterr().err
    assert errors.startswith("helo-predict: error: /sys/")
    assert errors.count("\n") == 1
