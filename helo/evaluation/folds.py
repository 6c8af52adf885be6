"""Leave-one-subject-out folds with inner validation subjects, and the guard against leakage.

In the fold of subject s, s is the test subject. Some other subjects, the inner validation subjects, decide when
training stops and which configuration is selected. The remaining subjects are the training subjects. No data of s
reaches the weights, the scaling, the stopping or the search.

All subjects stand in a seeded circle, and the validation subjects of a fold are those that follow the test subject.
Each subject therefore validates in equally many folds, and the mean validation score of a configuration weighs all
subjects equally.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from helo.data.dataset import Dataset
from helo.errors import InputError, LeakageError
from helo.evaluation.scaling import Part, Scaling

VALIDATION_SHARE = 0.25
"""Default share of inner validation subjects among the subjects other than the test subject."""


@dataclass(frozen=True)
class Fold:
    """Disjoint sets of subjects of one fold.

    Attributes
    ----------
    test : str
        Test subject.
    validation : tuple of str
        Inner validation subjects.
    train : tuple of str
        Training subjects.

    Raises
    ------
    LeakageError
        If a subject is in two of the sets.
    InputError
        If there are no validation or no training subjects.
    """

    test: str
    validation: tuple[str, ...]
    train: tuple[str, ...]

    def __post_init__(self) -> None:
        guard(self.train, self.validation, (self.test,))
        if not self.train or not self.validation:
            raise InputError(f"fold {self.test!r}: needs training subjects and inner validation subjects")

    @property
    def others(self) -> tuple[str, ...]:
        """Training subjects, then inner validation subjects."""
        return self.train + self.validation


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


def loso_folds(subjects: tuple[str, ...], seed: int, validation: int | None = None) -> tuple[Fold, ...]:
    """Return one fold per subject, in the order of `subjects`.

    Parameters
    ----------
    subjects : tuple of str
        All subjects, at least three.
    seed : int
        Seed of the circle from which validation subjects are taken.
    validation : int, optional
        Number of inner validation subjects per fold. By default `VALIDATION_SHARE` of the other subjects.

    Returns
    -------
    tuple of Fold
        The folds.

    Raises
    ------
    InputError
        If there are fewer than three subjects, or if `validation` leaves no training subject.

    Examples
    --------
    >>> loso_folds(("S2", "S3", "S4", "S5"), seed=0, validation=1)[0].test
    'S2'
    """
    others = len(subjects) - 1
    if others < 2:
        raise InputError(
            "leave-one-subject-out with inner validation needs at least 3 subjects "
            f"(test, validation, training), got {len(subjects)}"
        )
    count = max(1, round(VALIDATION_SHARE * others)) if validation is None else validation
    if not 1 <= count < others:
        raise InputError(f"1 <= validation subjects <= {others - 1} must hold, got {count}")
    circle = np.random.default_rng(seed).permutation(len(subjects))
    position_of = {int(subject): position for position, subject in enumerate(circle)}
    folds = []
    for number, test in enumerate(subjects):
        chosen = {int(circle[(position_of[number] + step) % len(subjects)]) for step in range(1, count + 1)}
        folds.append(
            Fold(
                test=test,
                validation=tuple(subjects[i] for i in range(len(subjects)) if i in chosen),
                train=tuple(subjects[i] for i in range(len(subjects)) if i not in chosen and i != number),
            )
        )
    return tuple(folds)


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
    return [{key: list(v) if isinstance(v, tuple) else v for key, v in asdict(fold).items()} for fold in folds]


def folds_digest(folds: tuple[Fold, ...]) -> str:
    """Return a hash of the subjects of all folds, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(folds_as_json(folds)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class FoldData:
    """Data that a cell may use in training, without the test subject (see `held_out_part`).

    Attributes
    ----------
    fold : Fold
        Subjects of the fold.
    scaling : Scaling
        Scaling by the training subjects.
    train, validation : Part
        Windows of the training and of the inner validation subjects.
    """

    fold: Fold
    scaling: Scaling
    train: Part
    validation: Part


def fold_data(dataset: Dataset, fold: Fold, normalise: str) -> FoldData:
    """Return the training and validation windows of a fold.

    Parameters
    ----------
    dataset : Dataset
        Windows of all subjects.
    fold : Fold
        Subjects of the fold.
    normalise : str
        Kind of scaling, see `Scaling`.

    Returns
    -------
    FoldData
        Windows, with ``train`` scaling by the statistics of the training subjects.

    Raises
    ------
    LeakageError
        If a training window belongs to a subject outside the training subjects.
    """
    rows = dataset.rows(fold.train)
    guard(tuple(str(name) for name in np.unique(dataset.subjects[rows])), fold.validation, (fold.test,))
    scaling = Scaling.fit(dataset, fold.train, normalise)
    return FoldData(fold, scaling, scaling.part(dataset, fold.train), scaling.part(dataset, fold.validation))


def held_out_part(dataset: Dataset, data: FoldData) -> Part:
    """Return the windows of the test subject, scaled like the training windows. Call it after training only."""
    return data.scaling.part(dataset, (data.fold.test,))
