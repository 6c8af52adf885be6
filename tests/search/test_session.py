"""A search from Python: the command's cells, and one that is interrupted goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import ray
import torch

import helo
import helo.search.__main__ as command
from analysis.result import RunResult
from helo.data import Dataset, read_dataset, simulate, write_dataset
from helo.errors import InputError, SearchError
from helo.names import BASELINES, CELLS, FAILED
from helo.run import Run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
VOLATILE = {CELLS: ["seconds", "node", "started", "finished"], BASELINES: ["seconds"]}
SPACE = """
configurations: 6
parameters: {width: 8, heads: 2, epochs: 4, dropout: {low: 0.1, high: 0.5}}
"""
SCRIPT = """
import helo
from helo.data import read_dataset

helo.run_search(read_dataset("data"), space="space.yaml", baselines=["ridge"], out="run")
"""


def same_tables(run: RunResult, other: Run) -> None:
    """What was computed is the same, to the bit."""
    for name, volatile in VOLATILE.items():
        one, two = getattr(run, name).drop(columns=volatile), other.table(name).drop(columns=volatile)
        pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_python_gives_the_cells_of_the_command_though_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command to its end; a script that is interrupted; and a notebook, which runs Ray already, that goes on."""
    monkeypatch.chdir(tmp_path)
    write_dataset(simulate(subjects=4, clips=2, windows=5, emotions=3), tmp_path / "data")
    (tmp_path / "space.yaml").write_text(SPACE)
    words = ["--data", "data", "--space", "space.yaml", "--baselines", "ridge", "--out", "whole"]
    assert command.main(words) == 0
    assert "per_fold_selection" in capsys.readouterr().out
    whole = Run.open("whole")

    interrupt_script(tmp_path)
    begun = helo.load_run("run")
    kept = [path.name for path in Run.open("run").ledger.parts()]
    assert len(kept) == len(begun.cells)
    assert begun.complete is not True

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(InputError, match="this process uses the Ray cluster at .* already"):
            with_address(read_dataset("data"))
        run = helo.run_search(read_dataset("data"), resume="run", progress=False)
        assert ray.is_initialized()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
        ray.shutdown()
    assert capsys.readouterr() == ("", "")
    assert run.complete is True
    assert set(kept) <= {path.name for path in whole.ledger.parts()}
    same_tables(run, whole)
    assert run.manifest["identity"] == whole.manifest["identity"]
    assert run.verdict == helo.load_run(whole.path).verdict
    pd.testing.assert_frame_equal(run.summary, whole.table("summary"), check_dtype=False)
    assert (tmp_path / "run" / "report.html").exists()
    np.testing.assert_array_equal(run.model.predict("data"), helo.load_model("whole/model").predict("data"))


def interrupt_script(folder: Path) -> None:
    """Run `SCRIPT` until some cells are finished, and interrupt it as a terminal does."""
    (folder / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "script.py"], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    ledger, deadline = folder / "run" / "ledger", time.monotonic() + 120
    while len(list(ledger.glob("c*-f*.parquet"))) < 3 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert "run directory: run" in output
    assert errors.strip().splitlines()[-1].startswith("KeyboardInterrupt: interrupted; ")
    assert errors.strip().endswith("cells are finished; go on with: helo.run_search(dataset, resume='run')")


def with_address(dataset: Dataset) -> None:
    """Ask for another cluster than the one that this process uses; it has to be one that answers."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as other:
        helo.run_search(dataset, resume="run", address=f"127.0.0.1:{other.getsockname()[1]}")


def test_cells_that_fail_are_told(tmp_path: Path) -> None:
    """Signals at the end of what a float holds: who trains on them, or is validated on them, cannot be scored."""
    base = simulate(subjects=3, clips=2, windows=4, emotions=3)
    space = {"configurations": 1, "parameters": {"epochs": 1}}

    def wild(people: tuple[str, ...]) -> Dataset:
        features = base.features.copy()
        for column, subject in enumerate(people):
            features[base.subjects == subject, column] = 3e38
        return Dataset(base.schema, base.subjects, features, base.labels, groups=base.groups)

    everyone = wild(base.subject_names)
    with pytest.raises(SearchError, match="3 of 3 cells failed, the first .configuration 0, fold P01.: predictions"):
        helo.run_search(everyone, space, baselines="none", out=tmp_path / "all", progress=False)
    assert (helo.load_run(tmp_path / "all").cells["status"] == FAILED).all()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        run = helo.run_search(wild(base.subject_names[:1]), space, baselines="none", out=tmp_path / "some", progress=False)  # fmt: skip
    (told,) = [str(one.message) for one in caught if one.category is UserWarning]
    failed = int((run.cells["status"] == FAILED).sum())
    assert 0 < failed < 3
    assert told.startswith(f"{failed} of 3 cells failed")
