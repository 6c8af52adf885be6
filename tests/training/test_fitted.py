"""Tests of fitted models: fitting, saving, loading, predictions and errors."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save

import helo
from helo.configuration import Configuration
from helo.data import simulate, write_dataset
from helo.data.dataset import Dataset, Signals
from helo.data.unlabelled import read_signals
from helo.errors import InputError
from helo.names import FileName, Normalisation, enum_values
from helo.predict import main
from helo.settings import TrainingSettings
from helo.training.fitted import FittedModel, fit_model
from helo.training.fitting import Fitting, Windows

QUICK = Configuration(width=8, epochs=3, learning_rate=1e-2, batch_size=16)


@pytest.fixture(scope="module", params=enum_values(Normalisation))
def model(request: pytest.FixtureRequest, dataset: Dataset) -> FittedModel:
    return fit_model(dataset, QUICK, 2, TrainingSettings(normalise=request.param))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    fit_model(dataset, QUICK, 2, TrainingSettings()).save(folder / "model")
    write_dataset(dataset, folder / "data")
    return folder


def test_a_loaded_model_predicts_the_same(model: FittedModel, dataset: Dataset, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    loaded = helo.load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(dataset), model.predict(dataset))
    assert (loaded.schema, loaded.configuration) == (model.schema, model.configuration)
    assert (loaded.subjects, loaded.emotions) == (dataset.subject_names, dataset.emotions)
    assert loaded.facts["epochs"] == 2


def test_a_fitted_model_holds_the_trained_network(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions equal those of the weights in training, with the scaling of training."""
    seen = {}

    class Watched(Fitting):
        def run_epoch(self) -> dict[str, float]:
            row = super().run_epoch()
            seen["last"] = self.predict(Windows(self.windows.part, torch.device("cpu")))
            return row

    monkeypatch.setattr("helo.training.fitted.Fitting", Watched)
    fitted = fit_model(dataset, QUICK, 2, TrainingSettings())
    np.testing.assert_array_equal(fitted.predict(dataset), seen["last"])
    assert np.abs(fitted.predict(dataset) - dataset.labels.mean(axis=0)).max() > 0.01


