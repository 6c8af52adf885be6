"""PANAS items that make up an emotion distribution, and named sets of items."""

from __future__ import annotations

from typing import Final

from helo.errors import InputError, did_you_mean, shorten

CONDITIONS: Final = ("Base", "TSST", "Fun", "Medi 1", "Medi 2")
"""Conditions after which subjects reported. Every subject has all five; their order varies."""

_PANAS: Final = (
    "Active Distressed Interested Inspired Annoyed Strong Guilty Scared Hostile Excited Proud Irritable "
    "Enthusiastic Ashamed Alert Nervous Determined Attentive Jittery Afraid Stressed Frustrated Happy"
)
_DMER: Final = "Inspired Alert Excited Enthusiastic Determined Afraid Nervous Scared Distressed"
_TSST_ONLY: Final = ("Angry", "Irritated")
ITEM_SETS: Final = {
    # Sad is left out. It is 1 in all 75 reports, so it would only dilute the other shares.
    "panas23": tuple(_PANAS.split()),
    # The items in common with DMER.
    "panas9": tuple(_DMER.split()),
}
"""Item sets by name, each of which makes up an emotion distribution."""

ITEMS: Final = (*ITEM_SETS["panas23"], "Sad")
"""PANAS items asked after every condition, in the order of a ``# PANAS`` row."""

TSST_ITEMS: Final = (*ITEM_SETS["panas23"], *_TSST_ONLY, "Sad")
"""Items asked after the TSST, in the order of a ``# PANAS`` row."""


def parse_items(text: str) -> tuple[str, ...]:
    """Parse the name of an item set, or a list of items.

    Parameters
    ----------
    text
        Key of `ITEM_SETS`, or names of PANAS items separated by commas.

    Returns
    -------
    tuple of str
        Names of the items.

    Raises
    ------
    InputError
        If an item is unknown or repeated, is not asked after every condition, or there are fewer than 2 items.

    Examples
    --------
    >>> parse_items("Happy, Stressed, Sad")
    ('Happy', 'Stressed', 'Sad')
    """
    if text.strip() in ITEM_SETS:
        return ITEM_SETS[text.strip()]
    return checked_items(tuple(item.strip() for item in text.split(",")))


def checked_items(items: tuple[str, ...]) -> tuple[str, ...]:
    """Return `items`; raise `InputError` unless there are at least 2, each distinct and asked after every condition."""
    for item in items:
        if item in _TSST_ONLY:
            raise InputError(f"items: {item!r} is asked after TSST only, so other conditions would have no label")
        if item not in ITEMS:
            hint = did_you_mean(item, (*ITEMS, *ITEM_SETS))
            raise InputError(f"items: unknown item {item!r}{hint}; known are {', '.join(ITEMS)}")
    repeated = sorted({item for item in items if items.count(item) > 1})
    if repeated:
        raise InputError(f"items: each may be named once, but {shorten(repeated)} is repeated")
    if len(items) < 2:
        raise InputError(f"items: a distribution needs at least 2, got {shorten(items) or 'none'}")
    return items
