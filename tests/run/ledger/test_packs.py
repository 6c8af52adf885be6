"""Parts that become packs: no cell is lost or counted twice, whatever ends the packing, and while others read."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest

from helo.metrics import METRICS
from helo.run.ledger import HISTORY_COLUMNS, ROW, CellRecord, Ledger, LedgerWriter, records_of
from helo.run.ledger.packs import drop_cells, pack_parts, tidy
from helo.run.ledger.record import OPTIONAL
from helo.storage import Folder, LocalFolder, open_folder

CELLS = [(configuration, fold) for configuration in range(6) for fold in range(4)]
WHEN = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def record(configuration: int, fold: int) -> CellRecord:
    """Return a record whose scores identify its cell."""
    scores = dict.fromkeys(METRICS, configuration + fold / 10)
    history = tuple({"epoch": epoch, **dict.fromkeys(HISTORY_COLUMNS, epoch / 2)} for epoch in range(fold + 1))
    return CellRecord(
        configuration,
        f"S{fold}",
        {"width": configuration},
        "completed",
        fold,
        1.5,
        "here",
        WHEN,
        WHEN,
        val=scores,
        test=scores,
        history=history,
        windows=np.arange(fold + 1),
        predictions=np.full((fold + 1, 2), 0.5, np.float32),
    )


@pytest.fixture(params=["here", "object storage"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    where = tmp_path if request.param == "here" else request.getfixturevalue("object_storage")
    return open_folder(where) / "ledger"


def filled(folder: Folder) -> Ledger:
    ledger = Ledger(folder, "mine")
    for cell in CELLS:
        ledger.append(record(*cell), cell[1])
    return ledger


def assert_complete(ledger: Ledger) -> None:
    """Assert that every cell is in the ledger once, as it was written."""
    assert [(cell.configuration, cell.fold) for cell in ledger.read()] == [(one, f"S{two}") for one, two in CELLS]
    for cell, back in zip(CELLS, ledger.read(), strict=True):
        wanted = record(*cell)
        np.testing.assert_array_equal(back.predictions, wanted.predictions, strict=True)
        np.testing.assert_array_equal(back.windows, wanted.windows)
        assert (back.params, back.history, back.test, back.started) == (
            *(wanted.params, wanted.history, wanted.test, wanted.started),
        )


def test_packs_of_earlier_versions_are_read(tmp_path: Path) -> None:
    ledger = filled(LocalFolder(tmp_path))
    pack_parts(ledger, 10)
    for path in tmp_path.glob("pack-*.parquet"):
        pq.write_table(pq.read_table(path).drop(list(OPTIONAL)), path)  # keeps the metadata
    assert_complete(ledger)
    assert ledger.inspect()[1] == {}
    assert [(cell.configuration, cell.test_by_group) for cell in ledger.find({(1, 3), (5, 0)})] == [
        (1, None),
        (5, None),
    ]
    pack_parts(ledger, 2)
    assert_complete(ledger)


def test_packs_contain_the_rows_of_their_parts(folder: Folder) -> None:
    ledger = filled(folder)
    pack_parts(ledger, 10)
    packs, parts = ledger.files()[:2], ledger.files()[2:]
    assert [name.rpartition("-")[0] for name in packs] == ["pack-00000001-10", "pack-00000002-10"]
    assert parts == [f"c00005-f000{fold}.parquet" for fold in range(4)]
    assert len(ledger) == len(CELLS)
    assert_complete(ledger)
    assert ledger.inspect()[1] == {}


def test_selected_cells_are_found_in_packs_and_parts(folder: Folder) -> None:
    ledger = filled(folder)
    pack_parts(ledger, 10)
    found = ledger.find([(5, 3), (0, 2), (3, 1), (9, 9)])
    assert [(cell.configuration, cell.fold) for cell in found] == [(0, "S2"), (3, "S1"), (5, "S3")]
    assert [cell.params for cell in found] == [{"width": 0}, {"width": 3}, {"width": 5}]


@pytest.mark.parametrize("deletions", range(4))
def test_interrupted_packing_neither_loses_nor_duplicates_cells(tmp_path: Path, deletions: int) -> None:
    """The process ends after the pack is written and some of its parts are deleted."""

    class Dying(LocalFolder):
        left: ClassVar = [deletions]

        def delete(self, name: str) -> None:
            if not self.left[0]:
                raise KeyboardInterrupt
            self.left[0] -= 1
            super().delete(name)

    filled(LocalFolder(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        pack_parts(Ledger(Dying(tmp_path), "mine"), 10)
    ledger = Ledger(tmp_path, "mine")
    assert len(ledger) > len(CELLS)  # by names alone
    assert_complete(ledger)
    with LedgerWriter(ledger):  # a resumed search
        assert len(ledger) == len(CELLS)
    assert_complete(ledger)


def test_a_reader_finds_cells_that_are_packed_while_it_reads(tmp_path: Path) -> None:
    class Packing(LocalFolder):
        """Packs the ledger once, at the first reading of a part, as another process would."""

        done: ClassVar = [False]

        def read(self, name: str) -> bytes:
            if not self.done[0]:
                self.done[0] = True
                pack_parts(Ledger(LocalFolder(tmp_path), "mine"), 10)
            return super().read(name)

    filled(LocalFolder(tmp_path))
    faults: dict[str, str] = {}
    rows = [table for _, table in Ledger(Packing(tmp_path), "mine").blocks(["fold"], faults=faults)]
    assert sum(map(len, rows)) == len(CELLS)
    assert faults == {}


def test_selected_cells_are_found_although_they_are_packed_meanwhile(tmp_path: Path) -> None:
    class Packing(LocalFolder):
        """Packs the ledger once, between the list of its files and the first of them."""

        done: ClassVar = [False]

        def names(self) -> list[str]:
            found = super().names()
            if not self.done[0]:
                self.done[0] = True
                pack_parts(Ledger(LocalFolder(tmp_path), "mine"), 10)
            return found

    filled(LocalFolder(tmp_path))
    found = Ledger(Packing(tmp_path), "mine").find([(0, 2), (3, 1), (5, 3)])
    assert [(cell.configuration, cell.fold) for cell in found] == [(0, "S2"), (3, "S1"), (5, "S3")]


def test_two_writers_that_both_pack_a_ledger_lose_no_cell(tmp_path: Path) -> None:
    """A machine that slept packs the parts it knows, after another search has resumed the run and packed too."""

    class Slow(LocalFolder):
        def write(self, name: str, content: bytes) -> None:
            if name.startswith("pack-") and not awake:
                awake.append(True)
                ours.append(record(9, 9), 9)
                pack_parts(ours, 5)
            super().write(name, content)

    awake: list[bool] = []
    ours = filled(LocalFolder(tmp_path))
    pack_parts(Ledger(Slow(tmp_path), "mine"), 10)
    assert {(cell.configuration, int(cell.fold[1])) for cell in ours.read()} == {*CELLS, (9, 9)}


def test_a_search_that_lost_its_lock_packs_nothing(tmp_path: Path) -> None:
    def guard() -> None:
        raise OSError("taken over")

    ledger = filled(LocalFolder(tmp_path))
    before = ledger.files()
    with pytest.raises(OSError, match="taken over"):
        pack_parts(ledger, 10, guard)
    assert ledger.files() == before


def test_a_failing_storage_is_not_reported_as_damage(tmp_path: Path) -> None:
    class Refusing(LocalFolder):
        def read(self, name: str) -> bytes:
            raise PermissionError("ACCESS_DENIED")

        def open(self, name: str) -> Path:
            raise PermissionError("ACCESS_DENIED")

    ledger = filled(LocalFolder(tmp_path))
    pack_parts(ledger, 10)
    refused, faults = Ledger(Refusing(tmp_path), "mine"), dict[str, str]()
    with pytest.raises(PermissionError, match="ACCESS_DENIED"):
        list(refused.blocks(["params"], faults=faults))
    with pytest.raises(PermissionError, match="ACCESS_DENIED"):
        refused.find([CELLS[0]])
    assert faults == {}


def test_verification_detects_damage_in_unread_columns(tmp_path: Path) -> None:
    ledger = filled(LocalFolder(tmp_path))
    pack_parts(ledger, 10)
    name = ledger.files()[0]
    content = (tmp_path / name).read_bytes()
    test = pq.ParquetFile(tmp_path / name).metadata.row_group(0)
    column = next(
        test.column(place) for place in range(test.num_columns) if test.column(place).path_in_schema == "test.kl"
    )
    place = column.data_page_offset + column.total_compressed_size // 2
    (tmp_path / name).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    for verify in (False, True):
        faults: dict[str, str] = {}
        rows = [table for _, table in ledger.blocks(["params"], faults=faults, verify=verify)]
        assert sum(map(len, rows)) == len(CELLS) - 10 * verify
        assert list(faults) == [name] * verify
        assert {tuple(table.column_names) for table in rows} == {("params", "configuration", "fold_number")}


def test_a_failure_to_pack_is_reported_once(tmp_path: Path) -> None:
    class Full(LocalFolder):
        def write(self, name: str, content: bytes) -> None:
            if name.startswith("pack-"):
                raise OSError("no room for packs")
            super().write(name, content)

    message: list[str] = []
    with LedgerWriter(Ledger(Full(tmp_path), "mine"), pack=5, tell=message.append) as writer:
        for cell in CELLS:
            writer.append(record(*cell), cell[1])
            if writer._packing is not None:
                writer._packing.join()
    assert message == ["parts of the ledger are not packed: no room for packs"]
    assert_complete(Ledger(tmp_path, "mine"))


def test_packs_and_parts_have_the_same_columns(tmp_path: Path) -> None:
    ledger = filled(LocalFolder(tmp_path))
    before = ledger.rows(["params", "val", "history.val_kl"])
    pack_parts(ledger, 10)
    after = ledger.rows(["params", "val", "history.val_kl"])
    assert after.equals(before)
    assert after.column_names == ["params", "val", "history", "configuration", "fold_number"]
    assert after["history"].to_pylist()[1] == [{"val_kl": 0.0}, {"val_kl": 0.5}]
    _, block = next(ledger.blocks(["params", "history.val_kl"]))
    assert ledger.empty_table(["params", "history.val_kl"]).schema == block.schema.remove_metadata()


def test_a_writer_packs_while_it_writes(folder: Folder) -> None:
    with LedgerWriter(Ledger(folder, "mine"), pack=5) as writer:
        for cell in CELLS:
            writer.append(record(*cell), cell[1])
    ledger = Ledger(folder, "mine")
    assert any(name.startswith("pack-") for name in ledger.files())
    assert_complete(ledger)
    assert not any(thread.name == "helo-pack" for thread in threading.enumerate())


def test_a_writer_without_the_lock_writes_nothing(tmp_path: Path) -> None:
    def guard() -> None:
        raise OSError("taken over")

    with LedgerWriter(Ledger(tmp_path), guard=guard) as writer, pytest.raises(OSError, match="taken over"):
        writer.append(record(0, 0), 0)
    assert list(tmp_path.iterdir()) == []


def test_damaged_packs_are_reported_and_skipped(tmp_path: Path) -> None:
    ledger = filled(LocalFolder(tmp_path))
    pack_parts(ledger, 10)
    name = ledger.files()[1]
    path, content = tmp_path / name, (tmp_path / name).read_bytes()

    def read() -> tuple[list[CellRecord], dict[str, str]]:
        faults: dict[str, str] = {}
        rows = [table for _, table in ledger.blocks(ROW.names, faults=faults)]
        return [cell for table in rows for cell in records_of(table)], faults

    whole = len(read()[0])
    path.write_bytes(content[:-20])
    assert "magic bytes" in read()[1][name]
    pq.write_table(ROW.empty_table(), path)
    assert read()[1] == {name: "belongs to another search"}
    assert len(read()[0]) == len(CELLS) - 10
    seen = 0
    for place in range(0, len(content), 499):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        records, faults = read()
        seen += bool(faults)
        if not faults:  # a bit that holds no data
            assert len(records) == whole
            assert all(str(one.params["width"] + int(one.fold[1]) / 10) == str(one.test["kl"]) for one in records)
    assert seen > 10
    path.write_bytes(content)
    assert_complete(ledger)


class Undeleting:
    """Folder in which no file can be deleted, as if the process were killed before."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def __getattr__(self, name: str) -> Any:
        return getattr(self.folder, name)

    def delete(self, name: str) -> None:
        raise InterruptedError


