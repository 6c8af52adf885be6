"""Warnings and notes of a check: properties that make scores meaningless, or less than they seem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helo.configuration import single_role_note
from helo.data.dataset import Dataset
from helo.data.labels import about_dimensions, dimensions
from helo.data.leaks import Codes, Repeats
from helo.data.noisy_leaks import find_noisy_leaks
from helo.data.suspects import find_missing_codes, find_shared_persons
from helo.errors import shorten

MIN_SUBJECTS: Final = 3
"""Minimum number of subjects: a test subject, an inner validation subject and a training subject."""

MIN_WINDOWS: Final = 5
"""Minimum number of windows of a subject.

The mean score over fewer windows is mostly chance, and has the same weight as that of any other subject.
"""

MIN_SHARE: Final = 0.1
"""Minimum number of windows of a subject, as a share of the median over subjects."""


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


def about_subjects(names: Sequence[str], windows: NDArray[np.intp]) -> list[Finding]:
    """Return findings about the names of subjects, and the number of windows of each."""
    found = []
    if len(windows) < MIN_SUBJECTS:
        text = f"{len(windows)} subjects; at least {MIN_SUBJECTS} are needed, to test, to validate and to train on"
        found.append(Finding("few subjects", True, text))
    few = np.flatnonzero((windows < MIN_WINDOWS) | (windows < MIN_SHARE * np.median(windows)))
    if len(few):
        named = shorten(f"{names[int(number)]} ({windows[number]})" for number in few)
        text = (
            f"very few windows in {named}: their scores are mostly chance, but have the same weight as those of other "
            "subjects"
        )
        found.append(Finding("few windows", True, text))
    persons = [" and ".join(group[:2]) for group in find_shared_persons(names)]
    if persons:
        text = (
            f"these names may belong to one person, who is then in training and test data at once: "
            f"{shorten(persons)}; helo.data table merges them with --subject-pattern"
        )
        found.append(Finding("several names of a person", True, text))
    return found


def about_labels(
    dataset: Dataset, windows: NDArray[np.intp], labels: NDArray[np.intp], *, one_label: bool
) -> list[Finding]:
    """Return findings about labels, given how many windows and how many different labels each subject has."""
    if one_label:
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
    if (dataset.labels.max(axis=1) == 1).all():
        text = "every label is a single class: distributions are predicted, but only class probabilities can be learnt"
        found.append(Finding("one-hot labels", False, text))
    if scales := dimensions(dataset.emotions):
        found.append(Finding("dimensions", True, about_dimensions(scales)))
    return found


def about_groups(dataset: Dataset) -> list[Finding]:
    """Return findings about the groups of a dataset."""
    if dataset.groups is None:
        text = "no column group (clip or condition): features that are constant within a clip cannot be detected"
        return [Finding("no groups", True, text)]
    blank = int((np.char.str_len(np.char.strip(dataset.groups)) == 0).sum())
    return [Finding("no groups", True, f"{blank:,} windows have an empty group")] if blank else []


def about_modalities(dataset: Dataset) -> list[Finding]:
    """Return findings about the roles of modalities."""
    note = single_role_note(dataset.schema.roles)
    return [] if note is None else [Finding("one kind of signal", False, note)]


def about_rows(repeats: Repeats) -> list[Finding]:
    """Return findings about repeated windows."""
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


def about_features(dataset: Dataset, codes: Codes) -> list[Finding]:
    """Return findings about features that are no measurements of a window."""
    found = []
    sentinels = [
        f"{name} ({code:g} in {count:,} windows)" for name, (code, count) in find_missing_codes(dataset).items()
    ]
    if sentinels:
        text = f"values that often stand for a missing one: {shorten(sentinels)}; leave such cells empty"
        found.append(Finding("codes for missing values", True, text))
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
    return found + _about_noisy_leaks(dataset, codes)


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
