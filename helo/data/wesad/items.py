"""The answers of which an emotion distribution is made: PANAS items, and sets of them by name."""

from __future__ import annotations

from typing import Final

from helo.errors import InputError, did_you_mean, shorten

CONDITIONS: Final = ("Base", "TSST", "Fun", "Medi 1", "Medi 2")
"""The five reported conditions. Every subject has all of them, in an order of their own."""

_PANAS: Final = (
    "Active Distressed Interested Inspired Annoyed Strong Guilty Scared Hostile Excited Proud Irritable "
    "Enthusiastic Ashamed Alert Nervous Determined Attentive Jittery Afraid Stressed Frustrated Happy"
)
_DMER: Final = "Inspired Alert Excited Enthusiastic Determined Afraid Nervous Scared Distressed"
_TSST_ONLY: Final = ("Angry", "Irritated")
ITEM_SETS: Final = {
    # Sad is 1 in all 75 reports: it tells nothing, and would only dilute the other shares.
    "panas23": tuple(_PANAS.split()),
    # The items that DMER has as well.
    "panas9": tuple(_DMER.split()),
}
"""Item sets by name: which answers make up the emotion distribution."""

ITEMS: Final = (*ITEM_SETS["panas23"], "Sad")
"""The PANAS items asked after every condition, in the order of a ``# PANAS`` row."""

TSST_ITEMS: Final = (*ITEM_SETS["panas23"], *_TSST_ONLY, "Sad")
"""The items asked after the TSST."""


def parse_items(text: str) -> tuple[str, ...]:
    """The items that `text` names: a set of `ITEM_SETS`, or PANAS items parted by commas.

    >>> parse_items("Happy, Stressed, Sad")
    ('Happy', 'Stressed', 'Sad')
    """
    if text.strip() in ITEM_SETS:
        return ITEM_SETS[text.strip()]
    return checked_items(tuple(item.strip() for item in text.split(",")))


def checked_items(items: tuple[str, ...]) -> tuple[str, ...]:
    """`items` as they are; raise `InputError` unless each is asked after every condition, and named once."""
    for item in items:
        if item in _TSST_ONLY:
            raise InputError(f"items: {item!r} is asked after TSST only: no label in other conditions")
        if item not in ITEMS:
            hint = did_you_mean(item, (*ITEMS, *ITEM_SETS))
            raise InputError(f"items: unknown item {item!r}{hint}; known are {', '.join(ITEMS)}")
    twice = sorted({item for item in items if items.count(item) > 1})
    if twice:
        raise InputError(f"items: each may be named once, but {shorten(twice)} is named again")
    if len(items) < 2:
        raise InputError(f"items: a distribution needs at least 2, got {shorten(items) or 'none'}")
    return items
