"""Faults and price of a cluster file, before anything is paid for."""

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
from helo.cluster.nodes import Nodes, price_list, read_nodes
from helo.cluster.rayup import NODES, check_ray_up
from helo.cluster.slurm import check_slurm
from helo.errors import InputError

EXAMPLES = re.compile(r"\b(ami|sg)-0123456789abcdef0\b|\bmy-(project|bucket)\b|\bregistry\.example\b")
"""What the files that come with the project have where everybody has something else."""

NONE = "is no file for ray up, KubeRay or Slurm; the folder cluster/ has one of each"

RAY_UP = ("cluster_name", "provider", NODES)
"""Keys by which a file of ``ray up`` is known; of KubeRay's it is ``apiVersion``."""

POLICY = "aws-policy-head.json"
"""What lets the head on AWS start workers, beside the cluster file."""


@dataclass(frozen=True)
class WorkerType:
    """A kind of worker: at most so many, each with these CPUs and GPUs."""

    name: str
    most: int
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Checked:
    """What is known of a cluster file: its faults, and where there are none, its workers and their price.

    - `nodes`: machines with a price, the head first; empty where none is known
    - `examples`: places that still hold the example's values
    - `region`: of the machines with a price
    """

    faults: tuple[str, ...]
    workers: tuple[WorkerType, ...] = ()
    nodes: tuple[Nodes, ...] = ()
    examples: tuple[str, ...] = ()
    region: str = ""


def check(path: Path) -> Checked:
    """Look through a file of ``ray up`` or KubeRay, or a Slurm script; raise `InputError` if it is none of them."""
    faults = Faults()
    if path.suffix == ".sh":
        text = read_text(path)
        if "#SBATCH" not in text and "helo.search" not in text:
            raise InputError(f"{path}: {NONE}")
        check_slurm(faults, text)
        return Checked(tuple(faults.lines))
    documents = read_documents(path)
    if not any(key in document for document in documents for key in ("apiVersion", *RAY_UP)):
        raise InputError(f"{path}: {NONE}")
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
        has = mapping(node.get("resources"))
        if name != content.get("head_node_type"):
            most = whole(node.get("max_workers", content.get("max_workers"))) or 0
            yield WorkerType(name, most, whole(has.get("CPU")) or 0, whole(has.get("GPU")) or 0)


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
    """Values that somebody has to replace."""
    if isinstance(value, Mapping | list):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _examples(entry)
    elif isinstance(value, str) and (found := EXAMPLES.search(value)):
        yield found[0]


def report(checked: Checked, gpus_per_cell: float, cpus_per_cell: int) -> Iterator[str]:
    """What a sound file gets, line by line."""
    for worker in checked.workers:
        filling = fill(Node(worker.cpus, worker.gpus), cpus_per_cell, gpus_per_cell if worker.gpus else 0)
        yield f"{worker.name}: up to {worker.most} of {_has(worker)}; {_said(filling, gpus_per_cell, cpus_per_cell)}"
    if checked.nodes:
        yield from _prices(checked.nodes, checked.region)
    elif checked.workers:
        yield "price: none is known here; multiply your provider's by the numbers above"
    if checked.examples:
        yield f"still the example's: {', '.join(checked.examples)}; put your own in before you start it"


def _has(worker: WorkerType) -> str:
    return f"{worker.cpus} CPUs" + (f" and {worker.gpus} GPU{'s' * (worker.gpus > 1)}" if worker.gpus else "")


def _said(filling: Filling, gpus_per_cell: float, cpus_per_cell: int) -> str:
    by_cpu = f"{filling.by_cpu} by CPU ({cpus_per_cell} each)"
    if filling.by_gpu is None:
        return f"no GPU; {by_cpu.replace(' by', ' cells by')} at a time; {filling.left}"
    by_gpu = f"{filling.by_gpu} cells by GPU ({gpus_per_cell:g} each)"
    return f"{by_gpu}, {by_cpu}; {filling.cells} at a time; {filling.left}"


def _prices(nodes: tuple[Nodes, ...], region: str) -> Iterator[str]:
    head, *workers = nodes
    unknown = sorted({node.kind for node in nodes if node.instance is None})
    if unknown or head.instance is None:
        yield f"price: none is known for {', '.join(unknown)}"
        return
    prices = price_list()
    dearest = [f"{node.most} × {node.kind}" for node in workers if node.most]
    hourly = sum(node.most * node.instance.usd for node in nodes if node.instance is not None)
    spot = "; spot workers cost about a third" if any(node.spot and node.most for node in workers) else ""
    elsewhere = f"; in {region} they differ" if region != prices.region else ""
    yield (
        f"price: {hourly:.2f} USD an hour at most: {', '.join([head.kind, *dearest])}, on demand "
        f"({prices.source}){elsewhere}{spot}"
    )
    yield f"idle: {head.instance.usd:.3f} USD an hour, the head alone, until `ray down`"
