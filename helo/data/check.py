"""Summary of a dataset, and warnings of properties that make leave-one-subject-out scores meaningless."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helo.configuration import single_role_note
from helo.data.dataset import Dataset, Missing
from helo.data.leaks import Codes, Repeats, find_codes, find_repeats, row_keys
from helo.data.noisy_leaks import find_noisy_leaks
from helo.errors import shorten
from helo.metrics import METRICS, mean_scores
from helo.names import Estimate

MIN_SUBJECTS: Final = 3
"""Minimum number of subjects: a test subject, an inner validation subject and a training subject."""

MIN_WINDOWS: Final = 5
"""Minimum number of windows of a subject.

The mean score over fewer windows is mostly chance, and has the same weight as that of any other subject.
"""

MIN_SHARE: Final = 0.1
"""Minimum number of windows of a subject, as a share of the median over subjects."""


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


class Finding(NamedTuple):
    """Result of one test of a dataset.

    Attributes
    ----------
    kind
        Short name of the test.
    warning
        True for a warning (scores may be meaningless), False for a note.
    text
        Description for the user.
    """

    kind: str
    warning: bool
    text: str


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
    repeats = find_repeats(dataset, numbers.people)
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
            *_about_subjects(dataset, windows),
            *_about_labels(dataset, numbers, windows, labels),
            *_about_groups(dataset),
            *_about_modalities(dataset),
            *_about_rows(repeats),
            *_about_features(codes),
            *_about_noisy_leaks(dataset, codes),
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
    return float(-(labels * np.log(safe)).sum(axis=1).mean())


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


def _about_subjects(dataset: Dataset, windows: NDArray[np.intp]) -> list[Finding]:
    found = []
    if len(windows) < MIN_SUBJECTS:
        text = f"{len(windows)} subjects; at least {MIN_SUBJECTS} are needed, to test, to validate and to train on"
        found.append(Finding("few subjects", True, text))
    few = np.flatnonzero((windows < MIN_WINDOWS) | (windows < MIN_SHARE * np.median(windows)))
    if len(few):
        named = shorten(f"{dataset.subject_names[number]} ({windows[number]})" for number in few)
        text = (
            f"very few windows in {named}: their scores are mostly chance, but have the same weight as those of other "
            "subjects"
        )
        found.append(Finding("few windows", True, text))
    return found


def _about_labels(
    dataset: Dataset, numbers: _Numbers, windows: NDArray[np.intp], labels: NDArray[np.intp]
) -> list[Finding]:
    if int(numbers.labels.max()) == 0:
        return [
            Finding("one label", True, "all windows of all subjects have the same label: there is nothing to learn")
        ]
    found = []
    alone = np.flatnonzero((labels == 1) & (windows > 1))
    if len(alone):
        subjects = (
            "every subject"
            if len(alone) == len(labels)
            else f"subject {shorten(dataset.subject_names[number] for number in alone)}"
        )
        text = f"all windows of {subjects} have one label: it only identifies the subject"
        found.append(Finding("one label per subject", True, text))
    constant = [
        name for name, spread in zip(dataset.emotions, np.ptp(dataset.labels, axis=0), strict=True) if not spread
    ]
    if constant:
        text = f"emotions with the same share in all windows: {shorten(constant)}; they only dilute the others"
        found.append(Finding("constant emotions", False, text))
    return found


def _about_groups(dataset: Dataset) -> list[Finding]:
    if dataset.groups is None:
        text = "no column group (clip or condition): features that are constant within a clip cannot be detected"
        return [Finding("no groups", True, text)]
    blank = int((np.char.str_len(np.char.strip(dataset.groups)) == 0).sum())
    return [Finding("no groups", True, f"{blank:,} windows have an empty group")] if blank else []


def _about_modalities(dataset: Dataset) -> list[Finding]:
    note = single_role_note(dataset.schema.roles)
    return [] if note is None else [Finding("one kind of signal", False, note)]


def _about_rows(repeats: Repeats) -> list[Finding]:
    found = []
    if repeats.pair is not None:
        text = (
            f"{repeats.across:,} windows have exactly the features of a window of another subject (such as "
            f"{' and '.join(repeats.pair)}): data of the test subject are in the training data"
        )
        found.append(Finding("repeated across subjects", True, text))
    if repeats.within:
        text = f"{repeats.within:,} windows have exactly the features of another window of their subject"
        found.append(Finding("repeated within subjects", False, text))
    return found


def _about_features(codes: Codes) -> list[Finding]:
    found = []
    if codes.constant:
        found.append(Finding("constant features", True, f"features with one value: {shorten(codes.constant)}"))
    if codes.personal:
        text = f"features with one value in each subject: {shorten(codes.personal)}; they identify the subject"
        found.append(Finding("personal features", True, text))
    if codes.revealing:
        named = shorten(f"{name} ({emotion or 'all emotions'})" for name, emotion in codes.revealing.items())
        text = f"features that give the label away: {named}; scores would not depend on the signals"
        found.append(Finding("revealing features", True, text))
    if codes.fixed_in_groups:
        text = (
            f"features with one value in each group of a subject: {shorten(codes.fixed_in_groups)}; they may encode "
            "the clip or the answers"
        )
        found.append(Finding("features fixed in groups", True, text))
    return found


def _about_noisy_leaks(dataset: Dataset, codes: Codes) -> list[Finding]:
    named = {*codes.constant, *codes.personal, *codes.revealing, *codes.fixed_in_groups}
    found = [f"{name} ({explained:.0%})" for name, explained in find_noisy_leaks(dataset).items() if name not in named]
    if not found:
        return []
    text = (
        f"features that alone explain nearly all variance of the labels: {shorten(found)}; they may encode the clip, "
        "the label or the time, with noise"
    )
    return [Finding("nearly revealing features", True, text)]
