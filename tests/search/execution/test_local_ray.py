"""Ray on this machine: places that do not suit it, and the reasons why it does not start."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helo.errors import InputError, SearchError
from helo.search.execution import _ray_compat
from helo.search.execution.local_ray import (
    FALLBACKS,
    all_ended,
    holds_sockets,
    last_error_in,
    started_ray,
    started_workers,
    temporary_place,
)

ROOT = Path(__file__).parents[3]
LETTERS = "My Project (2) & 'a' \"b\" $HOME \\ ; # ä"
"""Name of a folder with letters that shells treat specially."""

RAYLET_LOG = """
[2026-01-02 12:12:17,296 I 1682 1709] (raylet) agent_manager.cc:81: Monitor agent process with name dashboard_agent
[2026-01-02 12:12:34,583 C 1682 1682] (raylet) node_manager.cc:3576:  An unexpected system state \
has occurred. Check failed: status.has_value() Timed out waiting for file /tmp/ray/metrics_agent_port
*** StackTrace Information ***
raylet(+0xff770a) [0x55f4b21e670a] ray::operator<<()
"""
SCRIPT = """
import os, sys
from helo.search.execution.connection import ray_cluster, run_on_worker

def folder():
    return os.getcwd()

with ray_cluster(None):
    print(run_on_worker(folder, cpus=1, gpus=0))
"""


def test_a_long_temporary_folder_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of a socket has about a hundred characters at most."""
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    assert not holds_sockets(long)
    assert str(temporary_place()) in FALLBACKS
    assert holds_sockets(temporary_place())


def test_a_temporary_folder_without_symbolic_links_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """ExFAT, SMB."""
    with tempfile.TemporaryDirectory(prefix="short-", dir="/tmp") as place:

        def symlink(source: Path, target: Path) -> None:
            if place in str(target):
                raise PermissionError(1, "Operation not permitted", str(target))
            real(source, target)

        monkeypatch.setenv("RAY_TMPDIR", place)
        assert temporary_place() == Path(place)
        real = os.symlink
        monkeypatch.setattr(os, "symlink", symlink)
        other = temporary_place()
    assert place not in str(other)


def test_the_command_of_a_worker_keeps_every_letter() -> None:
    words = [f"/{LETTERS}/python", r"/it's/a\b", "-u", "--temp-dir=/tmp", ""]
    with _ray_compat.prepared_start():
        assert shlex.split(subprocess.list2cmdline(words)) == words


def test_the_last_error_of_ray_is_found_in_its_logs(tmp_path: Path) -> None:
    assert last_error_in(None) == last_error_in(tmp_path) == ""
    (tmp_path / "gcs_server.out").write_text("[2026-01-02 12:12:17,296 I 1 2] (gcs_server) a.cc:1: fine\n")
    assert last_error_in(tmp_path) == ""
    (tmp_path / "raylet.out").write_text(RAYLET_LOG)
    reason = "Timed out waiting for file /tmp/ray/metrics_agent_port"
    assert last_error_in(tmp_path) == reason


def test_workers_that_have_ended_are_told_from_those_that_are_slow(tmp_path: Path) -> None:
    line = "[… I 1 2] (raylet) worker_pool.cc:516: Started worker process with pid {}, the token is 0"
    assert started_workers(tmp_path) == []
    assert not all_ended([])
    ended = subprocess.Popen([sys.executable, "-c", ""])
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as slow:
        (tmp_path / "raylet.out").write_text("\n".join(line.format(number) for number in (ended.pid, slow.pid)))
        assert started_workers(tmp_path) == [ended.pid, slow.pid]
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert all_ended([ended.pid]), "a process that nobody has waited for has ended, too"
        ended.wait()
        assert all_ended([ended.pid])
        assert not all_ended([ended.pid, slow.pid])
        slow.communicate(b"\n")
    assert all_ended([ended.pid, slow.pid])


def run_script(python: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `SCRIPT` in a folder."""
    return subprocess.run(
        [python, "-c", SCRIPT],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def test_the_shell_of_a_worker_finds_the_interpreter(tmp_path: Path) -> None:
    """Ray hands the command of a worker to bash, in which only the arguments are quoted."""
    folder = tmp_path / LETTERS
    folder.mkdir()
    (folder / "environment").symlink_to(sys.prefix)
    code = (
        "from ray._private.runtime_env.context import RuntimeEnvContext as Context\n"
        "from ray.core.generated.common_pb2 import Language\n"
        "from helo.search.execution.local_ray import quoted_python\n"
        "Context(py_executable=quoted_python()).exec_worker(['-c', 'import sys; print(sys.prefix)'], Language.PYTHON)\n"
    )
    python = folder / "environment" / "bin" / "python"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.stdout, done.returncode) == (f"{folder / 'environment'}\n", 0), done.stderr


@pytest.mark.slow
def test_workers_start_whatever_the_letters_of_the_paths(tmp_path: Path) -> None:
    """The environment, the working directory and the temporary folder."""
    folder = tmp_path / LETTERS
    (folder / "t").mkdir(parents=True)
    (folder / "environment").symlink_to(sys.prefix)
    done = run_script(str(folder / "environment" / "bin" / "python"), folder, TMPDIR=str(folder / "t"))
    assert (done.stdout.splitlines()[-1:], done.returncode) == ([str(folder)], 0), done.stderr


@pytest.mark.slow
def test_workers_that_cannot_start_end_the_search_with_their_reason(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif any('default_worker' in word for word in sys.orig_argv):\n    sys.exit('no licence')\n"
    )
    done = run_script(sys.executable, tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.returncode == 1
    found = re.search(
        r"SearchError: the workers of Ray end before they work: SystemExit: no licence \(logs: (\S+)\)", done.stderr
    )
    assert found, done.stderr
    logs = Path(found[1])
    assert any("no licence" in path.read_text() for path in logs.glob("*.err")), "the logs are kept"
    private = logs.parents[2]
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    shutil.rmtree(private)


def failing_init(*errors: Exception) -> Callable[..., None]:
    """Return a stand-in for `ray.init` that raises these errors, call by call."""
    left = list(errors)

    def init(**options: Any) -> None:
        raise left.pop(0)

    return init


def start(print_line: Callable[[str], None]) -> None:
    """Start Ray, and end it."""
    with started_ray(1, 0, print_line):
        pass


def test_a_start_that_takes_too_long_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    late = Exception("The current node timed out during startup.")
    monkeypatch.setattr("ray.init", failing_init(late, late))
    with pytest.raises(SearchError, match="Ray does not start: Exception: The current node timed out"):
        start(lines.append)
    assert lines == ["Ray has not started in time, as on a busy machine; trying once more"]


def test_a_working_directory_that_the_locale_cannot_express_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the C locale Python has stand-ins for the bytes of ``ä``, and Ray would fail after it has started."""
    monkeypatch.setattr(os, "getcwd", lambda: "/data/\udcc3\udca4")
    monkeypatch.setattr("ray.init", failing_init())
    with pytest.raises(InputError, match=r"the encoding of this locale .* lacks; (set LC_ALL|rename it)"):
        start(print)


def test_a_start_that_fails_for_good_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr("ray.init", failing_init(PermissionError(13, "Permission denied", "/tmp/ray/session")))
    with pytest.raises(SearchError, match=r"^Ray does not start: /tmp/ray/session: Permission denied$"):
        start(lines.append)
    assert lines == []
