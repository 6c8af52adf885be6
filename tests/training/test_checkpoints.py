"""Tests of checkpoints: a paused cell ends like an uninterrupted one, and invalid files are ignored."""

from __future__ import annotations

import io
import math
import os
import pickle
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helo._deadline import Deadline
from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.evaluation.folds import Fold, split_data
from helo.settings import TrainingSettings
from helo.storage import LocalFolder
from helo.training.cell import CellResult, CellTraining, train_cell
from helo.training.checkpoints import CheckpointFile

EPOCHS = 4
QUICK = Configuration(width=8, epochs=EPOCHS, learning_rate=1e-2, batch_size=16, dropout=0.3)
CPU = torch.device("cpu")
PAST, FUTURE = Deadline.after(-1), Deadline.after(1e9)
NEVER = 1e9


@pytest.fixture(scope="module")
def cell(dataset: Dataset, fold: Fold) -> CellResult:
    return trained(dataset, fold)


@pytest.fixture(scope="module")
def staged(dataset: Dataset, fold: Fold) -> CellResult:
    """Return a cell that trained its first members before the rest."""
    return trained(dataset, fold, rungs={EPOCHS: math.inf})


def start(dataset: Dataset, fold: Fold, rungs: Mapping[int, float] | None = None) -> CellTraining:
    data = [split_data(dataset, fold, split, "train") for split in fold.splits]
    return CellTraining(dataset.schema, data, QUICK, TrainingSettings(), rungs)


def trained(dataset: Dataset, fold: Fold, **other: Any) -> CellResult:
    result = train_cell(dataset, fold, QUICK, TrainingSettings(), **other)
    assert result is not None
    return result


def assert_same(one: CellResult, other: CellResult) -> None:
    for name in (entry.name for entry in fields(CellResult)):
        first, second = getattr(one, name), getattr(other, name)
        if isinstance(first, np.ndarray):
            assert first.dtype == second.dtype
            assert first.tobytes() == second.tobytes()
        else:
            assert repr(first) == repr(second), name  # Not ==: the first row of a history has NaN.


@pytest.mark.parametrize("epochs", range(EPOCHS))
def test_a_paused_cell_equals_an_uninterrupted_one(
    dataset: Dataset, fold: Fold, cell: CellResult, tmp_path: Path, epochs: int
) -> None:
    before = start(dataset, fold)
    for _ in range(epochs):
        before.run_epoch()
    assert not CheckpointFile(LocalFolder(tmp_path), "cell.pt", interval=0).after_epoch(before)
    before.run_epoch()  # Not in the checkpoint.
    torch.rand(5)
    after = start(dataset, fold)
    state = CheckpointFile(LocalFolder(tmp_path), "cell.pt", interval=0).load(CPU)
    assert state is not None
    after.restore(state)
    assert after.current.epoch == epochs
    while not after.finished:
        after.run_epoch()
    assert_same(after.score(dataset), cell)


@pytest.mark.parametrize("epochs", [EPOCHS - 1, EPOCHS, EPOCHS + 1, 2 * EPOCHS - 1])
def test_a_cell_with_stages_that_paused_equals_an_uninterrupted_one(
    dataset: Dataset, fold: Fold, staged: CellResult, tmp_path: Path, epochs: int
) -> None:
    """The first members take `EPOCHS` epochs, then the rest of them the same number."""
    rungs = {2: math.inf, EPOCHS: math.inf}
    before = start(dataset, fold, rungs)
    for _ in range(epochs):
        before.run_epoch()
    CheckpointFile(LocalFolder(tmp_path), "cell.pt", interval=0).after_epoch(before)
    if not before.finished:
        before.run_epoch()  # Not in the checkpoint.
    after = start(dataset, fold, rungs)
    state = CheckpointFile(LocalFolder(tmp_path), "cell.pt", interval=0).load(CPU)
    assert state is not None
    after.restore(state)
    assert after.current.epoch == (epochs - 1) % EPOCHS + 1
    assert after.current.members == (after.first if epochs <= EPOCHS else len(fold.splits) - after.first)
    assert not after.finished
    while not after.finished:
        after.run_epoch()
    assert_same(after.score(dataset), staged)


