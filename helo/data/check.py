"""What is in a dataset, and what in it would make leave-one-subject-out scores meaningless."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helo.data.dataset import Dataset, Missing
from helo.data.leaks import Codes, Repeats, find_codes, find_repeats, row_keys
from helo.data.noisy_leaks import find_noisy_leaks
from helo.errors import shorten
from helo.metrics import METRICS, mean_scores
from helo.names import Estimate

LEAST_SUBJECTS: Final = 3
"""One to test on, one to choose by, one to train on."""

LEAST_WINDOWS: Final = 5
"""Of a subject: the mean score of fewer is mostly chance, and counts as much as any other subject's."""

LEAST_SHARE: Final = 0.1
"""A subject with less than this of the median number of windows is named too."""


class Spread(NamedTuple):
    """The least, the median and the most of some counts."""

    least: int
    median: float
    most: int


class ModalityCheck(NamedTuple):
    """A modality: `missing` is the share of its cells that are empty, `absent` the windows without any of it."""

    name: str
    role: str
    main: bool
    tokens: int
    token_features: int
    missing: float
    absent: int


class EmotionCheck(NamedTuple):
    """An emotion's share: mean and standard deviation over windows."""

    name: str
    mean: float
    spread: float


class Finding(NamedTuple):
    """One thing to know: a warning if scores may mean nothing because of it, a note otherwise."""

    kind: str
    warning: bool
    text: str


@dataclass(frozen=True)
class Check:
    """What `check` found out.

    - `entropy`: mean of −Σ d ln d over windows, in nats; ln E is the most
    - `labels`: distinct label vectors of a subject; `groups`, those of a subject, None without groups
    - `scores`: method → the six measures, as under leave-one-subject-out: mean over the windows of a subject, then
      over subjects
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
        """The findings that are warnings."""
        return tuple(finding for finding in self.findings if finding.warning)


class _Numbers(NamedTuple):
    """Windows (N,) by numbers from 0: the subject in natural order, the group, the distinct label, the cell."""

    people: NDArray[np.intp]
    groups: NDArray[np.intp] | None
    labels: NDArray[np.intp]
    cells: NDArray[np.intp]


def check(dataset: Dataset) -> Check:
    """Look through a dataset; memory beside it: about a fifth, in the worst case."""
    numbers = _numbers(dataset)
    codes = find_codes(dataset, numbers.people, numbers.cells, numbers.labels)
    repeats = find_repeats(dataset, numbers.people)
    windows = np.bincount(numbers.people)
    labels = _different(numbers.people, numbers.labels)
    entropy = _entropy(dataset.labels)
    return Check(
        name=dataset.schema.name,
        subjects=len(dataset.subject_names),
        windows=len(dataset),
        subject_windows=_spread(windows),
        group_names=0 if numbers.groups is None else int(numbers.groups.max()) + 1,
        groups=None if numbers.groups is None else _spread(_different(numbers.people, numbers.groups)),
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
            *_about_rows(repeats),
            *_about_features(codes),
            *_about_blurred(dataset, codes),
        ),
    )


def trivial_scores(dataset: Dataset, people: NDArray[np.intp]) -> dict[str, dict[str, float]]:
    """What no model has to be trained for: method → measure → mean over subjects.

    ``train_mean`` predicts for each subject the mean label of all other subjects' windows, ``uniform`` the same share
    for every emotion; made-up data have a ``best_possible``.
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
    """Sums of distributions as a distribution; a difference may be −1e-17 where it should be 0."""
    sums = sums.clip(0)
    shares: NDArray[np.float64] = sums / sums.sum()
    return shares


def _numbers(dataset: Dataset) -> _Numbers:
    names, people = np.unique(dataset.subjects, return_inverse=True)
    place = {name: number for number, name in enumerate(dataset.subject_names)}
    people = np.array([place[str(name)] for name in names], dtype=np.intp)[people]
    labels = np.unique(row_keys(dataset.labels), return_inverse=True)[1]
    groups = None if dataset.groups is None else np.unique(dataset.groups, return_inverse=True)[1]
    inner = labels if groups is None else groups
    cells = np.unique(people * (int(inner.max()) + 1) + inner, return_inverse=True)[1]
    return _Numbers(people, groups, labels, cells)


