"""Reading and writing of YAML. No file can execute code."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from helo._paths import regular_file
from helo._text import MAX_WHOLE, require_whole
from helo.errors import InputError, reason_of

MAX_VALUES = 1_000_000
"""Maximum number of values in a file with all aliases expanded. A few lines of aliases can stand for billions."""


MAX_DIGITS = 100
"""Maximum number of characters of a whole number, with its prefix and separators."""


class _Loader(yaml.SafeLoader):
    """Safe loader that reads ``1e-3`` as a number and rejects duplicate keys.

    PyYAML follows YAML 1.1, where a float needs a dot. Without this loader ``1e-3`` would be the string "1e-3".
    """


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    """Return the mapping of a node; raise `ConstructorError` if a key is not plain or is duplicated."""
    written_keys = [key_node for key_node, _ in node.value]
    # A merge (<<) inserts the merged keys before the written ones. A written key may override a merged one.
    loader.flatten_mapping(node)
    result: dict[Any, Any] = {}
    seen: set[Any] = set()
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool):
            raise yaml.constructor.ConstructorError(
                None, None, "keys must be text, numbers or booleans", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
        if any(key_node is written for written in written_keys):
            seen.add(key)
        result[key] = loader.construct_object(value_node, deep=True)
    return result


def _construct_whole(loader: _Loader, node: yaml.ScalarNode) -> int:
    """Return the whole number of a node; raise `ConstructorError` if it is no whole number or beyond 64 bits."""
    try:
        return require_whole(loader.construct_yaml_int(node) if len(node.value) < MAX_DIGITS else MAX_WHOLE + 1)
    except (ValueError, IndexError) as error:  # IndexError: an empty text
        raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from None


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_whole)


class _Dumper(yaml.SafeDumper):
    """Dumper that writes what `_Loader` reads as the same; members of enumerations become plain strings."""


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    r"""Return the node of a string. Quotes with escapes keep line separators such as ``\x85``, other styles do not."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _represent_text)
_Dumper.add_multi_representer(StrEnum, _represent_text)

# The dumper needs the resolver as well: it quotes a string that would be read as a number.
for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:\d[\d_]*)(?:\.[\d_]*)?[eE][-+]?\d+$"),
        list("-+0123456789"),
    )


def to_yaml(content: object) -> str:
    r"""Return the text of a YAML document. The order of the keys of mappings is kept.

    >>> from helo.names import Role
    >>> to_yaml({"role": Role.PHYSIOLOGICAL})
    'role: physiological\n'
    """
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Parameters
    ----------
    path : Path
        Path of the file.

    Returns
    -------
    dict
        Keys and values of the document.

    Raises
    ------
    InputError
        If the file cannot be read, is not valid YAML, or is not one mapping.
    """
    contents = _load(path, read_text(path))
    if len(contents) > 1:
        raise InputError(f"{path}: must be one document, got {len(contents)}")
    return _require_mapping(path, contents[0] if contents else None)


def read_documents(path: Path) -> list[dict[str, Any]]:
    """Return the mappings in a YAML file that may contain several documents.

    Parameters
    ----------
    path : Path
        Path of the file.

    Returns
    -------
    list of dict
        One mapping per document. Empty documents are left out.

    Raises
    ------
    InputError
        If the file cannot be read or is not valid YAML, or if a document is not a mapping.
    """
    contents = [content for content in _load(path, read_text(path)) if content is not None]
    return [_require_mapping(path, content) for content in contents or [None]]


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file; raise `InputError` if it cannot be read."""
    try:
        return regular_file(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a null byte in the path
        raise InputError(f"{path}: cannot be read ({reason_of(error)})") from None


def _load(path: Path, text: str) -> list[Any]:
    """Return the contents of all documents in a text; raise `InputError` if it is not valid YAML or too large."""
    try:
        contents = list(yaml.load_all(text, Loader=_Loader))
        values = _count_values(contents, {})
    except RecursionError:
        raise InputError(f"{path}: is not valid YAML (nested too deeply)") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        # Others than YAMLError: a date like 2024-13-45, or a tag that does not fit, such as !!bool x.
        raise InputError(f"{path}: is not valid YAML ({' '.join(str(error).split())})") from None
    if values > MAX_VALUES:
        raise InputError(f"{path}: must have at most {MAX_VALUES} values with all aliases expanded, got more")
    return contents


def _count_values(value: Any, counts: dict[int, int]) -> int:
    """Return the number of values with all aliases expanded; more than `MAX_VALUES` if one contains itself.

    `counts` has the results so far, by the identity of the value.
    """
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in counts:
        counts[id(value)] = MAX_VALUES + 1  # found by the recursion if the value contains itself
        entries = value.values() if isinstance(value, dict) else value
        counts[id(value)] = 1 + sum(_count_values(entry, counts) for entry in entries)
    return counts[id(value)]


def _require_mapping(path: Path, content: Any) -> dict[str, Any]:
    """Return the content of a document; raise `InputError` if it is not a mapping."""
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be a mapping of keys to values, got {type(content).__name__}")
    return content
