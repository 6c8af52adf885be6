"""Names of subjects, groups, modalities and emotions: refused letters, and names that look alike."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helo.data.dataset import Dataset
from helo.data.schema import Modality, Schema
from helo.data.simulated import simulate
from helo.data.spelling import MAX_LENGTH, as_compared, check_names, name_problem, names_array, plain_name
from helo.errors import InputError

DATASET = simulate(subjects=3, clips=2, windows=2)

REFUSED = {
    "a terminal's colour": "S\x1b[31m1",
    "a terminal's title": "\x1b]0;x\x07",
    "a C1 control": "S\x9b1",
    "NUL": "A\0",
    "a line break": "a\nb",
    "a line separator": "a\u2028b",
    "half of a pair": "a\ud800",
    "right to left": "\u202e1S",
    "an isolate": "\u2067S1",
    "zero width": "S\u200b1",
    "a byte order mark": "\ufeffS1",
    "a soft hyphen": "S\u00ad1",
    "a filler": "\u3164",
    "a tag": "S\U000e0041",
    "a joiner at the end": "S1\u200d",
    "thousands of digits": "9" * 5000,
}


@pytest.mark.parametrize("name", REFUSED.values(), ids=REFUSED.keys())
def test_letters_that_are_refused(name: str) -> None:
    with pytest.raises(InputError) as caught:
        check_names("subject", ["S1", name])
    assert str(caught.value).startswith("subject '")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "name",
    [
        *("S1", "José", "Jose\u0301", "Участник 1", "受试者一", "משתתף", "می\u200cخواهم", "👩\u200d🔬"),
        *("a b", "a\u00a0b", "x" * MAX_LENGTH),
    ],
)
def test_names_of_every_script_are_valid(name: str) -> None:
    assert name_problem(name) is None
    assert plain_name(name) == name


@given(st.text(st.characters(), max_size=20))
def test_a_plain_name_is_valid_or_empty(name: str) -> None:
    plain = plain_name(name)
    assert name_problem(plain) is None
    assert plain_name(plain) == plain


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_names_that_people_cannot_tell_apart_compare_equal(name: str) -> None:
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert as_compared(unicodedata.normalize(form, name)) == as_compared(name)
    assert as_compared(f" {name}\u200b\t") == as_compared(name)


@pytest.mark.parametrize(
    ("first", "second"),
    [("Jos\u00e9", "Jose\u0301"), ("S1", "Ｓ１"), ("P 1", "p\u00a01"), ("Straße", "STRASSE"), ("\u212b", "\u00c5")],
)
def test_one_person_under_two_codings_is_refused(first: str, second: str) -> None:
    subjects = DATASET.subjects.astype("<U20")
    subjects[:4], subjects[4:8] = first, second
    with pytest.raises(InputError, match="give one person one name") as caught:
        replace(DATASET, subjects=subjects)
    words = str(caught.value).split("'")
    assert words[1] != words[3], "the two names look alike in the message"


def test_numpy_cannot_drop_the_end_of_a_name() -> None:
    """The array of "A" and "A" with a NUL behind it has the same person twice."""
    assert len(set(np.asarray(["A", "A\0"], dtype=np.str_))) == 1
    with pytest.raises(InputError, match="U\\+0000"):
        names_array("subject", ["A", "A\0"])


@pytest.mark.parametrize("name", [name for name in REFUSED.values() if not name.endswith("\0")])
def test_no_part_of_a_dataset_has_such_a_name(name: str) -> None:
    subjects, groups = DATASET.subjects.astype("<U5000"), DATASET.groups.astype("<U5000")
    subjects[0] = groups[0] = name
    modality = Modality(name, "physiological", ("x",), 1, main=True)
    good = Modality("eda", "physiological", ("x",), 1, main=True)
    makers = {
        "subject": lambda: replace(DATASET, subjects=subjects),
        "group": lambda: replace(DATASET, groups=groups),
        "modality": lambda: Schema("d", (modality,), {"joy": "a", "fear": "b"}),
        "emotion": lambda: Schema("d", (good,), {"joy": "a", name: "b"}),
        "dataset": lambda: Schema(name, (good,), {"joy": "a", "fear": "b"}),
    }
    for what, make in makers.items():
        with pytest.raises(InputError, match=rf"^{what} '.*must|every row must have a name"):
            make()


def test_a_dataset_keeps_names_as_they_are_written() -> None:
    subjects = DATASET.subjects.astype("<U8")
    subjects[:4] = "Jose\u0301 ٣"
    assert isinstance(data := replace(DATASET, subjects=subjects), Dataset)
    assert "Jose\u0301 ٣" in data.subject_names
