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
from helo.evaluation.folds import Fold, cell_seed, fold_data, held_out_part, loso_folds
from helo.evaluation.scaling import Part
from helo.metrics import METRICS, mean_scores, window_scores
from helo.names import Column, Estimate, Normalisation, Prefix, enum_values
from helo.run.ledger import HISTORY_COLUMNS
from helo.settings import TrainingSettings
from helo.training.cell import CellResult, CellTraining, train_cell
from helo.training.fitting import Windows

CPU = torch.device("cpu")
QUICK = Configuration(width=8, epochs=3, learning_rate=1e-2, batch_size=16)


@pytest.fixture(scope="module")
def cell(dataset: Dataset, fold: Fold) -> CellResult:
    return trained(dataset, fold, QUICK)


def start(dataset: Dataset, fold: Fold, configuration: Configuration = QUICK, seed: int = 0) -> CellTraining:
    return CellTraining(dataset.schema, fold_data(dataset, fold, "train"), configuration, TrainingSettings(seed=seed))


def assert_same(one: CellResult, other: CellResult) -> None:
    np.testing.assert_array_equal(one.predictions, other.predictions)
    assert repr(one.history) == repr(other.history)  # Not ==: the first row has NaN.
    assert (one.val, one.test, one.best_epoch) == (other.val, other.test, other.best_epoch)


def best_model(dataset: Dataset, fold: Fold, configuration: Configuration) -> tuple[CellTraining, Part, CellResult]:
    """Return a finished training with its best weights, and the windows of the test subject."""
    training = start(dataset, fold, configuration)
    while not training.finished:
        training.run_epoch()
    test = held_out_part(dataset, fold_data(dataset, fold, "train"))
    return training, test, training.score(test)


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
    assert_same(cell, training.score(held_out_part(dataset, fold_data(dataset, fold, "train"))))


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


def test_history_has_a_row_per_epoch(cell: CellResult) -> None:
    assert [row[Column.EPOCH] for row in cell.history] == list(range(cell.epochs + 1))
    assert all(set(row) == {Column.EPOCH, *HISTORY_COLUMNS} for row in cell.history)
    assert all(math.isfinite(value) for row in cell.history[1:] for value in row.values())


def test_epoch_0_is_the_mean_label(dataset: Dataset, fold: Fold, cell: CellResult) -> None:
    rows = dataset.rows(fold.validation)
    mean = dataset.labels[dataset.rows(fold.train)].mean(axis=0)
    expected = mean_scores(dataset.labels[rows], np.broadcast_to(mean, (len(rows), len(mean))), dataset.subjects[rows])
    assert {name: cell.history[0][Prefix.VAL + name] for name in METRICS} == pytest.approx(expected, abs=1e-5)


def test_training_lowers_the_loss(dataset: Dataset, fold: Fold) -> None:
    training = start(dataset, fold, replace(QUICK, epochs=8, dropout=0.0))
    for _ in range(8):
        training.run_epoch()
    losses = [row["train_loss"] for row in training.history[1:]]
    assert losses[-1] < losses[0]
    alignments = [row["alignment_loss"] for row in training.history[1:]]
    assert alignments[-1] < alignments[0]


@pytest.mark.parametrize("objective", ["kl", "cosine"])
def test_the_best_epoch_is_kept(dataset: Dataset, fold: Fold, objective: str) -> None:
    cell = train_cell(dataset, fold, replace(QUICK, epochs=5), TrainingSettings(objective=objective))
    losses = [METRICS[objective].loss(row[Prefix.VAL + objective]) for row in cell.history]
    assert cell.best_epoch == int(np.argmin(losses))
    assert METRICS[objective].loss(cell.val[objective]) == min(losses)
    assert cell.val == {name: cell.history[cell.best_epoch][Prefix.VAL + name] for name in METRICS}


def test_scores_are_those_of_the_best_epochs_weights(dataset: Dataset, fold: Fold) -> None:
    training = start(dataset, fold, replace(QUICK, epochs=6, learning_rate=0.3, patience=99))
    snapshots = [training.predict(training.validation)]
    while not training.finished:
        training.run_epoch()
        snapshots.append(training.predict(training.validation))
    training.score(held_out_part(dataset, fold_data(dataset, fold, "train")))
    np.testing.assert_array_equal(training.predict(training.validation), snapshots[training.best_epoch])


def test_patience_ends_a_cell_without_improvement(dataset: Dataset, fold: Fold) -> None:
    hopeless = replace(QUICK, learning_rate=1.0, epochs=50, patience=2)
    cell = train_cell(dataset, fold, hopeless, TrainingSettings())
    assert cell.epochs == cell.best_epoch + 2 < 50


