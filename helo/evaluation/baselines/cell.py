"""One fitted baseline on one fold: select its setting on the inner validation subjects, score the test subject."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from helo._deadline import Deadline
from helo.data.dataset import Dataset, row_blocks
from helo.errors import DivergedError
from helo.evaluation.baselines.methods import SETTINGS, FittedBaseline, fit
from helo.evaluation.folds import Fold, cell_seed, guard
from helo.evaluation.scaling import Part, Scaling
from helo.metrics import METRICS, mean_scores
from helo.names import Method
from helo.settings import TrainingSettings

MAX_WINDOWS_OF: Final[dict[str, int]] = {Method.RANDOM_FOREST: 4_000}
"""Method → maximum number of windows, where it is not `MAX_WINDOWS`."""

MAX_WINDOWS = 10_000
"""Maximum number of windows for training, and for selecting a setting; of more, a seeded sample is drawn.

Neighbours and trees would take longer than the search on a million windows. With 10 000 windows of 913 features, a fit
takes up to a minute.
"""


@dataclass(frozen=True)
class BaselineResult:
    """Result of a finished baseline, with the fields of `helo.run.ledger.CellRecord`.

    Attributes
    ----------
    configuration : int
        Number of the selected setting in `SETTINGS`.
    params : dict
        The selected setting.
    val, test : dict
        Metric → mean over the inner validation subjects, and over the test subject.
    windows : ndarray of shape (N,)
        Row numbers of the test subject's windows in the dataset.
    predictions : ndarray of shape (N, E)
        Predicted distributions of these windows.
    test_by_group : dict, optional
        Like `test`, but after averaging the windows in each group; None without groups to average.
    """

    configuration: int
    params: dict[str, Any]
    val: dict[str, float]
    test: dict[str, float]
    windows: NDArray[np.int64]
    predictions: NDArray[np.float32]
    test_by_group: dict[str, float] | None = None


def run_baseline(
    dataset: Dataset, fold: Fold, method: str, settings: TrainingSettings, deadline: Deadline | None = None
) -> BaselineResult | None:
    """Select the best setting of a method on the inner validation subjects, and score the test subject.

    A setting is scored like a configuration of HeLo: each other subject is predicted by the fit of the inner split that
    has not seen it. The best setting is then fitted to all other subjects together.

    Parameters
    ----------
    dataset : Dataset
        Windows of all subjects.
    fold : Fold
        Test subject and inner splits of the others.
    method : str
        Key of `SETTINGS`.
    settings : TrainingSettings
        Settings that all cells share. `settings.objective` is the metric of the selection.
    deadline : Deadline, optional
        Time by which the selection must be finished.

    Returns
    -------
    BaselineResult or None
        The result, or None if the deadline passed during the selection.

    Raises
    ------
    DivergedError
        If the predictions of every setting, or of the final fit, are not finite.
    """
    seed, max_windows = cell_seed(settings.seed, fold.test), MAX_WINDOWS_OF.get(method, MAX_WINDOWS)
    guard(fold.others, (fold.test,))
    scores_of: dict[int, list[dict[str, float]]] = {number: [] for number in range(len(SETTINGS[method]))}
    sizes = []
    for split in fold.splits:
        scaling = Scaling.fit(dataset, split.train, settings.normalise)
        train, validation = (
            _sample(scaling.part(dataset, subjects), seed, max_windows) for subjects in (split.train, split.validation)
        )
        features, labels = train.features, train.labels
        sizes.append(len(split.validation))
        for number in list(scores_of):
            if deadline is not None and deadline.passed:
                return None
            try:
                fitted = fit(method, SETTINGS[method][number], features, labels, seed)
                scores_of[number].append(_score(validation, predict(fitted, validation)))
            except DivergedError:
                del scores_of[number]
        del features
    if not scores_of:
        raise DivergedError(f"{method}: predictions are not finite with any of its settings")
    joint = {
        number: {name: float(np.average([one[name] for one in scores], weights=sizes)) for name in METRICS}
        for number, scores in scores_of.items()
    }
    loss = METRICS[settings.objective].loss
    best = min(joint, key=lambda number: (loss(joint[number][settings.objective]), number))
    scaling = Scaling.fit(dataset, fold.others, settings.normalise)
    others = _sample(scaling.part(dataset, fold.others), seed, max_windows)
    fitted = fit(method, SETTINGS[method][best], others.features, others.labels, seed)
    test = scaling.part(dataset, (fold.test,))
    predicted = predict(fitted, test)
    return BaselineResult(
        configuration=best,
        params=dict(SETTINGS[method][best]),
        val=joint[best],
        test=_score(test, predicted),
        windows=test.rows.astype(np.int64),
        predictions=predicted.astype(np.float32),
        test_by_group=test.scores_by_group(predicted),
    )


def predict(fitted: FittedBaseline, part: Part) -> NDArray[np.float64]:
    """Return the predicted distributions (N, E) of a part's windows, computed block by block to limit memory."""
    columns = len(part.dataset.schema.features)
    return np.concatenate([fitted.predict(part.take(block)) for block in row_blocks(len(part), columns)])


def _score(part: Part, predicted: NDArray[np.float64]) -> dict[str, float]:
    """Return the mean scores of predictions, and raise `DivergedError` if they are not finite."""
    if not np.isfinite(predicted).all():
        raise DivergedError("predictions are not finite")
    return mean_scores(part.labels, predicted, part.subjects)


def _sample(part: Part, seed: int, max_windows: int) -> Part:
    """Return a random sample of at most `max_windows` windows, in the order of the data."""
    if len(part) <= max_windows:
        return part
    return part.only(np.sort(np.random.default_rng(seed).permutation(len(part))[:max_windows]))