@pytest.mark.parametrize("ends_early", [False, True])
def test_dropped_cells_run_again_and_the_others_stay(folder: Folder, ends_early: bool) -> None:
    """Cells in packs and in parts; also if the first call ends before it has deleted anything."""
    ledger = filled(folder)
    pack_parts(ledger, 10)
    dropped = {(0, 0), (0, 1), (3, 2), (5, 3)}
    if ends_early:
        delete, ledger.folder = ledger.folder, Undeleting(ledger.folder)  # type: ignore[assignment]
        with pytest.raises(InterruptedError):
            drop_cells(ledger, dropped)
        ledger.folder = delete
    drop_cells(ledger, dropped)
    assert {(cell.configuration, int(cell.fold[1:])) for cell in ledger.read()} == set(CELLS) - dropped
    assert len(ledger) == len(CELLS) - len(dropped)
    for cell in sorted(dropped):
        ledger.append(record(*cell), cell[1])
    tidy(ledger)
    assert_complete(ledger)
    assert len(ledger) == len(CELLS)


def test_a_pack_of_which_one_cell_stays_becomes_a_part(tmp_path: Path) -> None:
    ledger = filled(LocalFolder(tmp_path))
    pack_parts(ledger, len(CELLS))
    drop_cells(ledger, CELLS[1:])
    assert ledger.files() == ["c00000-f0000.parquet"]
    assert [cell.fold for cell in ledger.read()] == ["S0"]
    drop_cells(ledger, CELLS)
    assert ledger.files() == []