def _different(people: NDArray[np.intp], numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    """How many different numbers each person (S,) has."""
    base = int(numbers.max()) + 1
    return np.bincount(np.unique(people * base + numbers) // base)


def _spread(counts: NDArray[np.intp]) -> Spread:
    return Spread(int(counts.min()), float(np.median(counts)), int(counts.max()))


def _entropy(labels: NDArray[np.float64]) -> float:
    safe = np.where(labels > 0, labels, 1.0)  # 0 ln 0 counts 0
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
    if len(windows) < LEAST_SUBJECTS:
        text = f"{len(windows)} subjects; one to test on, one to choose by and one to train on are {LEAST_SUBJECTS}"
        found.append(Finding("few subjects", True, text))
    few = np.flatnonzero((windows < LEAST_WINDOWS) | (windows < LEAST_SHARE * np.median(windows)))
    if len(few):
        named = shorten(f"{dataset.subject_names[number]} ({windows[number]})" for number in few)
        text = f"very few windows in {named}: these subjects' scores are mostly chance, and count as much as any"
        found.append(Finding("few windows", True, text))
    return found


def _about_labels(
    dataset: Dataset, numbers: _Numbers, windows: NDArray[np.intp], labels: NDArray[np.intp]
) -> list[Finding]:
    if int(numbers.labels.max()) == 0:
        return [Finding("one label", True, "all windows of all subjects have the same label: nothing can be learnt")]
    found = []
    alone = np.flatnonzero((labels == 1) & (windows > 1))
    if len(alone):
        who = (
            "every subject"
            if len(alone) == len(labels)
            else f"subject {shorten(dataset.subject_names[number] for number in alone)}"
        )
        text = f"all windows of {who} have one label: it says who it is, and nothing about what changes in a person"
        found.append(Finding("one label per subject", True, text))
    still = [name for name, spread in zip(dataset.emotions, np.ptp(dataset.labels, axis=0), strict=True) if not spread]
    if still:
        text = f"emotions with the same share in all windows: {shorten(still)}; they only dilute the others"
        found.append(Finding("constant emotions", False, text))
    return found


def _about_groups(dataset: Dataset) -> list[Finding]:
    if dataset.groups is None:
        text = "no column group (clip or condition): what is fixed in a clip cannot be told from what is in the signal"
        return [Finding("no groups", True, text)]
    blank = int((np.char.str_len(np.char.strip(dataset.groups)) == 0).sum())
    return [Finding("no groups", True, f"{blank:,} windows have an empty group")] if blank else []


def _about_rows(repeats: Repeats) -> list[Finding]:
    found = []
    if repeats.pair is not None:
        text = (
            f"{repeats.across:,} windows have exactly the features of a window of another subject (such as "
            f"{' and '.join(repeats.pair)}): the test subject is in the training data"
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
        text = f"features with one value in each subject: {shorten(codes.personal)}; they say who it is"
        found.append(Finding("personal features", True, text))
    if codes.revealing:
        named = shorten(f"{name} ({emotion or 'all emotions'})" for name, emotion in codes.revealing.items())
        text = f"features that give the label away: {named}; scores would say nothing about the signals"
        found.append(Finding("revealing features", True, text))
    if codes.fixed_in_groups:
        text = (
            f"features with one value in each group of a subject: {shorten(codes.fixed_in_groups)}; they may be a code "
            "of the clip, or of what was answered"
        )
        found.append(Finding("features fixed in groups", True, text))
    return found


def _about_blurred(dataset: Dataset, codes: Codes) -> list[Finding]:
    named = {*codes.constant, *codes.personal, *codes.revealing, *codes.fixed_in_groups}
    found = [f"{name} ({told:.0%})" for name, told in find_noisy_leaks(dataset).items() if name not in named]
    if not found:
        return []
    text = (
        f"features that alone tell nearly all of the labels' variance: {shorten(found)}; a code of the clip or the "
        "label with noise on it, or the time?"
    )
    return [Finding("nearly revealing features", True, text)]
