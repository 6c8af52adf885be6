"""CPUs and memory that this process may use: those of the machine, within its affinity and its control groups.

`docker run --cpus --memory`, Kubernetes and Slurm limit processes by control groups, of version 1 or 2. A limit of a
group holds for all groups inside it, so the smallest one on the way to the root counts. Other systems than Linux have
none.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path("/")
"""Root of the file system, a parameter so that tests can stand in for other machines."""


def usable_cpus(root: Path = ROOT) -> float:
    """Return the number of CPUs that this process may use. A quota may allow a part of a CPU.

    Parameters
    ----------
    root : Path
        Root of the file system.

    Returns
    -------
    float
        More than 0.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([float(allowed), *_quotas(root)])


def memory_limit(root: Path = ROOT) -> int | None:
    """Return the bytes of memory that this process may use at most, or None if the system does not report it.

    Parameters
    ----------
    root : Path
        Root of the file system.

    Returns
    -------
    int or None
        Memory of the machine, or the smallest limit of a control group.
    """
    limits = [group.limit for group in _memory_groups(root)]
    total = _meminfo("MemTotal", root)
    return min(limits if total is None else [*limits, total], default=None)


def free_memory(root: Path = ROOT) -> int | None:
    """Return the bytes of memory that are free for this process now, or None if the system does not report it.

    Parameters
    ----------
    root : Path
        Root of the file system.

    Returns
    -------
    int or None
    """
    left = [max(0, group.limit - group.used) for group in _memory_groups(root)]
    available = _meminfo("MemAvailable", root)
    return min(left if available is None else [*left, available], default=None)


def oom_kills(root: Path = ROOT) -> int:
    """Return how many processes the system has killed for lack of memory, in this control group or on the machine.

    Parameters
    ----------
    root : Path
        Root of the file system.

    Returns
    -------
    int
        Number since the group or the machine exists; 0 if the system does not report it.
    """
    files = [folder / name for folder in _folders("memory", root) for name in ("memory.events", "memory.oom_control")]
    for file in (*files, root / "proc/vmstat"):
        with contextlib.suppress(OSError, ValueError, StopIteration):
            lines = file.read_text("ascii").splitlines()
            return next(int(count) for name, count in map(str.split, lines) if name == "oom_kill")
    return 0


def release_memory() -> None:
    """Give memory that this process has freed back to the system, where the C library can do that.

    The one of GNU keeps it otherwise, which makes a process of many hours grow. Takes some milliseconds.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # other C libraries lack the function, Windows it all
        ctypes.CDLL(None).malloc_trim(0)


class _MemoryGroup(NamedTuple):
    limit: int
    used: int


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPUs that each control group of this process allows."""
    for folder in _folders("cpu", root):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            files = [folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"]
            version_2 = folder / "cpu.max"
            words = _words(version_2) if version_2.exists() else [*_words(files[0]), *_words(files[1])]
            quota, period = int(words[0]), int(words[1])  # a group without a quota has "max" or -1
            if quota > 0:
                yield quota / period


def _memory_groups(root: Path) -> Iterator[_MemoryGroup]:
    """Yield the limit and the use of each control group of this process that limits memory."""
    for folder in _folders("memory", root):
        for limit, used, inactive in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            # A group without a limit has "max", or in version 1 a number beyond every memory.
            with contextlib.suppress(OSError, ValueError, IndexError):
                bytes_used = int(_words(folder / used)[0])
                statistics = (line.split() for line in (folder / "memory.stat").read_text("ascii").splitlines())
                cached = next((int(value) for name, value in statistics if name == inactive), 0)
                yield _MemoryGroup(int(_words(folder / limit)[0]), bytes_used - cached)


def _folders(controller: str, root: Path) -> Iterator[Path]:
    """Yield the folders of the control groups of this process, from its own to the root, of both versions."""
    try:
        groups = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text("utf-8").splitlines()]
        mounts = [line.split() for line in (root / "proc/self/mountinfo").read_text("utf-8").splitlines()]
    except (OSError, ValueError):
        return
    path_of = {name: group[2] for group in groups if len(group) == 3 for name in group[1].split(",")}
    for mount in mounts:
        with contextlib.suppress(ValueError, IndexError):
            kind, options = mount[mount.index("-") + 1], mount[mount.index("-") + 3]
            key = {"cgroup2": "", "cgroup": controller}.get(kind)
            if key is None or key not in path_of or (key and key not in options.split(",")):
                continue
            top = root / mount[4].lstrip("/")
            # Inside a container the mount shows a part of the tree, which begins at `mount[3]`.
            inside = os.path.relpath(path_of[key], mount[3])
            own = top if inside.startswith("..") else top / inside
            for folder in (own, *own.parents):
                yield folder
                if folder == top:
                    break


def _words(path: Path) -> list[str]:
    return path.read_text("ascii").split()


def _meminfo(name: str, root: Path) -> int | None:
    """Return an entry of the system's table of memory in bytes."""
    try:
        lines = (root / "proc/meminfo").read_text("ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration, ValueError):
        return None
