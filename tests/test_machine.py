"""CPUs and memory within affinity and control groups, on trees of files like those of containers and clusters."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from helo._machine import free_memory, memory_limit, oom_kills, usable_cpus

GIB = 2**30
MEMINFO = "MemTotal:       16777216 kB\nMemFree:  1 kB\nMemAvailable:    8388608 kB\n"
VERSION_2 = "30 23 0:26 {root} /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n"
VERSION_1 = (
    "30 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs rw\n"
    "31 30 0:27 {root} /sys/fs/cgroup/cpu,cpuacct ro,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "32 30 0:28 {root} /sys/fs/cgroup/memory ro,relatime - cgroup cgroup rw,memory\n"
)
HALF_V1 = {"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"}


def tree(root: Path, cgroup: str, mounts: str, files: dict[str, str], meminfo: str = MEMINFO) -> Path:
    """Write the files of a machine, those of control groups with paths in ``/sys/fs/cgroup``."""
    written = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts, "proc/meminfo": meminfo}
    written |= {f"sys/fs/cgroup/{name}": content for name, content in files.items()}
    for name, content in written.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.fixture(autouse=True)
def eight_allowed_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))


@pytest.mark.parametrize(("quota", "cpus"), [("50000", 0.5), ("150000", 1.5), ("max", 8.0), ("1200000", 8.0)])
def test_a_quota_of_version_2_counts(tmp_path: Path, quota: str, cpus: float) -> None:
    """`docker run --cpus`: the container sees its own group as the root."""
    root = tree(tmp_path, "0::/\n", VERSION_2.format(root="/"), {"cpu.max": f"{quota} 100000\n"})
    assert usable_cpus(root) == cpus


def test_the_smallest_limit_on_the_way_to_the_root_counts(tmp_path: Path) -> None:
    """Slurm and systemd: the limit lies on a group outside that of the process."""
    files = {
        "slurm/job_1/cpu.max": "200000 100000\n",
        "slurm/job_1/memory.max": f"{4 * GIB}\n",
        "slurm/job_1/memory.current": f"{3 * GIB}\n",
        "slurm/job_1/memory.stat": f"anon 1\ninactive_file {GIB}\n",
        "slurm/job_1/step_0/cpu.max": "max 100000\n",
        "slurm/job_1/step_0/memory.max": "max\n",
        "slurm/job_1/step_0/memory.current": "1\n",
    }
    root = tree(tmp_path, "0::/slurm/job_1/step_0\n", VERSION_2.format(root="/"), files)
    assert usable_cpus(root) == 2.0
    assert memory_limit(root) == 4 * GIB
    assert free_memory(root) == 2 * GIB  # the cache of files is given back


@pytest.mark.parametrize("part", ["/", "/docker/abc"])
def test_limits_of_version_1_count(tmp_path: Path, part: str) -> None:
    """With and without a namespace of control groups of its own."""
    files = {f"cpu,cpuacct/{name}": content for name, content in HALF_V1.items()} | {
        "memory/memory.limit_in_bytes": f"{2 * GIB}\n",
        "memory/memory.usage_in_bytes": f"{GIB}\n",
        "memory/memory.stat": "total_inactive_file 0\n",
    }
    cgroup = f"4:memory:{part}\n2:cpu,cpuacct:{part}\n1:name=systemd:/\n0::/\n"
    root = tree(tmp_path, cgroup, VERSION_1.format(root=part), files)
    assert usable_cpus(root) == 0.5
    assert (memory_limit(root), free_memory(root)) == (2 * GIB, GIB)


def test_a_group_outside_of_what_is_mounted_is_taken_as_the_mounted_one(tmp_path: Path) -> None:
    files = {f"cpu,cpuacct/{name}": content for name, content in HALF_V1.items()}
    root = tree(tmp_path, "2:cpu,cpuacct:/docker/abc\n", VERSION_1.format(root="/elsewhere"), files)
    assert usable_cpus(root) == 0.5


def test_groups_without_limits_leave_the_machine(tmp_path: Path) -> None:
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "memory/memory.usage_in_bytes": "1\n",
        "memory/memory.stat": "",
    }
    root = tree(tmp_path, "4:memory:/\n2:cpu,cpuacct:/\n", VERSION_1.format(root="/"), files)
    assert usable_cpus(root) == 8.0
    assert (memory_limit(root), free_memory(root)) == (16 * GIB, 8 * GIB)


def test_a_system_without_these_files_reports_its_cpus_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (usable_cpus(tmp_path), memory_limit(tmp_path), free_memory(tmp_path)) == (8.0, None, None)
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cpus(tmp_path) == 6.0


def test_this_machine_has_cpus() -> None:
    assert usable_cpus() > 0


@pytest.mark.parametrize("content", ["\n", "garbage", "0::/\n:::\n", "2:cpu:/\xff\n"])
def test_files_that_nobody_expects_are_ignored(tmp_path: Path, content: str) -> None:
    root = tree(tmp_path, content, "1 2 3\n- cgroup2\n" + VERSION_2.format(root="/"), {"cpu.max": content}, content)
    assert usable_cpus(root) == 8.0
    assert memory_limit(root) is None


@pytest.mark.parametrize(
    ("cgroup", "mounts", "files", "count"),
    [
        ("0::/job\n", VERSION_2, {"job/memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n"}, 2),
        ("4:memory:/job\n", VERSION_1, {"memory/job/memory.oom_control": "oom_kill_disable 0\noom_kill 3\n"}, 3),
        ("0::/\n", VERSION_2, {}, 5),
    ],
)
def test_kills_for_lack_of_memory_are_counted(
    tmp_path: Path, cgroup: str, mounts: str, files: dict[str, str], count: int
) -> None:
    root = tree(tmp_path, cgroup, mounts.format(root="/"), files)
    assert oom_kills(root / "nowhere") == 0
    (root / "proc/vmstat").write_text("nr_free_pages 9\noom_kill 5\n")
    assert oom_kills(root) == count


FREED = """
from pathlib import Path
from helo._machine import release_memory

def pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

blocks = [bytes(2000) for _ in range(50_000)]
used = pages()
del blocks[:-1]  # the last one keeps the C library from shrinking the heap by itself
freed = pages()
release_memory()
print(used, freed, pages())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library cannot do it")
def test_freed_memory_is_given_back() -> None:
    words = subprocess.run([sys.executable, "-c", FREED], stdout=subprocess.PIPE, check=True).stdout.split()
    used, freed, released = map(int, words)
    size = 50_000 * 2000 / resource.getpagesize()
    assert freed > used - size / 2, "the heap shrinks by itself here"
    assert released < used - size / 2
