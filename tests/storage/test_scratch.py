"""Private folders for temporary files."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helo.storage.scratch import KEPT_S, scratch_folder

HOLD = """
import sys
from pathlib import Path
from helo.storage.scratch import scratch_folder
with scratch_folder("test", Path(sys.argv[1])) as scratch:
    (scratch.path / "secret").write_text("x")
    print(scratch.path, flush=True)
    input()
"""


def hold(place: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that holds a scratch folder, and return it with its folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_it_is_private_and_gone_at_the_end_even_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with scratch_folder("test", tmp_path) as scratch:
            scratch.path.chmod(0o777)  # as Ray does with its folder
            assert stat.S_IMODE(scratch.path.parent.stat().st_mode) == 0o700
            assert list(scratch.path.iterdir()) == []
            (scratch.path / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_has_left_is_deleted_and_what_is_in_use_stays(tmp_path: Path) -> None:
    killed, left = hold(tmp_path)
    running, used = hold(tmp_path)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert (left / "secret").exists()
    with scratch_folder("other", tmp_path):
        assert left.exists(), "another kind"
    with scratch_folder("test", tmp_path):
        assert not left.parent.exists()
        assert (used / "secret").exists()
    running.communicate("\n")
    assert list(tmp_path.iterdir()) == []


NO_FILES = """
import os, resource, sys
from pathlib import Path
from helo.storage.scratch import scratch_folder
with scratch_folder("test", Path(sys.argv[1])) as scratch:
    (scratch.path / "a" / "b").mkdir(parents=True)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + int(sys.argv[2]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
"""


def test_what_a_process_could_not_delete_is_deleted_by_the_next(tmp_path: Path) -> None:
    """Leave a process too few files to open, so that it deletes a part of its folder only."""
    # Each process has its own place: one that starts late would delete what an earlier one has left.
    places = [tmp_path / str(spare) for spare in range(5)]
    for place in places:
        place.mkdir()
    code = [sys.executable, "-c", NO_FILES]
    processes = [subprocess.Popen([*code, str(place), place.name]) for place in places]
    assert [process.wait() for process in processes] == [0] * 5
    assert any(list(place.iterdir()) for place in places)
    for place in places:
        with scratch_folder("test", place):
            pass
        assert list(place.iterdir()) == []


def test_a_kept_folder_stays_for_a_while(tmp_path: Path) -> None:
    with scratch_folder("test", tmp_path) as kept:
        kept.keep()
    with scratch_folder("test", tmp_path):
        assert kept.path.exists()
    past = time.time() - KEPT_S - 1
    os.utime(kept.path.parent, (past, past))
    with scratch_folder("test", tmp_path):
        assert not kept.path.exists()


def test_a_link_in_the_place_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "lock").touch()
    (tmp_path / "helo-test-12345678").symlink_to(victim)
    with scratch_folder("test", tmp_path):
        pass
    assert (victim / "lock").exists()
