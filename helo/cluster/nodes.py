"""The machines that a cluster file of ``ray up`` asks for, and their price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from helo.errors import InputError
from helo.yaml import read_yaml


@dataclass(frozen=True)
class Instance:
    """A machine type: US dollars per hour on demand, CPUs, GPUs and memory of one GPU in GiB."""

    usd: float
    cpus: int
    gpus: int
    gpu_gib: float = 0.0


@dataclass(frozen=True)
class Nodes:
    """So many machines of one type at most, as a cluster file names them; `instance` None if it is unknown."""

    name: str
    kind: str
    most: int
    instance: Instance | None
    head: bool


@cache
def price_list() -> tuple[Mapping[str, Instance], str]:
    """Known machine types, and where and when their prices were read."""
    content = read_yaml(Path(str(files("helo.cluster"))) / "prices.yaml")
    known = {kind: Instance(**entry) for kind, entry in content["instances"].items()}
    return known, f"{content['source']}, {content['date']}"


def read_nodes(path: Path) -> list[Nodes]:
    """The node types of a cluster file, the head's first; raise `InputError` if it has none."""
    content = read_yaml(path)
    types = content.get("available_node_types")
    if not isinstance(types, Mapping) or not types:
        raise InputError(f"{path}: available_node_types must map names to node types, got {types!r}")
    head = content.get("head_node_type")
    if head not in types:
        raise InputError(f"{path}: head_node_type must be one of {', '.join(map(str, types))}, got {head!r}")
    known, _ = price_list()
    found = []
    for name, entry in types.items():
        kind = _instance_type(path, str(name), entry)
        is_head = name == head
        most = entry.get("max_workers", 0) + is_head
        if not isinstance(most, int) or most < 0:
            raise InputError(f"{path}: {name}: max_workers must be a whole number of at least 0, got {most!r}")
        found.append(Nodes(str(name), kind, most, known.get(kind), is_head))
    return sorted(found, key=lambda nodes: not nodes.head)


def _instance_type(path: Path, name: str, entry: Any) -> str:
    config = entry.get("node_config") if isinstance(entry, Mapping) else None
    kind = config.get("InstanceType") if isinstance(config, Mapping) else None
    if not isinstance(kind, str):
        raise InputError(f"{path}: {name}: node_config.InstanceType must be a machine type, got {kind!r}")
    return kind
