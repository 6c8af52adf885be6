"""One baseline on one fold: choose its settings on the inner validation subjects, score the test subject."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helo.baselines.methods import SETTINGS, fit
from helo.data.dataset import Dataset
from helo.folds import Fold, cell_seed, guard
from helo.metrics import as_loss, mean_scores
from helo.scaling import Part, Scaling

MOST_WINDOWS = 20_000
"""Of more windows to train on, or to choose settings on, so many are drawn by seed: neighbours and trees of a million
windows would take longer than the search."""


@dataclass(frozen=True)
class BaselineResult:
    """What a finished baseline leaves; fields as in `helo.ledger.CellRecord`."""

    configuration: int
    params: dict[str, Any]
    val: dict[str, float]
    test: dict[str, float]
    windows: NDArray[np.int64]
    predictions: NDArray[np.float32]


def run_baseline(
    dataset: Dataset, fold: Fold, method: str, seed: int, normalise: str, objective: str
) -> BaselineResult:  # fmt: skip
    """Choose the best of a method's settings by `objective` on the validation subjects, and score the test subject.

    With its settings chosen, the method is fitted again to training and validation subjects together: it needs
    nobody to say when to stop, and this is the strongest honest use of it. HeLo, which is stopped by the validation
    subjects, trains without them.
    """
    own = cell_seed(seed, fold.test)
    guard(fold.others, (fold.test,))
    scaling = Scaling.fit(dataset, fold.train, normalise)
    train, validation = (_some(scaling.part(dataset, who), own) for who in (fold.train, fold.validation))
    features, labels = train.features, train.labels
    seen, truth, who = validation.features, validation.labels, validation.subjects
    scores = [
        mean_scores(truth, fit(method, setting, features, labels, own).predict(seen), who)
        for setting in SETTINGS[method]
    ]
    best = int(np.argmin([as_loss(objective, one[objective]) for one in scores]))
    scaling = Scaling.fit(dataset, fold.others, normalise)
    everyone = _some(scaling.part(dataset, fold.others), own)
    fitted = fit(method, SETTINGS[method][best], everyone.features, everyone.labels, own)
    test = scaling.part(dataset, (fold.test,))
    predicted = fitted.predict(test.features)
    return BaselineResult(
        configuration=best,
        params=dict(SETTINGS[method][best]),
        val=scores[best],
        test=mean_scores(test.labels, predicted, test.subjects),
        windows=test.rows.astype(np.int64),
        predictions=predicted.astype(np.float32),
    )


def _some(part: Part, seed: int) -> Part:
    """A part of at most `MOST_WINDOWS` windows, in the order of the data."""
    if len(part) <= MOST_WINDOWS:
        return part
    return part.only(np.sort(np.random.default_rng(seed).permutation(len(part))[:MOST_WINDOWS]))
