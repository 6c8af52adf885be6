"""Summary of a dataset, and warnings of properties that make leave-one-subject-out scores meaningless."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from helo.data.dataset import Dataset, Missing
from helo.data.findings import (
    Finding,
    about_features,
    about_groups,
    about_labels,
    about_modalities,
    about_rows,
    about_subjects,
)
from helo.data.leaks import Codes, find_codes, find_repeats, row_keys
from helo.metrics import METRICS, mean_scores
from helo.names import Estimate


class Spread(NamedTuple):
    """Minimum, median and maximum of counts."""

    minimum: int
    median: float
    maximum: int


class ModalityCheck(NamedTuple):
    """Summary of a modality.

    Attributes
    ----------
    name, role, main, tokens, token_features
        As in `Modality`.
    missing
        Share of missing values, from 0 to 1.
    absent
        Number of windows in which all features of the modality are missing.
    """

    name: str
    role: str
    main: bool
    tokens: int
    token_features: int
    missing: float
    absent: int


class EmotionCheck(NamedTuple):
    """Mean and standard deviation (`spread`) of the share of an emotion over windows."""

    name: str
    mean: float
    spread: float


@dataclass(frozen=True)
class Check:
    """Summary of a dataset, as returned by `check`.

    Attributes
    ----------
    name
        Name of the dataset.
    subjects, windows
        Number of subjects and of windows.
    subject_windows
        Number of windows per subject.
    group_names
        Number of distinct group names, 0 without groups.
    groups
        Number of groups per subject, or None without groups.
    labels
        Number of distinct label vectors per subject.
    modalities, emotions
        Summaries in the order of the schema.
    missing
        Missing values.
    entropy
        Mean of −Σ d ln d over windows in nats, at most ln E.
    entropy_share
        `entropy` divided by ln E.
    scores
        Trivial baseline → metric → score as under leave-one-subject-out: the mean over the windows of a subject, then
        over subjects.
    findings
        Warnings and notes.
    """

    name: str
    subjects: int
    windows: int
    subject_windows: Spread
    group_names: int
    groups: Spread | None
    labels: Spread
    modalities: tuple[ModalityCheck, ...]
    emotions: tuple[EmotionCheck, ...]
    missing: Missing
    entropy: float
    entropy_share: float
    scores: dict[str, dict[str, float]]
    findings: tuple[Finding, ...]

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that are warnings."""
        return tuple(finding for finding in self.findings if finding.warning)


class _Numbers(NamedTuple):
    """Numbers from 0 for each window (N,).

    `people` numbers the subjects in natural order, `groups` the groups, `labels` the distinct labels, and `cells` the
    pairs of subject and group (without groups: of subject and label).
    """

    people: NDArray[np.intp]
    groups: NDArray[np.intp] | None
    labels: NDArray[np.intp]
    cells: NDArray[np.intp]


def check(dataset: Dataset) -> Check:
    """Summarise a dataset and test it for properties that make scores meaningless.

    The check needs at most a fifth of the memory of the dataset in addition.

    Parameters
    ----------
    dataset
        The dataset.

    Returns
    -------
    Check
        Counts, scores of the trivial baselines, warnings and notes.
    """
    numbers = _numbers(dataset)
    codes = find_codes(dataset, numbers.people, numbers.cells, numbers.labels)
    windows = np.bincount(numbers.people)
    labels = _count_distinct(numbers.people, numbers.labels)
    entropy = _entropy(dataset.labels)
    return Check(
        name=dataset.schema.name,
        subjects=len(dataset.subject_names),
        windows=len(dataset),
        subject_windows=_spread(windows),
        group_names=0 if numbers.groups is None else int(numbers.groups.max()) + 1,
        groups=None if numbers.groups is None else _spread(_count_distinct(numbers.people, numbers.groups)),
        labels=_spread(labels),
        modalities=_modalities(dataset, codes),
        emotions=_emotions(dataset),
        missing=dataset.missing,
        entropy=entropy,
        entropy_share=entropy / float(np.log(len(dataset.emotions))),
        scores=trivial_scores(dataset, numbers.people),
        findings=(
            *about_subjects(dataset.subject_names, windows),
            *about_labels(dataset, windows, labels, one_label=int(numbers.labels.max()) == 0),
            *about_groups(dataset),
            *about_modalities(dataset),
            *about_rows(find_repeats(dataset, numbers.people)),
            *about_features(dataset, codes),
        ),
    )


