"""A dataset from one table of a row per window: which columns are what is said in patterns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
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

MOST_OWN_TOKENS: Final = 64
"""Columns that become a token each unless TOKENS is given; attention over more would be slow, so it must be."""


class ModalityPattern(NamedTuple):
    """A modality as the command line says it: which columns, and how many tokens (None: a token per column)."""

    name: str
    role: str
    patterns: tuple[str, ...]
    tokens: int | None


def parse_modality(text: str) -> ModalityPattern:
    """Take ``NAME=ROLE:PATTERN,PATTERN,…[:TOKENS]`` apart.

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
            f"--modality {name}: role must be {' or '.join(enum_values(Role))}, got {role!r}{did_you_mean(role, enum_values(Role))}"
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
    *,
    subject: str,
    emotions: Sequence[str],
    modalities: Sequence[ModalityPattern],
    group: str | None = None,
    main: str | None = None,
    name: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """Read a CSV or Parquet table (by its suffix) of a row per window.

    - `subject`, `group`: columns
    - `emotions`: each a column, ``EMOTION=COLUMN``, or a pattern; what they hold is divided by its sum in each row
    - `modalities`: columns by patterns (``*``, ``?``, ``[…]``, case matters), taken in the order of the file
    - `main`: name of the main modality; None takes the first physiological one
    - `tell` gets what a user should know: columns not used, labels that were ratings

    Columns keep their names, but for features and labels called ``subject`` or ``group``. Raises `InputError` with
    file, line (of CSV) or row, and column for whatever is wrong.
    """
    path = Path(path)
    file = open_table(path)
    try:
        schema, renamed = _schema(path, file.columns, subject, emotions, modalities, group, main, name)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    words: dict[str, str] = {subject: Column.SUBJECT}
    if group is not None:
        words[group] = Column.GROUP
    return _read(path, file, schema, renamed, words, tell)


def _schema(
    path: Path,
    columns: tuple[str, ...],
    subject: str,
    emotions: Sequence[str],
    modalities: Sequence[ModalityPattern],
    group: str | None,
    main: str | None,
    name: str | None,
) -> tuple[Schema, dict[str, str]]:
    """The schema, and for each of its columns the column of the file."""
    used: dict[str, str] = {}  # column of the file → what it is
    for what, column in (("--subject", subject), ("--group", group)):
        if column is None:
            continue
        if column not in columns:
            raise InputError(f"{what}: there is no column {column!r}{did_you_mean(column, columns)}")
        _use(used, column, what)
    labels = _emotions(columns, emotions)
    for column in labels.values():
        _use(used, column, "--emotions")
    physiological = [modality.name for modality in modalities if modality.role == Role.PHYSIOLOGICAL]
    if main is None:
        main = physiological[0] if physiological else None
    elif main not in physiological:
        raise InputError(
            f"--main must be a physiological modality ({shorten(physiological) or 'there is none'}), got {main!r}"
            f"{did_you_mean(main, physiological)}"
        )
    renamed: dict[str, str] = {}
    made = []
    for modality in modalities:
        found = _matches(columns, modality.patterns, f"--modality {modality.name}")
        for column in found:
            _use(used, column, f"--modality {modality.name}")
        if modality.tokens is None and len(found) > MOST_OWN_TOKENS:
            raise InputError(
                f"--modality {modality.name}: say how many tokens its {len(found)} columns make (:TOKENS at the end; "
                f"up to {MOST_OWN_TOKENS} columns are a token each)"
            )
        own = [_renamed(column, "feature", columns, renamed) for column in found]
        tokens = len(found) if modality.tokens is None else modality.tokens
        made.append(Modality(modality.name, modality.role, tuple(own), tokens, main=modality.name == main))
    schema = Schema(
        name=name or path.name.split(".")[0],
        modalities=tuple(made),
        emotions={emotion: _renamed(column, "label", columns, renamed) for emotion, column in labels.items()},
        source=path.name,
        notes=f"Made from a table: subject is column {subject!r}" + (f", group {group!r}." if group else ", no group."),
    )
    return schema, renamed


def _use(used: dict[str, str], column: str, what: str) -> None:
    if column in used:
        raise InputError(f"column {column!r} must have one use, but {used[column]} and {what} both name it")
    used[column] = what


