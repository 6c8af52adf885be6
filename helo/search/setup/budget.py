"""The length of training of a search: batches, steps and epochs, and whether they suffice for its data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from helo.data.dataset import Dataset
from helo.evaluation.folds import Fold
from helo.search.planning.space import Range, Space
from helo.search.setup.search_setup import SearchSetup
from helo.training.budget import Budget, training_budget


class BudgetRange(NamedTuple):
    """Smallest and largest value of each part of a budget over the configurations of a space."""

    batch_size: tuple[int, int]
    steps_per_epoch: tuple[int, int]
    epochs: tuple[int, int]
    steps: tuple[int, int]


def count_training_windows(dataset: Dataset, folds: tuple[Fold, ...]) -> int:
    """Return the number of windows that a model is trained on, as a mean over inner splits.

    Parameters
    ----------
    dataset : Dataset
        The whole dataset, not the part of it that a probe uses.
    folds : tuple of Fold
        Folds of the search.

    Returns
    -------
    int
    """
    subjects, counts = np.unique(dataset.subjects, return_counts=True)
    windows_of = dict(zip(subjects.tolist(), counts.tolist(), strict=True))
    per_split = [sum(windows_of[subject] for subject in split.train) for fold in folds for split in fold.splits]
    return max(1, round(float(np.mean(per_split))))


def budget_range(space: Space, windows: int) -> BudgetRange:
    """Return the range of training budgets over the configurations of a space without automatic hyperparameters.

    Parameters
    ----------
    space : Space
        The space, after `Space.resolve`.
    windows : int
        Number of windows that a model is trained on.

    Returns
    -------
    BudgetRange
    """
    budgets = [training_budget(windows, batch_size, epochs) for batch_size, epochs in _lengths(space)]

    def extremes(values: list[int]) -> tuple[int, int]:
        return min(values), max(values)

    return BudgetRange(
        extremes([budget.batch_size for budget in budgets]),
        extremes([budget.steps_per_epoch for budget in budgets]),
        extremes([budget.epochs for budget in budgets]),
        extremes([budget.steps for budget in budgets]),
    )


def _lengths(space: Space) -> Iterator[tuple[int, int]]:
    """Yield batch size and epochs of the variants of a space, or at all corners of its ranges and choices."""
    names = ("batch_size", "epochs")
    if space.variants:
        for values in space.variants.values():
            params = space.full_params(values)
            yield params["batch_size"], params["epochs"]
        return
    ends: list[tuple[int, ...]] = []
    for name in names:
        entry = space.searched.get(name)
        if entry is None:
            ends.append((space.full_params({})[name],))
        elif isinstance(entry, Range):
            ends.append((int(entry.low), int(entry.high)))
        else:
            ends.append(entry.values)
    yield from itertools.product(*ends)


def describe_budget(setup: SearchSetup) -> list[str]:
    """Describe the length of training of a search, and warn if it is short for the data.

    Parameters
    ----------
    setup : SearchSetup
        Setup of the search.

    Returns
    -------
    list of str
        One line, and a second one with the warning.
    """
    windows = count_training_windows(setup.dataset, setup.folds)
    found, rule = budget_range(setup.space, windows), training_budget(windows)
    lines = [
        f"training: {windows} windows, batches of {_span(found.batch_size)}, {_span(found.steps_per_epoch)} steps per "
        f"epoch, {_span(found.epochs)} epochs, {_span(found.steps)} steps"
    ]
    warning = _short_budget(found, rule)
    return lines if warning is None else [*lines, warning]


def _short_budget(found: BudgetRange, rule: Budget) -> str | None:
    """Return a warning if some configurations train for less than half of the steps that `training_budget` gives."""
    fewest = found.steps[0]
    if fewest >= rule.steps / 2:
        return None
    some = "" if fewest == found.steps[1] else "some configurations train for "
    return (
        f"short training: {some}{fewest} steps, where batch_size: auto and epochs: auto give {rule.steps} "
        f"({rule.epochs} epochs with batches of {rule.batch_size}). A model that still improves at its last step says "
        "little about the method"
    )


def _span(values: tuple[int, int]) -> str:
    """Return one number, or the smallest and largest of a range.

    >>> _span((3, 3)), _span((1, 8))
    ('3', '1 to 8')
    """
    low, high = values
    return str(low) if low == high else f"{low} to {high}"
