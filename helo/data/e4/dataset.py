"""Dataset of windows of E4 recordings, labelled by the ratings of the spans in which they lie."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from helo._paths import local_path
from helo.data.columns import label_columns, named_columns
from helo.data.dataset import Dataset
from helo.data.e4.recording import E4Files, E4Recording, as_signals, describe_tags, find_recordings, read_recording
from helo.data.labels import NO_SCALE, Answers, Labels, distributions_of_classes, distributions_of_ratings
from helo.data.schema import Schema
from helo.data.table_file import open_table, require_names
from helo.data.wesad.recording import LABEL_RATE, Recording
from helo.data.wesad.schema import DEVICES, modalities
from helo.data.wesad.signals import window_features
from helo.errors import InputError, did_you_mean, shorten

SHORTEST_S: Final = 10.0
"""Minimum length of a window in seconds: a pulse rate needs several beats."""

_UNIX_S: Final = 1e8
"""Times from this one on are Unix times in seconds. Smaller ones are seconds after the start of the recording."""


@dataclass(frozen=True)
class RatedColumns:
    """Meaning of the columns of a table of ratings, which has a row per rated span of time.

    Attributes
    ----------
    subject, start, end
        Columns of the subject, and of the start and the end of the span: Unix times in seconds, or seconds after the
        start of the recording.
    emotions, one_hot, group, answers
        As in `helo.data.table.TableColumns`.
    """

    subject: str = "subject"
    start: str = "start"
    end: str = "end"
    emotions: tuple[str, ...] = ()
    one_hot: str | None = None
    group: str | None = None
    answers: Answers = NO_SCALE


class _Spans(NamedTuple):
    """Rated spans of time."""

    subjects: NDArray[np.str_]  # (R,)
    times: NDArray[np.float64]  # (R, 2): start and end
    groups: NDArray[np.str_] | None  # (R,)
    labels: Labels
    places: Callable[[int], str]


class _Cut(NamedTuple):
    """Windows of a recording: their features and the row of the span of each."""

    features: NDArray[np.float64]
    spans: NDArray[np.intp]


def read_e4(
    folder: Path,
    ratings: Path,
    columns: RatedColumns,
    *,
    window: float = 30.0,
    step: float = 15.0,
    name: str | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """Read E4 recordings and the ratings of spans of time.

    Windows lie inside the spans. Their features are those of the wrist of WESAD, see `helo.data.wesad.signals`.

    Parameters
    ----------
    folder
        Folder with a folder or zip file per subject, see `helo.data.e4.recording.find_recordings`.
    ratings
        Table with a row per rated span.
    columns
        Meaning of its columns.
    window, step
        Length of a window, and time between the starts of successive windows, in seconds.
    name
        Name of the dataset, or None for that of the folder.
    log
        Receives lines about the recordings and the labels.

    Returns
    -------
    Dataset
        N windows with features (N, 29). Groups are those of the ratings.

    Raises
    ------
    InputError
        If a file cannot be read as described, a rated subject has no recording, or a span lies outside of it.
    """
    folder, ratings = local_path(folder), local_path(ratings)
    if not SHORTEST_S <= window < float("inf"):
        raise InputError(f"window must be at least {SHORTEST_S:g} s, got {window:g}")
    if not 0 < step < float("inf"):
        raise InputError(f"step must be above 0 s, got {step:g}")
    if importlib.util.find_spec("neurokit2") is None:
        raise InputError("reading E4 recordings needs NeuroKit2; install it: pip install 'helo-search[wesad]'")
    files = find_recordings(folder)
    spans = _read_spans(ratings, columns)
    _require_recordings(spans, files, ratings)
    cuts: list[_Cut] = []
    for place, one in enumerate(files, start=1):
        if one.subject not in spans.subjects:
            log(f"{one.subject}: has no rating, and is left out")
            continue
        recording = read_recording(one)
        for line in describe_tags([recording]):
            log(line)
        cut = _cut(recording, spans, window, step, several=sum(other.subject == one.subject for other in files) > 1)
        log(f"{one.subject} ({place} of {len(files)}): {len(cut.spans):,} windows, {recording.seconds / 60:.0f} min")
        cuts.append(cut)
    for note in spans.labels.notes:
        log(note)
    chosen = np.concatenate([cut.spans for cut in cuts])
    _report_empty(spans, chosen, window, log)
    features = np.concatenate([cut.features for cut in cuts])
    present = np.isfinite(features).any(axis=1)
    if not present.any():
        raise InputError(f"{ratings}: no span holds a window of {window:g} s with a signal")
    if not present.all():
        log(f"{int((~present).sum()):,} windows without any signal are left out")
    rows = chosen[present]
    main, names = DEVICES["wrist"]
    schema = Schema(
        name=name or folder.resolve().name,
        modalities=modalities(names, main),
        emotions={emotion: f"label_{emotion}" for emotion in spans.labels.emotions},
        source=f"Empatica E4 recordings, ratings {ratings.name}",
        notes=f"Windows of {window:g} s every {step:g} s inside rated spans. All windows of a span share its label.",
    )
    return Dataset(
        schema,
        spans.subjects[rows],
        features[present].astype(np.float32),
        spans.labels.shares[rows],
        groups=None if spans.groups is None else spans.groups[rows],
    )


def _read_spans(path: Path, columns: RatedColumns) -> _Spans:
    """Read the table of ratings."""
    table = open_table(path)
    try:
        labels_of = _label_columns(table.columns, columns)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    texts = [column for column in (columns.subject, columns.group, columns.one_hot) if column is not None]
    numbers = dict.fromkeys((columns.start, columns.end, *labels_of.values()), pa.float64())
    cells: dict[str, list[str]] = {}
    values: dict[str, NDArray[np.float64]] = {}
    for column, content in table.read(texts, numbers):
        if column in numbers:
            values[column] = content.to_numpy(zero_copy_only=False)
        elif column == columns.one_hot:
            cells[column] = content.to_pylist()
        else:
            meaning = "subject" if column == columns.subject else "group"
            cells[column] = require_names(path, table, column, meaning, content)

    def at(row: int) -> str:
        return f"{path}: {table.place(row)}"

    if not cells[columns.subject]:
        raise InputError(f"{path}: must hold at least one row below the column names, got none")
    times = np.stack([values[columns.start], values[columns.end]], axis=1)
    wrong = ~(np.isfinite(times).all(axis=1) & (times[:, 0] >= 0) & (times[:, 0] < times[:, 1]))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{at(row)}: {columns.start!r} and {columns.end!r} must be times in seconds, the end after the start, got "
            f"{times[row, 0]:g} and {times[row, 1]:g}"
        )
    if columns.one_hot is not None:
        labels = distributions_of_classes(cells[columns.one_hot], columns.one_hot, columns.answers, at)
    else:
        ratings = np.stack([values[column] for column in labels_of.values()], axis=1)
        labels = distributions_of_ratings(ratings, labels_of, columns.answers, at)
    groups = None if columns.group is None else np.asarray(cells[columns.group], dtype=np.str_)
    return _Spans(np.asarray(cells[columns.subject], dtype=np.str_), times, groups, labels, at)


def _label_columns(present: tuple[str, ...], columns: RatedColumns) -> dict[str, str]:
    """Return the column of each emotion, after a check of all names."""
    used = named_columns(
        present,
        (
            ("--subject", columns.subject),
            ("--start", columns.start),
            ("--end", columns.end),
            ("--group", columns.group),
            ("--one-hot", columns.one_hot),
        ),
    )
    needs_two = columns.one_hot is None and columns.answers.poles is None
    return label_columns(present, columns.emotions, used, needs_two)


def _require_recordings(spans: _Spans, files: Iterable[E4Files], ratings: Path) -> None:
    recorded = {one.subject for one in files}
    for row, subject in enumerate(spans.subjects.tolist()):
        if subject not in recorded:
            raise InputError(
                f"{spans.places(row)}: there is no recording of {subject!r}{did_you_mean(subject, recorded)}; the "
                f"recordings are {shorten(sorted(recorded), most=8)}"
            )


def _cut(recording: E4Recording, spans: _Spans, window: float, step: float, several: bool) -> _Cut:
    """Cut a recording into windows inside its rated spans."""
    starts: list[int] = []
    rows: list[int] = []
    for row in np.flatnonzero((spans.subjects == recording.subject) & spans.labels.rated).tolist():
        begin, end = spans.times[row].tolist()
        is_unix = begin >= _UNIX_S
        if several and not is_unix:
            raise InputError(
                f"{spans.places(row)}: {recording.subject} has several recordings, so times must be Unix times, got "
                f"{begin:g}"
            )
        if is_unix:
            begin, end = begin - recording.start, end - recording.start
            if several and (end <= 0 or begin >= recording.seconds):
                continue  # in another recording
        if begin < 0 or end > recording.seconds + 1:
            raise InputError(
                f"{spans.places(row)}: lasts from {begin:.0f} to {end:.0f} s of the recording {recording.where}, which "
                f"has {recording.seconds:.0f} s"
            )
        last = min(end, recording.seconds) - window
        inside = [round((begin + number * step) * LABEL_RATE) for number in range(int(max(0, last - begin) / step) + 1)]
        if last >= begin:
            starts += inside
            rows += [row] * len(inside)
    signals = Recording(recording.subject, np.empty(0, np.int64), as_signals(recording))
    where = np.asarray(starts, dtype=np.intp)
    return _Cut(window_features(signals, where, window), np.asarray(rows, dtype=np.intp))


def _report_empty(spans: _Spans, chosen: NDArray[np.intp], window: float, log: Callable[[str], None]) -> None:
    """Say which rated spans are too short for a window."""
    lacking = np.setdiff1d(np.flatnonzero(spans.labels.rated), chosen)
    if len(lacking):
        example = spans.places(int(lacking[0]))
        log(f"{len(lacking):,} rated spans are shorter than a window of {window:g} s, such as {example}")
