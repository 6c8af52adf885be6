"""Searches from Python: the same cells as the command, and interrupted searches that are resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray
import torch
from rich.console import Console

import helo
import helo.search.__main__ as command
from helo._deadline import Deadline
from helo.analysis.result import RunResult
from helo.analysis.source import read_source
from helo.configuration import DEFAULTS
from helo.data import Dataset, read_dataset, simulate, write_dataset
from helo.errors import InputError, SearchError
from helo.evaluation.folds import folds_as_json, loso_folds
from helo.metrics import METRICS
from helo.names import FileName, SearchPhase, Status, TableName
from helo.run.directory import Run
from helo.run.journal import read_journal
from helo.run.ledger import CellRecord
from helo.run.manifest import Manifest
from helo.search import session
from helo.search.context import SearchContext
from helo.search.driver import write_tables
from helo.search.planning.space import Space
from helo.search.session import Ending, SearchEnd, describe_failures, result_of, write_results
from helo.search.setup.search_setup import SearchSetup
from helo.search.sizing.resources import Resources
from helo.settings import TrainingSettings
from helo.storage import LocalFolder, LockWatch

ROOT = Path(__file__).parents[2]
VOLATILE = {TableName.CELLS: ["seconds", "node", "started", "finished"], TableName.BASELINES: ["seconds"]}
SPACE = """
configurations: 5
parameters: {width: 8, heads: 2, epochs: 3, dropout: {low: 0.1, high: 0.5}}
"""
SCRIPT = """
import helo
from helo.data import read_dataset

helo.run_search(read_dataset("data"), space="space.yaml", baselines=["ridge"], inner_folds=2, out="run")
"""


def assert_same_tables(run: RunResult, other: Run) -> None:
    """Assert that all results are the same, to the bit."""
    for name, volatile in VOLATILE.items():
        one, two = getattr(run, name).drop(columns=volatile), other.table(name).drop(columns=volatile)
        pd.testing.assert_frame_equal(one, two, check_exact=True)


@pytest.fixture
def notebook() -> Iterator[None]:
    """Ray in this process, as in a notebook, with workers that its searches share."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("notebook")
