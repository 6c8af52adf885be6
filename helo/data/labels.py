"""Emotion distributions from what people answer: ratings of emotions, scales with two poles, or one class."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helo.data.dataset import LABEL_SUM_TOLERANCE, natural_key
from helo.data.spelling import alike, as_compared
from helo.errors import InputError, shorten

MAX_CLASSES: Final = 50
"""Maximum number of classes of a column; one with more is likely to hold something else."""

_DIMENSIONS: Final = frozenset({"valence", "arousal", "dominance", "pleasure", "pleasantness", "activation", "liking"})
_NO_CLASS: Final = frozenset({"", "NA", "N/A", "NaN", "nan", "<NA>", "null", "NULL"})


class Bounds(NamedTuple):
    """Smallest and largest answer on a scale."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}"


@dataclass(frozen=True)
class Answers:
    """Meaning of the answers in the label columns.

    Attributes
    ----------
    scale
        Scale of ratings whose low end means that an emotion is absent. None if 0 means that.
    poles
        Scale whose two ends are opposites. Each column then becomes two emotions.
    drop_unrated
        Whether rows without a rating are left out. They are refused otherwise.
    """

    scale: Bounds | None = None
    poles: Bounds | None = None
    drop_unrated: bool = False


NO_SCALE: Final = Answers()
"""Ratings or shares from 0 on, one of them in each row."""


class Labels(NamedTuple):
    """Emotion distributions of the rows of a table.

    Attributes
    ----------
    emotions
        Names of the emotions.
    shares
        Distributions (N, E), in which rows to leave out are undefined.
    rated
        Whether each row has a distribution (N,).
    notes
        Lines for the user.
    """

    emotions: tuple[str, ...]
    shares: NDArray[np.float64]
    rated: NDArray[np.bool_]
    notes: tuple[str, ...]


def parse_bounds(text: str, option: str) -> Bounds:
    """Parse ``LOW:HIGH``; raise `InputError` for any other form.

    >>> parse_bounds("1:9", "--scale")
    Bounds(low=1.0, high=9.0)
    """
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        low = high = np.nan
    if not -np.inf < low < high < np.inf:
        raise InputError(f"{option} must be LOW:HIGH, such as 1:9, got {text!r}")
    return Bounds(low, high)


def dimensions(emotions: Sequence[str]) -> list[str]:
    """Return the names that are affective dimensions, whose scales have two ends, and not emotions.

    >>> dimensions(["Valence", "sam_arousal", "joy", "dominance_low", "dominance_high"])
    ['Valence', 'sam_arousal']
    """
    return [
        name
        for name in emotions
        if _DIMENSIONS & set(re.split(r"[^a-z]+", name.casefold())) and not name.endswith(("_low", "_high"))
    ]


def distributions_of_ratings(
    ratings: NDArray[np.float64],
    columns: dict[str, str],
    answers: Answers,
    at: Callable[[int], str],
) -> Labels:
    """Turn ratings into distributions.

    Parameters
    ----------
    ratings
        Ratings (N, C). NaN marks a missing one.
    columns
        Emotion or scale → name of its column, in the order of `ratings`.
    answers
        Meaning of the ratings.
    at
        Returns the place of a row, for messages.

    Returns
    -------
    Labels
        The distributions.

    Raises
    ------
    InputError
        If a rating is out of range. If it is missing, or all ratings of a row are 0, and rows are not to be left out.
    """
    names = tuple(columns.values())
    missing = np.isnan(ratings)
    bounds = answers.scale or answers.poles
    if bounds is None:
        wrong, rule = ratings < 0, "must not be negative"
    else:
        option = "--scale" if answers.scale else "--poles"
        wrong, rule = (ratings < bounds.low) | (ratings > bounds.high), f"must be within {option} {bounds}"
    if wrong.any():
        row, position = np.argwhere(wrong)[0]
        hint = "" if bounds else "; for scales with two opposite ends, add --poles LOW:HIGH"
        raise InputError(f"{at(int(row))}, column {names[position]!r}: {rule}, got {ratings[row, position]:g}{hint}")
    incomplete: NDArray[np.bool_] = np.logical_or.reduce(missing, axis=1)
    if incomplete.any() and not answers.drop_unrated:
        row, position = np.argwhere(missing)[0]
        raise InputError(
            f"{at(int(row))}, column {names[position]!r}: must have a label, is empty ({int(incomplete.sum()):,} of "
            f"{len(ratings):,} rows lack a rating; --drop-unrated leaves them out)"
        )
    if answers.poles:
        return _poles(ratings, tuple(columns), answers.poles, ~incomplete)
    amounts = ratings if answers.scale is None else (ratings - answers.scale.low)
    total = amounts.sum(axis=1, keepdims=True)
    nothing: NDArray[np.bool_] = total[:, 0] == 0
    if nothing.any() and not answers.drop_unrated:
        zero = "0" if answers.scale is None else f"{answers.scale.low:g}"
        raise InputError(
            f"{at(int(np.argmax(nothing)))}: the emotions must sum to more than 0 ({int(nothing.sum()):,} rows have "
            f"nothing but {zero}); remove them, or add --drop-unrated"
        )
    rated = ~incomplete & ~nothing
    notes = [*_left_out(incomplete, nothing), *_about_ratings(ratings[rated], total[rated, 0], answers)]
    # Rows that sum to 1 stay unchanged, and `Dataset` makes their sum exact.
    with np.errstate(invalid="ignore"):
        shares = np.where(np.abs(total - 1) > LABEL_SUM_TOLERANCE, amounts / total, amounts)
    if found := dimensions(tuple(columns)):
        notes.append(f"warning: {about_dimensions(found)}")
    return Labels(tuple(columns), shares, rated, tuple(notes))


