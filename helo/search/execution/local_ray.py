"""Ray on this machine: start it whatever the letters of its paths, and say why it does not start.

Ray keeps sockets and symbolic links in its temporary folder, and starts workers through a shell. Both fail in places
where Python itself works: a long TMPDIR, a file system without links, a space in the path of the interpreter.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import RayError, RuntimeEnvSetupError

from helo._paths import local_path
from helo.errors import SearchError, describe_error
from helo.search.execution import _ray_compat
from helo.search.execution.signals import kept_handlers
from helo.storage.scratch import INSIDE, scratch_folder

FALLBACKS: Final = ("/tmp", "/var/tmp", "/dev/shm")
"""Places for Ray's temporary folder if the usual one does not suit it."""

LOOK_S: Final = 2.0
"""Seconds between two looks at workers that are starting."""

LOOKS: Final = 5
"""Number of looks in a row at which all started workers have ended, before none of them counts as able to start."""

SLOW_S: Final = 30.0
"""Seconds after which the user is told that the first worker is still starting."""

_LOOPBACK: Final = "127.0.0.1"
_CONNECT_S: Final = 10.0
"""Longest time in seconds for a connection to this machine itself."""

_KIND: Final = "ray"
"""Kind of the private folder with Ray's files."""

_SOCKET: Final = "session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""Longest path of a socket in Ray's temporary folder. The operating system allows about a hundred characters in all."""


@contextlib.contextmanager
def started_ray(cpus: int, gpus: float, print_line: Callable[[str], None], **options: Any) -> Iterator[None]:
    """Run Ray on this machine while the context is open.

    Its files are in a folder that only this user can open, and that is deleted at the end. It listens to this machine
    alone, and asks for a token. If it does not start, its logs are kept for a day.

    Parameters
    ----------
    cpus : int
        Number of CPUs of the cluster.
    gpus : float
        Number of GPUs of the cluster.
    print_line : callable
        Function that gets a line if the start takes long.
    **options
        Further options of `ray.init`.

    Raises
    ------
    SearchError
        If Ray does not start, also not at a second attempt, or if its workers end before they work.
    InputError
        If the locale lacks letters of a path that Ray passes to its workers.
    """
    for path in (os.getcwd(), *sys.path):
        local_path(path)
    _require_loopback()
    given = {"address": "local", "num_cpus": cpus, "num_gpus": gpus, "include_dashboard": False, **options}
    if (python := quoted_python()) != sys.executable:
        given["runtime_env"] = {"py_executable": python}
    with (
        scratch_folder(_KIND, temporary_place()) as scratch,
        _ray_compat.asking_for_token(scratch.path / "token"),
        kept_handlers() as restore_handlers,
    ):
        try:
            _start(given | {"_temp_dir": str(scratch.path)}, print_line)
            restore_handlers()
            _wait_for_worker(print_line)
        except SearchError as error:
            if str(scratch.path) in str(error):  # it names the logs
                scratch.keep()
            ray.shutdown()
            raise
        except BaseException:
            ray.shutdown()
            raise
        try:
            yield
        finally:
            ray.shutdown()


def _require_loopback() -> None:
    """Raise `SearchError` if processes of this machine cannot reach each other, for which Ray would wait for ever."""
    try:
        with socket.create_server((_LOOPBACK, 0)) as server:
            socket.create_connection(server.getsockname(), timeout=_CONNECT_S).close()
    except OSError as error:
        raise SearchError(
            f"Ray does not start: this machine does not reach itself at {_LOOPBACK} ({error.strerror or error}); "
            "bring the loopback interface up, or let the firewall pass it"
        ) from None


def _start(given: Mapping[str, Any], print_line: Callable[[str], None]) -> None:
    for attempt in (1, 2):
        with _ray_compat.prepared_start() as started:
            try:
                ray.init(**given)
                break
            except (OSError, ValueError) as error:
                raise SearchError(f"Ray does not start: {describe_error(error)}") from None
            except Exception as error:
                logs = started.logs()
                reason = last_error_in(logs) or describe_error(error)
                if attempt == 2:
                    raise SearchError(f"Ray does not start: {reason}" + (f" (logs: {logs})" if logs else "")) from None
        print_line("Ray has not started in time, as on a busy machine; trying once more")
    if not _ray_compat.is_private():
        raise SearchError("Ray does not start: it would serve other machines, or not ask for a token")


def quoted_python() -> str:
    """Return the path of the interpreter as a word of a shell. Ray passes it to one as it is."""
    return shlex.quote(sys.executable)


