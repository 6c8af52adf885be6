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


class Nodes:
    """Nodes of a cluster on this machine, the first of which has no resources."""

    def __init__(self, ports: Iterator[int]) -> None:
        self.ports = ports
        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, **self.agents()},
            shutdown_at_exit=False,
        )

    def agents(self) -> dict[str, int]:
        """Return ports of a node's agents. A node that has to ask for them ends on a busy machine after 15 s."""
        names = ("metrics_agent", "metrics_export", "dashboard_agent_listen", "runtime_env_agent")
        return {f"{name}_port": next(self.ports) for name in names}

    def add(self, **options: Any) -> Any:
        return self.cluster.add_node(num_cpus=1, **self.agents(), **options)


@pytest.fixture
def nodes(free_ports: Callable[[int], list[int]]) -> Iterator[Nodes]:
    found = Nodes(iter(free_ports(12)))
    yield found
    found.cluster.shutdown()


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


def test_a_node_with_other_versions_runs_cells_on_request_only(nodes: Nodes, tmp_path: Path) -> None:
    """It joins during the search, and is then the only node."""
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    write_dataset(simulate(subjects=4, clips=2, windows=5, emotions=3), tmp_path / "data")
    run, at = tmp_path / "run", ("--address", nodes.cluster.address)
    same = nodes.add()
    new = ("--data", "data", "--space", "space.yaml", "--inner-folds", "1", "--baselines", "ridge", "--no-racing")
    process = search(tmp_path, *at, *new, "--out", "run")
    until = time.monotonic() + WAIT_S
    while len(parts(run)) < 5:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    nodes.add(env_vars=other_environment(tmp_path / "other"))
    nodes.cluster.remove_node(same, allow_graceful=False)
    output, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2, (output, errors)
    kept = parts(run)
    lines = errors.splitlines()
    assert len(lines) == 2
    changed, node = f"torch {version('torch')} → 1.0", os.uname().nodename
    assert lines[0] == (
        f"helo-search: node {node}: has other versions than the search ({changed}), "
        "so its cells may not be comparable with the others; install the versions of the search there, or accept the "
        f"others with --allow-version-change; {len(kept)} cells are finished; resume with:"
    )
    assert lines[1] == f"  python -m helo.search --resume run {' '.join(at)}"
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
