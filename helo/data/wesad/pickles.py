"""Safe reader for pickles of NumPy arrays, which runs no code named by the file.

A pickle is a program that can call any importable function. This reader accepts only the few names that arrays need,
and resolves them to placeholders of this module (`_Dtype` and `_Array`), which validate and store their arguments. Any
other name raises an error. The arrays are built after reading. Arrays of objects (dtype ``O``) and structured arrays
are rejected.
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

_MAX_DEPTH: Final = 3
_MAX_KEYS: Final = 32
"""Maximum depth of nested dictionaries, and maximum number of keys of each.

WESAD has 3 levels and up to 6 keys. The limits bound the work for a small pickle that refers to the same dictionary
many times.
"""

_NUMBER: Final = re.compile("b1|[iu][1248]|f[248]")


class NotAnArrayError(ValueError):
    """Error for content of a pickle that is not part of a plain numeric array."""


def read_pickle(stream: BinaryIO, where: str) -> Any:
    """Read a pickle of numbers, text, dictionaries and numeric arrays.

    Strings of Python 2 become text (latin1). Arrays may be read-only views of the content of the file, which avoids a
    second copy of it in memory.

    Parameters
    ----------
    stream
        The pickle, at its beginning.
    where
        Name of the file, for messages.

    Returns
    -------
    object
        Content of the pickle.

    Raises
    ------
    InputError
        If the stream is not a pickle, is truncated, or has other content than described.
    """
    reader = _Reader(stream, where)
    try:
        content = _plain(reader.load(), _MAX_DEPTH)
        # Reading to the end verifies the checksum of a member of a zip file.
        return content if not stream.read(1) else _refuse("has data after its end")
    except InputError:
        raise
    # A damaged pickle can raise any exception, and all have the same meaning for the user.
    except Exception as error:
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{where}: is not a complete pickle of numeric arrays ({detail}); download it again") from None


def _text(value: Any) -> str:
    """Return a string of Python 2 or 3 as text."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    if isinstance(value, str):
        return value
    raise NotAnArrayError(f"a string must be text, got {type(value).__name__}")


class _Callable:
    """A function that a pickle may call but not alter (the opcode BUILD sets attributes of plain functions)."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: Any) -> NoReturn:
        raise NotAnArrayError("a function must not be altered")


class _Dtype:
    """Placeholder of a pickled dtype: ``dtype('f8', 0, 1)`` with state ``(3, '<', None, None, None, -1, -1, 0)``."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = _text(code)
        self.order = "="
        if not _NUMBER.fullmatch(self.code):
            raise NotAnArrayError(f"an array must hold numbers, not dtype {self.code!r}")

    def __setstate__(self, state: Any) -> None:
        order = _text(state[1])
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise NotAnArrayError("an array must hold plain numbers, not structures")
        self.order = order

    def make(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _Array:
    """Placeholder of a pickled array: state ``(1, shape, dtype, whether in Fortran order, bytes)``."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran_order, raw = state
        if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray) or not isinstance(shape, tuple):
            raise NotAnArrayError("an array must have a shape, a dtype and bytes")
        if not all(type(length) is int and length >= 0 for length in shape) or len(shape) > 2:
            raise NotAnArrayError(f"an array must have one or two axes, got shape {shape!r:.80}")
        form = dtype.make()
        if len(raw) != math.prod(shape) * form.itemsize:
            raise NotAnArrayError(f"an array of shape {shape} and dtype {form} has {len(raw)} bytes")
        self._made = np.frombuffer(raw, form).reshape(shape, order="F" if fortran_order else "C")

    def make(self) -> NDArray[Any]:
        if self._made is None:
            raise NotAnArrayError("an array has no content")
        return self._made


_NDARRAY: Final = _Callable(lambda *_: _refuse("numpy.ndarray must not be called"))


def _refuse(why: str) -> NoReturn:
    """Raise `NotAnArrayError`, in expressions."""
    raise NotAnArrayError(why)


def _reconstruct(kind: Any, *_: Any) -> _Array:
    """Replace ``numpy.core.multiarray._reconstruct(ndarray, (0,), 'b')``, which returns an array without content."""
    if kind is not _NDARRAY:
        raise NotAnArrayError("only numpy.ndarray may be constructed")
    return _Array()


def _scalar(dtype: Any, raw: Any) -> Any:
    """Replace ``numpy.core.multiarray.scalar(dtype, bytes)``, which returns a number."""
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes):
        raise NotAnArrayError("a number must have a dtype and bytes")
    (number,) = np.frombuffer(raw, dtype.make()).tolist()
    return number


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any, axis_order: Any = None) -> _Array:
    """Replace ``numpy.core.numeric._frombuffer``, by which protocol 5 writes contiguous arrays."""
    if order not in ("C", "F") or axis_order is not None:
        raise NotAnArrayError("an array must be in C or Fortran order")
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", raw))
    return array


def _encode(text: Any, encoding: Any = "utf-8") -> bytes:
    """Replace ``_codecs.encode(text, 'latin1')``, by which Python 3 writes bytes for Python 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise NotAnArrayError("only text may be encoded, as latin1")
    return text.encode("latin1")


_ALLOWED: Final[dict[tuple[str, str], _Callable]] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Callable(_Dtype),
    ("_codecs", "encode"): _Callable(_encode),
    # NumPy 2 renamed the module; the official files use the old name.
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Callable(_reconstruct) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Callable(_scalar) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Callable(_frombuffer) for core in ("core", "_core")},
}


class _Reader(pickle.Unpickler):
    """Unpickler that resolves only the names in `_ALLOWED`."""

    def __init__(self, stream: BinaryIO, where: str) -> None:
        # Strings of Python 2 stay bytes, since they include the content of arrays.
        super().__init__(stream, encoding="bytes")
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        """Return the placeholder of a name; codes of the extension registry are resolved here as well."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise InputError(
                f"{self._where}: names {f'{module}.{name}'!r:.120}, but a pickle of WESAD names NumPy arrays only; "
                "no code was run; get the official file"
            ) from None

    def persistent_load(self, pid: Any) -> NoReturn:
        raise NotAnArrayError("refers to an external object")


def _plain(value: Any, depth: int) -> Any:
    """Return `value` with arrays in place of placeholders, and text in place of the bytes of Python 2."""
    if isinstance(value, _Array):
        return value.make()
    if isinstance(value, bytes):
        return _text(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        if not depth or len(value) > _MAX_KEYS:
            raise NotAnArrayError(f"has dictionaries of more than {_MAX_DEPTH} levels or {_MAX_KEYS} keys")
        return {_text(key): _plain(inner, depth - 1) for key, inner in value.items()}
    raise NotAnArrayError(f"holds a {type(value).__name__.lstrip('_')}")
