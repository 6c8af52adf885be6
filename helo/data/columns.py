"""Choice of the columns of a table by names and patterns."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from helo.data.spelling import plain_name
from helo.errors import InputError, did_you_mean, shorten
from helo.names import Column


def use(used: dict[str, str], column: str, option: str) -> None:
    """Record that an option names a column; raise `InputError` if another option does."""
    if column in used:
        hint = f"; add '!{column}' to the patterns of {option}" if option.startswith("--modality") else ""
        raise InputError(f"column {column!r} must have one use, but {used[column]} and {option} both name it{hint}")
    used[column] = option


def named_columns(columns: tuple[str, ...], options: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """Return the columns that options name as column → option.

    Parameters
    ----------
    columns
        Columns of the table.
    options
        Pairs of an option and the column that it names, None if it is not given.

    Raises
    ------
    InputError
        If there is no such column, or two options name the same one.
    """
    used: dict[str, str] = {}
    for option, column in options:
        if column is None:
            continue
        if column not in columns:
            raise InputError(
                f"{option}: there is no column {column!r}{did_you_mean(column, columns)}; the first line names "
                f"{shorten(map(repr, columns), most=8)}"
            )
        use(used, column, option)
    return used


def label_columns(
    columns: tuple[str, ...], emotions: Sequence[str], used: dict[str, str], needs_two: bool
) -> dict[str, str]:
    """Return the column of each emotion, and record their use.

    Parameters
    ----------
    columns
        Columns of the table.
    emotions
        Names, patterns, or ``EMOTION=COLUMN``.
    used
        Column → option that names it.
    needs_two
        Whether a single column is refused: it is neither a column of classes nor a scale with two poles.

    Raises
    ------
    InputError
        If a column is missing or has another use, or if there is a single one.
    """
    found = emotion_columns(columns, emotions)
    for column in found.values():
        use(used, column, "--emotions")
    if needs_two and len(found) == 1:
        (column,) = found.values()
        raise InputError(
            f"--emotions: at least two columns are needed for a distribution, got {column!r}; if it holds the class of "
            f"each window, use --one-hot {shlex.quote(column)}"
        )
    return found


def unique_name(column: str, kind: str, columns: tuple[str, ...], renamed: dict[str, str]) -> str:
    """Return the name of a column in the dataset, and add it to `renamed`."""
    name = column
    while name in (Column.SUBJECT, Column.GROUP) or name in renamed or (name != column and name in columns):
        name = f"{kind}_{name}"
    renamed[name] = column
    return name


def emotion_columns(columns: tuple[str, ...], texts: Sequence[str]) -> dict[str, str]:
    """Return the column of the file for each emotion."""
    found: dict[str, str] = {}
    for text in texts:
        # The name of a column may contain a comma or an equals sign.
        for word in [text] if text in columns else [part.strip() for part in text.split(",")]:
            emotion, equals, column = word.partition("=")
            if word in columns or not equals:
                # A heading may have line breaks, which a name must not have.
                pairs = {plain_name(column): column for column in matching(columns, (word,), "--emotions")}
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


def matching(columns: tuple[str, ...], patterns: tuple[str, ...], option: str) -> list[str]:
    """Return the columns that match a pattern and no excluding one, each once, in the order of the file."""
    chosen: set[str] = set()
    excluded: set[str] = set()
    for pattern in patterns:
        is_excluding = pattern.startswith("!") and pattern not in columns
        word = pattern[1:] if is_excluding else pattern
        # A name may contain characters of patterns, such as HR[bpm].
        found = [word] if word in columns else [column for column in columns if column and fnmatchcase(column, word)]
        if not found:
            what = "no column matches" if re.search(r"[*?\[]", word) else "there is no column"
            raise InputError(
                f"{option}: {what} {word!r}{did_you_mean(word, columns)}; the columns are "
                f"{shorten(map(repr, columns), most=8)}"
            )
        (excluded if is_excluding else chosen).update(found)
    return [column for column in columns if column in chosen - excluded]
