"""The ledger of a run: read its files and add parts."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from helo.names import FITTED_BASELINES, Column
from helo.run.ledger.fetching import DamagedError, fetch, first_line
from helo.run.ledger.file_names import BASELINE_PARTS, PACKS, PARTS, cell_of, fold_number_of, is_pack, rows_in
from helo.run.ledger.record import (
    PART,
    RECORD_COLUMNS,
    ROW,
    SET_ASIDE,
    CellRecord,
    is_readable,
    part_name,
    records_of,
    rows_of,
)
from helo.storage import Folder, open_folder

READERS: Final = 16
"""Number of parts read at the same time. On object storage each takes some 10 ms, mostly waiting."""

BLOCK: Final = 256
"""Number of parts in a block."""

GROUP: Final = 100
"""Number of rows in a row group of a pack, the smallest unit that is read."""

_ROUNDS: Final = 5
"""Number of attempts to find a file that was packed while it was read, before it counts as damaged."""

_IDENTITY = b"helo.search"
_NAME = b"helo.cell"
"""Keys of the search's identity and of the cell's (or the pack's) name in a file's metadata."""

_UNREADABLE = (OSError, ValueError, TypeError, LookupError, OverflowError, pa.ArrowException)
"""Errors of parsing a damaged file. Errors of fetching a file are not damage; `DamagedError` distinguishes them."""


class Ledger:
    """Folder of parts and packs, with one writing process and any number of readers.

    Parameters
    ----------
    place : Folder, path or str
        Folder of the ledger.
    identity : str
        Digest of the search. Files with another identity are not read.
    """

    def __init__(self, place: Folder | os.PathLike[str] | str, identity: str = "") -> None:
        self.folder = open_folder(place)
        self.identity = identity

    def append(self, record: CellRecord, fold_number: int) -> str:
        """Write one finished cell, whole or not at all, and return the name of its part."""
        rows = rows_of([(fold_number, record)]).select(PART.names)
        name = f"{part_name(record.configuration, fold_number, record.method)}.parquet"
        self.folder.write(name, self.encode(rows, PART, name))
        return name

    def encode(self, rows: pa.Table, schema: pa.Schema, name: str) -> bytes:
        """Return the content of a file of this ledger."""
        stem = PurePosixPath(name).stem
        metadata = {_IDENTITY: self.identity.encode(), _NAME: stem.encode()}
        sink = pa.BufferOutputStream()
        pq.write_table(
            rows.cast(schema).replace_schema_metadata(metadata),
            sink,
            compression="zstd",
            row_group_size=GROUP,
            write_page_checksum=True,
        )
        return bytes(sink.getvalue())

    def files(self) -> list[str]:
        """Return the names of all packs and parts of HeLo's cells, parts in the order configuration, fold."""
        names = self.folder.names()
        return [*fnmatch.filter(names, PACKS), *fnmatch.filter(names, PARTS)]

    def baseline_parts(self) -> list[str]:
        """Return the names of all parts of the baselines' cells, in the order method, fold."""
        return fnmatch.filter(self.folder.names(), BASELINE_PARTS)

    def __len__(self) -> int:
        """Return the number of HeLo's finished cells, from the names of the files alone.

        If a search was killed while it packed, the cells of that pack count twice until the search resumes.
        """
        return sum(map(rows_in, self.files()))

    def blocks(
        self,
        columns: Sequence[str],
        done: Collection[str] = (),
        faults: dict[str, str] | None = None,
        verify: bool = False,
    ) -> Iterator[tuple[list[str], pa.Table]]:
        """Read columns of HeLo's cells in blocks: one pack, or up to `BLOCK` parts at a time.

        Each cell is returned once, even if several files contain it. If a file is packed during the reading, its cells
        are read from the pack.

        Parameters
        ----------
        columns : sequence of str
            Columns of `ROW`. ``history.val_kl`` means one field of the structs in a list. Configuration and fold number
            are added.
        done : collection of str, optional
            Names of files to skip.
        faults : dict, optional
            Dictionary to which the fault of each damaged file is added, by file name. Cells of these files are skipped.
        verify : bool, optional
            Whether to read and check whole files. Damage in other columns is not detected otherwise.

        Yields
        ------
        names : list of str
            Names of the files of the block.
        rows : pyarrow.Table
            One row per cell.

        Raises
        ------
        OSError
            If the storage fails to deliver a file.
        """
        read, faults = set(done), {} if faults is None else faults
        seen: set[int] = set()
        for _ in range(_ROUNDS):
            gone = {}
            left = [name for name in self.files() if name not in read]
            for names in _in_blocks(left):
                tables = []
                for name, found in zip(names, self.each(names, columns, verify), strict=True):
                    if isinstance(found, FileNotFoundError):
                        gone[name] = "is gone"
                        continue
                    read.add(name)
                    if isinstance(found, pa.Table):
                        tables.append(_unseen(found, seen))
                    else:
                        faults[name] = str(found)
                if tables:
                    yield names, pa.concat_tables(tables)
            if not gone:
                return
        faults |= gone

    def rows(self, columns: Sequence[str], faults: dict[str, str] | None = None) -> pa.Table:
        """Return columns of all of HeLo's cells, in the order configuration, fold number. See `blocks`.

        Columns of strings have a dictionary type.
        """
        tables = [_encoded(table) for _, table in self.blocks(columns, faults=faults)] or [self.empty_table(columns)]
        found = pa.concat_tables(tables).unify_dictionaries()
        return found.sort_by([(Column.CONFIGURATION, "ascending"), (Column.FOLD_NUMBER, "ascending")])

    def empty_table(self, columns: Sequence[str]) -> pa.Table:
        """Return a table with the columns of `blocks`, without rows."""
        sink = pa.BufferOutputStream()
        pq.write_table(ROW.empty_table(), sink)
        with pq.ParquetFile(pa.BufferReader(sink.getvalue())) as file:
            return _columns(file, columns)

    def read(self) -> list[CellRecord]:
        """Return the records of HeLo's finished cells, in the order configuration, fold."""
        return records_of(self.rows(RECORD_COLUMNS))

    def find(self, cells: Collection[tuple[int, int]]) -> list[CellRecord]:
        """Return the records of those of the given cells of HeLo that are finished, see `find_rows`."""
        return records_of(self.find_rows(cells, RECORD_COLUMNS))

    def find_rows(self, cells: Collection[tuple[int, int]], columns: Sequence[str]) -> pa.Table:
        """Return columns of those of the given cells of HeLo that are finished.

        Only the parts of these cells are read, and only those row groups of packs that contain one of them.

        Parameters
        ----------
        cells : collection of (int, int)
            Configuration and fold number of each cell.
        columns : sequence of str
            Columns of `ROW`. Configuration and fold number are added.

        Returns
        -------
        Table
            A row per cell, in the order configuration, fold number.

        Raises
        ------
        OSError
            If the storage fails to deliver a file.
        """
        left, read = set(cells), set[str]()
        found = [ROW.empty_table().select(list(dict.fromkeys([*columns, Column.CONFIGURATION, Column.FOLD_NUMBER])))]
        for _ in range(_ROUNDS):
            gone = False
            files = [name for name in self.files() if name not in read]
            for name in files if left else ():
                cell = cell_of(name)
                if cell is not None and cell not in left:
                    continue
                part = self._try(
                    partial(self._from_pack, name, left, columns)
                    if cell is None
                    else partial(self._read, name, columns)
                )
                gone |= isinstance(part, FileNotFoundError)
                if isinstance(part, pa.Table) and len(part):
                    read.add(name)
                    found.append(part)
                    left -= set(cells_in(part))
            if not gone:
                break
        rows = pa.concat_tables(found)
        return rows.sort_by([(Column.CONFIGURATION, "ascending"), (Column.FOLD_NUMBER, "ascending")])

    def read_baselines(self) -> list[CellRecord]:
        """Return the records of the baselines' finished cells, in the order of `FITTED_BASELINES`, then fold."""
        records = self.inspect(self.baseline_parts())[0]
        return sorted(records, key=lambda record: FITTED_BASELINES.index(record.method))

    def inspect(self, names: Sequence[str] | None = None) -> tuple[list[CellRecord], dict[str, str]]:
        """Return the cells of some files (by default HeLo's), and the fault of each damaged file."""
        names = self.files() if names is None else names
        records: list[CellRecord] = []
        faults: dict[str, str] = {}
        for name, found in zip(names, self.each(names, ROW.names), strict=True):
            try:
                if not isinstance(found, pa.Table):
                    raise found
                records += records_of(found)
            except _UNREADABLE as error:
                faults[name] = first_line(error)
        return records, faults

    def cells_of(self, name: str) -> list[tuple[int, int]]:
        """Return the cells (configuration, fold number) in a pack."""
        return cells_in(self._read(name, [Column.CONFIGURATION, Column.FOLD_NUMBER]))

    def set_aside(self, name: str) -> str:
        """Move a file to the folder of unreadable files and return its new place. Files are not deleted."""
        stem, number = PurePosixPath(name).stem, 1
        target = f"{SET_ASIDE}/{name}"
        while self.folder.exists(target):
            number += 1
            target = f"{SET_ASIDE}/{stem}-{number}.parquet"
        self.folder.move(name, target)
        return self.folder.where(target)

    def each(self, names: Sequence[str], columns: Sequence[str], verify: bool = False) -> list[Any]:
        """Return for each file its rows (see `blocks`), or the `FileNotFoundError` or `DamagedError` of reading it.

        Other errors of the storage are raised.
        """
        if len(names) == 1:
            return [self._try(partial(self._read, names[0], columns, verify))]
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(lambda name: self._try(partial(self._read, name, columns, verify)), names))

    def _try(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (FileNotFoundError, DamagedError) as error:
            return error

    def _read(self, name: str, columns: Sequence[str] = tuple(ROW.names), verify: bool = False) -> pa.Table:
        """Return columns of a file, with configuration and fold number."""
        if is_pack(name) and not verify:
            with contextlib.suppress(*_UNREADABLE):  # reading the whole file below tells damage from a failing storage
                return self._parse(self.folder.open(name), name, columns)
        content = fetch(self.folder, name)
        try:
            rows = self._parse(pa.BufferReader(content), name, ROW.names if verify else columns)
        except _UNREADABLE as error:
            raise DamagedError(first_line(error)) from None
        if verify:
            with pq.ParquetFile(pa.BufferReader(content)) as file:
                return _columns(file, columns, fold_number_of(name))
        return rows

    def _parse(self, source: Any, name: str, columns: Sequence[str]) -> pa.Table:
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            self._check(file, name)
            rows = _columns(file, columns, fold_number_of(name))
        if Column.PARAMS in rows.column_names:
            for text in rows[Column.PARAMS].unique().to_pylist():
                if not isinstance(json.loads(text), dict):
                    raise ValueError(f"hyperparameters must be a mapping, got {text}")
        return rows

    def _from_pack(self, name: str, cells: Collection[tuple[int, int]], columns: Sequence[str]) -> pa.Table:
        """Return columns of the given cells in a pack."""
        selected = [cell in cells for cell in self.cells_of(name)]
        groups = sorted({row // GROUP for row, is_selected in enumerate(selected) if is_selected})
        if not groups:
            return ROW.empty_table()
        with pq.ParquetFile(self.folder.open(name), page_checksum_verification=True) as file:
            rows = _columns(file, columns, groups=groups)
        mask = [is_selected for group in groups for is_selected in selected[group * GROUP : (group + 1) * GROUP]]
        return rows.filter(pa.array(mask))

    def _check(self, file: pq.ParquetFile, name: str) -> None:
        """Raise `ValueError` if the content of a file does not match its name and this search."""
        metadata = file.schema_arrow.metadata or {}
        if not is_readable(file.schema_arrow.remove_metadata(), ROW if is_pack(name) else PART):
            raise ValueError("is not a file of a ledger")
        if self.identity and metadata.get(_IDENTITY) != self.identity.encode():
            raise ValueError("belongs to another search")
        if metadata.get(_NAME) != PurePosixPath(name).stem.encode():
            raise ValueError(f"contains another cell ({metadata.get(_NAME, b'unknown').decode()})")
        if file.metadata.num_rows != rows_in(name):
            raise ValueError(f"has {file.metadata.num_rows} rows instead of {rows_in(name)}")


def cells_in(rows: pa.Table) -> list[tuple[int, int]]:
    """Return the cells (configuration, fold number) in some rows."""
    return list(zip(rows[Column.CONFIGURATION].to_pylist(), rows[Column.FOLD_NUMBER].to_pylist(), strict=True))


def _in_blocks(names: Sequence[str]) -> Iterator[list[str]]:
    """Yield each pack alone, then the parts in blocks of `BLOCK`."""
    parts = [name for name in names if not is_pack(name)]
    yield from ([name] for name in names if is_pack(name))
    yield from (parts[start : start + BLOCK] for start in range(0, len(parts), BLOCK))


def _columns(
    file: pq.ParquetFile, columns: Iterable[str], fold_number: int | None = None, groups: Sequence[int] | None = None
) -> pa.Table:
    """Return columns of a file, or of some row groups of it, with configuration and fold number.

    `fold_number` fills the column that parts lack. Columns that parts of earlier versions lack are filled with nulls.
    """
    paths = {}
    for name in (*columns, Column.CONFIGURATION, Column.FOLD_NUMBER):
        column, _, field = name.partition(".")
        paths[f"{column}.list.element.{field}" if field else column] = column
    rows = file.read(columns=list(paths)) if groups is None else file.read_row_groups(groups, columns=list(paths))
    if fold_number is not None and Column.FOLD_NUMBER not in rows.column_names:
        numbers = pa.array([fold_number] * len(rows), pa.int32())
        rows = rows.append_column(ROW.field(Column.FOLD_NUMBER), numbers)
    return _with_all(rows, list(dict.fromkeys(paths.values())))


def _with_all(rows: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return the named columns of `ROW`; columns that `rows` lacks are null."""
    for name in names:
        if name not in rows.column_names:
            rows = rows.append_column(ROW.field(name), pa.nulls(len(rows), ROW.field(name).type))
    return rows.select(names)


def _encoded(rows: pa.Table) -> pa.Table:
    """Dictionary-encode the columns of strings: a million cells have few distinct folds, nodes and configurations."""
    for index, field in enumerate(rows.schema):
        if pa.types.is_string(field.type):
            rows = rows.set_column(index, field.name, rows[index].dictionary_encode())
    return rows


def _unseen(rows: pa.Table, seen: set[int]) -> pa.Table:
    """Return the rows of cells that are not in `seen`, and add these cells to it."""
    keys = (rows[Column.CONFIGURATION].to_numpy().astype(np.int64) << 32) + rows[Column.FOLD_NUMBER].to_numpy()
    new = [key not in seen for key in keys.tolist()]
    seen.update(keys.tolist())
    return rows if all(new) else rows.filter(pa.array(new))
