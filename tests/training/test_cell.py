"""Tests of a cell: reproducibility, scores, rungs, and no leakage from the test subject."""

from __future__ import annotations

import copy
import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from helo.configuration import Configuration
from helo.data.dataset import Dataset
from helo.data.simulated import simulate
from helo.errors import DivergedError
from helo.evaluation.baselines import baselines_table
from helo.evaluation.folds import Fold, SplitData, cell_seed, held_out_part, loso_folds, split_data
from helo.metrics import METRICS, mean_scores, window_scores
from helo.names import Column, Estimate, Normalisation, Prefix, enum_values
from helo.run.ledger import HISTORY_COLUMNS
from helo.settings import TrainingSettings
from helo.training.cell import CellResult, CellTraining, first_members, train_cell
from helo.training.members import untrained_scores
from helo.training.windows import Windows

CPU = torch.device("cpu")
QUICK = Configuration(width=8, epochs=3, learning_rate=1e-2, batch_size=16)


@pytest.fixture(scope="module")
def cell(dataset: Dataset, fold: Fold) -> CellResult:
    return trained(dataset, fold, QUICK)


def data_of(dataset: Dataset, fold: Fold, normalise: str = Normalisation.TRAIN) -> list[SplitData]:
    return [split_data(dataset, fold, split, normalise) for split in fold.splits]


def start(dataset: Dataset, fold: Fold, configuration: Configuration = QUICK, seed: int = 0) -> CellTraining:
    return CellTraining(dataset.schema, data_of(dataset, fold), configuration, TrainingSettings(seed=seed))


def assert_same(one: CellResult, other: CellResult) -> None:
    np.testing.assert_array_equal(one.predictions, other.predictions)
    np.testing.assert_array_equal(np.asarray(one.out_of_fold), np.asarray(other.out_of_fold))
    assert repr(one.history) == repr(other.history)  # Not ==: the first row has NaN.
    assert (one.val, one.test, one.best_epoch) == (other.val, other.test, other.best_epoch)


def finished(dataset: Dataset, fold: Fold, configuration: Configuration) -> tuple[CellTraining, CellResult]:
    """Return a finished training and its result."""
    training = start(dataset, fold, configuration)
    while not training.finished:
        training.run_epoch()
    return training, training.score(dataset)


def with_features(dataset: Dataset, subject: str, factor: float) -> Dataset:
    features: NDArray[np.float32] = dataset.features.copy()
    features[dataset.rows((subject,))] *= np.linspace(1, factor, features.shape[1], dtype=np.float32)
    return replace(dataset, features=features)


def test_the_same_cell_is_the_same_to_the_bit(dataset: Dataset, fold: Fold, cell: CellResult) -> None:
    torch.rand(7)
    np.random.default_rng().normal()
    assert_same(cell, trained(dataset, fold, QUICK))


def test_concurrent_cells_do_not_affect_each_other(dataset: Dataset, fold: Fold, cell: CellResult) -> None:
    training, other = start(dataset, fold), start(dataset, fold, replace(QUICK, dropout=0.6, epochs=9), seed=5)
    while not training.finished:
        other.run_epoch()
        torch.rand(3)
        training.run_epoch()
    assert_same(cell, training.score(dataset))


def test_a_cell_leaves_the_random_stream_of_the_process_alone(dataset: Dataset, fold: Fold) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    start(dataset, fold).run_epoch()
    assert torch.equal(torch.rand(4), expected)


def test_a_cell_depends_on_its_seed(dataset: Dataset, fold: Fold, cell: CellResult) -> None:
    other = train_cell(dataset, fold, QUICK, TrainingSettings(seed=1))
    assert repr(other.history) != repr(cell.history)


