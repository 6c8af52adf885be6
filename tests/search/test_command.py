"""The command as its users run it: in a process of its own, on simulated and on real people, and interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from helo.data import simulate, write_dataset
from helo.run import Run

pytestmark = pytest.mark.slow

MANY_CELLS = """
configurations: 200
parameters: {width: 8, heads: 2, epochs: 3, dropout: {low: 0.1, high: 0.5}}
"""


def start(*words: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *words], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def done(*words: str, cwd: Path) -> str:
    process = start(*words, cwd=cwd)
    output, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    return output


def estimates(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path / "summary.parquet").pivot(index="estimate", columns="metric", values="mean")


def test_without_arguments_it_runs_the_demo_and_beats_the_train_mean(tmp_path: Path) -> None:
    started = time.perf_counter()
    output = done("helo.search", cwd=tmp_path)
    print(f"demo: {time.perf_counter() - started:.0f} s")
    (path,) = (tmp_path / "runs").iterdir()
    assert "per_fold_selection" in output
    assert str(path.relative_to(tmp_path) / "report.html") in output
    means = estimates(path)
    assert set(means.index) == {
        "per_fold_selection", "single_configuration", "oracle", "train_mean", "uniform", "best_possible",
    }  # fmt: skip
    for metric in ("chebyshev", "kl", "clark", "canberra"):
        assert means.loc["per_fold_selection", metric] < means.loc["train_mean", metric]
        assert means.loc["oracle", metric] <= means.loc["per_fold_selection", metric]
    run = Run.open(path)
    cells, predictions = run.table("cells"), run.table("predictions")
    assert len(cells) == len(run.ledger.parts()) == 48
    assert set(predictions["fold"]) == set(cells["fold"])
    assert predictions.filter(like="pred_").sum(axis=1).sub(1).abs().max() < 1e-5
    assert (path / "report.html").stat().st_size > 100_000


def test_ctrl_c_leaves_whole_cells_and_their_tables(tmp_path: Path) -> None:
    (tmp_path / "many.yaml").write_text(MANY_CELLS)
    process = start("helo.search", "--space", "many.yaml", "--out", "run", cwd=tmp_path)
    ledger = tmp_path / "run" / "ledger"
    deadline = time.monotonic() + 120
    while len(list(ledger.glob("c*.parquet"))) < 4:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    parts = list(ledger.glob("c*.parquet"))
    assert all(pq.read_table(part).num_rows == 1 for part in parts)
    assert len(Run.open(tmp_path / "run").table("cells")) == len(parts)


def test_a_search_in_which_every_cell_fails_has_failed(tmp_path: Path) -> None:
    """Signals at the end of what a float holds: no fold can be trained."""
    base = simulate(subjects=3, clips=2, windows=4, emotions=3)
    wild = base.features.copy()
    for column, subject in enumerate(base.subject_names):  # whoever validates is out of range for who trains
        wild[base.subjects == subject, column] = 3e38
    write_dataset(replace(base, features=wild), tmp_path / "wild")
    (tmp_path / "one.yaml").write_text("configurations: 1\nparameters: {epochs: 1}\n")
    process = start("helo.search", "--data", "wild", "--space", "one.yaml", "--out", "run", cwd=tmp_path)
    _, errors = process.communicate(timeout=120)
    cells = Run.open(tmp_path / "run").table("cells")
    assert (cells["status"] == "failed").all()
    assert "3 of 3 cells failed, the first (configuration 0, fold P01): predictions are not finite" in errors
    assert "Traceback" not in errors
    assert process.returncode == 1


def test_the_readme_path_on_real_people(wesad_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "wesad").symlink_to(wesad_folder)
    done("helo.data", "wesad", "wesad", "--out", "datasets/wesad", cwd=tmp_path)
    search = ["helo.search", "--data", "datasets/wesad", "--space", "small", "--out", "runs/wesad"]
    done(*search, "--configurations", "1", cwd=tmp_path)
    output = done("analysis", "report", "runs/wesad", cwd=tmp_path)
    assert "report.html" in output
    means = estimates(tmp_path / "runs" / "wesad")
    assert means.loc["train_mean", "chebyshev"] == pytest.approx(0.0387, abs=5e-5)
    assert means.loc["train_mean", "kl"] == pytest.approx(0.0703, abs=5e-5)
    assert means.loc["per_fold_selection", "kl"] < means.loc["train_mean", "kl"]