def test_the_last_epoch_ends_a_cell(cell: CellResult) -> None:
    assert cell.epochs == QUICK.epochs


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
    assert repr(after.history) == repr(before.history)
    assert (after.val, after.best_epoch) == (before.val, before.best_epoch)
    assert after.test != before.test


def test_test_predictions_do_not_depend_on_the_order_of_windows(dataset: Dataset, fold: Fold) -> None:
    """With ``train`` scaling, the prediction for a window depends on this window and the weights only."""
    training = start(dataset, fold)
    training.run_epoch()
    test = held_out_part(dataset, fold_data(dataset, fold, "train"))
    backwards = replace(test, rows=test.rows[::-1])
    predicted = training.predict(Windows(test, CPU))
    np.testing.assert_allclose(training.predict(Windows(backwards, CPU))[::-1], predicted, atol=1e-4)


def test_windows_above_the_memory_limit_are_scaled_batch_by_batch(
    dataset: Dataset, fold: Fold, cell: CellResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helo.training.fitting.RESIDENT_BYTES", 0)
    monkeypatch.setattr("helo.training.fitting.SCORING_BATCH", 5)
    assert start(dataset, fold).windows.resident is None
    assert_same(trained(dataset, fold, QUICK), cell)


def test_a_broken_signal_of_a_validation_subject_is_divergence(dataset: Dataset, fold: Fold) -> None:
    """Features whose squares overflow float32 give predictions that are not finite."""
    broken = with_features(dataset, fold.validation[0], 1e30)
    with pytest.raises(DivergedError, match="predictions are not finite after epoch 0"):
        train_cell(broken, fold, QUICK, TrainingSettings())


def test_weights_that_are_not_finite_are_divergence(dataset: Dataset, fold: Fold) -> None:
    training = start(dataset, fold)
    with torch.no_grad():
        training.model.labels[0] = torch.nan
    with pytest.raises(DivergedError, match="the training loss is nan in epoch 1"):
        training.run_epoch()


def test_training_with_a_large_learning_rate_stays_finite(dataset: Dataset, fold: Fold) -> None:
    """Gradients are clipped, so training with the largest learning rate of a search space stays finite."""
    cell = train_cell(dataset, fold, replace(QUICK, learning_rate=1.0), TrainingSettings())
    assert np.isfinite(cell.predictions).all()
    assert all(math.isfinite(value) for value in cell.test.values())


def test_a_broken_window_in_training_does_not_end_the_cell(dataset: Dataset, fold: Fold) -> None:
    features = dataset.features.copy()
    features[dataset.rows(fold.train)[0]] *= 1e6
    cell = train_cell(replace(dataset, features=features), fold, QUICK, TrainingSettings())
    assert all(math.isfinite(value) for value in cell.val.values())


def test_one_large_batch_and_single_windows_both_train(dataset: Dataset, fold: Fold) -> None:
    for size in (65536, 5):
        training = start(dataset, fold, replace(QUICK, batch_size=size))
        training.run_epoch()
        assert math.isfinite(training.history[-1]["train_loss"])


# --- what a cell learnt -----------------------------------------------------------------------


def test_a_cell_keeps_the_correlation_and_the_plan_of_its_model(dataset: Dataset, fold: Fold) -> None:
    training, test, cell = best_model(dataset, fold, QUICK)
    with torch.no_grad():
        output = training.model(torch.from_numpy(test.features))
    assert cell.correlation is not None
    assert cell.plan is not None
    np.testing.assert_allclose(cell.correlation, training.model.correlation().detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(np.diag(cell.correlation), 1, atol=1e-6)
    assert output.transport is not None
    np.testing.assert_allclose(cell.plan, output.transport.plan.mean(dim=0).numpy(), atol=1e-6)
    assert len({*np.asarray(cell.plan).ravel().tolist()}) > 1  # Otherwise any mean would pass.


def test_the_mean_plan_has_the_marginals_of_the_tokens(dataset: Dataset, fold: Fold) -> None:
    cell = best_model(dataset, fold, QUICK)[2]
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
    cell = best_model(replace(dataset, features=features), fold, QUICK)[2]
    assert cell.plan is not None
    np.testing.assert_array_equal(cell.plan[0], 0)
    np.testing.assert_allclose(cell.plan[1:].sum(axis=1), 1 / (len(cell.plan) - 1), atol=2e-3)


def test_the_mean_plan_is_over_all_chunks(
    dataset: Dataset, fold: Fold, cell: CellResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helo.training.fitting.SCORING_BATCH", 5)  # The last chunk of the 12 windows is shorter.
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


def best_losses(cell: CellResult, objective: str = "kl") -> list[float]:
    """Return the best loss up to each epoch."""
    losses = [METRICS[objective].loss(row[Prefix.VAL + objective]) for row in cell.history]
    return [min(losses[: epoch + 1]) for epoch in range(len(losses))]


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


@pytest.mark.parametrize("epoch", [1, 3, 5])
def test_a_rung_stops_cells_with_a_larger_loss_only(
    dataset: Dataset, fold: Fold, longer: CellResult, epoch: int
) -> None:
    reached = best_losses(longer)[epoch]
    assert not longer.stopped
    on = trained(dataset, fold, rungs={epoch: reached})  # A loss equal to the rung passes.
    assert_equal_in_all_but(on, longer)
    cell = trained(dataset, fold, rungs={epoch: math.nextafter(reached, -math.inf)})
    assert cell.stopped
    assert cell.epochs == epoch
    assert repr(cell.history) == repr(longer.history[: epoch + 1])


def test_a_stopped_cell_equals_a_cell_with_fewer_epochs(dataset: Dataset, fold: Fold) -> None:
    short = trained(dataset, fold, replace(LONGER, epochs=2))
    stopped = trained(dataset, fold, rungs={2: -1.0})
    assert (short.stopped, stopped.stopped) == (False, True)
    assert_equal_in_all_but(stopped, short, "stopped")


def test_the_first_rung_that_a_cell_misses_stops_it(dataset: Dataset, fold: Fold, longer: CellResult) -> None:
    assert trained(dataset, fold, rungs={1: math.inf, 2: -1.0, 4: -1.0}).epochs == 2
    assert_equal_in_all_but(trained(dataset, fold, rungs={1: math.inf, 2: math.inf}), longer)
    assert_equal_in_all_but(trained(dataset, fold, rungs={7: -1.0, 100: -1.0}), longer)


def test_a_rung_compares_the_best_epoch_so_far(dataset: Dataset, fold: Fold) -> None:
    """A rung compares the loss of the best weights, also if the last epoch is worse."""
    wild = replace(LONGER, learning_rate=0.5, patience=6)
    free = trained(dataset, fold, wild)
    losses, best = [row["val_kl"] for row in free.history], best_losses(free)
    epoch = next(epoch for epoch in range(1, free.epochs) if losses[epoch] > best[epoch])
    assert not trained(dataset, fold, wild, rungs={epoch: best[epoch]}).stopped


def test_a_similarity_is_a_negative_loss_at_a_rung(dataset: Dataset, fold: Fold) -> None:
    free = trained(dataset, fold, objective="cosine")
    reached = best_losses(free, "cosine")[2]
    assert -1 < reached < 0
    assert not trained(dataset, fold, objective="cosine", rungs={2: reached}).stopped
    assert trained(dataset, fold, objective="cosine", rungs={2: reached - 1e-9}).stopped


def test_a_finished_cell_is_not_stopped(dataset: Dataset, fold: Fold, longer: CellResult) -> None:
    assert_equal_in_all_but(trained(dataset, fold, rungs={LONGER.epochs: -1.0}), longer)
    impatient = replace(LONGER, learning_rate=1.0, epochs=50, patience=2)
    free = trained(dataset, fold, impatient)
    assert free.epochs < 50
    assert_equal_in_all_but(trained(dataset, fold, impatient, rungs={free.epochs: -1.0}), free)


def test_stopped_is_known_during_training(dataset: Dataset, fold: Fold) -> None:
    training = CellTraining(
        dataset.schema, fold_data(dataset, fold, "train"), QUICK, TrainingSettings(), rungs={1: -1.0}
    )
    assert not training.stopped
    training.run_epoch()
    assert training.stopped
    assert not training.finished
    training.run_epoch()
    assert not training.stopped  # A rung stops a cell at its own epoch only.
    training.run_epoch()
    assert training.finished
    assert not training.stopped


def test_a_cell_resumes_from_its_state(dataset: Dataset, fold: Fold) -> None:
    """Checkpoints in files are tested in `test_checkpoints`."""
    one, other = start(dataset, fold), start(dataset, fold)
    one.run_epoch()
    other.restore(copy.deepcopy(one.state()))
    assert (other.epoch, other.best_epoch, other.best_loss) == (one.epoch, one.best_epoch, one.best_loss)
    for training in (one, other):
        training.run_epoch()
    assert repr(one.history) == repr(other.history)
    for first, second in zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True):
        assert torch.equal(first, second)
