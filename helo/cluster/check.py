"""Check of a cluster file: its faults, and the price of its machines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helo._yaml import read_documents, read_text, read_yaml
from helo.cluster.ec2 import check_policy
from helo.cluster.faults import Faults, mapping, sequence, whole
from helo.cluster.filling import Filling, Node, fill
from helo.cluster.kuberay import GPU, check_kuberay
from helo.cluster.nodes import HOURS_PER_MONTH, Nodes, price_list, read_nodes
from helo.cluster.rayup import NODES, check_ray_up
from helo.cluster.slurm import check_slurm
from helo.errors import InputError

EXAMPLES = re.compile(r"\b(ami|sg)-0123456789abcdef0\b|\bmy-(project|bucket)\b|\bregistry\.example\b")
"""Placeholders in the files that come with the project, which every user has to replace."""

UNKNOWN_FILE = "must be a file for ray up, KubeRay or Slurm; the folder cluster/ has an example of each"

RAY_UP = ("cluster_name", "provider", NODES)
"""Keys that mark a file for ``ray up``. Files for KubeRay have ``apiVersion``."""

POLICY = "aws-policy-head.json"
"""File beside the cluster file with the IAM policy that allows the head on AWS to start workers."""


@dataclass(frozen=True)
class WorkerType:
    """Type of worker in a cluster file.

    Attributes
    ----------
    name : str
        Name of the type in the file.
    max_workers : int
        Maximum number of workers of this type.
    cpus, gpus : int
        CPUs and GPUs of one worker.
    """

    name: str
    max_workers: int
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Checked:
    """Result of the check of a cluster file.

    Attributes
    ----------
    faults : tuple of str
        One line per fault.
    workers : tuple of WorkerType
        Types of workers. Empty for a file with faults and for Slurm.
    nodes : tuple of Nodes
        Machines with their prices, the head first. Empty if prices are unknown.
    examples : tuple of str
        Placeholders of the examples that are still in the file.
    region : str
        Region of the machines in `nodes`.
    """

    faults: tuple[str, ...]
    workers: tuple[WorkerType, ...] = ()
    nodes: tuple[Nodes, ...] = ()
    examples: tuple[str, ...] = ()
    region: str = ""


def check(path: Path) -> Checked:
    """Check a file for ``ray up`` or KubeRay, or a Slurm script.

    Parameters
    ----------
    path : pathlib.Path
        File to check.

    Returns
    -------
    Checked
        Faults of the file, or its workers and their price.

    Raises
    ------
    InputError
        If the file cannot be read or is of another kind.
    """
    faults = Faults()
    if path.suffix == ".sh":
        text = read_text(path)
        if "#SBATCH" not in text and "helo.search" not in text:
            raise InputError(f"{path}: {UNKNOWN_FILE}")
        check_slurm(faults, text)
        return Checked(tuple(faults.lines))
    documents = read_documents(path)
    if not any(key in document for document in documents for key in ("apiVersion", *RAY_UP)):
        raise InputError(f"{path}: {UNKNOWN_FILE}")
    region = ""
    if any("apiVersion" in document for document in documents):
        check_kuberay(faults, documents)
        workers = () if faults.lines else tuple(_pods(documents))
        nodes: list[Nodes] = []
    else:
        content = read_yaml(path)
        check_ray_up(faults, content)
        provider = mapping(content.get("provider"))
        aws, region = provider.get("type") == "aws", str(provider.get("region"))
        if aws and (policy := path.parent / POLICY).is_file():
            check_policy(faults, policy, content)
        workers = () if faults.lines else tuple(_workers(content))
        nodes = read_nodes(path) if aws and not faults.lines else []
    return Checked(tuple(faults.lines), workers, tuple(nodes), tuple(dict.fromkeys(_examples(documents))), region)


def _workers(content: Mapping[str, Any]) -> Iterator[WorkerType]:
    for name, entry in mapping(content.get(NODES)).items():
        node = mapping(entry)
        resources = mapping(node.get("resources"))
        if name != content.get("head_node_type"):
            max_workers = whole(node.get("max_workers", content.get("max_workers"))) or 0
            yield WorkerType(name, max_workers, whole(resources.get("CPU")) or 0, whole(resources.get("GPU")) or 0)


def _pods(documents: list[dict[str, Any]]) -> Iterator[WorkerType]:
    for document in documents:
        spec = mapping(document.get("spec"))
        spec = mapping(spec.get("rayClusterSpec", spec))
        for group in map(mapping, sequence(spec.get("workerGroupSpecs"))):
            pod = mapping(mapping(group.get("template")).get("spec"))
            limits = mapping(mapping(mapping(sequence(pod.get("containers"))[0]).get("resources")).get("limits"))
            cpus = str(limits.get("cpu", 0))
            count = int(cpus) if cpus.isdigit() else int(cpus[:-1]) // 1000 if cpus[:-1].isdigit() else 0
            yield WorkerType(str(group["groupName"]), group["maxReplicas"], count, int(limits.get(GPU, 0)))


def _examples(value: Any) -> Iterator[str]:
    """Yield the placeholders that a user has to replace."""
    if isinstance(value, Mapping | list):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _examples(entry)
    elif isinstance(value, str) and (found := EXAMPLES.search(value)):
        yield found[0]


def report(checked: Checked, gpus_per_cell: float, cpus_per_cell: int) -> Iterator[str]:
    """Describe the workers and the price of a file without faults.

    Parameters
    ----------
    checked : Checked
        Result of the check.
    gpus_per_cell : float
        Share of a GPU per cell.
    cpus_per_cell : int
        CPUs per cell.

    Yields
    ------
    str
        Lines to print.
    """
    for worker in checked.workers:
        filling = fill(Node(worker.cpus, worker.gpus), cpus_per_cell, gpus_per_cell if worker.gpus else 0)
        cells = _cells(filling, gpus_per_cell, cpus_per_cell)
        yield f"{worker.name}: up to {worker.max_workers} of {_resources(worker)}; {cells}"
    if checked.nodes:
        yield from _prices(checked.nodes, checked.region)
    elif checked.workers:
        yield "price: unknown; multiply the prices of your provider by the numbers above"
    if checked.examples:
        yield f"placeholders: {', '.join(checked.examples)}; replace them before you start the cluster"


def _resources(worker: WorkerType) -> str:
    gpus = f"{worker.gpus} GPUs" if worker.gpus > 1 else "1 GPU"
    return f"{worker.cpus} CPUs and {gpus}" if worker.gpus else f"{worker.cpus} CPUs"


def _cells(filling: Filling, gpus_per_cell: float, cpus_per_cell: int) -> str:
    """Describe how many cells one worker runs at the same time."""
    if filling.by_gpu is None:
        return f"no GPU; {filling.by_cpu} cells by CPU ({cpus_per_cell} each) at a time; {filling.left}"
    by_gpu = f"{filling.by_gpu} cells by GPU ({gpus_per_cell:g} each)"
    return f"{by_gpu}, {filling.by_cpu} by CPU ({cpus_per_cell} each); {filling.cells} at a time; {filling.left}"


def _prices(nodes: tuple[Nodes, ...], region: str) -> Iterator[str]:
    head, *workers = nodes
    unknown = sorted({node.kind for node in nodes if node.instance is None})
    if unknown or head.usd is None:
        yield f"price: unknown for {', '.join(unknown)}"
        return
    prices = price_list()
    counted = [f"{node.most} × {node.kind}" for node in workers if node.most]
    hourly = sum(node.most * node.usd for node in nodes if node.usd is not None)
    spot = "; spot workers usually cost less" if any(node.spot and node.most for node in workers) else ""
    elsewhere = f"; prices in {region} differ" if region != prices.region else ""
    yield (
        f"price: at most {hourly:.2f} USD per hour: {', '.join([head.kind, *counted])}, with disks and addresses, "
        f"on demand ({prices.source}){elsewhere}{spot}"
    )
    monthly = head.usd * HOURS_PER_MONTH
    yield f"idle: {head.usd:.3f} USD per hour, {monthly:.0f} USD per month, for the head alone, until `ray down`"