def about_dimensions(names: Sequence[str]) -> str:
    """Return why affective dimensions are no emotions of a distribution, and what to do."""
    return (
        f"{shorten(names)}: scales with two ends are no parts of a whole, so their shares mean nothing; make two "
        "emotions of each scale with --poles LOW:HIGH, or use the share of each quadrant in a window"
    )


def _poles(ratings: NDArray[np.float64], scales: tuple[str, ...], poles: Bounds, rated: NDArray[np.bool_]) -> Labels:
    """Split each rating between the ends of its scale; all scales have the same weight."""
    high = (ratings - poles.low) / (poles.high - poles.low)
    shares = np.stack([1 - high, high], axis=2).reshape(len(ratings), -1) / len(scales)
    emotions = tuple(f"{name}_{end}" for name in scales for end in ("low", "high"))
    note = f"each scale is two emotions, its low and its high end; {poles.low:g} and {poles.high:g} are the pure ones"
    return Labels(emotions, shares, rated, (note, *_left_out(~rated, np.zeros_like(rated))))


def _left_out(incomplete: NDArray[np.bool_], nothing: NDArray[np.bool_]) -> list[str]:
    parts = []
    if incomplete.any():
        parts.append(f"{int(incomplete.sum()):,} that lack a rating")
    if nothing.any():
        parts.append(f"{int(nothing.sum()):,} in which every emotion is absent")
    return [f"left out of {len(nothing):,} rows: {', '.join(parts)}"] if parts else []


def _about_ratings(ratings: NDArray[np.float64], total: NDArray[np.float64], answers: Answers) -> list[str]:
    """Return what is done to ratings, and what they may need; rows without a rating are not among them."""
    scaled = int((np.abs(total - 1) > LABEL_SUM_TOLERANCE).sum())
    if not scaled:
        return []
    if answers.scale is not None:
        return [f"a rating of {answers.scale.low:g} is a share of 0; each row is divided by its sum"]
    notes = [
        f"labels of {scaled:,} of {len(ratings):,} rows do not sum to 1 (ratings?): each row is divided by its sum"
    ]
    if ratings.min() == 1 and (ratings == ratings.round()).all():
        notes.append(
            f"the smallest rating is 1, so no share can be 0; if 1 means 'not at all', add --scale 1:{ratings.max():g}"
        )
    return notes


def distributions_of_classes(
    cells: Sequence[str | None], column: str, answers: Answers, at: Callable[[int], str]
) -> Labels:
    """Turn a column of classes into one-hot distributions.

    Parameters
    ----------
    cells
        Class of each row, as a word or a number. Empty cells are None or blank.
    column
        Name of the column.
    answers
        Whether rows without a class are left out.
    at
        Returns the place of a row, for messages.

    Returns
    -------
    Labels
        The distributions, with classes in natural order.

    Raises
    ------
    InputError
        If there are more than `MAX_CLASSES` classes, two of them look alike, or a cell is empty
        and rows are not to be left out.
    """
    words = [_class_name(cell) for cell in cells]
    rated = np.array([word is not None for word in words])
    if not rated.all() and not answers.drop_unrated:
        row = int(np.argmin(rated))
        raise InputError(
            f"{at(row)}, column {column!r}: must have a class, is empty ({int((~rated).sum()):,} of {len(rated):,} "
            "rows lack a class; --drop-unrated leaves them out)"
        )
    classes = sorted({word for word in words if word is not None}, key=natural_key)
    if len(classes) > MAX_CLASSES:
        raise InputError(
            f"column {column!r}: must hold at most {MAX_CLASSES} classes, got {len(classes):,} different values, such "
            f"as {shorten(map(repr, classes), most=3)}"
        )
    spelt: dict[str, str] = {}
    for name in classes:
        other = spelt.setdefault(as_compared(name), name)
        if other != name:
            raise InputError(f"column {column!r}: classes {alike(other, name)}")
    place = {name: position for position, name in enumerate(classes)}
    shares = np.zeros((len(words), len(classes)))
    for row, word in enumerate(words):
        if word is not None:
            shares[row, place[word]] = 1
    counts = ", ".join(f"{name} ({int(count):,})" for name, count in zip(classes, shares.sum(axis=0), strict=True))
    notes = [f"classes of {column!r} (windows): {counts}"]
    return Labels(tuple(classes), shares, rated, (*notes, *_left_out(~rated, np.zeros_like(rated))))


def _class_name(cell: str | None) -> str | None:
    """Return the name of a class; a whole number has no decimal point, and None stands for an empty cell."""
    if cell is None or cell.strip() in _NO_CLASS:
        return None
    return re.sub(r"^([+-]?[0-9]+)\.0*$", r"\1", cell.strip())
