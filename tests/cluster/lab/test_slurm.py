"""The batch script for Slurm on a real Slurm: a controller and two nodes, in a mount namespace of their own."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pytest
from lab_hosts import WAIT_S, wait_for
from lab_searches import FEW, cells_of_run, local_cells

SCRIPT = Path(__file__).parents[3] / "cluster" / "slurm.sh"
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "scontrol", "unshare")
NODES = ("n1", "n2")
CONFIGURATION = """
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MpiDefault=none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=4000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

START = """
mount --bind {folder}/hosts /etc/hosts
munged --foreground --force --key-file={folder}/munge.key --socket={folder}/munge/socket \\
    --pid-file={folder}/munge/pid --log-file={folder}/munge/log --seed-file={folder}/munge/seed &
until [ -S {folder}/munge/socket ]; do kill -0 $! || exit 1; sleep 0.1; done
slurmctld -D -L {folder}/slurmctld.log &
for node in {nodes}; do slurmd -D -N $node -L {folder}/$node.log & done
wait
"""
"""Starts the daemons, which see the names of the nodes in a ``/etc/hosts`` of their own."""


SPACE = """
configurations: 2
parameters:
  width: 8
  heads: 1
  epochs: 2
  learning_rate: {low: 1e-3, high: 1e-2, log: true}
"""


def why_not() -> str | None:
    """Return why there can be no Slurm on this machine, or None."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"needs Slurm and munge ({', '.join(missing)} not found)"
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return "needs the right to make mount namespaces" if done.returncode or os.geteuid() else None


class Slurm:
    """A running Slurm. Its jobs run on this machine.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of its files. ``slurm.conf`` in it is its configuration.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def call(self, *command: str, cwd: Path | None = None, variables: Mapping[str, str] | None = None) -> str:
        """Run a command of Slurm and return what it prints."""
        environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), **(variables or {})}
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=WAIT_S, cwd=cwd, env=environment
        ).stdout

    def submit(self, script: Path, *words: str, log: Path | None = None, **variables: str) -> Job:
        """Submit a batch script with two CPUs on each of two nodes."""
        log = log or self.folder / f"{secrets.token_hex(4)}.log"
        own = ("--cpus-per-task=2", "--mem=3G", f"--output={log}", "--parsable")
        number = self.call("sbatch", *own, str(script), *words, cwd=script.parents[1], variables=variables)
        return Job(self, number.strip(), log)


