"""Nodes whose packages have other versions than those of the driver."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

import helo
from helo.analysis.wording.notes import method_notes
from helo.data import simulate, write_dataset
from helo.run.directory import Run

pytestmark = pytest.mark.slow

WAIT_S = 1200.0
"""Seconds after which a test that waits for an event fails."""

SPACE = """
configurations: 6
parameters: {width: 8, heads: 2, epochs: 10, dropout: {low: 0.1, high: 0.5}}
"""


def patiently(start: Callable[[], Any]) -> Any:
    """Start a part of Ray again and again: a node ends itself if its agent does not answer in 15 s."""
    until = time.monotonic() + WAIT_S
    while True:
        try:
            return start()
        except Exception:
            if time.monotonic() > until:
                raise


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster of a head node without resources."""
    head = {"num_cpus": 0, "include_dashboard": False}
    found = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
    yield found
    found.shutdown()


def search(cwd: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "helo.search", *words],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "1000"},
    )


def other_environment(folder: Path) -> dict[str, str]:
    """Return the variables of an environment in which torch is of another version, as its installer has recorded it."""
    installed = folder / "torch-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0\n")
    return {"PYTHONPATH": str(folder)}


def parts(run: Path) -> dict[str, int]:
    """Return the name and time of each finished cell."""
    return {path.name: path.stat().st_mtime_ns for path in (run / "ledger").glob("*.parquet")}


def test_a_node_with_other_versions_runs_cells_on_request_only(cluster: Cluster, tmp_path: Path) -> None:
    """It joins during the search, and is then the only node."""
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    write_dataset(simulate(subjects=4, clips=2, windows=5, emotions=3), tmp_path / "data")
    run, at = tmp_path / "run", ("--address", cluster.address)
    same = patiently(lambda: cluster.add_node(num_cpus=1))
    new = ("--data", "data", "--space", "space.yaml", "--inner-folds", "1", "--baselines", "ridge", "--no-racing")
    other = other_environment(tmp_path / "other")
    process = search(tmp_path, *at, *new, "--out", "run")
    until = time.monotonic() + WAIT_S
    while len(parts(run)) < 5:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    patiently(lambda: cluster.add_node(num_cpus=1, env_vars=other))
    cluster.remove_node(same, allow_graceful=False)
    output, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2, (output, errors)
    kept = parts(run)
    changed, node = f"torch {version('torch')} → 1.0", os.uname().nodename
    finished = sum(name.startswith("c") for name in kept)  # without baselines
    assert errors == (
        f"helo-search: error: node {node}: has other versions than the search ({changed}), so its cells may not be "
        "comparable with the others; install the versions of the search there, or accept the others with "
        f"--allow-version-change; {finished} cells are finished; resume with: python -m helo.search --resume run "
        f"{' '.join(at)}\n"
    )
    assert 5 <= len(kept) < 24 + 4

    process = search(tmp_path, "--resume", "run", *at)
    assert "has other versions" in process.communicate(timeout=WAIT_S)[1]
    assert (process.returncode, parts(run)) == (2, kept)

    process = search(tmp_path, "--resume", "run", *at, "--allow-version-change")
    output, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, (output, errors)
    assert kept.items() <= parts(run).items(), "a finished cell ran again"
    assert len(helo.load_run(run).cells) == 24
    assert changed in output
    (note,) = [note for note in method_notes(Run.open(run).manifest) if "other versions" in note]
    assert f"nodes of the cluster with other versions than the search ({node}: {changed})" in note
    assert changed in (run / "report.html").read_text(encoding="utf-8")