def trivial_scores(dataset: Dataset, people: NDArray[np.intp]) -> dict[str, dict[str, float]]:
    """Score the trivial baselines.

    ``train_mean`` predicts for each subject the mean label over the windows of all other subjects. ``uniform`` predicts
    equal shares. ``best_possible`` exists for simulated data only.

    Parameters
    ----------
    dataset
        The dataset.
    people
        Number of the subject of each window (N,), from 0 in natural order.

    Returns
    -------
    dict
        Baseline → metric → mean score over subjects.
    """
    emotions, total = len(dataset.emotions), dataset.labels.sum(axis=0)
    by_method: dict[str, list[dict[str, float]]] = {Estimate.TRAIN_MEAN: [], Estimate.UNIFORM: []}
    for number, name in enumerate(dataset.subject_names):
        rows = np.flatnonzero(people == number)
        labels = dataset.labels[rows]
        predictions = {
            Estimate.TRAIN_MEAN: np.broadcast_to(_shares(total - labels.sum(axis=0)), labels.shape),
            Estimate.UNIFORM: np.full(labels.shape, 1 / emotions),
        }
        if dataset.best_possible is not None:
            predictions[Estimate.BEST_POSSIBLE] = dataset.best_possible[rows]
        for method, predicted in predictions.items():
            scores = mean_scores(labels, predicted, np.full(len(rows), name))
            by_method.setdefault(method, []).append(scores)
    return {
        method: {metric: float(np.mean([scores[metric] for scores in each])) for metric in METRICS}
        for method, each in by_method.items()
    }


def _shares(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale sums of distributions to a distribution, after setting rounding errors below 0 to 0."""
    sums = sums.clip(0)
    shares: NDArray[np.float64] = sums / sums.sum()
    return shares


def _numbers(dataset: Dataset) -> _Numbers:
    """Return numbers for the subjects, groups, labels and cells of the windows."""
    names, people = np.unique(dataset.subjects, return_inverse=True)
    place = {name: number for number, name in enumerate(dataset.subject_names)}
    people = np.array([place[str(name)] for name in names], dtype=np.intp)[people]
    labels = np.unique(row_keys(dataset.labels), return_inverse=True)[1]
    groups = None if dataset.groups is None else np.unique(dataset.groups, return_inverse=True)[1]
    parts = labels if groups is None else groups
    cells = np.unique(people * (int(parts.max()) + 1) + parts, return_inverse=True)[1]
    return _Numbers(people, groups, labels, cells)


def _count_distinct(people: NDArray[np.intp], numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return how many distinct numbers each subject has (S,)."""
    base = int(numbers.max()) + 1
    return np.bincount(np.unique(people * base + numbers) // base)


def _spread(counts: NDArray[np.intp]) -> Spread:
    return Spread(int(counts.min()), float(np.median(counts)), int(counts.max()))


def _entropy(labels: NDArray[np.float64]) -> float:
    """Return the mean entropy in nats."""
    safe = np.where(labels > 0, labels, 1.0)  # 0 ln 0 = 0
    return abs(float((labels * np.log(safe)).sum(axis=1).mean()))  # not -0


def _modalities(dataset: Dataset, codes: Codes) -> tuple[ModalityCheck, ...]:
    found = []
    for modality in dataset.schema.modalities:
        missing = int(codes.missing[dataset.schema.slices[modality.name]].sum())
        found.append(
            ModalityCheck(
                name=modality.name,
                role=modality.role,
                main=modality.main,
                tokens=modality.tokens,
                token_features=modality.token_features,
                missing=missing / (len(dataset) * len(modality.columns)),
                absent=dataset.missing.windows.get(modality.name, 0),
            )
        )
    return tuple(found)


def _emotions(dataset: Dataset) -> tuple[EmotionCheck, ...]:
    means, spreads = dataset.labels.mean(axis=0), dataset.labels.std(axis=0)
    return tuple(
        EmotionCheck(name, float(mean), float(spread))
        for name, mean, spread in zip(dataset.emotions, means, spreads, strict=True)
    )
