"""Machines in a file for ``ray up``, and their prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from helo._yaml import read_documents, read_yaml
from helo.cluster.faults import mapping, sequence, whole
from helo.cluster.filling import NO_GPU
from helo.errors import InputError

HOURS_PER_MONTH = 730
"""Hours by which AWS divides a price per month."""

DEFAULT_WORKERS = 2
"""Ray's default for ``max_workers`` of a cluster."""


@dataclass(frozen=True)
class Instance:
    """Machine type: US dollars per hour on demand, CPUs, GPUs, memory of one GPU and of the machine in GiB."""

    usd: float
    cpus: int
    gpus: int
    gpu_gib: float = 0.0
    mem_gib: float = 0.0


@dataclass(frozen=True)
class Nodes:
    """Machines of one node type in a cluster file.

    Attributes
    ----------
    name : str
        Name of the node type.
    kind : str
        Machine type of the cloud.
    most : int
        Maximum number of machines.
    instance : Instance or None
        Resources and price. None if the machine type is unknown.
    head : bool
        Whether this is the head.
    spot : bool
        Whether the machines are spot instances, which the cloud may take back.
    extras_usd : float
        US dollars per hour of the disks and the public address of one machine.
    """

    name: str
    kind: str
    most: int
    instance: Instance | None
    head: bool
    spot: bool = False
    extras_usd: float = 0.0

    @property
    def usd(self) -> float | None:
        """US dollars per hour of one machine on demand, with `extras_usd`. None if the machine type is unknown."""
        return None if self.instance is None else self.instance.usd + self.extras_usd


@dataclass(frozen=True)
class PriceList:
    """Known machine types, prices of what comes with a machine, and region, source and date of the prices.

    Attributes
    ----------
    instances : mapping
        Machine type → its resources and price.
    disk_usd : float
        US dollars of a disk per GiB and month.
    address_usd : float
        US dollars of a public address per hour.
    region, source : str
        Region of the prices, and where and when they were read.
    """

    instances: Mapping[str, Instance]
    disk_usd: float
    address_usd: float
    region: str
    source: str


@cache
def price_list() -> PriceList:
    """Return the prices that come with the project."""
    content = read_yaml(Path(str(files("helo.cluster"))) / "prices.yaml")
    known = {kind: Instance(**entry) for kind, entry in content["instances"].items()}
    source = f"{content['source']}, {content['region']}, {content['date']}"
    return PriceList(known, content["disk_usd"], content["address_usd"], content["region"], source)


def on_spot(config: Mapping[str, Any]) -> bool:
    """Return whether EC2 may take back machines with this ``node_config`` at any time."""
    options = config.get("InstanceMarketOptions")
    return isinstance(options, Mapping) and options.get("MarketType") == "spot"


def _extras_usd(config: Mapping[str, Any], is_public: bool) -> float:
    """Return what disks and address of a machine with this ``node_config`` cost per hour. All disks count as gp3."""
    disks = map(mapping, sequence(config.get("BlockDeviceMappings")))
    gib = sum(whole(mapping(disk.get("Ebs")).get("VolumeSize")) or 0 for disk in disks)
    prices = price_list()
    return gib * prices.disk_usd / HOURS_PER_MONTH + (prices.address_usd if is_public else 0.0)


def read_nodes(path: Path, without_gpus: bool = False) -> list[Nodes]:
    """Return the maximum number of machines that a cluster file starts, the head first.

    As in Ray, the limit of a node type without ``max_workers`` is that of the cluster, and the ``max_workers`` of the
    cluster limits the sum. If the sum is larger, the most expensive types are counted first.

    Parameters
    ----------
    path : pathlib.Path
        File for ``ray up``.
    without_gpus : bool
        Whether only machines for cells without a GPU are meant: if some types are marked with `NO_GPU`, these.

    Returns
    -------
    list of Nodes
        One entry per node type.

    Raises
    ------
    InputError
        If the file is wrong, or for a cloud without known prices.
    """
    content = read_documents(path)[0]
    provider = content.get("provider")
    cloud = provider.get("type") if isinstance(provider, Mapping) else None
    if "apiVersion" in content or cloud not in (None, "aws"):
        whose = "Kubernetes" if "apiVersion" in content else str(cloud)
        raise InputError(
            f"{path}: prices are known for AWS only, not for {whose}; "
            "give the price of the whole cluster per hour with --price USD"
        )
    types = content.get("available_node_types")
    if not isinstance(types, Mapping) or not types:
        raise InputError(f"{path}: available_node_types must map names to node types, got {types!r}")
    head = content.get("head_node_type")
    if not isinstance(head, str) or head not in types:
        raise InputError(f"{path}: head_node_type must be one of {', '.join(map(str, types))}, got {head!r}")
    left = _count(path, "max_workers", content.get("max_workers", DEFAULT_WORKERS))
    known = price_list().instances
    kinds = {str(name): _instance_type(path, str(name), entry) for name, entry in types.items()}
    spot = {str(name): on_spot(entry["node_config"]) for name, entry in types.items()}
    is_public = not mapping(provider).get("use_internal_ips")
    extras = {str(name): _extras_usd(entry["node_config"], is_public) for name, entry in types.items()}
    found = [Nodes(head, kinds[head], 1, known.get(kinds[head]), head=True, extras_usd=extras[head])]
    marked = {name for name, entry in types.items() if mapping(entry.get("resources")).get(NO_GPU)}
    limits = {}
    for name, entry in types.items():
        if without_gpus and marked and name not in {*marked, head}:
            continue
        default = 0 if name == head else left
        limits[str(name)] = _count(path, f"{name}: max_workers", entry.get("max_workers", default))
    for name in sorted(limits, key=lambda name: -(known[kinds[name]].usd if kinds[name] in known else 0.0)):
        most = min(limits[name], left)
        left -= most
        if name != head or most:
            instance = known.get(kinds[name])
            found.append(Nodes(name, kinds[name], most, instance, head=False, spot=spot[name], extras_usd=extras[name]))
    return found


def _count(path: Path, what: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputError(f"{path}: {what} must be a whole number of at least 0, got {value!r}")
    return value


def _instance_type(path: Path, name: str, entry: Any) -> str:
    config = entry.get("node_config") if isinstance(entry, Mapping) else None
    kind = config.get("InstanceType") if isinstance(config, Mapping) else None
    if not isinstance(kind, str):
        raise InputError(f"{path}: {name}: node_config.InstanceType must be a machine type, got {kind!r}")
    return kind
