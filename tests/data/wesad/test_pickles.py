"""Pickles: what an official file holds comes back, and nothing that a file names is run."""

from __future__ import annotations

import copyreg
import io
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helo.data.wesad.pickles import read_pickle
from helo.errors import InputError

VALUES: dict[str, np.ndarray] = {
    "f8": np.linspace(-1, 1, 12).reshape(4, 3),
    "f4 by column": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(3, 2)),
    "i4": np.array([0, 1, 2, -7], dtype=np.int32),
    "other byte order": np.array([1.5, 2.5], dtype=">f8"),
    "bytes that look like text": np.frombuffer(b"\n'\\\x00\xff\"x." * 2, dtype=np.uint8),
}


def read(content: bytes) -> Any:
    return read_pickle(io.BytesIO(content), "S2.pkl")


def refused(content: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(content)
    message = str(caught.value)
    assert message.startswith("S2.pkl: ")
    assert "\n" not in message
    return message


def named(module: str, name: str, *arguments: bytes) -> bytes:
    """A pickle that calls a function by its name."""
    return f"c{module}\n{name}\n(".encode() + b"".join(arguments) + b"tR."


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", VALUES)
def test_arrays_come_back_as_they_were(protocol: int, name: str) -> None:
    content = {"subject": "S2", "signal": {"chest": {name: VALUES[name]}}, "count": np.float64(2.5)}
    found: dict[str, Any] = read(pickle.dumps(content, protocol=protocol))
    array = found["signal"]["chest"][name]
    assert array.dtype == VALUES[name].dtype
    np.testing.assert_array_equal(array, VALUES[name])
    assert (found["subject"], found["count"]) == ("S2", 2.5)


@pytest.mark.parametrize("name", [name for name in VALUES if "column" not in name])
def test_arrays_of_python_2_come_back(python2: Callable[[Any], bytes], name: str) -> None:
    content = python2({"subject": "S2", "signal": {"wrist": {"BVP": VALUES[name]}}})
    assert b"numpy.core.multiarray" in content
    # What is written here is a pickle to Python, too.
    assert pickle.loads(content, encoding="latin1")["subject"] == "S2"  # noqa: S301 — made two lines above
    found = read(content)
    assert found["subject"] == "S2"
    np.testing.assert_array_equal(found["signal"]["wrist"]["BVP"], VALUES[name])


class Evil:
    """Pickles to a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("place", ["alone", "in a dictionary", "in an object array", "behind an array"])
def test_nothing_in_a_pickle_is_run(tmp_path: Path, protocol: int, place: str) -> None:
    target = tmp_path / "made"
    evil: Any = Evil(Path.touch, target)
    if place == "in a dictionary":
        evil = {"subject": "S2", "signal": {"chest": {"ECG": evil}}}
    elif place == "in an object array":
        evil = {"signal": np.array([evil, 1.0], dtype=object)}
    elif place == "behind an array":
        evil = {"signal": np.array([1.0]), "label": {"deep": [evil]}}
    content = pickle.dumps(evil, protocol=protocol)
    message = refused(content)
    assert "names '" in message or "dtype 'O8'" in message
    assert not target.exists()
    pickle.loads(content)  # noqa: S301 — to show that the file is as dangerous as it is meant to be
    assert target.exists()  # it would have been made


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("__builtin__", "eval"),
        ("copyreg", "_reconstructor"),
        ("copy_reg", "_reconstructor"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("numpy", "memmap"),
        ("numpy", "ndarray.tofile"),
        ("numpy", "dtype.__class__"),
        ("numpy.testing", "rundocs"),
        ("numpy.testing._private.utils", "runstring"),
        ("numpy.f2py", "compile"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("numpy._core.numeric", "frombuffer"),
        ("_codecs", "decode"),
        ("codecs", "encode"),
        ("_codecs", "encode.__self__"),
        ("helo.data.wesad.pickles", "_Callable"),
        ("pickle", "loads"),
    ],
)
def test_every_other_name_is_refused(module: str, name: str) -> None:
    message = refused(named(module, name, b"S'true'\n"))
    assert f"names '{module}.{name}', but a pickle of WESAD names NumPy arrays only; no code was run" in message
    # The same by the opcodes that Python 3 and old classes use.
    texts = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
    assert f"names '{module}.{name}'" in refused(b"\x80\x04" + texts + b"\x93.")
    assert f"names '{module}.{name}'" in refused(b"(" + f"i{module}\n{name}\n.".encode())


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
FLOAT = b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (named("numpy", "dtype", b"S'O8'\nI0\nI1\n"), "an array must hold numbers, not dtype 'O8'"),
        (named("numpy", "dtype", b"S'O'\n"), "not dtype 'O'"),
        (named("numpy", "dtype", b"S'V16'\n"), "not dtype 'V16'"),
        (named("numpy", "dtype", b"S'S5'\n"), "not dtype 'S5'"),
        (named("numpy", "dtype", b"S'f8,O'\n"), "not dtype 'f8,O'"),
        (named("numpy", "dtype", b"S'datetime64'\n"), "not dtype 'datetime64'"),
        (named("numpy", "dtype", b"I5\n"), "a string must be text, got int"),
        (FLOAT + b"(I3\nS'<'\nN(S'x'\ntNI-1\nI-1\nI0\ntb.", "plain numbers, not structures"),
        (FLOAT + b"(I3\nS'?'\nNNNI-1\nI-1\nI0\ntb.", "plain numbers, not structures"),
        (named("numpy", "ndarray", b"I5\n"), "numpy.ndarray must not be called"),
        (
            named("numpy.core.multiarray", "_reconstruct", b"cnumpy\ndtype\nI0\n"),
            "only numpy.ndarray may be constructed",
        ),
        (named("numpy.core.multiarray", "scalar", FLOAT, b"I5\n"), "must have a dtype and bytes"),
        (named("_codecs", "encode", b"Vx\nVrot13\n"), "only text may be encoded, as latin1"),
        (named("_codecs", "encode", b"Vx\n", b"Vlatin1\n") + b"", None),
        (b"cnumpy\ndtype\n(dS'__doc__'\nS'x'\nsb.", "a function must not be altered"),
        (b"cnumpy\nndarray\n(N(dS'_call'\nI1\nstb.", "a function must not be altered"),
        (ARRAY + b".", "an array has no content"),
        (ARRAY + b"(I1\n(I2\nt" + FLOAT + b"I00\nS'12345678'\ntb.", "dtype float64 has 8 bytes"),
        (ARRAY + b"(I1\n(I-1\nt" + FLOAT + b"I00\nS''\ntb.", "one or two axes, got shape (-1,)"),
        (ARRAY + b"(I1\n(I1\nI1\nI1\nt" + FLOAT + b"I00\nS'12345678'\ntb.", "one or two axes"),
        (ARRAY + b"(I1\n(I1\nt" + FLOAT + b"I00\n(lI1\natb.", "must have a shape, a dtype and bytes"),
        (ARRAY + b"(I1\n(I1\ntNI00\nS'12345678'\ntb.", "must have a shape, a dtype and bytes"),
        (ARRAY + b"I5\nb.", "is not a complete pickle"),
        (b"P1234\n.", "refers to an external object"),
        (FLOAT + b".", "holds a Dtype"),
        (b"(lp0\ng0\na.", "holds a list"),
        (b"(dp0\nS'a'\ng0\ns.", "has dictionaries of more than 3 levels or 32 keys"),
        (b"(d" + b"".join(b"S'%d'\nI1\ns" % key for key in range(33)) + b".", "more than 3 levels or 32 keys"),
        (b"(dI1\nI2\ns.", "a string must be text, got int"),
        (b"", "is not a complete pickle"),
        (b".", "is not a complete pickle"),
        (b"PK\x03\x04 no pickle at all", "is not a complete pickle"),
        (b"\x80\xff.", "unsupported pickle protocol"),
        (b"S'no end", "is not a complete pickle"),
        (b"I1\n.I2\n.", "has data after its end"),
        (b"h\x05.", "is not a complete pickle"),
        (b"\x8a\xff" + b"\xff" * 3, "is not a complete pickle"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.", "is not a complete pickle"),
    ],
)
def test_what_is_no_numeric_array_is_refused(content: bytes, message: str | None) -> None:
    if message is None:
        assert read(content) == "x"
    else:
        assert message in refused(content)


def test_extension_codes_are_looked_up_by_name_too() -> None:
    assert "unregistered extension code 7" in refused(b"\x80\x02\x82\x07.")
    copyreg.add_extension("os", "system", 240)
    try:
        assert "names 'os.system'" in refused(b"\x80\x02\x82\xf0.")
    finally:
        copyreg.remove_extension("os", "system", 240)


def test_a_pickle_cut_short_anywhere_is_refused(python2: Callable[[Any], bytes]) -> None:
    content = {"subject": "S2", "label": np.arange(50), "signal": {"chest": {"ECG": np.linspace(0, 1, 20)}}}
    for whole in (python2(content), pickle.dumps(content, protocol=2)):
        for end in range(0, len(whole) - 1, 7):
            assert re.search("is not a complete pickle of numeric arrays .*; download it again", refused(whole[:end]))