def _renamed(column: str, kind: str, columns: tuple[str, ...], renamed: dict[str, str]) -> str:
    """A column's name in the dataset, noted in `renamed`."""
    own = column
    while own in (Column.SUBJECT, Column.GROUP) or own in renamed or (own != column and own in columns):
        own = f"{kind}_{own}"
    renamed[own] = column
    return own


def _emotions(columns: tuple[str, ...], texts: Sequence[str]) -> dict[str, str]:
    """Emotion → column of the file."""
    found: dict[str, str] = {}
    for text in texts:
        # A column may have a comma or an equals sign in its name.
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
    """Columns that a pattern matches, each once, in the order of the file."""
    chosen = set()
    for pattern in patterns:
        # A name may hold what patterns mean otherwise: HR[bpm].
        found = [pattern] if pattern in columns else [column for column in columns if fnmatchcase(column, pattern)]
        if not found:
            what = "no column matches" if re.search(r"[*?\[]", pattern) else "there is no column"
            raise InputError(f"{option}: {what} {pattern!r}{did_you_mean(pattern, columns)}")
        chosen.update(found)
    return [column for column in columns if column in chosen]


def _read(
    path: Path,
    file: TableFile,
    schema: Schema,
    renamed: dict[str, str],
    words: dict[str, str],
    tell: Callable[[str], None],
) -> Dataset:
    feature_of = {renamed[column]: position for position, column in enumerate(schema.features)}
    label_of = {renamed[column]: position for position, column in enumerate(schema.emotions.values())}
    # Labels stay in double precision, as in a dataset directory.
    numbers = dict.fromkeys(feature_of, pa.float32()) | dict.fromkeys(label_of, pa.float64())
    read: dict[str, NDArray[np.str_]] = {}
    features = labels = seen = None
    for column, values in file.read(words, numbers):
        if features is None or labels is None or seen is None:
            if not len(values):
                raise InputError(f"{path}: holds no rows")
            features = np.empty((len(values), len(feature_of)), dtype=np.float32)
            labels = np.empty((len(values), len(label_of)))
            seen = np.zeros(len(values), dtype=bool)
        if column in words:
            read[words[column]] = np.asarray(values.to_pylist(), dtype=np.str_)
            continue
        array = values.to_numpy(zero_copy_only=False)  # empty cells become NaN
        if np.isinf(array).any():
            row = int(np.argmax(np.isinf(array)))
            raise InputError(
                f"{path}: {file.place(row)}, column {column!r}: must be finite (float32), got {array[row]}"
            )
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
            f"{path}: {file.place(int(np.argmin(seen)))}: a window must have at least one signal, all features are "
            f"empty ({int((~seen).sum())} such rows); remove them"
        )
    labels = _distributions(path, file, labels, tuple(label_of), tell)
    unused = [column for column in file.columns if column not in numbers and column not in words]
    if unused:
        tell(f"not used: {shorten(unused, most=12)}")
    try:
        return Dataset(schema, read[Column.SUBJECT], features, labels, groups=read.get(Column.GROUP))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _distributions(
    path: Path, file: TableFile, labels: NDArray[np.float64], columns: tuple[str, ...], tell: Callable[[str], None]
) -> NDArray[np.float64]:
    """Ratings become shares; rows that sum to 1 already stay as they are, for `Dataset` to make exact."""
    for rule, wrong in (("must have a label, is empty", np.isnan(labels)), ("must not be negative", labels < 0)):
        if wrong.any():
            row, position = np.argwhere(wrong)[0]
            got = "" if np.isnan(labels[row, position]) else f", got {labels[row, position]:g}"
            raise InputError(f"{path}: {file.place(int(row))}, column {columns[position]!r}: {rule}{got}")
    total = labels.sum(axis=1, keepdims=True)
    if not total.all():
        nothing = int(np.argmin(total[:, 0]))
        raise InputError(
            f"{path}: {file.place(nothing)}: the emotions must sum to more than 0 "
            f"({int((total == 0).sum())} rows are all zeros); remove them"
        )
    ratings = np.abs(total - 1) > LABEL_SUM_TOLERANCE
    if ratings.any():
        tell(
            f"labels of {int(ratings.sum()):,} of {len(labels):,} rows do not sum to 1 (ratings?): "
            "each row is divided by its sum"
        )
    shares: NDArray[np.float64] = np.where(ratings, labels / total, labels)
    return shares
