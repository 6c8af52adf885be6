"""Searches from Python: the same cells as the command, and interrupted searches that are resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import ray
import torch

import helo
import helo.search.__main__ as command
from helo.analysis.result import RunResult
from helo.data import Dataset, read_dataset, simulate, write_dataset
from helo.errors import InputError, SearchError
from helo.names import Status, TableName
from helo.run.directory import Run
from helo.run.manifest import Manifest
from helo.search.session import SearchEnd, describe_failures, result_of

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
    assert errors.strip().splitlines()[-1].startswith("KeyboardInterrupt: interrupted; ")
    assert errors.strip().endswith("cells are finished; resume with: helo.run_search(dataset, resume='run')")


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


def with_cells(run: Run, *statuses: str) -> Run:
    """Write the table of a run with a cell per status, each with a reason."""
    rows = [
        {"configuration": 0, "fold": f"S{number}", "status": status, "reason": "first line\nthe loss is nan"}
        for number, status in enumerate(statuses)
    ]
    run.write_table(TableName.CELLS, pd.DataFrame(rows))
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", Manifest(), [])


def test_a_search_warns_if_some_cells_failed(run: Run) -> None:
    message, failed = describe_failures(with_cells(run, Status.COMPLETED, Status.FAILED, Status.FAILED))
    assert (message, failed) == ("2 of 3 cells failed, the first (configuration 0, fold S1): the loss is nan", False)
    with pytest.warns(UserWarning, match="2 of 3 cells failed"):
        assert result_of(SearchEnd(run, None, False, message, failed)).complete is True


def test_a_search_fails_if_all_cells_failed(run: Run) -> None:
    message, failed = describe_failures(with_cells(run, Status.FAILED, Status.FAILED))
    with pytest.raises(SearchError, match=r"run: 2 of 2 cells failed, the first .configuration 0, fold S0.: the loss"):
        result_of(SearchEnd(run, None, False, message, failed))


def test_failures_are_not_described_if_no_cell_failed(run: Run) -> None:
    assert describe_failures(with_cells(run, Status.COMPLETED, Status.COMPLETED)) == (None, False)


def test_the_end_of_the_time_budget_returns_a_result_and_an_interruption_raises(run: Run) -> None:
    assert result_of(SearchEnd(run, "time is up; resume", False, None, False)).complete is False
    with pytest.raises(KeyboardInterrupt, match="interrupted; resume"):
        result_of(SearchEnd(run, "interrupted; resume", True, None, False))
