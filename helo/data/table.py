"""Dataset from a table with a row per window, whose columns are chosen by names and patterns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from helo._paths import local_path
from helo.data.columns import label_columns, matching, named_columns, unique_name, use
from helo.data.dataset import Dataset
from helo.data.labels import NO_SCALE, Answers, Labels, distributions_of_classes, distributions_of_ratings
from helo.data.schema import Modality, Schema
from helo.data.table_file import TableFile, open_table, require_names
from helo.errors import InputError, did_you_mean, shorten
from helo.names import Column, Role, enum_values

MODALITY_FORM: Final = "NAME=ROLE:PATTERN,PATTERN,…[:TOKENS]"

MAX_SINGLE_TOKENS: Final = 64
"""Maximum number of columns that become one token each without TOKENS. Attention over more tokens would be slow."""


class ModalityPattern(NamedTuple):
    """Columns of a modality in a table.

    Attributes
    ----------
    name, role
        As in `Modality`.
    patterns
        Column names or patterns (``*``, ``?``, ``[…]``; case matters). ``!`` before a pattern excludes its columns.
    tokens
        Number of tokens, or None for one token per column.
    """

    name: str
    role: str
    patterns: tuple[str, ...]
    tokens: int | None


@dataclass(frozen=True)
class TableColumns:
    """Meaning of the columns of a table.

    Attributes
    ----------
    subject
        Column of the subject.
    modalities
        Feature columns by modality.
    emotions
        Columns of ratings or shares: names, patterns, or ``EMOTION=COLUMN``, which renames the emotion.
    one_hot
        Column of the class of each window, in place of `emotions`.
    group
        Column of the clip or condition, or None.
    main
        Name of the main modality, or None for the first physiological one.
    answers
        Meaning of the cells of label columns.
    subject_pattern
        Regular expression that finds the name of the person in a cell of `subject`: its first group, or all that it
        matches. None for the whole cell.
    """

    subject: str
    modalities: Sequence[ModalityPattern]
    emotions: Sequence[str] = ()
    one_hot: str | None = None
    group: str | None = None
    main: str | None = None
    answers: Answers = NO_SCALE
    subject_pattern: str | None = None


def parse_modality(text: str) -> ModalityPattern:
    """Parse ``NAME=ROLE:PATTERN,PATTERN,…[:TOKENS]``; raise `InputError` for any other form.

    >>> parse_modality("eda=physiological:EDA_*,SCR_*:5")
    ModalityPattern(name='eda', role='physiological', patterns=('EDA_*', 'SCR_*'), tokens=5)
    """
    name, equals, rest = text.partition("=")
    role, colon, rest = rest.partition(":")
    name, role = name.strip(), role.strip()
    if not (name and equals and colon):
        raise InputError(f"--modality must be {MODALITY_FORM}, got {text!r}")
    if role not in enum_values(Role):
        raise InputError(
            f"--modality {name}: role must be {' or '.join(enum_values(Role))}, got {role!r}"
            f"{did_you_mean(role, enum_values(Role))}"
        )
    columns, _, tail = rest.rpartition(":")
    tokens = None
    if columns and re.fullmatch(r"\s*[+-]?[0-9]+\s*", tail):
        rest, tokens = columns, int(tail)
    patterns = tuple(pattern.strip() for pattern in rest.split(","))
    if not all(patterns):
        raise InputError(f"--modality {name}: a pattern is empty in {rest!r}; it must be {MODALITY_FORM}")
    return ModalityPattern(name, role, patterns, tokens)


def read_table(
    path: Path,
    columns: TableColumns,
    *,
    name: str | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """Read a table with a row per window.

    Ratings are divided by their sum in each row. Columns keep their names, except for feature columns that are called
    ``subject`` or ``group``.

    Parameters
    ----------
    path
        File whose suffix is one of `helo.data.table_file.SUFFIXES`.
    columns
        Meaning of the columns.
    name
        Name of the dataset, or None for that of the file.
    log
        Receives lines about the form of the file, the columns of each modality, unused columns, and the labels.

    Returns
    -------
    Dataset
        One window per row, with feature columns in the order of the file within each modality.

    Raises
    ------
    InputError
        If the file or a column cannot be read as described. The message names the file, the line or row, and the
        column.
    """
    path = local_path(path)
    file = open_table(path)
    try:
        plan = _plan(file.columns, columns)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return _read(_Table(path, file, log), columns, plan, name or path.name.split(".")[0])


class _Plan(NamedTuple):
    """Columns of a table by use.

    Attributes
    ----------
    modalities
        The modalities, with the feature columns of the dataset.
    source
        Feature column of the dataset → column of the table.
    labels
        Emotion or scale → column of the table.
    """

    modalities: tuple[Modality, ...]
    source: dict[str, str]
    labels: dict[str, str]


def _plan(present: tuple[str, ...], columns: TableColumns) -> _Plan:
    """Match the options with the columns of a table."""
    # column of the file → option that names it
    used = named_columns(
        present, (("--subject", columns.subject), ("--group", columns.group), ("--one-hot", columns.one_hot))
    )
    needs_two = columns.one_hot is None and columns.answers.poles is None
    labels = label_columns(present, columns.emotions, used, needs_two)
    main = _main_modality(columns)
    source: dict[str, str] = {}
    modalities = []
    for modality in columns.modalities:
        option = f"--modality {modality.name}"
        found = matching(present, modality.patterns, option)
        for column in found:
            use(used, column, option)
        if modality.tokens is None and len(found) > MAX_SINGLE_TOKENS:
            raise InputError(
                f"{option}: must end in :TOKENS, the number of tokens that its {len(found)} columns make "
                f"(without it, at most {MAX_SINGLE_TOKENS} columns are a token each)"
            )
        features = [unique_name(column, "feature", present, source) for column in found]
        tokens = len(found) if modality.tokens is None else modality.tokens
        modalities.append(Modality(modality.name, modality.role, tuple(features), tokens, main=modality.name == main))
    return _Plan(tuple(modalities), source, labels)


def _schema(table: _Table, columns: TableColumns, plan: _Plan, emotions: Sequence[str], name: str) -> Schema:
    """Return the schema of the dataset."""
    source = dict(plan.source)
    present = table.file.columns
    names = {str(Column.SUBJECT): columns.subject} | plan.source
    if columns.group is not None:
        names[str(Column.GROUP)] = columns.group
    return Schema(
        name=name,
        modalities=plan.modalities,
        emotions={
            emotion: unique_name(plan.labels.get(emotion, f"label_{emotion}"), "label", present, source)
            for emotion in emotions
        },
        source=table.path.name,
        notes=f"Made from a table: subject is column {columns.subject!r}"
        + (f", group {columns.group!r}." if columns.group else ", no group."),
        table_columns={column: origin for column, origin in names.items() if column != origin},
    )


def _main_modality(columns: TableColumns) -> str | None:
    """Return the name of the main modality; None where no modality is physiological."""
    physiological = [modality.name for modality in columns.modalities if modality.role == Role.PHYSIOLOGICAL]
    if columns.main is None:
        return physiological[0] if physiological else None
    if columns.main not in physiological:
        raise InputError(
            f"--main must be a physiological modality ({shorten(physiological) or 'there is none'}), got "
            f"{columns.main!r}{did_you_mean(columns.main, physiological)}"
        )
    return columns.main


class _Table(NamedTuple):
    """A table that is being read, and where its messages go."""

    path: Path
    file: TableFile
    log: Callable[[str], None]

    def at(self, row: int) -> str:
        return f"{self.path}: {self.file.place(row)}"


def _read(table: _Table, columns: TableColumns, plan: _Plan, name: str) -> Dataset:
    """Read the columns of a table, and leave out rows without a rating if that is asked for."""
    feature_of = {column: position for position, column in enumerate(plan.source.values())}
    label_of = {column: position for position, column in enumerate(plan.labels.values())}
    meanings = {columns.subject: "subject"} | ({} if columns.group is None else {columns.group: "group"})
    texts = [*meanings, *([] if columns.one_hot is None else [columns.one_hot])]
    # Labels stay in double precision, as in a dataset directory.
    numbers = dict.fromkeys(feature_of, pa.float32()) | dict.fromkeys(label_of, pa.float64())
    cells: dict[str, list[str]] = {}
    features = ratings = None
    for column, values in table.file.read(texts, numbers):
        if features is None or ratings is None:
            if not len(values):
                raise InputError(f"{table.path}: must hold at least one row below the column names, got none")
            features = np.empty((len(values), len(feature_of)), dtype=np.float32)
            ratings = np.empty((len(values), len(label_of)))
        if column in meanings:
            cells[column] = require_names(table.path, table.file, column, meanings[column], values)
        elif column in texts:
            cells[column] = values.to_pylist()
        else:
            array = values.to_numpy(zero_copy_only=False)  # empty cells become NaN
            if np.isinf(array).any():
                row = int(np.argmax(np.isinf(array)))
                raise InputError(f"{table.at(row)}, column {column!r}: must be finite (float32), got {array[row]}")
            if column in feature_of:
                features[:, feature_of[column]] = array
            else:
                ratings[:, label_of[column]] = array
    assert features is not None
    assert ratings is not None
    if columns.one_hot is not None:
        labels = distributions_of_classes(cells[columns.one_hot], columns.one_hot, columns.answers, table.at)
    else:
        labels = distributions_of_ratings(ratings, plan.labels, columns.answers, table.at)
    kept = _require_signals(table, features, labels.rated)
    persons = _persons(table, cells[columns.subject], columns.subject, columns.subject_pattern)
    try:
        schema = _schema(table, columns, plan, labels.emotions, name)
        dataset = Dataset(
            schema,
            persons[kept],
            features[kept],
            labels.shares[kept],
            groups=None if columns.group is None else np.asarray(cells[columns.group], dtype=np.str_)[kept],
        )
    except InputError as error:
        raise InputError(f"{table.path}: {error}") from None
    _describe(table, plan, labels, [*texts, *numbers])
    return dataset


def _persons(table: _Table, cells: Sequence[str], column: str, pattern: str | None) -> NDArray[np.str_]:
    """Return the name of the person of each row."""
    if pattern is None:
        return np.asarray(cells, dtype=np.str_)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--subject-pattern must be a regular expression, got {pattern!r} ({error})") from None
    names = []
    for row, cell in enumerate(cells):
        found = expression.search(cell)
        name = found and found[1 if expression.groups else 0]
        if not name:
            raise InputError(f"{table.at(row)}, column {column!r}: --subject-pattern finds no name in {cell!r}")
        names.append(name)
    return np.asarray(names, dtype=np.str_)


def _require_signals(table: _Table, features: NDArray[np.float32], rated: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the rows to keep; raise `InputError` if none is left, or one of them has no signal."""
    if not rated.any():
        raise InputError(f"{table.path}: must hold a row with a rating, got none")
    blind = rated & np.isnan(features).all(axis=1)
    if blind.any():
        raise InputError(
            f"{table.at(int(np.argmax(blind)))}: a window must have at least one signal, all features are "
            f"empty ({int(blind.sum())} such rows); remove them"
        )
    return rated


def _describe(table: _Table, plan: _Plan, labels: Labels, used: Sequence[str]) -> None:
    """Log how the file was read, the columns of each modality, unused columns, and what was done to the labels."""
    for note in table.file.notes:
        table.log(f"{table.path.name}: {note}")
    for modality in plan.modalities:
        columns = shorten((plan.source[column] for column in modality.columns), most=6)
        table.log(f"{modality.name} ({len(modality.columns)} columns, {modality.tokens} tokens): {columns}")
    unused = [column or "(no name)" for column in table.file.columns if column not in used]
    if unused:
        table.log(f"not used: {shorten(unused, most=12)}")
    for note in labels.notes:
        table.log(note)
