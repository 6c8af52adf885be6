"""Malformed cluster files: arbitrary values at arbitrary places are reported without a traceback."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helo._yaml import read_documents
from helo.cluster.faults import Faults
from helo.cluster.kuberay import check_kuberay
from helo.cluster.rayup import check_ray_up

FOLDER = Path(__file__).parents[2] / "cluster"


def documents(name: str) -> Any:
    """Return a shipped file as plain data without aliases: a list if it has several documents."""
    found = json.loads(json.dumps(read_documents(FOLDER / name)))
    return found if len(found) > 1 else found[0]


def places(value: Any) -> Iterator[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield (key,)
        yield from ((key, *rest) for rest in places(entry))


def plant(content: Any, place: tuple[Any, ...], what: Any) -> Any:
    found = copy.deepcopy(content)
    holder: Any = found
    for key in place[:-1]:
        holder = holder[key]
    if what == "dropped":
        holder.pop(place[-1])
    else:
        holder[place[-1]] = what
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml", "local.yaml", "kuberay.yaml"])
@pytest.mark.parametrize("what", ["dropped", None, [], {}, "text", 2.5, [None]], ids=repr)
def test_no_change_of_a_file_causes_a_traceback(name: str, what: Any) -> None:
    """Each value of each file is dropped or replaced in turn, and the check ends with a verdict."""
    content = documents(name)
    several = isinstance(content, list)
    wrong = 0
    for place in places(content):
        if several and len(place) == 1:  # what is no mapping is refused where files are read
            continue
        changed = plant(content, place, what)
        found = Faults()
        if several:
            check_kuberay(found, changed)
        else:
            check_ray_up(found, changed)
        assert all(line and "\n" not in line for line in found.lines)
        wrong += bool(found.lines)
    assert wrong > 10