@pytest.mark.parametrize(("rungs", "pauses"), [(None, EPOCHS - 1), ({EPOCHS: math.inf}, 2 * EPOCHS - 1)])
def test_a_cell_that_pauses_after_every_epoch_equals_an_uninterrupted_one(
    dataset: Dataset, fold: Fold, tmp_path: Path, rungs: dict[int, float] | None, pauses: int
) -> None:
    expected = trained(dataset, fold, rungs=rungs)
    results: list[CellResult | None] = []
    while not results or results[-1] is None:
        checkpointer = CheckpointFile(LocalFolder(tmp_path), "cell.pt", NEVER, deadline=PAST)
        results.append(train_cell(dataset, fold, QUICK, TrainingSettings(), rungs, checkpointer))
    assert len(results) == pauses + 1
    assert_same(results[-1], expected)


@pytest.mark.parametrize("every", [0, NEVER])
def test_saving_checkpoints_does_not_change_the_result(
    dataset: Dataset, fold: Fold, cell: CellResult, tmp_path: Path, every: float
) -> None:
    checkpointer = CheckpointFile(LocalFolder(tmp_path), "cell.pt", every, deadline=FUTURE)
    assert_same(trained(dataset, fold, checkpointer=checkpointer), cell)
    assert [path.name for path in tmp_path.iterdir()] == (["cell.pt"] if every == 0 else [])
    if every == 0:
        state = checkpointer.load(CPU)
        assert state is not None
        assert state["current"]["epoch"] == EPOCHS - 1  # A finished cell needs no checkpoint.


def test_rungs_hold_after_a_pause(dataset: Dataset, fold: Fold, cell: CellResult, tmp_path: Path) -> None:
    rungs = {1: math.inf, 2: -1.0}
    expected = trained(dataset, fold, rungs=rungs)
    assert expected.stopped
    assert len(expected.history) == 3
    checkpointer = CheckpointFile(LocalFolder(tmp_path), "cell.pt", NEVER, deadline=PAST)
    assert train_cell(dataset, fold, QUICK, TrainingSettings(), rungs=rungs, checkpointer=checkpointer) is None
    assert_same(trained(dataset, fold, rungs=rungs, checkpointer=checkpointer), expected)


def test_checkpoints_are_saved_at_intervals_of_time(dataset: Dataset, fold: Fold, tmp_path: Path) -> None:
    training = start(dataset, fold)
    path = tmp_path / "cell.pt"
    assert CheckpointFile(LocalFolder(tmp_path), "cell.pt", NEVER).after_epoch(training) is False
    assert CheckpointFile(LocalFolder(tmp_path), "cell.pt", NEVER, FUTURE).after_epoch(training) is False
    assert not path.exists()
    assert CheckpointFile(LocalFolder(tmp_path), "cell.pt", NEVER, PAST).after_epoch(training) is True
    assert path.exists()
    path.unlink()
    assert CheckpointFile(LocalFolder(tmp_path), "cell.pt", NEVER, Deadline.after(0)).after_epoch(training) is True
    assert CheckpointFile(LocalFolder(tmp_path), "cell.pt", 0, FUTURE).after_epoch(training) is False
    assert path.exists()


def test_a_checkpoint_is_replaced_only_when_one_is_due(dataset: Dataset, fold: Fold, tmp_path: Path) -> None:
    training = start(dataset, fold)
    checkpointer = CheckpointFile(LocalFolder(tmp_path), "cell.pt", interval=3600)
    checkpointer._last_saved -= 3601  # an hour ago
    assert checkpointer.after_epoch(training) is False
    (tmp_path / "cell.pt").unlink()
    assert checkpointer.after_epoch(training) is False
    assert list(tmp_path.iterdir()) == []


def test_loading_without_a_checkpoint_gives_none(tmp_path: Path) -> None:
    assert CheckpointFile(LocalFolder(tmp_path), "cell.pt", 0).load(CPU) is None
    (tmp_path / ".cell.pt").write_bytes(b"half a file, from a process that was killed")
    assert CheckpointFile(LocalFolder(tmp_path), "cell.pt", 0).load(CPU) is None


