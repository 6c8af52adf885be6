"""Dataset from a table with a row per window, whose columns are chosen by names and patterns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from helo.data.dataset import LABEL_SUM_TOLERANCE, Dataset
from helo.data.schema import Modality, Schema
from helo.data.table_file import TableFile, open_table
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
        Column names or patterns (``*``, ``?``, ``[…]``; case matters).
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
    emotions
        Columns of ratings or shares: names, patterns, or ``EMOTION=COLUMN``, which renames the emotion.
    modalities
        Feature columns by modality.
    group
        Column of the clip or condition, or None.
    main
        Name of the main modality, or None for the first physiological one.
    """

    subject: str
    emotions: Sequence[str]
    modalities: Sequence[ModalityPattern]
    group: str | None = None
    main: str | None = None


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
    """Read a CSV or Parquet table with a row per window.

    Label columns are divided by their sum in each row. Columns keep their names, except for feature and label columns
    that are called ``subject`` or ``group``.

    Parameters
    ----------
    path
        File whose suffix is ``.csv``, ``.csv.gz``, ``.tsv`` or ``.parquet``.
    columns
        Meaning of the columns.
    name
        Name of the dataset, or None for that of the file.
    log
        Receives a line about unused columns and one about labels that did not sum to 1.

    Returns
    -------
    Dataset
        One window per row, with feature columns in the order of the file within each modality.

    Raises
    ------
    InputError
        If the file or a column cannot be read as described. The message names the file, the line (CSV) or row
        (Parquet), and the column.
    """
    path = Path(path)
    file = open_table(path)
    try:
        schema, renamed = _schema(file.columns, columns, name or path.name.split(".")[0], path.name)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    names: dict[str, str] = {columns.subject: Column.SUBJECT}
    if columns.group is not None:
        names[columns.group] = Column.GROUP
    return _read(_Table(path, file, log), schema, renamed, names)


def _schema(present: tuple[str, ...], columns: TableColumns, name: str, source: str) -> tuple[Schema, dict[str, str]]:
    """Return the schema, and the column of the file for each of its columns."""
    used: dict[str, str] = {}  # column of the file → option that names it
    for option, column in (("--subject", columns.subject), ("--group", columns.group)):
        if column is None:
            continue
        if column not in present:
            raise InputError(f"{option}: there is no column {column!r}{did_you_mean(column, present)}")
        _use(used, column, option)
    labels = _emotion_columns(present, columns.emotions)
    for column in labels.values():
        _use(used, column, "--emotions")
    main = _main_modality(columns)
    renamed: dict[str, str] = {}
    modalities = []
    for modality in columns.modalities:
        option = f"--modality {modality.name}"
        found = _matches(present, modality.patterns, option)
        for column in found:
            _use(used, column, option)
        if modality.tokens is None and len(found) > MAX_SINGLE_TOKENS:
            raise InputError(
                f"{option}: must end in :TOKENS, the number of tokens that its {len(found)} columns make "
                f"(without it, at most {MAX_SINGLE_TOKENS} columns are a token each)"
            )
        features = [_unique_name(column, "feature", present, renamed) for column in found]
        tokens = len(found) if modality.tokens is None else modality.tokens
        modalities.append(Modality(modality.name, modality.role, tuple(features), tokens, main=modality.name == main))
    schema = Schema(
        name=name,
        modalities=tuple(modalities),
        emotions={emotion: _unique_name(column, "label", present, renamed) for emotion, column in labels.items()},
        source=source,
        notes=f"Made from a table: subject is column {columns.subject!r}"
        + (f", group {columns.group!r}." if columns.group else ", no group."),
    )
    return schema, renamed


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


def _use(used: dict[str, str], column: str, option: str) -> None:
    """Record that an option names a column; raise `InputError` if another option does."""
    if column in used:
        raise InputError(f"column {column!r} must have one use, but {used[column]} and {option} both name it")
    used[column] = option


def _unique_name(column: str, kind: str, columns: tuple[str, ...], renamed: dict[str, str]) -> str:
    """Return the name of a column in the dataset, and add it to `renamed`."""
    name = column
    while name in (Column.SUBJECT, Column.GROUP) or name in renamed or (name != column and name in columns):
        name = f"{kind}_{name}"
    renamed[name] = column
    return name


def _emotion_columns(columns: tuple[str, ...], texts: Sequence[str]) -> dict[str, str]:
    """Return the column of the file for each emotion."""
    found: dict[str, str] = {}
    for text in texts:
        # The name of a column may contain a comma or an equals sign.
        for word in [text] if text in columns else [part.strip() for part in text.split(",")]:
            emotion, equals, column = word.partition("=")
            if word in columns or not equals:
                pairs = {column: column for column in _matches(columns, (word,), "--emotions")}
            else:
                if column not in columns:
                    raise InputError(f"--emotions: there is no column {column!r}{did_you_mean(column, columns)}")
                pairs = {emotion: column}
            for emotion, column in pairs.items():
                if not emotion:
                    raise InputError(f"--emotions: an emotion must have a name, got {word!r}")
                if emotion in found or column in found.values():
                    raise InputError(f"--emotions: each may be named once, but {word!r} names {emotion!r} again")
                found[emotion] = column
    return found


