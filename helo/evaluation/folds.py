"""Leave-one-subject-out folds with inner splits, and the guard against leakage.

In the fold of subject s, s is the test subject. The other subjects are divided into K groups. In each of the K inner
splits one group validates and the others train, so every other subject validates once. A cell trains one model per
split, a member. The inner validation subjects decide which configuration is selected and which cells are stopped. No
data of s reaches the weights, the scaling, the stopping or the search.

All subjects stand in a seeded circle. The groups of a fold are consecutive in it, from the subject that follows the
test subject. With one inner split only the first group exists, a quarter of the other subjects: each subject then
validates in equally many folds, and the mean validation score of a configuration weighs all subjects equally.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from helo.data.dataset import Dataset
from helo.errors import InputError, LeakageError
from helo.evaluation.scaling import Part, Scaling

INNER_FOLDS = 5
"""Default number K of inner splits."""

SINGLE_SPLIT_SHARE = 0.25
"""Share of the other subjects that validate if there is one inner split."""


@dataclass(frozen=True)
class Split:
    """Inner split of a fold: disjoint sets of subjects.

    Attributes
    ----------
    validation : tuple of str
        Inner validation subjects.
    train : tuple of str
        Training subjects.

    Raises
    ------
    LeakageError
        If a subject is in both sets.
    InputError
        If one of the sets is empty.
    """

    validation: tuple[str, ...]
    train: tuple[str, ...]

    def __post_init__(self) -> None:
        guard(self.train, self.validation)
        if not self.train or not self.validation:
            raise InputError("an inner split needs training subjects and inner validation subjects")


@dataclass(frozen=True)
class Fold:
    """Test subject and inner splits of one fold.

    Attributes
    ----------
    test : str
        Test subject.
    splits : tuple of Split
        K inner splits of the same other subjects. No subject validates in two of them.

    Raises
    ------
    LeakageError
        If the test subject is in a split, or a subject validates in two splits.
    InputError
        If there is no split, or if the splits divide different subjects.
    """

    test: str
    splits: tuple[Split, ...]

    def __post_init__(self) -> None:
        if not self.splits:
            raise InputError(f"fold {self.test!r}: needs at least one inner split")
        guard((self.test,), *(split.validation for split in self.splits))
        for split in self.splits:
            guard((self.test,), split.train)
            if {*split.train, *split.validation} != set(self.others):
                raise InputError(f"fold {self.test!r}: its inner splits divide different subjects")

    @property
    def others(self) -> tuple[str, ...]:
        """All subjects except the test subject, sorted."""
        first = self.splits[0]
        return tuple(sorted(first.train + first.validation))

    @property
    def validation(self) -> tuple[str, ...]:
        """Subjects that validate in any split: all others, unless there is a single split."""
        return tuple(subject for split in self.splits for subject in split.validation)


def guard(*groups: tuple[str, ...]) -> None:
    """Raise `LeakageError` if a subject occurs more than once in the groups.

    Parameters
    ----------
    *groups : tuple of str
        Sets of subjects.
    """
    seen: set[str] = set()
    for group in groups:
        for subject in group:
            if subject in seen:
                raise LeakageError(f"subject {subject!r} is on both sides of a split")
            seen.add(subject)


def loso_folds(subjects: tuple[str, ...], seed: int, inner_folds: int | None = None) -> tuple[Fold, ...]:
    """Return one fold per subject, in the order of `subjects`.

    Parameters
    ----------
    subjects : tuple of str
        All subjects, at least three.
    seed : int
        Seed of the circle from which validation subjects are taken.
    inner_folds : int, optional
        Number K of inner splits. The default is `INNER_FOLDS`, or the number of other subjects if that is smaller.

    Returns
    -------
    tuple of Fold
        The folds.

    Raises
    ------
    InputError
        If there are fewer than three subjects, or if there are fewer other subjects than inner splits.

    Examples
    --------
    >>> fold = loso_folds(("S2", "S3", "S4", "S5"), seed=0, inner_folds=3)[0]
    >>> fold.test, fold.others, len(fold.splits)
    ('S2', ('S3', 'S4', 'S5'), 3)
    """
    others = len(subjects) - 1
    if others < 2:
        raise InputError(
            "leave-one-subject-out with inner validation needs at least 3 subjects "
            f"(test, validation, training), got {len(subjects)}"
        )
    count = min(INNER_FOLDS, others) if inner_folds is None else inner_folds
    if not 1 <= count <= others:
        raise InputError(f"1 <= inner folds <= {others} (subjects other than the test subject) must hold, got {count}")
    circle = [subjects[number] for number in np.random.default_rng(seed).permutation(len(subjects))]
    folds = []
    for test in subjects:
        start = circle.index(test) + 1
        folds.append(Fold(test, inner_splits((circle[start:] + circle[: start - 1]), count)))
    return tuple(folds)


def inner_splits(subjects: Sequence[str], count: int) -> tuple[Split, ...]:
    """Divide subjects into inner splits, in which consecutive groups of them validate.

    Parameters
    ----------
    subjects : sequence of str
        Subjects in the order in which they validate.
    count : int
        Number of splits. The groups are as equal in size as possible. With one split a quarter of the subjects
        validate.

    Returns
    -------
    tuple of Split
        The splits. The subjects of each set are sorted.
    """
    if count == 1:
        bounds = [0, max(1, round(SINGLE_SPLIT_SHARE * len(subjects)))]
    else:
        bounds = [round(group * len(subjects) / count) for group in range(count + 1)]
    return tuple(
        Split(tuple(sorted(subjects[start:end])), tuple(sorted([*subjects[:start], *subjects[end:]])))
        for start, end in pairwise(bounds)
    )


def member_seed(seed: int, fold: str, member: int) -> int:
    """Return the seed of a member in all cells of a fold, so configurations are compared on the same random draws.

    Parameters
    ----------
    seed : int
        Seed of the run.
    fold : str
        Test subject of the fold.
    member : int
        Number of the member, which is that of its inner split.

    Returns
    -------
    int
        Seed of 56 bits.
    """
    return cell_seed(seed, f"{fold}/{member}")


def cell_seed(seed: int, fold: str) -> int:
    """Return the seed of all cells of a fold, so configurations are compared on the same random draws.

    Parameters
    ----------
    seed : int
        Seed of the run.
    fold : str
        Test subject of the fold.

    Returns
    -------
    int
        Seed of 56 bits.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{fold}".encode()).digest()[:7], "big")