def test_cell_seeds_differ_by_seed_and_fold() -> None:
    seeds = {cell_seed(seed, fold) for seed in range(5) for fold in ("S2", "S3", "S12")}
    assert len(seeds) == 15
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_beats_the_mean_label_on_new_subjects() -> None:
    dataset = simulate(subjects=6, clips=5, windows=5)
    folds = loso_folds(dataset.subject_names, seed=0)[::2]
    configuration = Configuration(width=8, epochs=6, learning_rate=1e-2, batch_size=32, dropout=0.1)
    cells = [train_cell(dataset, fold, configuration, TrainingSettings(normalise="subject")) for fold in folds]
    baselines = baselines_table(dataset, folds)
    means = baselines[baselines["method"] == Estimate.TRAIN_MEAN].mean(numeric_only=True)
    for metric in METRICS:
        score = np.mean([cell.test[metric] for cell in cells])
        assert METRICS[metric].loss(float(score)) < METRICS[metric].loss(means["test_" + metric]), metric


def test_scores_by_group_are_those_of_averaged_windows(dataset: Dataset, fold: Fold, cell: CellResult) -> None:
    assert dataset.groups is not None
    labels = pd.DataFrame(dataset.labels[cell.windows]).groupby(dataset.groups[cell.windows]).mean()
    predicted = pd.DataFrame(cell.predictions).groupby(dataset.groups[cell.windows]).mean()
    expected = {name: values.mean() for name, values in window_scores(labels, predicted).items()}
    assert cell.test_by_group == pytest.approx(expected, abs=1e-6)
    assert cell.test_by_group != pytest.approx(cell.test, abs=1e-6)


@pytest.mark.parametrize("of_one_window", [True, False])
def test_without_groups_to_average_a_cell_has_no_scores_by_group(
    dataset: Dataset, fold: Fold, cell: CellResult, of_one_window: bool
) -> None:
    groups = np.arange(len(dataset)).astype(str) if of_one_window else None
    other = trained(replace(dataset, groups=groups), fold, QUICK)
    assert other.test_by_group is None
    assert_same(other, cell)


def test_history_has_a_row_per_epoch(cell: CellResult, fold: Fold) -> None:
    assert [row[Column.EPOCH] for row in cell.history] == list(range(QUICK.epochs + 1))
    assert all(set(row) == {Column.EPOCH, *HISTORY_COLUMNS} for row in cell.history)
    assert all(math.isfinite(value) for row in cell.history[1:] for value in row.values())
    assert cell.epochs == len(fold.splits) * QUICK.epochs
    assert cell.best_epoch == QUICK.epochs


def test_epoch_0_is_the_mean_label_of_each_member(dataset: Dataset, fold: Fold) -> None:
    cell = trained(dataset, fold, replace(QUICK, linear_share=0.0))
    labels, predicted, subjects = [], [], []
    for split in fold.splits:
        rows = dataset.rows(split.validation)
        mean = dataset.labels[dataset.rows(split.train)].mean(axis=0)
        labels.append(dataset.labels[rows])
        subjects.append(dataset.subjects[rows])
        predicted.append(np.broadcast_to(mean, (len(rows), len(mean))))
    expected = mean_scores(*map(np.concatenate, (labels, predicted, subjects)))
    assert {name: cell.history[0][Prefix.VAL + name] for name in METRICS} == pytest.approx(expected, abs=1e-5)


def test_validation_scores_are_those_of_out_of_fold_predictions(dataset: Dataset, fold: Fold, cell: CellResult) -> None:
    """Every subject but the test subject counts once, with all its windows."""
    rows = cell.other_windows
    assert rows is not None
    assert cell.out_of_fold is not None
    np.testing.assert_array_equal(np.sort(rows), np.sort(dataset.rows(fold.others)))
    scores = mean_scores(dataset.labels[rows], cell.out_of_fold, dataset.subjects[rows])
    assert cell.val == pytest.approx(scores, abs=1e-5)
    assert cell.val == {name: cell.history[-1][Prefix.VAL + name] for name in METRICS}