def test_prediction_in_a_new_process_does_not_import_ray(saved: Path, dataset: Dataset) -> None:
    code = (
        "import sys; from helo.predict import main; status = main(sys.argv[1:]); "
        "assert not {'ray', 'optuna'} & set(sys.modules); sys.exit(status)"
    )
    words = [str(saved / "model"), str(saved / "data"), "--out", str(saved / "p.parquet")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "was fitted to subjects called P01, P02, P03, P04, too" in done.stdout
    table = pd.read_parquet(saved / "p.parquet")
    expected = helo.load_model(saved / "model").predict(dataset)
    predicted = table[[f"pred_{name}" for name in dataset.emotions]].to_numpy()
    np.testing.assert_allclose(predicted, expected, atol=1e-6)
    assert table["subject"].tolist() == dataset.subjects.tolist()
    assert table["group"].tolist() == (dataset.groups.tolist() if dataset.groups is not None else None)
    assert table["window"].tolist() == list(range(len(dataset)))


def test_the_same_fit_is_the_same_to_the_bit(dataset: Dataset) -> None:
    one, other = (fit_model(dataset, QUICK, 1, TrainingSettings(seed=5)).predict(dataset) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_without_epochs_it_predicts_the_mean_label(dataset: Dataset) -> None:
    predicted = fit_model(dataset, QUICK, 0, TrainingSettings()).predict(dataset)
    np.testing.assert_allclose(predicted, np.broadcast_to(dataset.labels.mean(axis=0), predicted.shape), atol=1e-6)


def test_new_subjects_may_lack_labels_and_a_sensor(saved: Path, dataset: Dataset, tmp_path: Path) -> None:
    new = simulate(subjects=2, clips=2, windows=3, seed=9)
    features = new.features.copy()
    features[:, new.schema.slices["eda"]] = np.nan
    table = pd.DataFrame(features, columns=list(new.schema.features)).iloc[:, ::-1]
    table.insert(0, "subject", [f"N{name}" for name in new.subjects])
    table.to_csv(tmp_path / "new.csv", index=False)
    assert main([str(saved / "model"), str(tmp_path / "new.csv"), "--out", str(tmp_path / "p.csv")]) == 0
    model = helo.load_model(saved / "model")
    expected = model.predict(Signals(new.schema, new.subjects, features))
    predicted = pd.read_csv(tmp_path / "p.csv").filter(like="pred_").to_numpy()
    np.testing.assert_allclose(predicted, expected, atol=1e-6)


def test_a_data_frame_is_accepted(saved: Path, dataset: Dataset) -> None:
    model = helo.load_model(saved / "model")
    table = pd.read_parquet(saved / "data" / "windows.parquet")
    np.testing.assert_array_equal(model.predict(table.iloc[:, ::-1]), model.predict(dataset))
    with pytest.raises(InputError, match=r"column .eda_1. .modality eda. is missing; column .resp_0. .* got"):
        model.predict(table.drop(columns="eda_1").assign(resp_0="low"))


def test_features_in_another_unit_are_warned_about(
    saved: Path, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_parquet(saved / "data" / "windows.parquet")
    table["ecg_1"] *= 1e6
    table.to_parquet(tmp_path / "milli.parquet")
    assert main([str(saved / "model"), str(tmp_path / "milli.parquet"), "--out", str(tmp_path / "p.csv")]) == 0
    assert f"(another unit?): ecg_1 ({len(dataset)} windows)" in capsys.readouterr().out


def test_single_windows_are_warned_about(dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit_model(dataset, QUICK, 1, TrainingSettings(normalise="subject")).save(tmp_path / "model")
    table = pd.DataFrame(dataset.features[:1], columns=list(dataset.schema.features)).assign(subject="N1")
    table.to_csv(tmp_path / "one.csv", index=False)
    assert main([str(tmp_path / "model"), str(tmp_path / "one.csv"), "--out", str(tmp_path / "p.csv")]) == 0
    assert "some subjects have few windows: N1 (1); all features of a single window become 0" in capsys.readouterr().out


def test_the_folder_of_a_run_is_not_a_model(saved: Path) -> None:
    with pytest.raises(InputError, match=r"saved0: has no model.json \(did you mean .*saved0/model\?\)"):
        helo.load_model(saved)


def test_each_subject_is_scaled_by_its_own_windows(dataset: Dataset) -> None:
    model = fit_model(dataset, QUICK, 2, TrainingSettings(normalise="subject"))
    features = dataset.features.copy()
    rows = dataset.rows(("P02",))
    features[rows] = features[rows] * 3 + 1
    moved = replace(dataset, features=features)
    np.testing.assert_allclose(model.predict(moved), model.predict(dataset), atol=1e-4)


def test_a_wrong_schema_is_reported_by_column(saved: Path, dataset: Dataset, tmp_path: Path) -> None:
    model = helo.load_model(saved / "model")
    table = pd.read_parquet(saved / "data" / "windows.parquet")
    table = table.rename(columns={"ecg_0": "ECG_0"}).drop(columns=["resp_1"]).assign(eda_2="high")
    table.to_parquet(tmp_path / "wrong.parquet")
    with pytest.raises(InputError) as error:
        read_signals(tmp_path / "wrong.parquet", model.schema)
    message = str(error.value)
    assert "wrong.parquet" in message
    for part in (
        "column 'ecg_0' (modality ecg) is missing",
        "column 'resp_1' (modality resp) is missing",
        "column 'eda_2' (modality eda) must hold numbers",
    ):
        assert part in message
    assert "eda_1" not in message


def test_other_modalities_in_the_schema_of_the_dataset_are_reported(
    saved: Path, dataset: Dataset, tmp_path: Path
) -> None:
    modalities = list(dataset.schema.modalities)
    at = [modality.name for modality in modalities].index("resp")
    modalities[at] = replace(modalities[at], tokens=1, columns=modalities[at].columns[::-1])
    schema = replace(dataset.schema, modalities=tuple(modalities))
    features = dataset.features[:, [dataset.schema.features.index(name) for name in schema.features]]
    write_dataset(replace(dataset, schema=schema, features=features), tmp_path / "other")
    with pytest.raises(InputError) as error:
        read_signals(tmp_path / "other", helo.load_model(saved / "model").schema)
    assert "modality 'resp' has tokens 1 in dataset.yaml, in the model 3" in str(error.value)
    assert "modality 'resp' has its columns in another order" in str(error.value)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def spoil(folder: Path, how: str) -> str:
    """Damage a copy of a model and return the text that the error must contain."""
    text, weights = folder / FileName.MODEL_DESCRIPTION, folder / FileName.WEIGHTS
    content = json.loads(text.read_text())
    if how == "no weights":
        weights.unlink()
    elif how == "cut weights":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "pickled weights":
        weights.write_bytes(pickle.dumps(Bomb(folder / "bomb")))
    elif how == "no json":
        text.write_text("{")
    elif how == "other format":
        text.write_text(json.dumps(content | {"format": 99}))
    elif how == "wrong width":
        text.write_text(json.dumps(content | {"configuration": content["configuration"] | {"width": 16}}))
        return FileName.WEIGHTS
    elif how == "unknown hyperparameter":
        text.write_text(json.dumps(content | {"configuration": content["configuration"] | {"depth": 1}}))
    elif how == "no scaling":
        text.write_text(json.dumps(content | {"normalise": "subject"}))
        return FileName.WEIGHTS
    elif how == "deep json":
        text.write_text("[" * 200_000)
    elif how == "weights of zero scaling":
        tensors = load_file(weights)
        weights.write_bytes(save(tensors | {"scaling.std": torch.zeros_like(tensors["scaling.std"])}))
    elif how == "weights without numbers":
        tensors = load_file(weights)
        weights.write_bytes(save(tensors | {"labels": tensors["labels"] * torch.nan}))
    elif how == "no schema":
        text.write_text(json.dumps(content | {"schema": []}))
    return FileName.WEIGHTS if "weights" in how else FileName.MODEL_DESCRIPTION


@pytest.mark.parametrize(
    "how",
    [
        "no weights",
        "cut weights",
        "pickled weights",
        "no json",
        "other format",
        "wrong width",
        "unknown hyperparameter",
        "no scaling",
        "no schema",
        "deep json",
        "weights of zero scaling",
        "weights without numbers",
    ],
)
def test_a_damaged_model_is_refused_in_one_line(
    saved: Path, tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(saved / "model", tmp_path / "model")
    where = spoil(tmp_path / "model", how)
    assert main([str(tmp_path / "model"), str(saved / "data"), "--out", str(tmp_path / "p.parquet")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert str(tmp_path / "model" / where) in message
    assert not (tmp_path / "p.parquet").exists()
    assert not (tmp_path / "model" / "bomb").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "{data}", "--out", "{tmp}/p.parquet"], "nowhere: no such model"),
        (["{model}", "{tmp}/none.csv", "--out", "{tmp}/p.parquet"], "none.csv: no such file"),
        (["{model}", "{data}", "--out", "{tmp}/p.xlsx"], "must end in .parquet or .csv"),
        (["{model}", "{data}", "--out", "{tmp}/none/p.csv"], "there is no folder"),
        (["{model}", "{model}/weights.safetensors", "--out", "{tmp}/p.csv"], "weights.safetensors: must end in .csv"),
    ],
)
def test_invalid_arguments_are_refused(
    saved: Path, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"model": saved / "model", "data": saved / "data", "tmp": tmp_path}
    assert main([word.format(**known) for word in words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_duplicate_column_is_refused(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pq.read_table(saved / "data" / "windows.parquet")
    pq.write_table(table.append_column("ecg_0", table["ecg_0"]), tmp_path / "twice.parquet")
    assert main([str(saved / "model"), str(tmp_path / "twice.parquet"), "--out", str(tmp_path / "p.csv")]) == 2
    assert "columns must have different names, but 'ecg_0' is repeated" in capsys.readouterr().err


def test_a_subject_may_be_called_na(saved: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(saved / "data" / "windows.parquet").assign(subject="NA")
    for name in ("na.csv", "na.tsv", "na.csv.gz"):
        table.to_csv(tmp_path / name, index=False, sep="\t" if name.endswith("tsv") else ",")
        signals = read_signals(tmp_path / name, helo.load_model(saved / "model").schema)
        assert signals.subject_names == ("NA",)


def test_an_existing_file_is_not_overwritten(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("mine")
    assert main([str(saved / "model"), str(saved / "data"), "--out", str(tmp_path / "p.csv")]) == 2
    assert (tmp_path / "p.csv").read_text() == "mine"


def test_a_model_describes_itself_on_a_screen(dataset: Dataset) -> None:
    model = fit_model(dataset, QUICK, 1, TrainingSettings())
    lines = repr(model).splitlines()
    assert lines[0] == "FittedModel simulated"
    assert "  fitted to: 4 subjects, 1 epochs" in lines
    assert "  emotions: joy, enthusiasm, tension, fear, sadness, fatigue" in lines
    assert "width=8" in repr(model)
    named = replace(model, schema=replace(dataset.schema, name="<b>" + "x" * 500), facts={"epochs": "<i>\x1b[31m"})
    assert max(map(len, repr(named).splitlines())) <= 100
    assert len(repr(named).splitlines()) <= 25
    assert "\x1b" not in repr(named)
    page = ElementTree.fromstring(named._repr_html_())  # well-formed, so names are escaped
    assert [row[0].text for row in page.iter("tr")] == [
        "modalities",
        "emotions",
        "fitted to",
        "scaling",
        "hyperparameters",
    ]
    assert "class=" not in named._repr_html_()