def folds_as_json(folds: tuple[Fold, ...]) -> list[dict[str, Any]]:
    """Return folds as plain values, the content of ``folds.json``."""
    return [
        {
            "test": fold.test,
            "splits": [{"validation": list(split.validation), "train": list(split.train)} for split in fold.splits],
        }
        for fold in folds
    ]


def folds_digest(folds: tuple[Fold, ...]) -> str:
    """Return a hash of the subjects of all folds, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(folds_as_json(folds)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class SplitData:
    """Data that a member may use in training, without the test subject (see `held_out_part`).

    Attributes
    ----------
    fold : Fold
        Fold of the member.
    scaling : Scaling
        Scaling by the training subjects of its split.
    train, validation : Part
        Windows of the training and of the inner validation subjects.
    """

    fold: Fold
    scaling: Scaling
    train: Part
    validation: Part


def split_data(dataset: Dataset, fold: Fold, split: Split, normalise: str) -> SplitData:
    """Return the training and validation windows of an inner split.

    Parameters
    ----------
    dataset : Dataset
        Windows of all subjects.
    fold : Fold
        Fold of the split.
    split : Split
        Subjects of the split.
    normalise : str
        Kind of scaling, see `Scaling`.

    Returns
    -------
    SplitData
        Windows, with ``train`` scaling by the statistics of the training subjects.

    Raises
    ------
    LeakageError
        If a training window belongs to a subject outside the training subjects.
    """
    rows = dataset.rows(split.train)
    guard(tuple(str(name) for name in np.unique(dataset.subjects[rows])), split.validation, (fold.test,))
    scaling = Scaling.fit(dataset, split.train, normalise)
    return SplitData(fold, scaling, scaling.part(dataset, split.train), scaling.part(dataset, split.validation))


def held_out_part(dataset: Dataset, data: SplitData) -> Part:
    """Return the windows of the test subject, scaled like the training windows. Call it after training only."""
    return data.scaling.part(dataset, (data.fold.test,))
