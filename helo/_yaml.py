"""Read YAML that people write, without running any of it."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from helo.errors import InputError

MOST_VALUES = 1_000_000
"""Values of a file with its aliases written out: a few lines of them can stand for billions."""


class _Loader(yaml.SafeLoader):
    """Safe loading; ``1e-3`` is a number, and a key given twice is an error.

    PyYAML follows YAML 1.1, where a float needs a dot: ``1e-3`` would silently be the string "1e-3".
    """


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*)(?:\.[\d_]*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    own = [key_node for key_node, _ in node.value]
    loader.flatten_mapping(node)  # a merge (<<) puts the merged keys first; the node's own override them
    result: dict[Any, Any] = {}
    seen: set[Any] = set()
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool):
            raise yaml.constructor.ConstructorError(None, None, "keys must be plain words", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
        if any(key_node is node for node in own):
            seen.add(key)
        result[key] = loader.construct_object(value_node, deep=True)
    return result


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


class _Dumper(yaml.SafeDumper):
    """Writes members of enumerations as the strings that they are."""


_Dumper.add_multi_representer(StrEnum, lambda dumper, member: dumper.represent_str(member.value))


def to_yaml(content: object) -> str:
    """Return the text of a YAML document, with mappings in their own order.

    >>> from helo.names import Role
    >>> to_yaml({"role": Role.PHYSIOLOGICAL})
    'role: physiological\\n'
    """
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; raise `InputError` if it is none or cannot be read."""
    contents = _load(path, read_text(path))
    if len(contents) > 1:
        raise InputError(f"{path}: must be one document, got {len(contents)}")
    return _mapped(path, contents[0] if contents else None)


def read_documents(path: Path) -> list[dict[str, Any]]:
    """Return the mappings in a YAML file of several documents; empty ones are left out."""
    contents = [content for content in _load(path, read_text(path)) if content is not None]
    return [_mapped(path, content) for content in contents or [None]]


def read_text(path: Path) -> str:
    """The text of a file; raise `InputError` if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path that cannot be
        raise InputError(f"{path}: cannot be read ({error})") from None


def _load(path: Path, text: str) -> list[Any]:
    try:
        contents = list(yaml.load_all(text, Loader=_Loader))
        values = _written_out(contents, {})
    except RecursionError:
        raise InputError(f"{path}: is not valid YAML (nested too deeply)") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date like 2024-13-45
        raise InputError(f"{path}: is not valid YAML ({' '.join(str(error).split())})") from None
    if values > MOST_VALUES:
        raise InputError(f"{path}: with its aliases written out it has more than {MOST_VALUES} values")
    return contents


def _written_out(value: Any, known: dict[int, int]) -> int:
    """How many values there are with every alias written out, and too many where one contains itself."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = MOST_VALUES + 1  # until it is counted: what contains itself has no end
        known[id(value)] = 1 + sum(_written_out(entry, known) for entry in _entries(value))
    return known[id(value)]


def _entries(value: dict[Any, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def _mapped(path: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be a mapping of keys to values, got {type(content).__name__}")
    return content
