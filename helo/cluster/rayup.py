"""Files of ``ray up``: what every provider's must have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from helo.cluster import ec2, gcp
from helo.cluster.faults import Faults, Place, mapping, sequence, whole, words
from helo.cluster.images import check_image
from helo.cluster.schema import check_schema, check_with_ray

NODES = "available_node_types"
LOCALHOST = ("127.0.0.1", "localhost", "::1")


def check_ray_up(faults: Faults, content: Mapping[str, Any]) -> None:
    """All faults of a file of ``ray up``."""
    for place in _odd_keys(content, ()):
        faults.add(place, "keys must be text; put it into quotes")
    if faults.lines:
        return
    check_schema(faults, content)
    provider = mapping(content.get("provider"))
    kind = provider.get("type")
    if kind == "aws":
        ec2.check_network(faults, provider)
    if kind == "local":
        _check_machines_of_a_lab(faults, content, provider)
    else:
        _check_node_types(faults, content, str(kind))
    _check_docker(faults, content)
    _check_commands(faults, content)
    if whole(content.get("idle_timeout_minutes")) is None:
        faults.missing((), "idle_timeout_minutes", "must be a whole number: how long an idle worker is paid for")
    if not faults.lines:
        check_with_ray(faults, content)


def _odd_keys(value: Any, place: Place) -> Iterator[Place]:
    """Where keys are numbers or truth values, which neither Ray nor JSON schemas expect."""
    if isinstance(value, Mapping):
        yield from ((*place, str(key)) for key in value if not isinstance(key, str))
        for key, entry in value.items():
            yield from _odd_keys(entry, (*place, str(key)))
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            yield from _odd_keys(entry, (*place, number))


def _check_node_types(faults: Faults, content: Mapping[str, Any], kind: str) -> None:
    types = mapping(content.get(NODES))
    head = content.get("head_node_type")
    if NODES not in content:
        faults.missing((), NODES, "is missing; it maps names to kinds of machines")
    if head not in types if isinstance(head, str) else True:
        what = f"must be one of {', '.join(types) or 'the node types'}, got {head!r:.80}"
        faults.add(("head_node_type",), what, about=[(NODES,), ("~head_node_type",), (f"~{NODES}",)])
    least = 0
    for name, entry in types.items():
        place: Place = (NODES, name)
        node, config = mapping(entry), mapping(mapping(entry).get("node_config"))
        if kind == "aws":
            ec2.check_node(faults, (*place, "node_config"), config, name == head)
            ec2.check_machine(
                faults, place, config.get("InstanceType"), mapping(node.get("resources")), name == head
            )  # fmt: skip
        elif kind == "gcp":
            gcp.check_node(faults, (*place, "node_config"), config, name == head)
        if name == head and mapping(node.get("resources")).get("CPU") != 0:
            faults.add((*place, "resources"), "must have CPU: 0 on the head, or cells run there")
        least += _check_counts(faults, place, node)
    most = whole(content.get("max_workers", 2))
    if most is not None and least > most:
        faults.add(("max_workers",), f"must be at least {least}, the sum of all min_workers, got {most}", [(NODES,)])


def _check_counts(faults: Faults, place: Place, node: Mapping[str, Any]) -> int:
    least, most = whole(node.get("min_workers", 0)), whole(node.get("max_workers"))
    for key, count in (("min_workers", least), ("max_workers", most)):
        if count is not None and count < 0:
            faults.add((*place, key), f"must be at least 0, got {count}")
            return 0
    if least is not None and most is not None and least > most:
        faults.add((*place, "min_workers"), f"must be at most max_workers, {most}, got {least}")
        return 0
    return least or 0


def _check_machines_of_a_lab(faults: Faults, content: Mapping[str, Any], provider: Mapping[str, Any]) -> None:
    for key in ("min_workers", "max_workers"):
        if key in content and whole(content[key]) is None:
            faults.add((key,), f"must be a whole number, got {content[key]!r:.80}")
    if not isinstance(provider.get("head_ip"), str):
        faults.missing(("provider",), "head_ip", f"must be an address, got {provider.get('head_ip')!r:.80}")
    addresses = provider.get("worker_ips")
    if not sequence(addresses) or not all(isinstance(address, str) for address in sequence(addresses)):
        faults.missing(("provider",), "worker_ips", f"must be a list of addresses, got {addresses!r:.80}")


def _check_docker(faults: Faults, content: Mapping[str, Any]) -> None:
    docker = mapping(content.get("docker"))
    for key in ("image", "head_image", "worker_image"):
        if key in docker:
            check_image(faults, ("docker", key), docker[key], gpu=False)
    types = mapping(content.get(NODES))
    if not docker.get("image") and not (docker.get("head_image") and docker.get("worker_image")):
        faults.missing(("docker",), "image", "is missing; name the image that all machines run")
    for name, entry in types.items():
        node = mapping(entry)
        own = mapping(node.get("docker"))
        gpu = bool(whole(mapping(node.get("resources")).get("GPU")))
        if "worker_image" in own:
            check_image(faults, (NODES, name, "docker", "worker_image"), own["worker_image"], gpu)
        elif gpu:
            image = docker.get("worker_image", docker.get("image"))
            check_image(faults, (NODES, name, "docker"), image, gpu)
        _check_run_options(faults, (NODES, name, "docker", "worker_run_options"), own.get("worker_run_options"))
    for key in ("run_options", "head_run_options", "worker_run_options"):
        _check_run_options(faults, ("docker", key), docker.get(key))
    if "--shm-size" not in words(docker.get("run_options")) + words(docker.get("worker_run_options")):
        what = "must have --shm-size, which holds the copy of the data that cells share"
        faults.missing(("docker",), "run_options", what)


def _check_run_options(faults: Faults, place: Place, options: Any) -> None:
    for number, option in enumerate(sequence(options)):
        if re.match(r"(-p|-P|--publish(-all)?)\b", str(option)):
            what = f"{option!r} opens a port of the machine; leave it out: `ray dashboard` makes a tunnel"
            faults.add((*place, number), what)


def _check_commands(faults: Faults, content: Mapping[str, Any]) -> None:
    setup = words(content.get("setup_commands"))
    if not re.search(r"pip install\b.*(-e|helo-search|\.\[)", setup):
        what = (
            "must install the project, on the head and on all workers: pip install -c constraints.txt -e '.[cluster]'"
        )
        faults.missing((), "setup_commands", what)
    elif "constraints.txt" not in setup:
        faults.add(("setup_commands",), "must install with -c constraints.txt, or versions drift apart")
    elif re.search(r"-e |\.\[", setup) and not mapping(content.get("file_mounts")):
        faults.missing((), "file_mounts", "must bring the project, which setup_commands install")
    start = words(content.get("head_start_ray_commands"))
    hosts = re.findall(r"--dashboard-host[= ]\s*(\S+)", start)
    if not start:
        faults.missing((), "head_start_ray_commands", "is missing; Ray's own opens the dashboard to the network")
    elif any(host not in LOCALHOST for host in hosts):
        what = "the dashboard takes jobs from whoever reaches it; give --dashboard-host=127.0.0.1"
        faults.add(("head_start_ray_commands",), what)
    if _spot(content) and "watch-spot" not in words(content.get("worker_start_ray_commands")):
        what = "must start `python -m helo.cluster watch-spot`, as workers are spot: or nobody hears their notice"
        faults.missing((), "worker_start_ray_commands", what)


def _spot(content: Mapping[str, Any]) -> bool:
    configs = [mapping(mapping(entry).get("node_config")) for entry in mapping(content.get(NODES)).values()]
    return any("InstanceMarketOptions" in config or gcp.spot(config) for config in configs)
