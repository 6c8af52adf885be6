"""Tests of the windows of members, the division of epochs into steps, and evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.evaluation.folds import Fold, split_data
from helo.evaluation.scaling import Part
from helo.model.network import HeLo
from helo.training.windows import Batches, Windows, forward

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def parts(dataset: Dataset, fold: Fold) -> list[Part]:
    """Return parts of different sizes."""
    data = [split_data(dataset, fold, split, "train") for split in fold.splits]
    return [data[0].train, data[1].train.only(np.arange(7)), data[2].validation]


@pytest.mark.parametrize("is_resident", [True, False])
def test_batches_are_windows_of_each_part(
    parts: list[Part], is_resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_resident:
        monkeypatch.setattr("helo.training.windows.RESIDENT_BYTES", 0)
    windows = Windows(parts, CPU, labelled=True)
    assert (windows.resident is not None) == is_resident
    positions = torch.tensor([[0, 20], [6, 1], [3, 3]])
    features, labels = windows.batch(positions), windows.labels(positions)
    assert features.dtype == labels.dtype == torch.float32
    for member, part in enumerate(parts):
        np.testing.assert_array_equal(features[member].numpy(), part.features[positions[member]])
        np.testing.assert_array_equal(labels[member].numpy(), part.labels[positions[member]].astype(np.float32))


def test_chunks_repeat_the_last_window_of_shorter_parts(parts: list[Part], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helo.training.windows.SCORING_BATCH", 15)
    chunks = list(Windows(parts, CPU).chunks())
    assert {len(chunk[0]) for chunk in chunks[:-1]} == {5}
    features = torch.cat(chunks, dim=1)
    assert features.shape[1] == max(map(len, parts))
    np.testing.assert_array_equal(features[1, :7].numpy(), parts[1].features)
    np.testing.assert_array_equal(features[1, 7:].numpy(), np.broadcast_to(parts[1].features[6], features[1, 7:].shape))


@pytest.mark.parametrize("sizes", [[100, 90, 77], [5], [3, 1], [1000, 999]])
@pytest.mark.parametrize("batch_size", [1, 32, 65536])
def test_an_epoch_uses_each_window_once(sizes: list[int], batch_size: int) -> None:
    batches = Batches.for_sizes(sizes, batch_size)
    assert batches.width <= batch_size
    for size in sizes:
        positions, weights = batches.arrange(torch.randperm(size))
        assert positions.shape == weights.shape == (batches.steps, batches.width)
        assert sorted(positions[weights > 0].tolist()) == list(range(size))
        used = weights.sum(dim=1)
        torch.testing.assert_close(used[used > 0], torch.ones(min(size, batches.steps)))
        counts = (weights > 0).sum(dim=1)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("chunk", [15, 4096])
def test_evaluation_of_unequal_parts_equals_that_of_each_part(
    dataset: Dataset, parts: list[Part], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helo.training.windows.SCORING_BATCH", chunk)
    torch.manual_seed(0)
    labels = torch.from_numpy(np.stack([part.labels.mean(axis=0) for part in parts])).float()
    configuration = Configuration(width=8)
    model = HeLo(dataset.schema, configuration, labels)
    torch.nn.init.normal_(model.classifier.weight)
    answer = forward(model, Windows(parts, CPU))
    assert not model.training
    assert answer.correlation is not None
    assert answer.plan is not None
    for member, part in enumerate(parts):
        alone = HeLo(dataset.schema, configuration, labels[member : member + 1])
        alone.load_state_dict({name: value[member : member + 1] for name, value in model.state_dict().items()})
        expected = forward(alone, Windows([part], CPU))
        assert answer.predicted[member].shape == part.labels.shape
        np.testing.assert_allclose(answer.predicted[member], expected.predicted[0], atol=1e-5)
        np.testing.assert_allclose(answer.correlation[member], np.asarray(expected.correlation)[0], atol=1e-6)
        np.testing.assert_allclose(answer.plan[member], np.asarray(expected.plan)[0], atol=1e-6)


def test_repeated_windows_are_not_counted_as_unconverged(
    dataset: Dataset, parts: list[Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helo.model.sinkhorn.LAST_STEPS", 0)
    monkeypatch.setattr("helo.model.sinkhorn.STAGE_STEPS", 0)
    torch.manual_seed(0)
    labels = torch.full((3, len(dataset.emotions)), 1 / len(dataset.emotions))
    model = HeLo(dataset.schema, Configuration(width=8, ot_entropy=1e-3), labels)
    assert forward(model, Windows(parts, CPU)).unconverged.tolist() == [len(part) for part in parts]


def test_predictions_do_not_depend_on_the_order_of_windows(dataset: Dataset, parts: list[Part]) -> None:
    torch.manual_seed(0)
    labels = torch.full((1, len(dataset.emotions)), 1 / len(dataset.emotions))
    model = HeLo(dataset.schema, Configuration(width=8), labels)
    torch.nn.init.normal_(model.classifier.weight)
    backwards = replace(parts[0], rows=parts[0].rows[::-1])
    predicted = forward(model, Windows([parts[0]], CPU)).predicted[0]
    np.testing.assert_allclose(forward(model, Windows([backwards], CPU)).predicted[0][::-1], predicted, atol=1e-5)
