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

from helo.data.dataset import Dataset
from helo.errors import InputError, LeakageError
from helo.evaluation.scaling import Part, Scaling

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

    @property
    def others(self) -> tuple[str, ...]:
        """Everyone but the test subject."""
        return self.train + self.validation


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


def cell_seed(seed: int, fold: str) -> int:
    """The seed of all cells of a fold: configurations are compared from the same random draws."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{fold}".encode()).digest()[:7], "big")


def folds_as_json(folds: tuple[Fold, ...]) -> list[dict[str, Any]]:
    """Folds as plain values: the content of ``folds.json``."""
    return [{key: list(v) if isinstance(v, tuple) else v for key, v in asdict(fold).items()} for fold in folds]


def folds_digest(folds: tuple[Fold, ...]) -> str:
    """A hash of who is tested, validated and trained on in every fold."""
    return hashlib.sha256(json.dumps(folds_as_json(folds)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class FoldData:
    """What a cell may see while it trains. The test subject is not in it: see `held_out_part`."""

    fold: Fold
    scaling: Scaling
    train: Part
    validation: Part


def fold_data(dataset: Dataset, fold: Fold, normalise: str) -> FoldData:
    """The training and validation windows of a fold, scaled by the statistics of its training subjects."""
    rows = dataset.rows(fold.train)
    guard(tuple(str(name) for name in np.unique(dataset.subjects[rows])), fold.validation, (fold.test,))
    scaling = Scaling.fit(dataset, fold.train, normalise)
    return FoldData(fold, scaling, scaling.part(dataset, fold.train), scaling.part(dataset, fold.validation))


def held_out_part(dataset: Dataset, data: FoldData) -> Part:
    """The test subject's windows, scaled as the training windows: to be asked for when training is over."""
    return data.scaling.part(dataset, (data.fold.test,))