def test_a_damaged_file_is_ignored(dataset: Dataset, fold: Fold, cell: CellResult, tmp_path: Path) -> None:
    path = tmp_path / "cell.pt"
    training = start(dataset, fold)
    training.run_epoch()
    CheckpointFile(LocalFolder(tmp_path), "cell.pt", 0).after_epoch(training)
    whole = path.read_bytes()
    damages = [b"", b"no state", os.urandom(5000), bytes(len(whole)), whole[1000:], whole[: len(whole) // 2] * 2]
    damages += [whole[:length] for length in range(1, len(whole), len(whole) // 20)] + [whole[:-1]]
    for damage in damages:
        path.write_bytes(damage)
        assert CheckpointFile(LocalFolder(tmp_path), "cell.pt", 0).load(CPU) is None
    assert_same(trained(dataset, fold, checkpointer=CheckpointFile(LocalFolder(tmp_path), "cell.pt", 0)), cell)
    assert CheckpointFile(LocalFolder(tmp_path), "cell.pt", 0).load(CPU) is not None  # A valid file has replaced it.


class Harm:
    """Object whose unpickling runs code."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    mark = tmp_path / "harm"
    zipped = io.BytesIO()
    torch.save({"weights": Harm(mark)}, zipped)
    legacy = io.BytesIO()
    torch.save({"weights": Harm(mark)}, legacy, _use_new_zipfile_serialization=False)
    for content in (pickle.dumps({"weights": Harm(mark)}, protocol=2), zipped.getvalue(), legacy.getvalue()):
        (tmp_path / "cell.pt").write_bytes(content)
        assert CheckpointFile(LocalFolder(tmp_path), "cell.pt", 0).load(CPU) is None
        assert not mark.exists()
    pickle.loads(pickle.dumps(Harm(mark)))  # noqa: S301 - proves that unpickling would run the code
    assert mark.is_dir()


def test_a_folder_that_is_not_writable_does_not_fail_the_cell(
    dataset: Dataset, fold: Fold, cell: CellResult, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    nowhere = LocalFolder(tmp_path / "file")
    checkpointer = CheckpointFile(nowhere, "cell.pt", 0)
    assert checkpointer.load(CPU) is None
    assert_same(trained(dataset, fold, checkpointer=checkpointer), cell)
    late = CheckpointFile(nowhere, "cell.pt", 0, deadline=PAST)
    assert late.after_epoch(start(dataset, fold)) is True
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_cell_pauses_when_its_node_drains(dataset: Dataset, fold: Fold, cell: CellResult, tmp_path: Path) -> None:
    answers = iter([False, True])
    checkpointer = CheckpointFile(LocalFolder(tmp_path), "cell.pt", NEVER, is_draining=lambda: next(answers))
    assert train_cell(dataset, fold, QUICK, TrainingSettings(), checkpointer=checkpointer) is None
    state = CheckpointFile(LocalFolder(tmp_path), "cell.pt", NEVER).load(CPU)
    assert state is not None
    assert state["current"]["epoch"] == 2
    elsewhere = CheckpointFile(LocalFolder(tmp_path), "cell.pt", NEVER)
    assert_same(trained(dataset, fold, checkpointer=elsewhere), cell)


def test_a_checkpointer_records_whether_its_file_may_exist(dataset: Dataset, fold: Fold, tmp_path: Path) -> None:
    checkpointer = CheckpointFile(LocalFolder(tmp_path), "cell.pt", NEVER)
    trained(dataset, fold, checkpointer=checkpointer)
    assert not checkpointer.may_exist
    CheckpointFile(LocalFolder(tmp_path), "cell.pt", 0).after_epoch(start(dataset, fold))
    checkpointer.load(CPU)
    assert checkpointer.may_exist
    writer = CheckpointFile(LocalFolder(tmp_path), "cell.pt", 0)
    writer.after_epoch(start(dataset, fold))
    assert writer.may_exist


def test_a_checkpoint_has_plain_values_and_tensors_only(dataset: Dataset, fold: Fold) -> None:
    """Checkpoints with other objects could be written, but not read."""
    training = start(dataset, fold, {EPOCHS: math.inf})
    for _ in range(EPOCHS + 1):
        training.run_epoch()
    assert training.state()["stages"]

    def look(value: Any) -> None:
        if isinstance(value, Mapping):
            for key, entry in value.items():
                assert type(key) in (str, int)
                look(entry)
        elif isinstance(value, list | tuple):
            for entry in value:
                look(entry)
        else:
            assert type(value) in (int, float, bool, str, type(None), torch.Tensor)

    look(training.state())
