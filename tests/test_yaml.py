"""Tests of the YAML reader: values, refused files, and safety."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from helo._text import MAX_WHOLE
from helo._yaml import read_documents, read_yaml, to_yaml
from helo.data.directory import read_schema
from helo.data.schema import Modality, Schema
from helo.data.spelling import name_problem
from helo.errors import InputError


def read(folder: Path, text: str) -> dict[str, object]:
    path = folder / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-2e+1", -20.0),
        ("1.5e-3", 1.5e-3),
        ("0.1", 0.1),
        ("3", 3),
        ("e-3", "e-3"),
        ("S2", "S2"),
        ("'1e-3'", "1e-3"),
        ("true", True),
    ],
)
def test_values(tmp_path: Path, text: str, value: object) -> None:
    content = read(tmp_path, f"key: {text}")
    assert content == {"key": value}
    assert type(content["key"]) is type(value)


def test_nested_values(tmp_path: Path) -> None:
    assert read(tmp_path, "a:\n  b: [1e-3, x]\n") == {"a": {"b": [1e-3, "x"]}}


def test_merged_key_may_be_overridden(tmp_path: Path) -> None:
    text = "base: &base {x: 1, y: 2}\nother:\n  <<: *base\n  x: 3\n"
    assert read(tmp_path, text)["other"] == {"x": 3, "y": 2}


@pytest.mark.parametrize("text", ["a: 1\na: 2", "outer:\n  a: 1\n  b: 2\n  a: 3", "{a: 1, a: 1}"])
def test_duplicate_key_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="key 'a' is given twice"):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["", "- 1\n- 2", "word"])
def test_document_must_be_a_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="must be a mapping"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "a: b: c",
        "\ta: 1",
        "a: 2024-13-45",
        "a: !!int x",
        "a: *nowhere",
        "a: &x {b: *x}",
        "~: 1",
        "[1]: 2",
        "a: !unknown 1",
        "a: " + "[" * 5000,
    ],
    ids=range(11),
)
def test_message_about_invalid_yaml_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="is not valid YAML") as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "file.yaml") in str(caught.value)


@pytest.mark.parametrize("tag", ["apply:os.system", "new:os.system", "apply:subprocess.call"])
def test_tags_do_not_execute_code(tmp_path: Path, tag: str) -> None:
    witness = tmp_path / "witness"
    with pytest.raises(InputError, match="is not valid YAML"):
        read(tmp_path, f"a: !!python/object/{tag} ['touch {witness}']")
    assert not witness.exists()


def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(tmp_path / "missing.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(tmp_path / "latin.yaml")


@pytest.mark.parametrize("number", ["9" * 20, "-" + "9" * 400, "9" * 5000, "0x" + "f" * 5000, "1" + ":59" * 300])
def test_numbers_beyond_64_bits_are_refused(tmp_path: Path, number: str) -> None:
    """Those with thousands of digits could not even be shown in a message."""
    with pytest.raises(InputError, match=r"a whole number must be from -9223372036854775807 to") as caught:
        read(tmp_path, f"configurations: {number}")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("tag", ["int", "float", "bool", "timestamp", "binary"])
@pytest.mark.parametrize("text", ["''", "x", "-", "0x", "1:", "[1]", "é"])
def test_tags_that_do_not_fit_are_refused(tmp_path: Path, tag: str, text: str) -> None:
    with contextlib.suppress(InputError):  # Python reads some as such a value
        read(tmp_path, f"a: !!{tag} {text}")


def test_file_with_several_documents(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a: 1\n---\n---\nb: 1e-3\n", encoding="utf-8")
    assert read_documents(path) == [{"a": 1}, {"b": 1e-3}]
    with pytest.raises(InputError, match="must be one document, got 3"):
        read_yaml(path)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]\n",
        "a: &a {b: [*a]}\n",
        "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)),
    ],
    ids=["itself", "itself, further down", "billions"],
)
def test_expanding_aliases_without_bound_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"all aliases expanded|not valid YAML"):
        read(tmp_path, text)


# --- what is written is read as the same --------------------------------------------------------

LIKE_NUMBERS = ("1e3", "2E-1", "+1e3", "1_0e2", "1.e5", "007", "0x1F", "12:30", ".inf", "yes", "~", "=", "<<")
TEXTS = st.text() | st.sampled_from(LIKE_NUMBERS)
VALUES = st.recursive(
    TEXTS | st.booleans() | st.integers(-MAX_WHOLE, MAX_WHOLE) | st.floats(allow_nan=False) | st.none(),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
# The file is overwritten by each example.
ROUND_TRIP = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ROUND_TRIP
@given(content=st.dictionaries(TEXTS, VALUES, max_size=5))
@example(content={key: list(LIKE_NUMBERS) for key in LIKE_NUMBERS})
@example(content={"a\x85b": "a\u2028b", "x\ry": "x\ny", "\ud800": "\ufeff"})
def test_what_is_written_is_read_equal(tmp_path: Path, content: dict[str, object]) -> None:
    assert read(tmp_path, to_yaml(content)) == content


@ROUND_TRIP
@given(names=st.lists(TEXTS, min_size=7, max_size=7, unique=True), text=TEXTS)
@example(names=["1e3", "2E-1", "3e0", "4e1", "5e2", "6E6", "7e+7"], text="8e8")
def test_a_schema_is_read_as_it_was_written(tmp_path: Path, names: list[str], text: str) -> None:
    assume(not {"subject", "group"} & set(names))
    assume(not any(map(name_problem, (text, names[0], names[2], names[4]))))
    main = Modality(names[0], "physiological", (names[1],), 1, True)
    modalities = (main, Modality(names[2], "behavioural", (names[3],), 1))
    schema = Schema(text, modalities, {names[4]: names[5], names[0]: names[6]}, source=text, notes=text)
    (tmp_path / "dataset.yaml").write_text(to_yaml(schema.as_dict()), encoding="utf-8")
    assert read_schema(tmp_path / "dataset.yaml") == schema
