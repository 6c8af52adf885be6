"""Pickles of NumPy arrays, read without running anything that the file names.

A pickle is a program: it may name any function and call it. Here a name outside `_Reader.find_class` ends the
reading, and the few names that arrays need lead to stand-ins of this module, not to NumPy itself: what a
pickle can reach are `_Dtype` and `_Array`, which check and keep what they are given, and nothing else. The
arrays are made afterwards. Objects inside an array (dtype ``O``) and structured arrays are refused.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from typing import Any, BinaryIO, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from helo.errors import InputError

_DEPTH: Final = 3
_MOST_KEYS: Final = 32
"""Dictionaries in each other, and keys of each, at most: WESAD has 3 levels and up to 6 keys. A small pickle can
name one dictionary very often, and each time counts."""

_NUMBER: Final = re.compile("b1|[iu][1248]|f[248]")


class NotAnArrayError(ValueError):
    """A pickle asks for something that a plain numeric array does not have."""


def read_pickle(stream: BinaryIO, where: str) -> Any:
    """What a pickle holds: numbers, text, dictionaries and numeric arrays.

    Strings of Python 2 become text (latin1). Arrays may be read-only: they are views of what was read, so
    that a gigabyte lies in memory once.

    Raises `InputError`, which names `where`, if the pickle is no pickle, is cut short, names anything but a
    numeric array, or holds anything else than the above.
    """
    reader = _Reader(stream, where)
    try:
        content = _plain(reader.load(), _DEPTH)
        # A zip file's checksum is looked at when its last byte is read.
        return content if not stream.read(1) else _refuse("goes on after its end")
    except InputError:
        raise
    # A damaged program can fail in any way there is: each means the same to whoever gave us the file.
    except Exception as error:
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{where}: is not a whole pickle of numeric arrays ({detail}); download it again") from None


def _text(value: Any) -> str:
    """A string of either Python as text."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    if isinstance(value, str):
        return value
    raise NotAnArrayError(f"a string is needed, got {type(value).__name__}")


class _Callable:
    """A function that a pickle may call but not alter: BUILD would set attributes of a plain function."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: Any) -> NoReturn:
        raise NotAnArrayError("a function cannot be altered")


class _Dtype:
    """A number format as pickled: ``dtype('f8', 0, 1)`` with state ``(3, '<', None, None, None, -1, -1, 0)``."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = _text(code)
        self.order = "="
        if not _NUMBER.fullmatch(self.code):
            raise NotAnArrayError(f"an array must hold numbers, not dtype {self.code!r}")

    def __setstate__(self, state: Any) -> None:
        order = _text(state[1])
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise NotAnArrayError("an array must hold plain numbers, no structures")
        self.order = order

    def make(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _Array:
    """An array as pickled: state ``(1, shape, dtype, column by column?, bytes)``."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, by_column, raw = state
        if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes) or not isinstance(shape, tuple):
            raise NotAnArrayError("an array must have a shape, a dtype and bytes")
        if not all(type(length) is int and length >= 0 for length in shape) or len(shape) > 2:
            raise NotAnArrayError(f"an array must have one or two axes, got shape {shape!r:.80}")
        form = dtype.make()
        if len(raw) != math.prod(shape) * form.itemsize:
            raise NotAnArrayError(f"an array of shape {shape} and dtype {form} has {len(raw)} bytes")
        self._made = np.frombuffer(raw, form).reshape(shape, order="F" if by_column else "C")

    def make(self) -> NDArray[Any]:
        if self._made is None:
            raise NotAnArrayError("an array has no content")
        return self._made


_NDARRAY: Final = _Callable(lambda *_: _refuse("numpy.ndarray is not to be called"))


def _refuse(why: str) -> NoReturn:
    raise NotAnArrayError(why)


def _reconstruct(kind: Any, *_: Any) -> _Array:
    """``numpy.core.multiarray._reconstruct(ndarray, (0,), 'b')``: an array yet without content."""
    if kind is not _NDARRAY:
        raise NotAnArrayError("only numpy.ndarray is to be made")
    return _Array()


def _scalar(dtype: Any, raw: Any) -> Any:
    """``numpy.core.multiarray.scalar(dtype, bytes)``: one number."""
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes):
        raise NotAnArrayError("a number must have a dtype and bytes")
    (number,) = np.frombuffer(raw, dtype.make()).tolist()
    return number


def _encode(text: Any, encoding: Any = "utf-8") -> bytes:
    """``_codecs.encode(text, 'latin1')``: how Python 3 writes bytes for Python 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise NotAnArrayError("only text is encoded, as latin1")
    return text.encode("latin1")


_ALLOWED: Final[dict[tuple[str, str], _Callable]] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Callable(_Dtype),
    ("_codecs", "encode"): _Callable(_encode),
    # NumPy 2 has renamed the module; the official files know the old name.
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Callable(_reconstruct) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Callable(_scalar) for core in ("core", "_core")},
}


class _Reader(pickle.Unpickler):
    def __init__(self, stream: BinaryIO, where: str) -> None:
        # Strings of Python 2 stay bytes: text would have to be encoded again to be numbers.
        super().__init__(stream, encoding="bytes")
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of a name; also what the extension registry leads to, since codes are looked up here."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise InputError(
                f"{self._where}: names {f'{module}.{name}'!r:.120}, but a pickle of WESAD names NumPy arrays only; "
                "nothing of it was run: get the official file"
            ) from None

    def persistent_load(self, pid: Any) -> NoReturn:
        raise NotAnArrayError("refers to an object elsewhere")


def _plain(value: Any, depth: int) -> Any:
    """`value` with arrays for stand-ins, and text for the bytes of Python 2."""
    if isinstance(value, _Array):
        return value.make()
    if isinstance(value, bytes):
        return _text(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        if not depth or len(value) > _MOST_KEYS:
            raise NotAnArrayError(f"has dictionaries of more than {_DEPTH} levels or {_MOST_KEYS} keys")
        return {_text(key): _plain(inner, depth - 1) for key, inner in value.items()}
    raise NotAnArrayError(f"holds a {type(value).__name__.lstrip('_')}")
