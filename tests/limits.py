"""Limits of the machine that tests set: disks of a few kilobytes, memory of a control group."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup/memory")
"""Control groups of version 1, which a test can make where it may write here."""


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[bool]:
    """Mount a file system of a size such as ``200k`` on a folder, and yield whether this succeeded."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    is_mounted = not subprocess.run(mount, capture_output=True, check=False).returncode
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def memory_group(name: str) -> Iterator[Path]:
    """Make a control group for memory; its processes return to that of this process at the end."""
    own = next(line.split(":")[2] for line in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in line)
    group = GROUPS / own.lstrip("/") / name
    group.mkdir()
    try:
        yield group
    finally:
        deadline = time.monotonic() + 60
        while group.exists():
            for process in (group / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    (group.parent / "cgroup.procs").write_text(process)
            with suppress(OSError):  # processes that were killed are not gone at once
                group.rmdir()
            assert time.monotonic() < deadline
            time.sleep(0.05)