def temporary_place() -> Path:
    """Return a folder in which Ray can keep its files.

    Returns
    -------
    Path

    Raises
    ------
    SearchError
        If no known place suits it.
    """
    usual = _ray_compat.temporary_place()
    for place in (usual, *map(Path, FALLBACKS)):
        if holds_sockets(place):
            return place
    raise SearchError(
        f"{usual}: cannot hold the sockets of Ray, which need a short path on a local disk with symbolic links; set "
        "RAY_TMPDIR to one"
    )


def holds_sockets(place: Path) -> bool:
    """Return whether Ray can keep its sockets and links in a folder.

    Parameters
    ----------
    place : Path
        Folder to try.

    Returns
    -------
    bool
    """
    longest = os.fsencode(place / f"helo-{_KIND}-12345678" / INSIDE / _SOCKET)
    try:
        with scratch_folder("try", place) as scratch:
            os.symlink(scratch.path, scratch.path / "link")
            padding = "s" * max(1, len(longest) - len(os.fsencode(scratch.path)) - 1)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.bind(f"{scratch.path}/{padding}")
    except (OSError, ValueError):
        return False
    return True


def _wait_for_worker(print_line: Callable[[str], None]) -> None:
    """Wait until a worker has run a function; raise `SearchError` if workers end before that."""
    # With the environment of the workers of cells, so that this worker becomes one of them.
    options = {"num_cpus": 0, "runtime_env": {"env_vars": _ray_compat.actor_variables()}}
    reference = ray.remote(lambda: None).options(**options).remote()
    logs, ended, looks = _ray_compat.log_folder(), 0, 0
    while not ray.wait([reference], timeout=LOOK_S)[0]:
        looks += 1
        if looks * LOOK_S == SLOW_S:
            print_line("waiting for the first worker of Ray, which is starting")
        # A worker that is slow is alive. One that cannot start ends, and Ray starts no other one for a minute.
        has_ended = _ray_compat.NEEDED.intersection(_ray_compat.dead_processes()) or all_ended(started_workers(logs))
        ended = ended + 1 if has_ended else 0
        if ended >= LOOKS:
            raise SearchError(f"the workers of Ray end before they work: {_why_workers_ended(logs)} (logs: {logs})")
    try:
        ray.get(reference)
    except RuntimeEnvSetupError as error:
        raise SearchError(f"the workers of Ray cannot start: {' '.join(str(error).split())} (logs: {logs})") from None
    except RayError as error:
        raise SearchError(f"the workers of Ray cannot work: {describe_error(error)} (logs: {logs})") from None


def started_workers(logs: Path) -> list[int]:
    """Return the process numbers of the workers that Ray has started, from the log of this node.

    Parameters
    ----------
    logs : Path
        Folder of Ray's logs.

    Returns
    -------
    list of int
    """
    return [int(found[1]) for line in _lines(logs / "raylet.out") if (found := _STARTED.search(line))]


_STARTED: Final = re.compile(r"Started worker process with pid (\d+)")


def all_ended(processes: list[int]) -> bool:
    """Return whether there are processes and all of them have ended."""
    return bool(processes) and not any(map(_is_alive, processes))


def _is_alive(process: int) -> bool:
    with contextlib.suppress(OSError):
        # The state follows the name, which may contain spaces and parentheses.
        return Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] not in "ZX"
    try:
        os.kill(process, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def last_error_in(logs: Path | None) -> str:
    """Return the last error that Ray's own processes have logged, or an empty text.

    Parameters
    ----------
    logs : Path or None
        Folder of Ray's logs.

    Returns
    -------
    str
    """
    if logs is None:
        return ""
    for name in ("raylet.out", "raylet.err", "gcs_server.out", "gcs_server.err"):
        errors = [found[1] for line in _lines(logs / name) if (found := _ERROR.match(line))]
        if errors:
            # A failed check begins with its condition, a word of C++.
            return _shortened(re.sub(r"^.*Check failed: \S+\(\) ", "", errors[-1]))
    return ""


_ERROR: Final = re.compile(r"\[[^]]* [EC] \d+ \d+\] \([^)]*\) \S+: +(.+)")
"""Line of a log of Ray's programs with an error (E) or the end of the program (C)."""


def _why_workers_ended(logs: Path) -> str:
    """Return the last line that workers have written before they ended, or the last error of Ray."""
    for path in [*sorted(logs.glob("worker-*.err")), logs / "raylet.err"]:
        lines = [line.strip() for line in _lines(path) if line.strip()]
        if lines:
            return _shortened(lines[-1])
    return last_error_in(logs) or "they have written no reason"


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 300 else f"{text[:300]} …"


def _lines(path: Path) -> Iterator[str]:
    with contextlib.suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
        yield from file