def test_an_interrupted_search_from_python_has_the_cells_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run the command to its end, interrupt a script that starts Ray itself, and resume its run in a notebook."""
    monkeypatch.chdir(tmp_path)
    write_dataset(simulate(subjects=4, clips=2, windows=5, emotions=3), tmp_path / "data")
    (tmp_path / "space.yaml").write_text(SPACE)
    words = ["--data", "data", "--space", "space.yaml", "--baselines", "ridge", "--inner-folds", "2", "--out", "whole"]
    assert command.main(words) == 0
    assert "per_fold_selection" in capsys.readouterr().out
    whole = Run.open("whole")

    interrupt_script(tmp_path)
    begun = helo.load_run("run")
    kept = Run.open("run").ledger.files()
    assert len(kept) == len(begun.cells)
    assert begun.complete is not True

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(InputError, match=r"this process uses the Ray cluster at .* already"):
            search_on_another_cluster(read_dataset("data"))
        run = helo.run_search(read_dataset("data"), resume="run", progress=False)
        assert ray.is_initialized()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert capsys.readouterr() == ("", "")
    assert run.complete is True
    assert set(kept) <= {*whole.ledger.files()}
    assert_same_tables(run, whole)
    assert run.manifest["identity"] == whole.manifest.identity
    assert run.verdict == helo.load_run(str(whole.folder)).verdict
    pd.testing.assert_frame_equal(run.summary, whole.table("summary"), check_dtype=False)
    assert (tmp_path / "run" / "report.html").exists()
    np.testing.assert_array_equal(run.model.predict("data"), helo.load_model("whole/model").predict("data"))


@pytest.mark.slow
@pytest.mark.usefixtures("notebook")
def test_a_search_that_is_too_short_for_a_small_study_says_so(tmp_path: Path) -> None:
    """Search a table of 26 people with 12 windows each, with one training step per epoch."""
    data = simulate(subjects=26, clips=4, windows=3)
    parameters = {"width": 8, "learning_rate": 2e-3, "batch_size": 256, "epochs": 16}
    space = {"configurations": 1, "parameters": parameters}
    run = helo.run_search(data, space, out=tmp_path / "run", baselines="none", inner_folds=1, progress=False)
    assert run.verdict.startswith("Training was too short: in 26 of 26 folds")
    assert "more than 16 epochs" in run.verdict


@pytest.mark.slow
@pytest.mark.usefixtures("notebook")
def test_scores_by_group_agree_with_pandas_on_the_predictions_of_a_search(tmp_path: Path) -> None:
    """Compute every estimate again from the predictions, with groups of different size."""
    whole = simulate(subjects=5, clips=3, windows=6, emotions=3)
    rng = np.random.default_rng(0)
    # The label of a window differs from that of its clip, so that labels are averaged too.
    labels = 0.7 * whole.labels + 0.3 * rng.dirichlet(np.ones(3), size=len(whole))
    kept = np.flatnonzero(rng.random(len(whole)) < 0.7)
    assert whole.groups is not None
    assert whole.best_possible is not None
    data = replace(
        whole,
        subjects=whole.subjects[kept],
        groups=whole.groups[kept],
        features=whole.features[kept],
        labels=labels[kept],
        best_possible=whole.best_possible[kept],
    )
    (tmp_path / "space.yaml").write_text(SPACE)
    run = helo.run_search(
        data,
        space=tmp_path / "space.yaml",
        baselines=["ridge"],
        inner_folds=2,
        out=tmp_path / "run",
        export_predictions=True,
        progress=False,
    )
    predictions = Run.open(tmp_path / "run").table(TableName.ALL_PREDICTIONS)
    columns = [name for name in predictions if name.startswith(("true_", "pred_"))]
    averages = predictions.groupby(["method", "configuration", "fold", "group"])[columns].mean()
    emotions = [name.removeprefix("true_") for name in columns if name.startswith("true_")]
    d, p = (averages[[prefix + name for name in emotions]].to_numpy() for prefix in ("true_", "pred_"))
    averages["kl"], averages["chebyshev"] = (d * np.log(d / p)).sum(axis=1), abs(d - p).max(axis=1)
    of_cells = averages.groupby(["method", "configuration", "fold"])[["kl", "chebyshev"]].mean()
    cells = run.cells.set_index(["configuration", "fold"])
    done = cells[cells["status"] == Status.COMPLETED].reset_index()
    chosen = done.loc[done.groupby("fold")["val_kl"].idxmin()]
    summary = run.summary_by_group.set_index(["estimate", "metric"])
    assert len(cells) > len(chosen) == 5
    for metric in ("kl", "chebyshev"):
        helo_scores = of_cells.loc["helo", metric]
        np.testing.assert_allclose(cells[f"test_by_group_{metric}"].loc[helo_scores.index], helo_scores, atol=1e-5)
        expected = {
            "per_fold_selection": helo_scores.loc[
                list(zip(chosen["configuration"], chosen["fold"], strict=True))
            ].mean(),
            "oracle": helo_scores.loc[list(zip(done["configuration"], done["fold"], strict=True))]
            .groupby("fold")
            .min()
            .mean(),
            "ridge": of_cells.loc["ridge", metric].mean(),
        }
        for estimate, mean in expected.items():
            assert summary.loc[(estimate, metric), "mean"] == pytest.approx(mean, abs=1e-5), (estimate, metric)
    labels_of = pd.DataFrame(data.labels, index=pd.MultiIndex.from_arrays([data.subjects, data.groups]))
    by_group = labels_of.groupby(level=[0, 1]).mean()
    trivial = []
    for subject in data.subject_names:
        d, p = by_group.loc[subject].to_numpy(), labels_of.drop(index=subject).mean().to_numpy()
        trivial.append((d * np.log(d / p)).sum(axis=1).mean())
    reference = summary.loc[("train_mean", "kl"), "mean"]
    assert reference == pytest.approx(np.mean(trivial))
    ours = summary.loc[("per_fold_selection", "kl")]
    assert ours["skill"] == pytest.approx(1 - ours["mean"] / reference)
    assert ours["mean"] != pytest.approx(run.summary.set_index(["estimate", "metric"]).loc[ours.name, "mean"], abs=1e-4)
    pd.testing.assert_frame_equal(
        run.summary_by_group, Run.open(tmp_path / "run").table(TableName.SUMMARY_BY_GROUP), check_dtype=False
    )


def interrupt_script(folder: Path) -> None:
    """Run `SCRIPT` until some cells are finished, and interrupt its process group as a terminal does."""
    (folder / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    ledger, deadline = folder / "run" / "ledger", time.monotonic() + 400
    while len(list(ledger.glob("c*-f*.parquet"))) < 3 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=240)
    assert "run directory: run" in output
    reason, call = errors.strip().splitlines()[-2:]
    assert reason.startswith("KeyboardInterrupt: interrupted; ")
    assert reason.endswith("cells are finished; resume with:")
    assert call == "  helo.run_search(dataset, resume='run')"


def search_on_another_cluster(dataset: Dataset) -> None:
    """Request another cluster than that of this process. A gRPC server answers the port check like Ray."""
    import grpc  # type: ignore[import-untyped]

    other = grpc.server(ThreadPoolExecutor(1))
    port = other.add_insecure_port("127.0.0.1:0")
    other.start()
    try:
        helo.run_search(dataset, resume="run", address=f"127.0.0.1:{port}")
    finally:
        other.stop(None)


def failed_cells(*statuses: str) -> pd.DataFrame:
    """Return a table with a cell per status, each with a reason."""
    rows = [
        {"configuration": 0, "fold": f"S{number}", "status": status, "reason": "first line\nthe loss is nan"}
        for number, status in enumerate(statuses)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", Manifest(), [])


def test_a_search_warns_if_some_cells_failed(run: Run) -> None:
    message, failed = describe_failures(failed_cells(Status.COMPLETED, Status.FAILED, Status.FAILED), "run --again")
    assert (message, failed) == ("2 of 3 cells failed, the first (configuration 0, fold S1): the loss is nan", False)
    with pytest.warns(UserWarning, match="2 of 3 cells failed"):
        assert result_of(SearchEnd(run, failures=message, failed=failed)).path == run.folder.here


def test_a_search_fails_if_all_cells_failed(run: Run) -> None:
    message, failed = describe_failures(failed_cells(Status.FAILED, Status.FAILED), "run --again")
    with pytest.raises(SearchError, match=r"run: 2 of 2 cells failed, the first .configuration 0, fold S0.: the loss"):
        result_of(SearchEnd(run, failures=message, failed=failed))


def test_failures_are_not_described_if_no_cell_failed() -> None:
    assert describe_failures(failed_cells(Status.COMPLETED, Status.COMPLETED), "run --again") == (None, False)


def test_the_end_of_the_time_budget_returns_a_result_and_an_interruption_raises(run: Run) -> None:
    assert result_of(SearchEnd(run, Ending.OUT_OF_TIME, "time is up; resume")).path == run.folder.here
    with pytest.raises(KeyboardInterrupt, match="interrupted; resume"):
        result_of(SearchEnd(run, Ending.INTERRUPTED, "interrupted; resume"))


NOW = datetime(2026, 1, 2, tzinfo=UTC)
QUICK = {**DEFAULTS, "width": 8, "batch_size": 16, "epochs": 2}
LONG = "a-rather-long-name-of-a-run-directory " * 3


@pytest.fixture
def finished_search(dataset: Dataset, tmp_path: Path) -> tuple[SearchSetup, Run]:
    """A search with a configuration that is finished in every fold, and another one that failed in the first."""
    folds = loso_folds(dataset.subject_names, 0)
    setup = SearchSetup(
        dataset,
        Space("two", 2, {}),
        LocalFolder(tmp_path / LONG.strip()),
        TrainingSettings(),
        Resources(None, 1, None),
        inner_folds=1,
        data="simulated",
    )
    described = {
        "data": "simulated",
        "space": {"name": "two", "objective": "kl", "configurations": 2},
        "cells": 5,
        "resources": {"concurrency": 1, "cpus_per_cell": 1, "gpus_per_cell": 0.0},
    }
    run = Run.create(setup.out, Manifest.from_dict(described), folds_as_json(folds))
    common: dict[str, Any] = {"params": QUICK, "seconds": 1.0, "node": "here", "started": NOW, "finished": NOW}
    scores = dict.fromkeys(METRICS, 0.1)
    for number, fold in enumerate(folds):
        done = CellRecord(0, fold.test, status=Status.COMPLETED, epochs=2, val=scores, test=scores, **common)
        run.ledger.append(done, number)
    failed = CellRecord(
        1, folds[0].test, status=Status.FAILED, epochs=0, reason="out of memory:\nthe loss is nan", **common
    )
    run.ledger.append(failed, 0)
    return setup, run


def transcript(setup: SearchSetup, run: Run, cells: Callable[[SearchContext], bool]) -> tuple[int, str]:
    """Return the exit code and everything that the command prints on a terminal of 80 columns.

    `cells` stands for the running of cells, which would start Ray.
    """
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True, color_system=None)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(file):
        patch.setattr(session, "run_remaining_cells", cells)
        resume_command = command._resume_command(setup, run)
        code = command._run(setup, run, console, resume_command, verbose=False).show()
    return code, file.getvalue()


def finish(context: SearchContext) -> bool:
    context.lock_run()
    write_tables(context, context.setup.folds)
    return True


def stop_early(context: SearchContext) -> bool:
    context.lock_run()
    write_tables(context, context.setup.folds)
    return False


def fail(context: SearchContext) -> bool:
    context.lock_run()
    raise RuntimeError("the first error")


def fail_to_start(context: SearchContext) -> bool:
    context.lock_run()
    raise SearchError("Ray does not start: no memory")


def fail_on_disk(context: SearchContext) -> bool:
    context.lock_run()
    raise OSError(28, "No space left on device", "a/file")


def press_ctrl_c(context: SearchContext) -> bool:
    context.lock_run()
    raise KeyboardInterrupt


FAILED_CELLS = "helo-search: 1 of 5 cells failed, the first (configuration 1, fold P01): the loss is nan"


@pytest.mark.parametrize(
    ("cells", "is_late", "code", "last"),
    [
        (finish, False, 0, "predict new data with:"),
        (finish, True, 3, "helo-search: time is up before the model is fitted; resume with:"),
        (stop_early, False, 130, "helo-search: interrupted; 5 cells are finished; resume with:"),
        (stop_early, True, 3, "helo-search: time is up; 5 cells are finished; resume with:"),
        (press_ctrl_c, False, 130, "helo-search: interrupted; 5 cells are finished; resume with:"),
        (fail, False, 1, "helo-search: failed with RuntimeError: the first error; 5 cells are finished; resume with:"),
        (fail_to_start, False, 1, "helo-search: Ray does not start: no memory; 5 cells are finished; resume with:"),
        (fail_on_disk, False, 1, "helo-search: a/file: No space left on device; 5 cells are finished; resume with:"),
    ],
)
def test_every_ending_shows_failures_tables_verdict_paths_and_last_the_next_command(
    finished_search: tuple[SearchSetup, Run],
    cells: Callable[[SearchContext], bool],
    is_late: bool,
    code: int,
    last: str,
) -> None:
    setup, run = finished_search
    if is_late:
        setup = dataclasses.replace(setup, deadline=Deadline.after(-1))
    found, output = transcript(setup, run, cells)
    assert found == code, output
    report, model = f"report: {run.report}\n", f"model: {run.model}\n"
    parts = [FAILED_CELLS, "per_fold_selection", "Means over", read_source(run).verdict[:30], report, last]
    if cells is fail:
        parts.insert(0, "RuntimeError: the first error\n")
    if code == 0:
        parts.insert(3, "fitting configuration 0")
        parts.insert(-1, model)
    places = [output.index(part) for part in parts]
    assert places == sorted(places)
    assert run.has_model == (code == 0) == (model in output)
    assert output.count("Traceback") == (cells is fail)
    resume = f"  python -m helo.search --resume {shlex.quote(str(run.folder))}"
    predict = f"  python -m helo.predict {shlex.quote(str(run.model))} DATASET --out predictions.parquet"
    assert output.splitlines()[-2:] == [last, resume if code else predict]
    phases = {0: SearchPhase.COMPLETE, 1: SearchPhase.FAILED, 3: SearchPhase.OUT_OF_TIME, 130: SearchPhase.INTERRUPTED}
    assert read_journal(run.folder)[-1].phase == phases[code]
    assert LockWatch(run.folder, FileName.LOCK).is_held() is False


def lose_the_run(context: SearchContext) -> bool:
    context.lock_run()
    shutil.rmtree(str(context.run.folder))
    return bool(context.run.folds)


def lose_the_run_later(context: SearchContext) -> bool:
    finish(context)
    shutil.rmtree(str(context.run.folder))
    return True


@pytest.mark.parametrize("cells", [lose_the_run, lose_the_run_later])
def test_a_run_that_is_removed_while_it_is_used_is_no_bad_input(
    finished_search: tuple[SearchSetup, Run], cells: Callable[[SearchContext], bool]
) -> None:
    """Files that are missing because of that are reported as bad input by their readers."""
    setup, run = finished_search
    code, output = transcript(setup, run, cells)
    last = f"helo-search: {run.folder}: has been moved, removed or replaced while it was in use; resume with:"
    resume = f"  python -m helo.search --resume {shlex.quote(str(run.folder))}"
    assert (code, output.splitlines()[-2:]) == (1, [last, resume])


def test_a_run_stays_locked_until_its_model_is_written(finished_search: tuple[SearchSetup, Run]) -> None:
    setup, run = finished_search
    seen: list[tuple[str, bool | None]] = []

    class Watching(SearchContext):
        def print(self, line: str) -> None:
            super().print(line)
            seen.append((line.partition(":")[0], LockWatch(run.folder, FileName.LOCK).is_held()))

    context = Watching(setup, Console(quiet=True), "the command", run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "run_remaining_cells", finish)
        session.complete_search(context)
    assert [one for one in seen if one[0] in ("report", "model")] == [("report", True), ("model", True)]
    assert LockWatch(run.folder, FileName.LOCK).is_held() is False


def test_an_error_while_the_model_is_fitted_leaves_verdict_report_and_the_resume_command_last(
    finished_search: tuple[SearchSetup, Run],
) -> None:
    """The folder of the model cannot be created, because a file is in its place."""
    setup, run = finished_search
    (run.folder.here or Path()).joinpath("model").write_text("in the way")
    code, output = transcript(setup, run, finish)
    assert code == 1
    places = [output.index(part) for part in ("fitting configuration 0", read_source(run).verdict[:30], "report: ")]
    assert places == sorted(places)
    assert output.splitlines()[-1].startswith("  python -m helo.search --resume ")


def test_a_report_that_cannot_be_written_does_not_cost_the_model(finished_search: tuple[SearchSetup, Run]) -> None:
    setup, run = finished_search
    file = io.StringIO()
    context = SearchContext(setup, Console(file=file, width=200), "the command", run)
    write_tables(context, setup.folds)
    report = (run.folder.here or Path()) / "report.html"
    report.mkdir()
    write_results(context, None, complete=True)
    assert run.has_model
    assert len(run.table(TableName.SUMMARY))
    assert "report.html is not written (" in file.getvalue()
    assert "report.html: cannot be written (Is a directory)); make it later with:\n  the command\n" in file.getvalue()
    report.rmdir()
    write_results(context, None, complete=True)
    assert report.is_file()