def test_a_member_predicts_subjects_that_it_has_not_seen(dataset: Dataset, fold: Fold) -> None:
    """Labels of a subject change out-of-fold predictions of the others only."""
    subject = fold.splits[0].validation[0]
    labels = dataset.labels.copy()
    labels[dataset.rows((subject,))] = np.eye(len(dataset.emotions))[0]
    before, after = trained(dataset, fold, QUICK), trained(replace(dataset, labels=labels), fold, QUICK)
    assert before.other_windows is not None
    moved = np.abs(np.asarray(before.out_of_fold) - np.asarray(after.out_of_fold)).max(axis=1) > 0
    validated = np.isin(dataset.subjects[before.other_windows], fold.splits[0].validation)
    assert not moved[validated].any()
    assert moved[~validated].any()


def test_predictions_are_the_mean_over_members(dataset: Dataset, fold: Fold) -> None:
    training, cell = finished(dataset, fold, QUICK)
    tests = Windows([held_out_part(dataset, one) for one in training.data], CPU)
    members = training.current.answer(tests).predicted
    assert len(members) == len(fold.splits)
    np.testing.assert_allclose(cell.predictions, np.mean(members, axis=0), atol=1e-6)


def test_the_averaged_weights_of_the_last_epoch_are_used(dataset: Dataset, fold: Fold) -> None:
    training, cell = finished(dataset, fold, QUICK)
    np.testing.assert_allclose(np.asarray(cell.out_of_fold), np.concatenate(training.current.out_of_fold()), atol=1e-6)


@pytest.mark.parametrize("rungs", [None, {1: math.inf}])
def test_a_cell_may_have_one_member(dataset: Dataset, rungs: dict[int, float] | None) -> None:
    fold = loso_folds(dataset.subject_names, seed=0, inner_folds=1)[0]
    cell = trained(dataset, fold, QUICK, rungs=rungs)
    assert not cell.stopped
    assert cell.epochs == QUICK.epochs
    assert cell.other_windows is not None
    np.testing.assert_array_equal(cell.other_windows, dataset.rows(fold.validation))
    assert list(cell.first_losses) == [row["val_kl"] for row in cell.history]


def test_training_lowers_the_loss(dataset: Dataset, fold: Fold) -> None:
    cell = trained(dataset, fold, replace(QUICK, epochs=8, dropout=0.0))
    for name in ("train_loss", "alignment_loss"):
        assert cell.history[-1][name] < cell.history[1][name]


def test_test_scores_belong_to_the_predictions(dataset: Dataset, fold: Fold, cell: CellResult) -> None:
    np.testing.assert_array_equal(cell.windows, dataset.rows((fold.test,)))
    np.testing.assert_allclose(cell.predictions.sum(axis=1), 1, atol=1e-5)
    scores = mean_scores(dataset.labels[cell.windows], cell.predictions, dataset.subjects[cell.windows])
    assert cell.test == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize("normalise", enum_values(Normalisation))
def test_training_does_not_depend_on_the_test_subject(dataset: Dataset, fold: Fold, normalise: str) -> None:
    labels = dataset.labels.copy()
    labels[dataset.rows((fold.test,))] = np.eye(len(dataset.emotions))[0]
    generator = np.random.default_rng(0)
    features = dataset.features.copy()
    test_rows = dataset.rows((fold.test,))
    features[test_rows] = 50 * generator.normal(size=features[test_rows].shape)
    poisoned = replace(dataset, features=features, labels=labels)
    before = train_cell(dataset, fold, QUICK, TrainingSettings(normalise=normalise))
    after = train_cell(poisoned, fold, QUICK, TrainingSettings(normalise=normalise))
    assert before is not None
    assert after is not None
    assert repr(after.history) == repr(before.history)
    assert after.first_losses == before.first_losses
    assert (after.val, after.best_epoch) == (before.val, before.best_epoch)
    assert np.asarray(after.out_of_fold).tobytes() == np.asarray(before.out_of_fold).tobytes()
    np.testing.assert_array_equal(np.asarray(after.correlation), np.asarray(before.correlation))
    assert after.test != before.test


