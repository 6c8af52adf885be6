"""Leave-one-subject-out folds with inner validation subjects, and the guard against leakage.

Fold of subject s: s is tested; `validation` other subjects decide when to stop and which configuration
to take; all others are trained on. Nothing of s reaches the weights, the scaling, the stopping or the
search. Validation subjects are drawn round a seeded circle of all subjects, so each subject validates in
equally many folds, and a configuration's mean validation score weighs all people equally.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helo.data.dataset import Dataset
from helo.errors import InputError, LeakageError
from helo.names import NORMALISE_SUBJECT, NORMALISE_TRAIN

VALIDATION_SHARE = 0.25
"""Share of the subjects left after the test subject that validate, unless a number is given."""


@dataclass(frozen=True)
class Fold:
    """One test subject, its inner validation subjects, and the subjects to train on: disjoint sets."""

    test: str
    validation: tuple[str, ...]
    train: tuple[str, ...]

    def __post_init__(self) -> None:
        guard(self.train, self.validation, (self.test,))
        if not self.train or not self.validation:
            raise InputError(f"fold {self.test!r}: needs subjects to train on and to validate with")


def guard(*groups: tuple[str, ...]) -> None:
    """Raise `LeakageError` if any subject is in two groups, or twice in one."""
    seen: set[str] = set()
    for group in groups:
        for subject in group:
            if subject in seen:
                raise LeakageError(f"subject {subject!r} is on both sides of a split")
            seen.add(subject)


def loso_folds(subjects: tuple[str, ...], seed: int, validation: int | None = None) -> tuple[Fold, ...]:
    """One fold per subject, in the order given.

    `validation` is the number of inner validation subjects; by default a quarter of the others.

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
    place = {int(subject): position for position, subject in enumerate(circle)}
    folds = []
    for number, test in enumerate(subjects):
        chosen = {int(circle[(place[number] + step) % len(subjects)]) for step in range(1, count + 1)}
        folds.append(
            Fold(
                test=test,
                validation=tuple(subjects[i] for i in range(len(subjects)) if i in chosen),
                train=tuple(subjects[i] for i in range(len(subjects)) if i not in chosen and i != number),
            )
        )
    return tuple(folds)


def folds_as_json(folds: tuple[Fold, ...]) -> list[dict[str, Any]]:
    """Folds as plain values: the content of ``folds.json``."""
    return [{key: list(v) if isinstance(v, tuple) else v for key, v in asdict(fold).items()} for fold in folds]


def folds_digest(folds: tuple[Fold, ...]) -> str:
    """A hash of who is tested, validated and trained on in every fold."""
    return hashlib.sha256(json.dumps(folds_as_json(folds)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Part:
    """Windows of some subjects: `rows` (N,) in the dataset, scaled `features` (N, F), `labels` (N, E)."""

    rows: NDArray[np.intp]
    subjects: NDArray[np.str_]
    features: NDArray[np.float32]
    labels: NDArray[np.float64]


@dataclass(frozen=True)
class FoldData:
    """What a cell may see while it trains. The test subject is not in it: see `held_out_part`."""

    fold: Fold
    train: Part
    validation: Part


def fold_data(dataset: Dataset, fold: Fold, normalise: str) -> FoldData:
    """The training and validation windows of a fold, scaled."""
    scaling = Scaling.fit(dataset, fold, normalise)
    return FoldData(
        fold=fold,
        train=scaling.part(dataset, fold.train),
        validation=scaling.part(dataset, fold.validation),
    )


def held_out_part(dataset: Dataset, fold: Fold, normalise: str) -> Part:
    """The test subject's windows, scaled: to be asked for when training is over."""
    return Scaling.fit(dataset, fold, normalise).part(dataset, (fold.test,))


@dataclass(frozen=True)
class Scaling:
    """How features become comparable.

    - ``train``: z-scores with mean and standard deviation of the training subjects' windows
    - ``subject``: z-scores within each subject. This uses all unlabelled windows of the test subject, as
      a device would that has recorded a person for a while before it predicts.

    A feature that does not vary there becomes 0 for everyone, and one that is always missing there stays missing:
    nothing could be learnt of it. NaN, a signal that is missing, counts in no statistic and stays NaN.
    `mean`, `std`: (F,), or None under ``subject``.
    """

    normalise: str
    mean: NDArray[np.float64] | None = None
    std: NDArray[np.float64] | None = None

    @classmethod
    def fit(cls, dataset: Dataset, fold: Fold, normalise: str) -> Scaling:
        """Take the statistics of the training subjects, and of nobody else."""
        if normalise == NORMALISE_SUBJECT:
            return cls(normalise)
        if normalise != NORMALISE_TRAIN:
            raise InputError(f"normalise must be {NORMALISE_TRAIN} or {NORMALISE_SUBJECT}, got {normalise!r}")
        rows = dataset.rows(fold.train)
        guard(tuple(str(name) for name in np.unique(dataset.subjects[rows])), fold.validation, (fold.test,))
        return cls(normalise, *_statistics(dataset.features[rows]))

    def part(self, dataset: Dataset, subjects: tuple[str, ...]) -> Part:
        """The scaled windows of some subjects."""
        rows = dataset.rows(subjects)
        who = dataset.subjects[rows]
        raw = dataset.features[rows]
        if self.mean is not None and self.std is not None:
            scaled = (raw - self.mean) / self.std
        else:
            scaled = np.empty(raw.shape)
            for subject in subjects:
                mine = who == subject
                mean, std = _statistics(raw[mine])
                scaled[mine] = (raw[mine] - mean) / std
        return Part(rows, who, scaled.astype(np.float32), dataset.labels[rows])


def _statistics(features: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    there = ~np.isnan(features)
    if there.all():
        mean = features.mean(axis=0, dtype=np.float64)
        std = features.std(axis=0, dtype=np.float64)
    else:
        count = there.sum(axis=0)
        mean = np.where(there, features, 0).sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
        spread = np.where(there, features - mean, 0)
        std = np.where(count > 0, np.sqrt((spread**2).sum(axis=0) / np.maximum(count, 1)), np.nan)
    # Rounding leaves a constant feature with a tiny spread; dividing by it would turn noise into signal.
    still = std <= 1e-6 * np.maximum(np.abs(mean), 1e-12)
    return mean, np.where(still, np.inf, std)
