"""One baseline on one fold: choose its settings on the inner validation subjects, score the test subject."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from helo.data.dataset import Dataset, row_blocks
from helo.errors import DivergedError
from helo.evaluation.baselines.methods import SETTINGS, FittedBaseline, fit
from helo.evaluation.folds import Fold, cell_seed, guard
from helo.evaluation.scaling import Part, Scaling
from helo.metrics import METRICS, mean_scores
from helo.names import Method
from helo.settings import TrainingSettings

MOST_WINDOWS: Final[dict[str, int]] = {Method.RANDOM_FOREST: 4_000}
USUALLY_MOST = 10_000
"""Of more windows to train on, or to choose settings on, so many are drawn by seed, by method: of a million windows,
neighbours and trees would take longer than the search. With 913 features a fit takes up to a minute then."""


@dataclass(frozen=True)
class BaselineResult:
    """What a finished baseline leaves; fields as in `helo.run.ledger.CellRecord`."""

    configuration: int
    params: dict[str, Any]
    val: dict[str, float]
    test: dict[str, float]
    windows: NDArray[np.int64]
    predictions: NDArray[np.float32]


def run_baseline(
    dataset: Dataset, fold: Fold, method: str, settings: TrainingSettings, deadline: float | None = None
) -> BaselineResult | None:
    """Choose the best of a method's settings by the objective on the validation subjects, and score the test subject.

    With its settings chosen, the method is fitted again to training and validation subjects together: it needs
    nobody to say when to stop, and this is the strongest honest use of it. HeLo, which is stopped by the validation
    subjects, trains without them.

    None if the `deadline` (Unix time) comes before the settings are chosen. Raises `DivergedError` if the method
    predicts what is no distribution, whatever its setting.
    """
    own, most = cell_seed(settings.seed, fold.test), MOST_WINDOWS.get(method, USUALLY_MOST)
    guard(fold.others, (fold.test,))
    scaling = Scaling.fit(dataset, fold.train, settings.normalise)
    train, validation = (_some(scaling.part(dataset, who), own, most) for who in (fold.train, fold.validation))
    features, labels = train.features, train.labels
    found: list[tuple[float, int, dict[str, float]]] = []
    for number, setting in enumerate(SETTINGS[method]):
        if deadline is not None and time.time() >= deadline:
            return None
        with contextlib.suppress(DivergedError):
            scores = _score(validation, predict(fit(method, setting, features, labels, own), validation))
            found.append((METRICS[settings.objective].loss(scores[settings.objective]), number, scores))
    if not found:
        raise DivergedError(f"{method} predicts no distributions, whatever its setting")
    _, best, scores = min(found, key=lambda entry: entry[:2])
    del features
    scaling = Scaling.fit(dataset, fold.others, settings.normalise)
    everyone = _some(scaling.part(dataset, fold.others), own, most)
    fitted = fit(method, SETTINGS[method][best], everyone.features, everyone.labels, own)
    test = scaling.part(dataset, (fold.test,))
    predicted = predict(fitted, test)
    return BaselineResult(
        configuration=best,
        params=dict(SETTINGS[method][best]),
        val=scores,
        test=_score(test, predicted),
        windows=test.rows.astype(np.int64),
        predictions=predicted.astype(np.float32),
    )


def predict(fitted: FittedBaseline, part: Part) -> NDArray[np.float64]:
    """Distributions (N, E) of a part's windows, block by block: a part may be large."""
    columns = len(part.dataset.schema.features)
    return np.concatenate([fitted.predict(part.take(block)) for block in row_blocks(len(part), columns)])


def _score(part: Part, predicted: NDArray[np.float64]) -> dict[str, float]:
    if not np.isfinite(predicted).all():
        raise DivergedError("predictions are not finite")
    return mean_scores(part.labels, predicted, part.subjects)


def _some(part: Part, seed: int, most: int) -> Part:
    """A part of so many windows at most, in the order of the data."""
    if len(part) <= most:
        return part
    return part.only(np.sort(np.random.default_rng(seed).permutation(len(part))[:most]))
