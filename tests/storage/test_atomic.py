"""Files that are written whole or not at all, by several processes at a time and beside hostile links."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helo.storage.atomic import LEFT_S, delete_leftovers, whole_file


def write(path: Path, content: bytes) -> None:
    with whole_file(path) as hidden, hidden.open("wb") as file:
        for place in range(0, len(content), 1000):
            file.write(content[place : place + 1000])
            file.flush()


def test_several_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path, contents = tmp_path / "report.html", [bytes([letter]) * 50_000 for letter in b"abcdef"]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(5):
            list(pool.map(lambda content: write(path, content), contents))
            assert path.read_bytes() in contents
    assert os.listdir(tmp_path) == ["report.html"]


def test_a_link_at_the_former_hidden_path_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious", encoding="utf-8")
    (tmp_path / ".report.html").symlink_to(victim)
    write(tmp_path / "report.html", b"new")
    assert victim.read_text(encoding="utf-8") == "precious"
    assert (tmp_path / "report.html").read_bytes() == b"new"


def test_a_file_that_is_a_link_is_replaced(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious", encoding="utf-8")
    (tmp_path / "table").symlink_to(victim)
    write(tmp_path / "table", b"new")
    assert victim.read_text(encoding="utf-8") == "precious"
    assert not (tmp_path / "table").is_symlink()


def test_a_new_file_has_the_permissions_of_other_files(tmp_path: Path) -> None:
    write(tmp_path / "whole", b"")
    (tmp_path / "plain").write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "whole").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_after_an_error_the_former_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("former", encoding="utf-8")

    def fail(hidden: Path) -> None:
        hidden.write_text("half", encoding="utf-8")
        raise OSError("full")

    with pytest.raises(OSError, match="full"), whole_file(path) as hidden:
        fail(hidden)
    assert path.read_text(encoding="utf-8") == "former"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_only_old_files_of_killed_writers_are_deleted(tmp_path: Path) -> None:
    writers = [whole_file(tmp_path / "cells.parquet") for _ in range(2)]
    old, new = (writer.__enter__() for writer in writers)  # a killed process never leaves the context
    others = [tmp_path / name for name in (".hidden-notes.txt", "plain")]
    for path in others:
        path.touch()
    for path in (old, *others):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - LEFT_S - 1))
    delete_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == {new, *others}