def _matches(columns: tuple[str, ...], patterns: tuple[str, ...], option: str) -> list[str]:
    """Return the columns that match a pattern, each once, in the order of the file."""
    chosen: set[str] = set()
    for pattern in patterns:
        # A name may contain characters of patterns, such as HR[bpm].
        found = [pattern] if pattern in columns else [column for column in columns if fnmatchcase(column, pattern)]
        if not found:
            what = "no column matches" if re.search(r"[*?\[]", pattern) else "there is no column"
            raise InputError(f"{option}: {what} {pattern!r}{did_you_mean(pattern, columns)}")
        chosen.update(found)
    return [column for column in columns if column in chosen]


class _Table(NamedTuple):
    """A table that is being read, and where its messages go."""

    path: Path
    file: TableFile
    log: Callable[[str], None]

    def at(self, row: int) -> str:
        return f"{self.path}: {self.file.place(row)}"


def _read(table: _Table, schema: Schema, renamed: dict[str, str], names: dict[str, str]) -> Dataset:
    """Read the columns of a table: `names` maps columns of text to `subject` and `group`."""
    feature_of = {renamed[column]: position for position, column in enumerate(schema.features)}
    label_of = {renamed[column]: position for position, column in enumerate(schema.emotions.values())}
    # Labels stay in double precision, as in a dataset directory.
    numbers = dict.fromkeys(feature_of, pa.float32()) | dict.fromkeys(label_of, pa.float64())
    texts: dict[str, NDArray[np.str_]] = {}
    features = labels = seen = None
    for column, values in table.file.read(names, numbers):
        if features is None or labels is None or seen is None:
            if not len(values):
                raise InputError(f"{table.path}: must hold at least one row below the column names, got none")
            features = np.empty((len(values), len(feature_of)), dtype=np.float32)
            labels = np.empty((len(values), len(label_of)))
            seen = np.zeros(len(values), dtype=bool)
        if column in names:
            texts[names[column]] = np.asarray(values.to_pylist(), dtype=np.str_)
            continue
        array = values.to_numpy(zero_copy_only=False)  # empty cells become NaN
        if np.isinf(array).any():
            row = int(np.argmax(np.isinf(array)))
            raise InputError(f"{table.at(row)}, column {column!r}: must be finite (float32), got {array[row]}")
        if column in feature_of:
            features[:, feature_of[column]] = array
            seen |= ~np.isnan(array)
        else:
            labels[:, label_of[column]] = array
    assert features is not None
    assert labels is not None
    assert seen is not None
    if not seen.all():
        raise InputError(
            f"{table.at(int(np.argmin(seen)))}: a window must have at least one signal, all features are "
            f"empty ({int((~seen).sum())} such rows); remove them"
        )
    labels = _distributions(table, labels, tuple(label_of))
    unused = [column for column in table.file.columns if column not in numbers and column not in names]
    if unused:
        table.log(f"not used: {shorten(unused, most=12)}")
    try:
        return Dataset(schema, texts[Column.SUBJECT], features, labels, groups=texts.get(Column.GROUP))
    except InputError as error:
        raise InputError(f"{table.path}: {error}") from None


def _distributions(table: _Table, labels: NDArray[np.float64], columns: tuple[str, ...]) -> NDArray[np.float64]:
    """Return ratings divided by their sums; rows that sum to 1 stay unchanged (`Dataset` makes the sum exact)."""
    for rule, wrong in (("must have a label, is empty", np.isnan(labels)), ("must not be negative", labels < 0)):
        if wrong.any():
            row, position = np.argwhere(wrong)[0]
            got = "" if np.isnan(labels[row, position]) else f", got {labels[row, position]:g}"
            raise InputError(f"{table.at(int(row))}, column {columns[position]!r}: {rule}{got}")
    total = labels.sum(axis=1, keepdims=True)
    if not total.all():
        zero = int(np.argmin(total[:, 0]))
        raise InputError(
            f"{table.at(zero)}: the emotions must sum to more than 0 "
            f"({int((total == 0).sum())} rows are all zeros); remove them"
        )
    ratings = np.abs(total - 1) > LABEL_SUM_TOLERANCE
    if ratings.any():
        table.log(
            f"labels of {int(ratings.sum()):,} of {len(labels):,} rows do not sum to 1 (ratings?): "
            "each row is divided by its sum"
        )
    shares: NDArray[np.float64] = np.where(ratings, labels / total, labels)
    return shares
