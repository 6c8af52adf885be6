"""Tests of fitted models: fitting, saving, loading, predictions and errors."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
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
from helo.data.unlabelled import read_signals, signals_from_frame
from helo.errors import InputError
from helo.evaluation.folds import member_seed
from helo.evaluation.scaling import Scaling
from helo.metrics import mean_scores
from helo.names import FileName, Normalisation, enum_values
from helo.predict import main
from helo.settings import TrainingSettings
from helo.training.fitted import FittedModel, fit_model, member_splits
from helo.training.fitted_members import EVERYONE
from helo.training.fitting import Fitting
from helo.training.windows import Batches, Windows, forward

QUICK = Configuration(width=8, epochs=3, learning_rate=1e-2, batch_size=16)
FORMAT_1 = Path(__file__).parent / "format_1"
"""Model of version 0.1.0, with windows and its predictions for them."""


@pytest.fixture(scope="module", params=enum_values(Normalisation))
def model(request: pytest.FixtureRequest, dataset: Dataset) -> FittedModel:
    return fit_model(dataset, QUICK, TrainingSettings(normalise=request.param))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    fit_model(dataset, QUICK, TrainingSettings()).save(folder / "model")
    write_dataset(dataset, folder / "data")
    return folder


def test_a_loaded_model_predicts_the_same(model: FittedModel, dataset: Dataset, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    loaded = helo.load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(dataset), model.predict(dataset))
    assert (loaded.schema, loaded.configurations) == (model.schema, (QUICK,))
    assert (loaded.subjects, loaded.emotions) == (dataset.subject_names, dataset.emotions)
    assert (loaded.members, loaded.facts) == (4, model.facts)


def test_the_first_format_predicts_as_before() -> None:
    """The model and its predictions were written by version 0.1.0."""
    table = pd.read_csv(FORMAT_1 / "windows.csv")
    model = helo.load_model(FORMAT_1)
    expected = np.stack([table.pop(f"pred_{name}") for name in model.emotions], axis=1)
    predicted, disagreement = model.predict(table, return_disagreement=True)
    np.testing.assert_allclose(predicted, expected, atol=1e-6)
    assert np.isnan(disagreement).all()
    assert (model.members, model.out_of_fold, model.facts["epochs"]) == (1, None, 6)
    assert "fitted to: 4 subjects, 6 epochs" in repr(model)


def test_the_first_format_can_be_written_in_the_present_one(tmp_path: Path) -> None:
    model = helo.load_model(FORMAT_1)
    model.save(tmp_path / "model")
    windows = FORMAT_1 / "windows.csv"
    np.testing.assert_array_equal(helo.load_model(tmp_path / "model").predict(windows), model.predict(windows))


@pytest.mark.parametrize("normalise", enum_values(Normalisation))
def test_each_member_is_that_of_its_own_training(dataset: Dataset, normalise: str) -> None:
    """A member equals a network that is trained and scaled by its training subjects alone."""
    settings = TrainingSettings(seed=3, normalise=normalise)
    model = fit_model(dataset, QUICK, settings, inner_folds=3)
    splits = member_splits(dataset.subject_names, 3, settings.seed)
    assert sorted(name for split in splits for name in split.validation) == sorted(dataset.subject_names)
    sizes = [len(dataset.rows(split.train)) for split in splits]
    batches = Batches.for_sizes(sizes, QUICK.batch_size)
    alone, out_of_fold = [], np.zeros_like(dataset.labels)
    for number, split in enumerate(splits):
        scaling = Scaling.fit(dataset, split.train, normalise)
        seed = member_seed(3, EVERYONE, number)
        fitting = Fitting(dataset.schema, [scaling.part(dataset, split.train)], QUICK, [seed], batches)
        for _ in range(QUICK.epochs):
            fitting.run_epoch()
        everyone = scaling.part(dataset, dataset.subject_names)
        alone.append(forward(fitting.averaged, Windows([everyone], torch.device("cpu"))).predicted[0])
        rows = dataset.rows(split.validation)
        out_of_fold[rows] = alone[-1][rows]
    predicted, disagreement = model.predict(dataset, return_disagreement=True)
    np.testing.assert_allclose(predicted, np.mean(alone, axis=0), atol=1e-5)
    expected = np.mean([np.abs(one - predicted).sum(axis=1) / 2 for one in alone], axis=0)
    np.testing.assert_allclose(disagreement, expected, atol=1e-5)
    assert (disagreement > 1e-3).all()
    assert model.out_of_fold == pytest.approx(mean_scores(dataset.labels, out_of_fold, dataset.subjects), abs=1e-4)
    assert model.facts["left_out"] == [list(split.validation) for split in splits]
    assert np.abs(predicted - dataset.labels.mean(axis=0)).max() > 0.01


def test_left_out_subjects_influence_neither_weights_nor_scaling_of_a_member(dataset: Dataset) -> None:
    settings = TrainingSettings()
    (split, *_) = member_splits(dataset.subject_names, 4, settings.seed)
    features, labels = dataset.features.copy(), dataset.labels.copy()
    rows = dataset.rows(split.validation)
    features[rows] *= 1000
    labels[rows] = np.roll(labels[rows], 1, axis=1)
    moved = replace(dataset, features=features, labels=labels)
    one, other = (fit_model(data, QUICK, settings, 4).ensemble[0].predict(dataset) for data in (dataset, moved))
    np.testing.assert_array_equal(one[0], other[0])
    assert (np.abs(one[1:] - other[1:]).max(axis=(1, 2)) > 1e-6).all()


def test_one_member_is_fitted_to_all_subjects(dataset: Dataset) -> None:
    model = fit_model(dataset, QUICK, TrainingSettings(), inner_folds=1)
    mean = model.ensemble[0].scalings[0].mean
    assert mean is not None
    np.testing.assert_allclose(mean, dataset.features.mean(axis=0, dtype=float), atol=1e-6)
    assert (model.members, model.out_of_fold) == (1, None)


def test_more_members_than_subjects_are_refused(dataset: Dataset) -> None:
    with pytest.raises(InputError, match=r"1 <= inner folds <= 4 \(subjects\) must hold, got 5"):
        fit_model(dataset, QUICK, TrainingSettings(), inner_folds=5)


def test_several_configurations_are_averaged_by_weight(dataset: Dataset, tmp_path: Path) -> None:
    wide = replace(QUICK, width=16)
    settings = TrainingSettings()
    model = fit_model(dataset, {QUICK: 3.0, wide: 1.0}, settings, inner_folds=2)
    alone = [fit_model(dataset, one, settings, 2).predict(dataset) for one in (QUICK, wide)]
    predicted, disagreement = model.predict(dataset, return_disagreement=True)
    np.testing.assert_allclose(predicted, 0.75 * alone[0] + 0.25 * alone[1], atol=1e-6)
    apart = [np.abs(one.predict(dataset) - predicted).sum(axis=2).mean(axis=0) / 2 for one in model.ensemble]
    np.testing.assert_allclose(disagreement, 0.75 * apart[0] + 0.25 * apart[1])
    model.save(tmp_path / "model")
    loaded = helo.load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(dataset), predicted)
    assert loaded.configurations == (QUICK, wide)
    assert repr(loaded) == repr(model)
    assert "hyperparameters (weight 3): " in repr(model)


def test_a_far_window_is_far_for_every_member(dataset: Dataset) -> None:
    model = fit_model(dataset, QUICK, TrainingSettings(), inner_folds=2)
    features = dataset.features.copy()
    features[0, 0] = 1e6
    features[1, 1] = dataset.features[:, 1].mean() + 10 * dataset.features[:, 1].std()
    assert model.far_windows(replace(dataset, features=features)) == {dataset.schema.features[0]: 1}


def test_another_unit_is_noted(
    saved: Path, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = dataset.features.copy()
    features[:, 1] /= 1000
    write_dataset(replace(dataset, features=features), tmp_path / "data")
    name = dataset.schema.features[1]
    for data, expected in ((tmp_path / "data", [name]), (saved / "data", [])):
        model = helo.load_model(saved / "model")
        assert list(model.doubted_units(read_signals(data, model.schema))) == expected
    assert main([str(saved / "model"), str(tmp_path / "data"), "--out", str(tmp_path / "p.csv")]) == 0
    assert f"in another unit than in the fit? {name} (spread " in capsys.readouterr().out


def test_prediction_in_a_new_process_does_not_import_ray(saved: Path, dataset: Dataset) -> None:
    code = (
        "import sys; from helo.predict import main; status = main(sys.argv[1:]); "
        "assert not {'ray', 'optuna'} & set(sys.modules); sys.exit(status)"
    )
    words = [str(saved / "model"), str(saved / "data"), "--out", str(saved / "p.parquet")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "was fitted to subjects with the same names: P01, P02, P03, P04." in done.stdout
    table = pd.read_parquet(saved / "p.parquet")
    expected, disagreement = helo.load_model(saved / "model").predict(dataset, return_disagreement=True)
    predicted = table[[f"pred_{name}" for name in dataset.emotions]].to_numpy()
    np.testing.assert_allclose(predicted, expected, atol=1e-6)
    np.testing.assert_allclose(table["disagreement"], disagreement, atol=1e-6)
    assert table["subject"].tolist() == dataset.subjects.tolist()
    assert table["group"].tolist() == (dataset.groups.tolist() if dataset.groups is not None else None)
    assert table["window"].tolist() == list(range(len(dataset)))


def test_the_same_fit_is_the_same_to_the_bit(dataset: Dataset) -> None:
    one, other = (fit_model(dataset, QUICK, TrainingSettings(seed=5)).predict(dataset) for _ in range(2))
    np.testing.assert_array_equal(one, other)


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


def test_long_names_of_a_data_frame_stay_whole(saved: Path) -> None:
    """Under pandas 3 names of subjects shrank to one letter, and subjects with the same first letter were one."""
    table = pd.read_parquet(saved / "data" / "windows.parquet")
    schema = helo.load_model(saved / "model").schema
    kinds: list[Any] = [object, "string", "category", "string[pyarrow]"]
    for kind in kinds:
        found = signals_from_frame(table.astype({"subject": kind, "group": kind}), schema)
        assert list(found.subjects) == list(table["subject"])
        assert found.groups is not None
        assert list(found.groups) == list(table["group"])
    numbered = signals_from_frame(table.assign(subject=range(len(table))), schema)
    assert numbered.subjects.tolist() == [str(number) for number in range(len(table))]
    columns = dict.fromkeys(schema.features[:1], "Float32") | dict.fromkeys(schema.features[1:2], "float[pyarrow]")
    nullable = table.astype(columns)
    nullable.loc[2, schema.features[0]] = pd.NA
    expected = table[list(schema.features)].to_numpy(np.float32).copy()
    expected[2, 0] = np.nan
    np.testing.assert_array_equal(signals_from_frame(nullable, schema).features, expected)


@pytest.mark.parametrize("kind", [object, "string", "category", "string[pyarrow]"])
@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, "", "  "])
def test_a_row_of_a_data_frame_needs_a_subject(saved: Path, kind: Any, missing: Any) -> None:
    table = pd.read_parquet(saved / "data" / "windows.parquet")
    subjects = [*table["subject"][:3], missing, *table["subject"][4:]]
    with pytest.raises(InputError, match=r"the table: row 3 .*, column 'subject': must name the subject, but is empty"):
        helo.load_model(saved / "model").predict(table.assign(subject=pd.Series(subjects, dtype=kind)))


def test_wrong_data_frames_are_refused(saved: Path) -> None:
    model = helo.load_model(saved / "model")
    table = pd.read_parquet(saved / "data" / "windows.parquet")
    twice = pd.concat([table, table[["eda_1"]]], axis=1)
    mixed = table.assign(subject=pd.Series([1, *table["subject"][1:]], dtype=object))
    nobody = table.assign(subject=np.arange(len(table)) * np.nan)
    for wrong, message in (
        (twice, "the table: columns must have different names, but 'eda_1' is repeated"),
        (mixed, "the table: column 'subject' must hold values of one type, text or numbers"),
        (nobody, "row 0 (counted from 0), column 'subject': must name the subject, but is empty"),
        (table.assign(ecg_0=np.inf), "the table: features must be finite numbers"),
        (table.assign(ecg_0=pd.Series(["a", *[1.0] * (len(table) - 1)], dtype=object)), "got values of several types"),
    ):
        with pytest.raises(InputError, match=re.escape(message)) as caught:
            model.predict(wrong)
        assert "\n" not in str(caught.value)


def test_features_in_another_unit_are_warned_about(
    saved: Path, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_parquet(saved / "data" / "windows.parquet")
    table["ecg_1"] *= 1e6
    table.to_parquet(tmp_path / "milli.parquet")
    assert main([str(saved / "model"), str(tmp_path / "milli.parquet"), "--out", str(tmp_path / "p.csv")]) == 0
    assert f"(another unit?): ecg_1 ({len(dataset)} windows)" in capsys.readouterr().out


def test_single_windows_are_warned_about(dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit_model(dataset, QUICK, TrainingSettings(normalise="subject")).save(tmp_path / "model")
    table = pd.DataFrame(dataset.features[:1], columns=list(dataset.schema.features)).assign(subject="N1")
    table.to_csv(tmp_path / "one.csv", index=False)
    assert main([str(tmp_path / "model"), str(tmp_path / "one.csv"), "--out", str(tmp_path / "p.csv")]) == 0
    assert "some subjects have few windows: N1 (1); all features of a single window become 0" in capsys.readouterr().out


def test_the_folder_of_a_run_is_not_a_model(saved: Path) -> None:
    with pytest.raises(InputError, match=r"saved0: has no model.json \(did you mean .*saved0/model\?\)"):
        helo.load_model(saved)


def test_each_subject_is_scaled_by_its_own_windows(dataset: Dataset) -> None:
    model = fit_model(dataset, QUICK, TrainingSettings(normalise="subject"))
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
    del content["weights_sha256"]  # the other checks do not rely on it
    text.write_text(json.dumps(content))
    params = content["ensemble"][0]["configuration"]
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
        text.write_text(json.dumps(content | {"ensemble": [{"configuration": params | {"width": 16}, "weight": 1}]}))
        return FileName.WEIGHTS
    elif how == "unknown hyperparameter":
        text.write_text(json.dumps(content | {"ensemble": [{"configuration": params | {"depth": 1}, "weight": 1}]}))
    elif how == "negative share":
        text.write_text(json.dumps(content | {"ensemble": [{"configuration": params, "weight": -1}]}))
    elif how == "no configuration":
        text.write_text(json.dumps(content | {"ensemble": []}))
    elif how == "scores in words":
        text.write_text(json.dumps(content | {"out_of_fold": {"kl": "low"}}))
    elif how == "weights of one configuration for two":
        text.write_text(json.dumps(content | {"ensemble": 2 * content["ensemble"]}))
    elif how == "weights of another configuration":
        tensors = load_file(weights)
        weights.write_bytes(save(tensors | {"1.labels": tensors["0.labels"].clone()}))
    elif how == "weights of another number of members":
        tensors = load_file(weights)
        weights.write_bytes(save(tensors | {"0.labels": tensors["0.labels"][:1]}))
    elif how == "no scaling":
        text.write_text(json.dumps(content | {"normalise": "subject"}))
        return FileName.WEIGHTS
    elif how == "deep json":
        text.write_text("[" * 200_000)
    elif how == "weights of zero scaling":
        tensors = load_file(weights)
        weights.write_bytes(save(tensors | {"0.scaling.std": torch.zeros_like(tensors["0.scaling.std"])}))
    elif how == "weights in 8 bits":
        tensors = load_file(weights)
        weights.write_bytes(save(tensors | {"0.labels": tensors["0.labels"].to(torch.float8_e4m3fn)}))
    elif how == "weights of 16-bit scaling":
        tensors = load_file(weights)
        weights.write_bytes(save(tensors | {"0.scaling.mean": tensors["0.scaling.mean"].to(torch.bfloat16)}))
    elif how == "weights without numbers":
        tensors = load_file(weights)
        weights.write_bytes(save(tensors | {"0.labels": tensors["0.labels"] * torch.nan}))
    elif how == "no schema":
        text.write_text(json.dumps(content | {"schema": []}))
    return FileName.WEIGHTS if "weights" in how else FileName.MODEL_DESCRIPTION


def test_no_flipped_bit_of_the_weights_is_read(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved / "model", tmp_path / "model")
    weights = tmp_path / "model" / FileName.WEIGHTS
    whole = weights.read_bytes()
    for place in np.random.default_rng(0).integers(0, 8 * len(whole), 60).tolist():
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        weights.write_bytes(damaged)
        with pytest.raises(InputError, match="is damaged or of another model: its SHA-256"):
            helo.load_model(tmp_path / "model")
    weights.write_bytes(whole)
    helo.load_model(tmp_path / "model")


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
        "negative share",
        "no configuration",
        "scores in words",
        "weights of one configuration for two",
        "weights of another configuration",
        "weights of another number of members",
        "no scaling",
        "no schema",
        "deep json",
        "weights of zero scaling",
        "weights without numbers",
        "weights in 8 bits",
        "weights of 16-bit scaling",
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
    model = fit_model(dataset, QUICK, TrainingSettings())
    lines = repr(model).splitlines()
    assert lines[0] == "FittedModel simulated"
    assert "  fitted to: 4 subjects, 3 epochs" in lines
    assert "  emotions: joy, enthusiasm, tension, fear, sadness, fatigue" in lines
    assert "width=8" in repr(model)
    named = replace(model, schema=replace(dataset.schema, name="<b>" + "x" * 400), facts={"epochs": "<i>\x1b[31m"})
    assert max(map(len, repr(named).splitlines())) <= 100
    assert len(repr(named).splitlines()) <= 25
    assert "\x1b" not in repr(named)
    page = ElementTree.fromstring(named._repr_html_())  # well-formed, so names are escaped
    assert [row[0].text for row in page.iter("tr")] == [
        "modalities",
        "emotions",
        "fitted to",
        "members",
        "scaling",
        "hyperparameters",
    ]
    assert model.out_of_fold is not None
    assert f"kl {model.out_of_fold['kl']:.4g}" in repr(model)
    assert "class=" not in named._repr_html_()
