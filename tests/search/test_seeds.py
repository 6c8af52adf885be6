"""A search with several seeds: interrupted, resumed, and the same as searches with one seed each."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import ray
from searches import VOLATILE

import helo.search.__main__ as command
from helo.data import simulate, write_dataset
from helo.run.directory import Run

SPACE = """
configurations: 2
parameters: {width: 8, heads: 2, epochs: 2, dropout: {low: 0.1, high: 0.5}}
"""
OPTIONS = ("--data", "data", "--space", "space.yaml", "--baselines", "none", "--inner-folds", "2")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_dataset(simulate(subjects=4, clips=2, windows=5, emotions=3), tmp_path / "data")
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path


@pytest.fixture
def cluster() -> Iterator[None]:
    """Ray in this process, whose workers all searches share."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0,1", "--seed", "2"], "--seeds cannot be combined with --seed"),
        (["--seeds", "0,0"], "--seeds names a seed twice"),
        (["--seeds", "0,1", "--resume", "run"], "--seeds cannot be combined with --resume"),
        (["--seeds", "0,1", "--space", "none.yaml"], "none.yaml"),
    ],
)
def test_wrong_arguments_leave_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert command.main([*words, *(["--out", "many"] if "--resume" not in words else [])]) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "many").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_seeds_are_resumed_and_equal_single_searches(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([*OPTIONS, "--seeds", "3,1", "--out", "many", "--time-budget", "1s"]) == 3
    stopped = capsys.readouterr()
    assert stopped.err.splitlines()[-1] == "  python -m helo.search --resume many"
    assert not (folder / "many" / "seed-1").exists()

    (resume,) = [line for line in stopped.err.splitlines() if "--resume" in line]
    assert command.main(shlex.split(resume)[3:]) == 0
    shown = capsys.readouterr()
    assert "seed 3, 1 of 2" in shown.out
    assert "seed 1, 2 of 2" in shown.out
    assert "mean over seeds" in shown.out
    assert (folder / "many" / "report.html").exists()
    assert all(Run.open(f"many/seed-{seed}").has_model for seed in (3, 1))

    assert command.main([*OPTIONS, "--seed", "1", "--out", "single"]) == 0
    one, other = (Run.open(path).table("cells").drop(columns=VOLATILE) for path in ("many/seed-1", "single"))
    pd.testing.assert_frame_equal(one, other, check_exact=True)

    capsys.readouterr()
    assert command.main(["--resume", "many"]) == 0  # nothing is left to do but the report
    assert "seed 3" not in capsys.readouterr().out.split("mean over seeds")[0].splitlines()[0]
