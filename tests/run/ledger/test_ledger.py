"""The ledger: what is written is read back, whole or not at all."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helo.metrics import METRICS
from helo.run.ledger import HISTORY_COLUMNS, SET_ASIDE, CellRecord, Ledger, part_name
from helo.run.ledger.record import OPTIONAL

SCORES = {name: 0.1 * number for number, name in enumerate(METRICS)}


def record(configuration: int = 0, fold: str = "S2", **other: object) -> CellRecord:
    plain = {
        "params": {"width": 16, "dropout": 0.25},
        "status": "completed",
        "epochs": 1,
        "seconds": 1.5,
        "node": "here",
        "started": datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        "finished": datetime(2026, 1, 2, 3, 4, 7, tzinfo=UTC),
    }
    return CellRecord(configuration, fold, **plain | other)  # type: ignore[arg-type]


def test_round_trip(tmp_path: Path) -> None:
    history = tuple({"epoch": epoch, **dict.fromkeys(HISTORY_COLUMNS, 0.5 + epoch)} for epoch in (0, 1))
    predictions = np.random.default_rng(0).dirichlet(np.ones(3), size=4).astype(np.float32)
    whole = record(
        best_epoch=1,
        val=SCORES,
        test=SCORES,
        test_by_group={name: 2 * value for name, value in SCORES.items()},
        history=history,
        windows=np.arange(4, dtype=np.int64),
        predictions=predictions,
        correlation=np.array([[1, -0.25], [-0.25, 1]], dtype=np.float32),
        plan=np.array([[0.5, 0.25, 0.25]], dtype=np.float32),
    )
    ledger = Ledger(tmp_path)
    assert ledger.append(whole, 0) == "c00000-f0000.parquet"
    (back,) = ledger.read()
    for name in CellRecord.__dataclass_fields__:
        if name not in ("windows", "predictions", "correlation", "plan"):
            assert getattr(back, name) == getattr(whole, name), name
    assert isinstance(back.params["width"], int)
    np.testing.assert_array_equal(back.windows, whole.windows)
    for name in ("predictions", "correlation", "plan"):
        np.testing.assert_array_equal(getattr(back, name), getattr(whole, name), strict=True)


@pytest.mark.parametrize("missing", [("correlation", "plan", "test_by_group"), ("test_by_group",), tuple(OPTIONAL)])
def test_columns_that_parts_of_earlier_versions_lack_are_none(tmp_path: Path, missing: tuple[str, ...]) -> None:
    ledger = Ledger(tmp_path, "mine")
    later: dict[str, Any] = {
        "correlation": np.eye(2, dtype=np.float32),
        "plan": np.ones((1, 1), dtype=np.float32),
        "test_by_group": SCORES,
    }
    for number in range(2):
        path = tmp_path / ledger.append(record(number, **later), 0)
    rewritten(path, pq.read_table(path).drop(list(missing)))
    (new, old), faults = ledger.inspect()
    assert faults == {}
    assert [name for name in later if getattr(old, name) is None] == [name for name in later if name in missing]
    assert new.plan is not None
    assert new.test_by_group == SCORES
    rows = ledger.rows(["test", "test_by_group"])
    assert rows["test_by_group"].to_pylist() == [SCORES, None]  # the columns of packs and tables


def test_a_failed_cell_needs_no_scores(tmp_path: Path) -> None:
    Ledger(tmp_path).append(record(status="failed", reason="the loss is nan"), 3)
    (back,) = Ledger(tmp_path).read()
    assert (back.status, back.reason, back.val, back.test, back.history) == (
        *("failed", "the loss is nan", None, None, ()),
    )
    assert back.windows is None
    assert back.predictions is None


def test_the_first_epoch_has_no_loss(tmp_path: Path) -> None:
    history = ({"epoch": 0, **dict.fromkeys(HISTORY_COLUMNS, float("nan"))},)
    Ledger(tmp_path).append(record(history=history), 0)
    assert np.isnan(Ledger(tmp_path).read()[0].history[0]["train_loss"])


def test_order_is_configuration_then_fold(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for configuration, number in ((11, 0), (2, 10), (2, 9), (0, 3)):
        ledger.append(record(configuration, f"S{number}"), number)
    assert [(cell.configuration, cell.fold) for cell in ledger.read()] == [
        (0, "S3"),
        (2, "S9"),
        (2, "S10"),
        (11, "S0"),
    ]


def test_unfinished_files_of_a_killed_writer_are_not_read(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    (tmp_path / ".c00000-f0000.parquet").write_bytes(b"PAR1 half a file")
    assert ledger.files() == []
    assert ledger.read() == []
    ledger.append(record(), 0)
    assert len(ledger.read()) == 1
    assert ledger.files() == ["c00000-f0000.parquet"]


def test_a_cell_written_twice_is_read_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(record(seconds=1.0), 0)
    ledger.append(record(seconds=2.0), 0)
    assert [cell.seconds for cell in ledger.read()] == [2.0]


def test_an_unwritable_record_adds_no_part(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="int"):
        Ledger(tmp_path).append(record(epochs="many"), 0)
    assert Ledger(tmp_path).files() == []


def test_a_full_disk_leaves_no_incomplete_part(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(record(), 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            ledger.append(record(1), 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["c00000-f0000.parquet"]


def test_part_names_sort_by_configuration_and_fold() -> None:
    assert part_name(3, 12) == "c00003-f0012"
    keys = [(configuration, fold) for configuration in (0, 9, 10, 99999) for fold in (0, 9, 10, 9999)]
    names = [part_name(*key) for key in keys]
    assert names == sorted(set(names))


def rewritten(path: Path, table: pa.Table, identity: bytes = b"mine") -> None:
    pq.write_table(table.replace_schema_metadata({b"helo.search": identity, b"helo.cell": path.stem.encode()}), path)


def with_params(path: Path, params: str | None) -> None:
    position = pq.read_schema(path).get_field_index("params")
    rewritten(path, pq.read_table(path).set_column(position, "params", pa.array([params], pa.string())))


def flip(path: Path) -> None:
    """Change a bit of the values in the first page of a column."""
    column = pq.read_metadata(path).row_group(0).column(0)
    content = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)


def become_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES = {
    "empty": (lambda path: path.write_bytes(b""), "Parquet file size is 0 bytes"),
    "text": (lambda path: path.write_text("no Parquet at all"), "magic bytes not found"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-1000]), "magic bytes not found"),
    "head only": (lambda path: path.write_bytes(path.read_bytes()[:100]), "magic bytes not found"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "directory"),
    "a circle of links": (lambda path: (path.unlink(), path.symlink_to(path)), "Too many levels of symbolic links"),
    "a FIFO": (lambda path: become_fifo(path), "is not a regular file"),
    "a device": (lambda path: (path.unlink(), path.symlink_to("/dev/zero")), "is not a regular file"),
    "foreign": (lambda path: Ledger(path.parent, "other").append(record(1), 0), "belongs to another search"),
    "nameless": (lambda path: Ledger(path.parent).append(record(1), 0), "belongs to another search"),
    "other columns": (lambda path: rewritten(path, pa.table({"configuration": [1]})), "is not a file of a ledger"),
    "a column less": (lambda path: rewritten(path, pq.read_table(path).drop(["test"])), "is not a file of a ledger"),
    "a column more": (
        lambda path: rewritten(path, (table := pq.read_table(path)).append_column("more", table["plan"])),
        "is not a file of a ledger",
    ),
    "other types": (
        lambda path: rewritten(
            path,
            (table := pq.read_table(path)).set_column(0, "configuration", table["configuration"].cast(pa.int64())),
        ),
        "is not a file of a ledger",
    ),
    "no row": (lambda path: rewritten(path, pq.read_table(path)[:0]), "has 0 rows instead of 1"),
    "two rows": (
        lambda path: rewritten(path, pa.concat_tables([pq.read_table(path)] * 2)),
        "has 2 rows instead of 1",
    ),
    "another name": (
        lambda path: (path.parent / Ledger(path.parent, "mine").append(record(7), 0)).replace(path),
        "contains another cell (c00007-f0000)",
    ),
    "another fold": (
        lambda path: (path.parent / Ledger(path.parent, "mine").append(record(1), 7)).replace(path),
        "contains another cell (c00001-f0007)",
    ),
    "a page": (lambda path: flip(path), "CRC checksum verification failed"),
    "no JSON": (lambda path: with_params(path, "{half"), "Expecting property name"),
    "no params": (lambda path: with_params(path, None), "JSON object must be str"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_invalid_parts_are_reported_and_skipped(tmp_path: Path, damage: str) -> None:
    ledger = Ledger(tmp_path, "mine")
    for number in range(3):
        path = tmp_path / ledger.append(record(number), 0)
    bad = path.with_name("c00001-f0000.parquet")
    harm, fault = DAMAGES[damage]
    harm(bad)
    records, faults = ledger.inspect()
    assert [cell.configuration for cell in records] == [0, 2]
    assert list(faults) == [bad.name]
    assert fault in faults[bad.name]
    assert "\n" not in faults[bad.name]
    assert [cell.configuration for cell in ledger.read()] == [0, 2]
    assert len(ledger.files()) == 3


@pytest.mark.parametrize("damage", ["a folder", "a circle of links", "a FIFO", "a device"])
def test_what_is_no_file_can_be_set_aside(tmp_path: Path, damage: str) -> None:
    """Otherwise it would stop every resumption of the search."""
    ledger = Ledger(tmp_path, "mine")
    path = tmp_path / ledger.append(record(), 0)
    DAMAGES[damage][0](path)
    faults: dict[str, str] = {}
    assert list(ledger.blocks(["status"], faults=faults, verify=True)) == []
    for name in faults:
        ledger.set_aside(name)
    assert ledger.files() == []
    ledger.append(record(), 0)
    assert ledger.inspect() == ([record()], {})


def test_a_file_without_permission_is_named_with_a_way_out(tmp_path: Path) -> None:
    """It is not taken for damage: the user may lack the rights for all files, which are good."""
    ledger = Ledger(tmp_path, "mine")
    path = tmp_path / ledger.append(record(), 0)
    code = (
        "import os, sys; from helo.run.ledger import Ledger; ledger = Ledger(sys.argv[1], 'mine'); "
        "os.getuid() or os.seteuid(65534)\n"
        "try: ledger.read()\nexcept PermissionError as error: print(error.filename, error.strerror)"
    )
    for folder in (tmp_path, *tmp_path.parents[:-2]):  # pytest's are closed to others
        if folder.stat().st_uid == os.getuid():
            folder.chmod(0o755)
    path.chmod(0)
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{path} Permission denied; make the file readable, or move it out of the ledger")


def test_every_truncation_of_a_part_is_detected(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "mine")
    path = tmp_path / ledger.append(record(), 0)
    whole = path.read_bytes()
    for length in {*range(0, len(whole), 97), *range(len(whole) - 12, len(whole))}:
        path.write_bytes(whole[:length])
        records, faults = ledger.inspect()
        assert records == []
        assert list(faults) == [path.name]
    path.write_bytes(whole)
    assert ledger.inspect() == ([record()], {})


def test_a_ledger_without_an_identity_reads_all_files(tmp_path: Path) -> None:
    Ledger(tmp_path, "mine").append(record(0), 0)
    Ledger(tmp_path, "other").append(record(1), 0)
    Ledger(tmp_path).append(record(2), 0)
    assert [cell.configuration for cell in Ledger(tmp_path).read()] == [0, 1, 2]
    assert [cell.configuration for cell in Ledger(tmp_path, "other").read()] == [1]


def test_setting_a_file_aside_never_overwrites_another(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    moved = []
    for number in range(3):
        path = tmp_path / ledger.append(record(), 0)
        path.write_text(f"damaged {number}")
        moved.append(Path(ledger.set_aside(path.name)))
        assert not path.exists()
        assert ledger.files() == []
    assert [path.parent for path in moved] == [tmp_path / SET_ASIDE] * 3
    assert [path.name for path in moved] == [
        *("c00000-f0000.parquet", "c00000-f0000-2.parquet", "c00000-f0000-3.parquet")
    ]
    assert [path.read_text() for path in moved] == ["damaged 0", "damaged 1", "damaged 2"]
    ledger.append(record(), 0)
    assert ledger.inspect() == ([record()], {})


def test_baselines_have_separate_parts(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "search")
    ledger.append(record(4, "S2"), 0)
    for method in ("mlp", "knn"):
        assert ledger.append(record(2, "S3", method=method, epochs=0), 1) == f"b-{method}-f0001.parquet"
    assert [cell.configuration for cell in ledger.read()] == [4]
    assert [(cell.method, cell.configuration) for cell in ledger.read_baselines()] == [("knn", 2), ("mlp", 2)]
    assert len(ledger.files()) == 1
    assert len(ledger.baseline_parts()) == 2


def test_a_part_of_an_unknown_method_is_ignored(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(record(0, "S2", method="magic"), 0)
    assert ledger.read_baselines() == []
    _, faults = ledger.inspect(ledger.baseline_parts())
    assert list(faults.values()) == ["is of an unknown method (magic)"]
