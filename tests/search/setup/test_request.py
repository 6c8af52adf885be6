"""Requests from Python and from the command line: the same rules, with messages in the words of each."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import helo
import helo.search.__main__ as command
from helo._deadline import Deadline
from helo.analysis.wording.notes import method_notes
from helo.data import Dataset, simulate, write_dataset
from helo.errors import InputError
from helo.evaluation.folds import folds_as_json, loso_folds
from helo.names import FITTED_BASELINES, IN_MEMORY
from helo.run.directory import Run
from helo.run.manifest import Manifest
from helo.search.planning.pace import Pace
from helo.search.planning.space import Choices, Space, load_space
from helo.search.setup.inputs import read_inputs
from helo.search.setup.manifest import build_manifest, record_resumption
from helo.search.setup.request import DEFAULTS, Request, as_argument
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.resources import Resources

SPACE = {"configurations": 3, "parameters": {"width": {"choices": [8, 16]}, "heads": 2, "epochs": 2}}


@pytest.fixture(autouse=True)
def empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def setup_of(**asked: Any) -> tuple[SearchSetup, Run | None]:
    request = Request.of_arguments(**asked)
    return read_inputs(request, request.as_call(), started=1000.0)


def from_command(*words: str) -> SearchSetup:
    return read_inputs(command._request(command.build_parser().parse_args(words)), "", 1000.0)[0]


def started(dataset: Dataset, out: Path, **asked: Any) -> Run:
    """Create the run directory of a search without finished cells."""
    setup, _ = setup_of(data=dataset, out=out, **asked)
    folds = setup.folds
    return Run.create(out, build_manifest(setup, folds, Resources(1, 1, 0.0), Pace(1, 1)), folds_as_json(folds))


def test_the_signature_shows_the_defaults() -> None:
    shown = {name: one.default for name, one in inspect.signature(helo.run_search).parameters.items()}
    known = {as_argument(name): default for name, default in DEFAULTS.items()}
    assert {name: default for name, default in shown.items() if default is not None} == {**known, "progress": True}


def test_every_value_can_be_given_in_python_and_on_the_command_line() -> None:
    values = {field.name for field in dataclasses.fields(Request)} - {"spell"}
    assert {as_argument(name) for name in values} == set(inspect.signature(helo.run_search).parameters) - {"progress"}
    options = command.build_parser()._option_string_actions
    assert {command._option(name) for name in values} <= set(options)


def test_the_same_values_make_the_same_setup(tmp_path: Path) -> None:
    write_dataset(simulate(subjects=4, clips=2, windows=3, emotions=3), tmp_path / "mine")
    words = [
        "--data",
        "mine",
        "--space",
        "small",
        "--configurations",
        "2",
        "--sampler",
        "random",
        "--out",
        "run",
        "--seed",
        "3",
        "--protocol",
        "nested",
        "--normalise",
        "subject",
        "--baselines",
        "ridge,knn",
        "--no-racing",
        "--concurrency",
        "2",
        "--cpus-per-cell",
        "2",
        "--gpus-per-cell",
        "0",
        "--time-budget",
        "2h",
        "--log",
        "mlflow",
        "--export-predictions",
        "--inner-folds",
        "2",
    ]
    asked, _ = setup_of(
        data=tmp_path / "mine",
        space="small",
        configurations=np.int64(2),
        sampler="random",
        out="run",
        seed=3,
        protocol="nested",
        normalise="subject",
        baselines=["ridge", "knn"],
        racing=False,
        concurrency=2,
        cpus_per_cell=2,
        gpus_per_cell=0,
        time_budget=7200,
        log=["mlflow"],
        export_predictions=True,
        inner_folds=2,
    )
    other = from_command(*words)
    assert asked.dataset.digest == other.dataset.digest
    assert dataclasses.replace(asked, dataset=other.dataset, command="") == other
    assert (other.baselines, other.racing, other.deadline) == (("knn", "ridge"), False, Deadline.at(8200.0))


def test_without_values_both_search_the_demo() -> None:
    setup, run = setup_of(data="simulated", space="demo", racing=True, seed=0, baselines="all")
    other = from_command()
    assert run is None
    assert setup.dataset.digest == other.dataset.digest == simulate().digest
    assert dataclasses.replace(setup, dataset=other.dataset, command="", out=other.out) == other
    assert (setup.data, setup.space.name, setup.baselines) == ("simulated", "demo", FITTED_BASELINES)
    assert setup.out.here.parent == Path("runs")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"concurrency": 0}, "concurrency must be at least 1, got 0"),
        ({"configurations": 2.5}, "configurations must be a whole number, got 2.5"),
        ({"seed": True}, "seed must be a whole number, got True"),
        ({"seed": -1, "cpus_per_cell": -2}, "cpus_per_cell must be at least 1, got -2; seed must be at least 0, got"),
        ({"sampler": "tp"}, "sampler must be tpe or random, got 'tp' (did you mean 'tpe'?)"),
        ({"protocol": "nestd"}, "protocol must be shared or nested, got 'nestd' (did you mean 'nested'?)"),
        ({"normalise": None, "precision": "half"}, "precision must be full or mixed, got 'half'"),
        ({"gpus_per_cell": 2.5}, "gpus_per_cell must be auto, from 0 to 1, or a whole number, got 2.5"),
        ({"gpus_per_cell": []}, "gpus_per_cell must be auto, from 0 to 1, or a whole number, got []"),
        ({"baselines": ["rigde"]}, "baselines: unknown 'rigde' (did you mean 'ridge'?); known are all, none, knn"),
        ({"baselines": ["none", "knn"]}, "baselines: 'none' cannot be combined with other names, got ['none', 'knn']"),
        ({"baselines": 3}, "baselines must be a list of names, got 3"),
        ({"log": "tensorbord"}, "log: unknown 'tensorbord' (did you mean 'tensorboard'?)"),
        ({"time_budget": 0}, "time_budget must be from 1 s to 1000 d, got 0"),
        ({"time_budget": "0.0000001s"}, "time_budget must be from 1 s to 1000 d, got '0.0000001s'"),
        ({"time_budget": 1e12}, "time_budget must be from 1 s to 1000 d, got 1000000000000.0"),
        ({"time_budget": float("nan")}, "time_budget must be from 1 s to 1000 d, got nan"),
        ({"time_budget": "٣h"}, "time_budget must be a number with the unit s, m, h or d"),
        ({"concurrency": 10**9}, "concurrency must be at most 100000, got 1000000000"),
        ({"configurations": 10**5000}, "configurations must be at most 1000000, got more than 10**18"),
        ({"cpus_per_cell": 2000}, "cpus_per_cell must be at most 1024, got 2000"),
        (
            {"time_budget": "soon"},
            "time_budget must be a number with the unit s, m, h or d, such as 90s or 2h, got 'soon'",
        ),
        ({"racing": "no"}, "racing must be True or False, got a value of type str"),
        ({"address": "nonsense"}, "address must be auto or HOST:PORT, got 'nonsense'"),
        ({"address": 5}, "address must be auto or HOST:PORT, got a value of type int"),
        ({"out": 5}, "out must be a path, got a value of type int"),
        ({"data": pd.DataFrame()}, "dataset must be a Dataset (see helo.data), a dataset directory or 'simulated'"),
        ({"data": "nowhere"}, "nowhere: no such dataset directory"),
        ({"space": 5}, "space must be the name of a space, a YAML file, or a mapping with its keys, got a value of"),
        ({"space": "smal"}, "unknown space 'smal' (did you mean 'small'?)"),
        ({"space": {"configuratons": 3}}, "space: unknown key 'configuratons' (did you mean 'configurations'?)"),
        (
            {"space": "ablation", "sampler": "tpe"},
            "lists its configurations as variants; leave out configurations and sampler",
        ),
        ({"resume": "run", "seed": 1, "racing": False}, "resume reads the settings from the run; leave out"),
        ({"resume": "run"}, "run: is not a run directory"),
    ],
)
def test_wrong_values(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        setup_of(**arguments)
    assert message in str(caught.value)
    assert "--" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="run: is already there; choose another out or remove it"):
        setup_of(out="run")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("asked", [{"precision": "mixed"}, {"compile": True}])
def test_mixed_precision_and_compilation_are_refused_without_a_gpu(asked: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"^{next(iter(asked))}.* makes cells faster on GPUs only"):
        setup_of(**asked)


# --- spaces -----------------------------------------------------------------------------------


def test_a_space_can_be_a_mapping_or_an_object(dataset: Dataset) -> None:
    by_hand = Space("unnamed", 3, {"width": Choices((8, 16))}, {"heads": 2, "epochs": 2})
    of_mapping, of_object = (setup_of(data=dataset, space=space)[0] for space in (SPACE, by_hand))
    assert of_mapping.space == of_object.space
    assert of_mapping.space.searched == {"width": Choices((8, 16))}


@pytest.mark.parametrize("name", ["demo", "small", "full", "ablation"])
def test_a_bundled_space_can_be_given_as_an_object(name: str, dataset: Dataset) -> None:
    assert setup_of(data=dataset, space=load_space(name))[0].space == setup_of(data=dataset, space=name)[0].space


def test_a_space_built_by_hand_is_checked(dataset: Dataset) -> None:
    with pytest.raises(InputError, match="width: each choice must be"):
        setup_of(data=dataset, space=Space("mine", 3, {"width": Choices((0, 16))}))


def test_a_table_of_variants_is_not_raced(dataset: Dataset) -> None:
    variants: Mapping[str, Any] = {"whole": {}, "without": {"transport": "none"}}
    assert not setup_of(data=dataset, space={"variants": variants})[0].racing
    assert setup_of(data=dataset, space=SPACE)[0].racing


# --- data in memory ---------------------------------------------------------------------------


def test_data_in_memory_are_used_without_a_copy(dataset: Dataset) -> None:
    setup, _ = setup_of(data=dataset, space=SPACE)
    assert setup.dataset is dataset
    assert setup.data == IN_MEMORY
    assert setup.command == "helo.run_search(dataset=dataset, space=space)"


def test_names_of_new_runs_have_no_characters_of_paths(dataset: Dataset) -> None:
    odd = dataclasses.replace(dataset, schema=dataclasses.replace(dataset.schema, name="../my/study"))
    setup, _ = setup_of(data=odd, space=SPACE)
    assert setup.out.here.parent == Path("runs")
    assert setup.out.name.startswith("-my-study-unnamed-")


def test_resuming_a_run_of_data_in_memory_needs_the_same_data(dataset: Dataset, tmp_path: Path) -> None:
    run = started(dataset, tmp_path / "run", space=SPACE, seed=4)
    assert run.manifest.data == IN_MEMORY
    with pytest.raises(InputError, match=r"was started with a Dataset in memory.* give them with dataset$"):
        setup_of(resume=run.folder.here)
    other = simulate(subjects=4, clips=3, windows=4, seed=1)
    with pytest.raises(InputError, match=r"is not the data of .*; give the right ones with dataset$"):
        setup_of(resume=run.folder.here, data=other)
    setup, found = setup_of(resume=run.folder.here, data=dataset, seed=0)
    assert found is not None
    assert (setup.seed, setup.out, setup.dataset) == (4, run.folder, dataset)


def test_the_resume_command_repeats_what_a_run_does_not_record(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "a run"
    options = {"concurrency": 3, "gpus_per_cell": 0, "log": ["mlflow"], "export_predictions": True}
    setup, _ = setup_of(data=dataset, space=SPACE, out=out, **options)
    expected = f"--resume '{out}' --concurrency 3 --gpus-per-cell 0 --export-predictions --log mlflow"
    assert command._resume_command(setup, None) == f"python -m helo.search {expected}"
    run = started(dataset, out, space=SPACE)
    write_dataset(dataset, tmp_path / "moved")
    setup, found = setup_of(resume=run.folder.here, data=tmp_path / "moved")
    assert command._resume_command(setup, found).endswith(f"--resume '{out}' --data {tmp_path / 'moved'}")


def test_a_run_of_other_versions_is_resumed_on_request_only(dataset: Dataset, tmp_path: Path) -> None:
    run = started(dataset, tmp_path / "run", space=SPACE)
    versions = {**(run.manifest.circumstances.versions or {}), "torch": "1.0", "plotly": "1.0"}
    run.update_manifest(Manifest.from_dict(run.manifest.as_dict() | {"versions": versions}))
    pattern = rf"run: packages have other versions .*\(torch 1\.0 → {re.escape(version('torch'))}\), so new cells"
    with pytest.raises(InputError, match=rf"{pattern}.* with allow_version_change$"):
        setup_of(resume=run.folder.here, data=dataset)
    setup, found = setup_of(resume=run.folder.here, data=dataset, allow_version_change=True)
    assert found is not None
    record_resumption(found, setup, Resources(1, 1, 0.0))
    assert found.manifest.changed_versions == {"torch": ("1.0", version("torch"))}
    (note,) = [note for note in method_notes(found.manifest) if "other versions" in note]
    assert f"(torch 1.0 → {version('torch')})" in note
    setup_of(resume=run.folder.here, data=dataset)  # the change is accepted once


def test_a_change_of_versions_is_accepted_for_a_resumption_or_a_cluster_only(dataset: Dataset) -> None:
    with pytest.raises(InputError, match="allow_version_change needs resume or address"):
        setup_of(data=dataset, space=SPACE, allow_version_change=True)
    setup, _ = setup_of(data=dataset, space=SPACE, address="auto", allow_version_change=True)
    assert setup.allow_version_change
    assert command._resume_command(setup, None).endswith(" --address auto --allow-version-change")


def test_inner_folds_of_a_search(dataset: Dataset) -> None:
    assert [len(fold.splits) for fold in setup_of(data=dataset, space=SPACE)[0].folds] == [3] * 4
    setup, _ = setup_of(data=dataset, space=SPACE, inner_folds=2)
    assert {len(fold.splits) for fold in setup.folds} == {2}
    assert build_manifest(setup, setup.folds, Resources(1, 1, 0.0), Pace(1, 1)).folds.inner_folds == 2
    assert {len(fold.splits) for fold in from_command("--inner-folds", "1").folds} == {1}


@pytest.mark.parametrize(
    ("count", "message"),
    [(0, "inner_folds must be at least 1, got 0"), (4, "inner_folds must be at most 3, the number of")],
)
def test_inner_folds_are_limited_by_the_other_subjects(dataset: Dataset, count: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        setup_of(data=dataset, space=SPACE, inner_folds=count)


def test_a_resumed_run_keeps_its_inner_folds(dataset: Dataset, tmp_path: Path) -> None:
    run = started(dataset, tmp_path / "run", space=SPACE, inner_folds=2)
    setup, _ = setup_of(resume=run.folder.here, data=dataset)
    assert {len(fold.splits) for fold in setup.folds} == {2}
    with pytest.raises(InputError, match="inner_folds"):
        setup_of(resume=run.folder.here, data=dataset, inner_folds=2)


def test_a_run_of_an_earlier_version_is_refused_on_resume(dataset: Dataset, tmp_path: Path) -> None:
    run = started(dataset, tmp_path / "run", space=SPACE)
    manifest = json.loads(run.folder.read("manifest.json"))
    del manifest["folds"]["inner_folds"]
    run.folder.write_json("manifest.json", manifest)
    with pytest.raises(InputError, match="is of an earlier version, whose cells were trained in another way"):
        setup_of(resume=run.folder.here, data=dataset)


def test_the_command_resumes_a_run_that_python_started(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = started(dataset, tmp_path / "run", space=SPACE)
    assert command.main(["--resume", "run"]) == 2
    assert capsys.readouterr().err.strip().endswith("give them with --data")
    write_dataset(dataset, tmp_path / "same")
    setup = from_command("--resume", "run", "--data", "same")
    assert setup.data == str(tmp_path / "same")
    assert (
        command._resume_command(setup, run)
        == f"python -m helo.search --resume {run.folder.here} --data {tmp_path / 'same'}"
    )


def test_resuming_reads_the_data_from_the_recorded_path(dataset: Dataset, tmp_path: Path) -> None:
    write_dataset(dataset, tmp_path / "mine")
    setup, _ = setup_of(data="mine", space=SPACE, out="run")
    folds = loso_folds(dataset.subject_names, 0)
    Run.create(setup.out, build_manifest(setup, folds, Resources(1, 1, 0.0), Pace(1, 1)), folds_as_json(folds))
    assert setup_of(data="simulated", resume="run")[0].dataset.digest == dataset.digest


SLOW_IMPORTS = ("torch", "ray", "optuna", "sklearn", "pandas")


def test_wrong_values_are_refused_before_slow_imports() -> None:
    code = f"""
import sys
import helo
from helo.errors import InputError

try:
    helo.run_search(seed=-1)
except InputError:
    print("refused after the import of", [name for name in {SLOW_IMPORTS} if name in sys.modules])
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "refused after the import of []\n"


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_an_argument_that_equals_its_default_counts_as_not_given(name: str) -> None:
    """Resuming refuses settings that are given, and in Python every argument has a value."""
    default = DEFAULTS[name]
    plain = str(default) if isinstance(default, str) else default  # the default of `helo.run_search`
    assert getattr(Request.of_arguments(**{name: plain}), name) is None
    assert getattr(Request.of_arguments(**{name: default}), name) is None