def test_windows_above_the_memory_limit_are_scaled_batch_by_batch(
    dataset: Dataset, fold: Fold, cell: CellResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helo.training.windows.RESIDENT_BYTES", 0)
    assert start(dataset, fold).current.windows.resident is None
    assert_same(trained(dataset, fold, QUICK), cell)


def test_a_broken_signal_of_a_validation_subject_is_divergence(dataset: Dataset, fold: Fold) -> None:
    """Features whose squares overflow float32 give predictions that are not finite."""
    broken = with_features(dataset, fold.validation[0], 1e30)
    with pytest.raises(DivergedError, match="predictions are not finite after epoch 0"):
        train_cell(broken, fold, QUICK, TrainingSettings())


def test_weights_that_are_not_finite_are_divergence(dataset: Dataset, fold: Fold) -> None:
    training = start(dataset, fold)
    with torch.no_grad():
        training.current.model.labels[1, 0] = torch.nan  # Of one member.
    with pytest.raises(DivergedError, match="the training loss is nan in epoch 1"):
        training.run_epoch()


def test_training_with_a_large_learning_rate_stays_finite(dataset: Dataset, fold: Fold) -> None:
    """Gradients are clipped, so training with the largest learning rate of a search space stays finite."""
    cell = train_cell(dataset, fold, replace(QUICK, learning_rate=1.0), TrainingSettings())
    assert np.isfinite(cell.predictions).all()
    assert all(math.isfinite(value) for value in cell.test.values())


def test_a_broken_window_in_training_does_not_end_the_cell(dataset: Dataset, fold: Fold) -> None:
    features = dataset.features.copy()
    features[dataset.rows(fold.splits[0].train)[0]] *= 1e6
    cell = train_cell(replace(dataset, features=features), fold, QUICK, TrainingSettings())
    assert all(math.isfinite(value) for value in cell.val.values())


# --- what a cell learnt -----------------------------------------------------------------------


def test_a_cell_keeps_the_mean_correlation_and_plan_of_its_members(dataset: Dataset, fold: Fold) -> None:
    training, cell = finished(dataset, fold, QUICK)
    model = training.current.averaged
    tests = torch.stack([torch.from_numpy(held_out_part(dataset, one).features) for one in training.data])
    with torch.no_grad():
        output = model(tests)
    assert cell.correlation is not None
    assert cell.plan is not None
    np.testing.assert_allclose(cell.correlation, model.correlation().mean(dim=0).numpy(), atol=1e-6)
    np.testing.assert_allclose(np.diag(cell.correlation), 1, atol=1e-6)
    assert output.transport is not None
    np.testing.assert_allclose(cell.plan, output.transport.plan.mean(dim=0).numpy(), atol=1e-6)
    assert len({*np.asarray(cell.plan).ravel().tolist()}) > 1  # Otherwise any mean would pass.


def test_the_mean_plan_has_the_marginals_of_the_tokens(dataset: Dataset, fold: Fold) -> None:
    cell = trained(dataset, fold, QUICK)
    rows, columns = dataset.schema.main.tokens, sum(one.tokens for one in dataset.schema.behavioural)
    assert cell.plan is not None
    assert cell.plan.shape == (rows, columns)
    np.testing.assert_allclose(cell.plan.sum(axis=1), 1 / rows, atol=2e-3)
    np.testing.assert_allclose(cell.plan.sum(axis=0), 1 / columns, atol=2e-3)


def test_a_token_that_is_always_absent_has_no_mass_in_the_mean_plan(dataset: Dataset, fold: Fold) -> None:
    features = dataset.features.copy()
    token = dataset.schema.slices[dataset.schema.main.name].start
    width = dataset.schema.main.token_features
    features[dataset.rows((fold.test,)), token : token + width] = np.nan
    cell = trained(replace(dataset, features=features), fold, QUICK)
    assert cell.plan is not None
    np.testing.assert_array_equal(cell.plan[0], 0)
    np.testing.assert_allclose(cell.plan[1:].sum(axis=1), 1 / (len(cell.plan) - 1), atol=2e-3)


def test_the_mean_plan_is_over_all_chunks(
    dataset: Dataset, fold: Fold, cell: CellResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helo.training.windows.SCORING_BATCH", 5)  # The last chunk of the 12 windows is shorter.
    chunked = train_cell(dataset, fold, QUICK, TrainingSettings(seed=0))
    assert chunked is not None
    assert chunked.plan is not None
    assert cell.plan is not None
    np.testing.assert_allclose(chunked.plan, cell.plan, atol=1e-5)


def test_results_of_omitted_parts_are_none(dataset: Dataset, fold: Fold) -> None:
    plain = train_cell(dataset, fold, replace(QUICK, epochs=1, label_attention="none"), TrainingSettings())
    assert plain is not None
    assert plain.correlation is None
    assert plain.plan is not None
    for change in ({"transport": "none"}, {"modalities": "physiological"}):
        cell = train_cell(dataset, fold, replace(QUICK, epochs=1, **change), TrainingSettings())  # type: ignore[arg-type]
        assert cell is not None
        assert cell.plan is None
        assert cell.correlation is not None


# --- rungs ------------------------------------------------------------------------------------


LONGER = replace(QUICK, epochs=6)


def trained(
    dataset: Dataset, fold: Fold, configuration: Configuration = LONGER, objective: str = "kl", **other: Any
) -> CellResult:
    result = train_cell(dataset, fold, configuration, TrainingSettings(objective=objective), **other)
    assert result is not None
    return result


def assert_equal_in_all_but(one: CellResult, other: CellResult, *names: str) -> None:
    for name in {entry.name for entry in fields(CellResult)} - {*names}:
        first, second = getattr(one, name), getattr(other, name)
        if isinstance(first, np.ndarray):
            np.testing.assert_array_equal(first, second)
        else:
            assert repr(first) == repr(second), name


@pytest.fixture(scope="module")
def longer(dataset: Dataset, fold: Fold) -> CellResult:
    return trained(dataset, fold)


@pytest.fixture(scope="module")
def staged(dataset: Dataset, fold: Fold) -> CellResult:
    """Return a cell that trained its first members before the rest, and passed its rung."""
    return trained(dataset, fold, rungs={1: math.inf})


def test_first_losses_are_those_of_the_first_members(dataset: Dataset, fold: Fold, longer: CellResult) -> None:
    first = first_members(len(fold.splits))
    assert 0 < first < len(fold.splits)
    rows = dataset.rows(tuple(subject for split in fold.splits[:first] for subject in split.validation))
    chosen = np.isin(np.asarray(longer.other_windows), rows)
    predicted = np.asarray(longer.out_of_fold)[chosen]
    windows = np.asarray(longer.other_windows)[chosen]
    expected = mean_scores(dataset.labels[windows], predicted, dataset.subjects[windows])
    assert longer.first_losses[-1] == pytest.approx(expected["kl"], abs=1e-6)
    assert len(longer.first_losses) == LONGER.epochs + 1


def test_members_trained_in_stages_equal_members_trained_at_once(longer: CellResult, staged: CellResult) -> None:
    """Matrix products of more members may differ in their last digits."""
    assert (staged.stopped, staged.epochs, staged.best_epoch) == (False, longer.epochs, longer.best_epoch)
    np.testing.assert_allclose(staged.predictions, longer.predictions, atol=1e-5)
    np.testing.assert_allclose(np.asarray(staged.out_of_fold), np.asarray(longer.out_of_fold), atol=1e-5)
    np.testing.assert_array_equal(np.asarray(staged.other_windows), np.asarray(longer.other_windows))
    for one, other in zip(staged.history, longer.history, strict=True):
        assert one == pytest.approx(other, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("rungs", [{3: math.inf, LONGER.epochs: math.inf}, {100: -1.0}])
def test_rungs_that_a_cell_passes_do_not_change_it(
    dataset: Dataset, fold: Fold, staged: CellResult, rungs: dict[int, float]
) -> None:
    assert_equal_in_all_but(trained(dataset, fold, rungs=rungs), staged)


@pytest.mark.parametrize("epoch", [1, 3, LONGER.epochs])
def test_a_rung_stops_cells_with_a_larger_loss_only(
    dataset: Dataset, fold: Fold, staged: CellResult, epoch: int
) -> None:
    reached = staged.first_losses[epoch]
    on = trained(dataset, fold, rungs={epoch: reached})  # A loss equal to the rung passes.
    assert_equal_in_all_but(on, staged)
    cell = trained(dataset, fold, rungs={epoch: math.nextafter(reached, -math.inf)})
    assert cell.stopped
    assert cell.epochs == epoch * first_members(len(fold.splits))
    assert cell.best_epoch == epoch
    assert cell.first_losses == staged.first_losses[: epoch + 1]
    assert cell.out_of_fold is None


def test_a_rung_stops_a_cell_of_one_member(dataset: Dataset) -> None:
    fold = loso_folds(dataset.subject_names, 0, inner_folds=1)[0]
    whole = trained(dataset, fold)
    assert not trained(dataset, fold, rungs={2: whole.first_losses[2]}).stopped
    cell = trained(dataset, fold, rungs={2: math.nextafter(whole.first_losses[2], -math.inf)})
    assert (cell.stopped, cell.epochs, cell.out_of_fold) == (True, 2, None)
    # After the last epoch no member is left to be trained.
    last = LONGER.epochs
    assert not trained(dataset, fold, rungs={last: -math.inf}).stopped


def test_subjects_of_untrained_members_count_with_the_mean_training_label(
    dataset: Dataset, fold: Fold, longer: CellResult
) -> None:
    first = first_members(len(fold.splits))
    stopped = trained(dataset, fold, rungs={LONGER.epochs: -1.0})
    means = [untrained_scores(one)[0]["val_kl"] for one in data_of(dataset, fold)[first:]]
    sizes = [len(split.validation) for split in fold.splits]
    losses = np.array([stopped.first_losses[-1], *means])
    assert stopped.val["kl"] == pytest.approx(np.average(losses, weights=[sum(sizes[:first]), *sizes[first:]]))
    assert stopped.val != longer.val
    np.testing.assert_array_equal(stopped.windows, dataset.rows((fold.test,)))
    assert math.isfinite(stopped.test["kl"])


def test_the_first_rung_that_a_cell_misses_stops_it(dataset: Dataset, fold: Fold) -> None:
    assert len(trained(dataset, fold, rungs={1: math.inf, 2: -1.0, 4: -1.0}).history) == 3


def test_a_similarity_is_a_negative_loss_at_a_rung(dataset: Dataset, fold: Fold) -> None:
    reached = trained(dataset, fold, objective="cosine").first_losses[2]
    assert -1 < reached < 0
    assert not trained(dataset, fold, objective="cosine", rungs={2: reached}).stopped
    assert trained(dataset, fold, objective="cosine", rungs={2: reached - 1e-9}).stopped


def test_scoring_leaves_the_random_stream_of_the_process_alone(dataset: Dataset, fold: Fold) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    trained(dataset, fold, replace(QUICK, epochs=1), rungs={1: math.inf})
    assert torch.equal(torch.rand(4), expected)


def test_stopped_is_known_during_training(dataset: Dataset, fold: Fold) -> None:
    training = CellTraining(dataset.schema, data_of(dataset, fold), QUICK, TrainingSettings(), rungs={1: -1.0})
    assert not training.stopped
    training.run_epoch()
    assert training.stopped
    assert not training.finished
    training.run_epoch()
    assert not training.stopped  # A rung stops a cell at its own epoch only.
    training.run_epoch()
    assert not training.finished  # The rest of the members is left.
    for _ in range(QUICK.epochs):
        training.run_epoch()
    assert training.finished
    assert not training.stopped


def test_a_cell_resumes_from_its_state(dataset: Dataset, fold: Fold) -> None:
    """Checkpoints in files are tested in `test_checkpoints`."""
    one, other = start(dataset, fold), start(dataset, fold)
    one.run_epoch()
    other.restore(copy.deepcopy(one.state()))
    assert other.current.epoch == one.current.epoch
    for training in (one, other):
        training.run_epoch()
    assert repr(one.current.history) == repr(other.current.history)
    for name, value in one.current.model.state_dict().items():
        assert torch.equal(value, other.current.model.state_dict()[name]), name