class Job:
    """A submitted job.

    Parameters
    ----------
    slurm : Slurm
        Where it was submitted.
    number : str
        Its id.
    log_file : pathlib.Path
        File of its output.
    """

    def __init__(self, slurm: Slurm, number: str, log_file: Path) -> None:
        self.slurm, self.number, self.log_file = slurm, number, log_file

    def facts(self) -> dict[str, str]:
        """Return what ``scontrol show job`` says, such as ``JobState`` and ``ExitCode``."""
        words = self.slurm.call("scontrol", "show", "job", self.number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def log(self) -> str:
        """Return its output so far."""
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

    def end(self) -> tuple[str, str]:
        """Wait for its end, and return its state and its exit code."""
        wait_for(lambda: self.facts()["JobState"] not in ("PENDING", "RUNNING", "COMPLETING"), self.log)
        facts = self.facts()
        return facts["JobState"], facts["ExitCode"]

    def requeue(self) -> None:
        """Requeue the job, and let it start at once instead of after two minutes."""
        self.slurm.call("scontrol", "requeue", self.number)
        wait_for(lambda: self.facts()["JobState"] == "PENDING", self.log)
        self.slurm.call("scontrol", "update", f"JobId={self.number}", "StartTime=now")


@contextmanager
def running_slurm(folder: Path, ports: Sequence[int]) -> Iterator[Slurm]:
    """Run Slurm while the context is open.

    Parameters
    ----------
    folder : pathlib.Path
        Empty folder for its files.
    ports : sequence of int
        Three free ports.
    """
    (folder / "munge").mkdir(mode=0o700)
    (folder / "state").mkdir()
    (folder / "munge.key").touch(mode=0o600)
    (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
    names = Path("/etc/hosts").read_text(encoding="utf-8")
    (folder / "hosts").write_text(f"{names}\n127.0.0.1 {' '.join(NODES)}\n", encoding="utf-8")
    host = socket.gethostname().split(".")[0]
    text = CONFIGURATION.format(host=host, folder=folder, ports=ports)
    (folder / "slurm.conf").write_text(text, encoding="utf-8")
    daemons = subprocess.Popen(
        ["unshare", "-m", "bash", "-c", START.format(folder=folder, nodes=" ".join(NODES))],
        env={**os.environ, "SLURM_CONF": str(folder / "slurm.conf")},
        stdout=subprocess.DEVNULL,
        stderr=(folder / "daemons.log").open("wb"),
        start_new_session=True,
    )
    slurm = Slurm(folder)
    try:
        wait_for(lambda: daemons.poll() is not None or _is_ready(slurm), lambda: _logs(folder))
        assert daemons.poll() is None, _logs(folder)
        yield slurm
    finally:
        with suppress(subprocess.SubprocessError):
            slurm.call("scancel", "--state=RUNNING", "--user=root")
        os.killpg(daemons.pid, signal.SIGTERM)
        daemons.wait()


def _logs(folder: Path) -> str:
    return "\n".join(path.read_text("utf-8", "replace") for path in folder.glob("*.log"))


def _is_ready(slurm: Slurm) -> bool:
    with suppress(subprocess.CalledProcessError):
        return slurm.call("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * len(NODES)
    return False


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=str(why_not()))]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[int], list[int]]) -> Iterator[Slurm]:
    with running_slurm(tmp_path_factory.mktemp("slurm"), free_ports(3)) as running:
        yield running


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text(SPACE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def cells(space: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Cells of the same search on this machine without Slurm."""
    return local_cells(space, tmp_path_factory.mktemp("run") / "local")


def options_of(space: Path) -> list[str]:
    return ["--space", str(space), *FEW]


def test_a_job_runs_a_search_and_ends_with_it(slurm: Slurm, space: Path, cells: pd.DataFrame, tmp_path: Path) -> None:
    job = slurm.submit(SCRIPT, str(tmp_path / "run"), *options_of(space))
    assert job.end() == ("COMPLETED", "0:0"), job.log()
    assert not any(line.startswith(("srun", "slurmstepd", "helo:")) for line in job.log().splitlines()), job.log()
    pd.testing.assert_frame_equal(cells_of_run(tmp_path / "run"), cells, check_exact=True)


def test_a_job_with_bad_input_ends_with_its_exit_code(slurm: Slurm, tmp_path: Path) -> None:
    job = slurm.submit(SCRIPT, str(tmp_path / "run"), "--space", "absent.yaml")
    assert job.end() == ("FAILED", "2:0")
    (line,) = job.log().splitlines()
    assert line.startswith("helo-search: error: absent.yaml: cannot be read")


RAY_OF_ONE_NODE = """#!/bin/bash
case "$SLURM_PROCID $1" in
"0 status") # the search starts after the other node has given up, so that it cannot end before
    grep -q "the search goes on without" LOG || { sleep 1; exit 1; }
    ;;
1*)
    echo "no Ray here"
    exit 1
    ;;
esac
exec RAY "$@"
"""


def test_a_requeued_job_resumes_without_a_node_that_does_not_start(
    slurm: Slurm, space: Path, cells: pd.DataFrame, tmp_path: Path
) -> None:
    programs, run = tmp_path / "venv" / "bin", tmp_path / "run"
    programs.mkdir(parents=True)
    installed = Path(sys.executable).parent
    log = tmp_path / "job.log"
    ray = RAY_OF_ONE_NODE.replace("LOG", shlex.quote(str(log))).replace("RAY", shlex.quote(str(installed / "ray")))
    (programs / "ray").write_text(ray, "utf-8")
    (programs / "ray").chmod(0o755)
    (programs / "activate").write_text(f"PATH={shlex.quote(f'{programs}:{installed}')}:$PATH\n", "utf-8")
    job = slurm.submit(SCRIPT, str(run), *options_of(space), log=log, HELO_VENV=str(programs.parent))
    wait_for(lambda: any((run / "ledger").glob("*")), job.log)
    job.requeue()
    assert job.end() == ("COMPLETED", "0:0"), job.log()
    assert "no Ray here" in job.log()
    assert f"resuming {run} with its original options" in job.log()
    pd.testing.assert_frame_equal(cells_of_run(run), cells, check_exact=True)


def test_a_job_whose_time_is_up_requeues_itself(slurm: Slurm, space: Path, tmp_path: Path) -> None:
    job = slurm.submit(SCRIPT, str(tmp_path / "run"), *options_of(space), "--time-budget", "1s")
    wait_for(lambda: job.facts()["Restarts"] == "1", job.log)
    slurm.call("scancel", job.number)
    assert "time is up; requeueing the job" in job.log()
    assert (tmp_path / "run" / "manifest.json").exists()
