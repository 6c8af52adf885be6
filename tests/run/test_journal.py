"""The journal of a run: what is written is read, damaged lines are skipped, and a long journal is shortened."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from helo.names import SearchPhase
from helo.run.journal import MOST_ENTRIES, Entry, Journal, read_journal
from helo.storage import LocalFolder, open_folder

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)


def test_entries_are_read_as_written(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    assert read_journal(folder) == []
    journal = Journal(folder, lambda: NOW)
    journal.write("data of a\nsubject \udce9", SearchPhase.CELLS, cells=(3, 9), baselines=(0, 0), memory=(1, 2))
    journal.write(phase=SearchPhase.MODEL, seconds=24.0)
    journal.write("fitting")
    assert read_journal(folder) == [
        Entry(NOW, SearchPhase.CELLS, "data of a\nsubject \udce9", (3, 9), (0, 0), memory=(1, 2)),
        Entry(NOW, SearchPhase.MODEL, seconds=24.0),
        Entry(NOW, SearchPhase.MODEL, "fitting"),
    ]


def test_damaged_lines_are_skipped(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    Journal(folder, lambda: NOW).write("whole")
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'[]\n{"at": 3}\n{"at": "2026-11-21", "phase": "lunch"}\n\xff\n{"at": "2026-11-21T03:0')
    assert [entry.text for entry in read_journal(folder)] == ["whole"]
    Journal(folder, lambda: NOW).write("after a new start")
    assert [entry.text for entry in read_journal(folder)] == ["whole", "after a new start"]


def test_a_new_start_keeps_the_latest_entries(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    journal = Journal(folder, lambda: NOW)
    for number in range(MOST_ENTRIES + 5):
        journal.write(str(number))
    Journal(folder, lambda: NOW).write("last")
    entries = read_journal(folder)
    assert len(entries) == MOST_ENTRIES
    assert (entries[0].text, entries[-1].text) == ("6", "last")


def test_a_journal_on_object_storage_is_read_as_written(object_storage: str) -> None:
    folder = open_folder(object_storage)
    journal = Journal(folder, lambda: NOW)
    journal.write("first")
    journal.write("second")
    assert [entry.text for entry in read_journal(folder)] == ["first", "second"]


def test_a_journal_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").mkdir()
    Journal(LocalFolder(tmp_path), lambda: NOW).write("lost")
    assert (tmp_path / "journal.jsonl").is_dir()


def test_a_link_in_place_of_the_journal_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    journal = Journal(LocalFolder(tmp_path), lambda: NOW)
    journal.write("first")
    (tmp_path / "journal.jsonl").unlink()
    (tmp_path / "journal.jsonl").symlink_to(victim)
    journal.write("second")
    assert victim.read_text() == "mine"
