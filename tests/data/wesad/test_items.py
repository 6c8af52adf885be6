"""Items: sets by name, and what is no item."""

from __future__ import annotations

import re

import pytest

from helo.data.wesad import ITEM_SETS, ITEMS, parse_items
from helo.errors import InputError


def test_items_of_a_set_and_by_name() -> None:
    assert parse_items("panas23") == ITEM_SETS["panas23"]
    assert parse_items(" panas9 ") == ITEM_SETS["panas9"]
    assert parse_items("Happy,Sad, Stressed") == ("Happy", "Sad", "Stressed")
    assert [len(items) for items in ITEM_SETS.values()] == [23, 9]
    assert set(ITEM_SETS["panas9"]) < set(ITEM_SETS["panas23"]) == set(ITEMS) - {"Sad"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Happy,Nervos", "unknown item 'Nervos' (did you mean 'Nervous'?)"),
        ("panas32", "(did you mean 'panas23'?)"),
        ("happy,sad", "(did you mean 'Happy'?)"),
        ("Happy,", "unknown item ''; known are Active, "),
        ("Happy", "at least 2, got Happy"),
        ("Happy,Sad,Happy", "each may be named once, but Happy is repeated"),
        ("Happy,Angry", "'Angry' is asked after TSST only"),
        ("Irritated,Happy", "'Irritated' is asked after TSST only"),
    ],
)
def test_items_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        parse_items(text)
