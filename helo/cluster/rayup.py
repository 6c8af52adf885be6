"""Check of files for ``ray up``: rules for all providers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from helo.cluster import ec2, gcp
from helo.cluster.commands import check_commands, check_run_options, check_shared_memory
from helo.cluster.faults import Faults, Place, mapping, sequence, whole
from helo.cluster.filling import NO_GPU
from helo.cluster.images import check_image
from helo.cluster.nodes import on_spot
from helo.cluster.schema import check_schema, check_with_ray

NODES = "available_node_types"
MAX_IDLE_MIN = 60
"""Maximum minutes that a machine may be paid for without work."""

CLOUDS = {"aws": ec2, "gcp": gcp}


def check_ray_up(faults: Faults, content: Mapping[str, Any]) -> None:
    """Add all faults of a file for ``ray up``."""
    for place in _odd_keys(content, ()):
        faults.add(place, "keys must be text; put the key into quotes")
    if faults.lines:
        return
    check_schema(faults, content)
    provider = mapping(content.get("provider"))
    kind = str(provider.get("type"))
    if kind == "aws":
        ec2.check_network(faults, provider)
    if kind in CLOUDS:
        _check_zones(faults, provider, CLOUDS[kind])
    if kind == "local":
        _check_local_machines(faults, content, provider)
    else:
        _check_node_types(faults, content, kind)
    if kind != "local" or "docker" in content:  # machines of the lab have the packages themselves
        _check_docker(faults, content)
    check_commands(faults, content, _on_spot(content))
    idle = whole(content.get("idle_timeout_minutes"))
    if "idle_timeout_minutes" not in content:
        faults.missing((), "idle_timeout_minutes", "is missing; set the minutes after which an idle worker stops")
    elif idle is None:
        what = f"must be a whole number of minutes, got {content['idle_timeout_minutes']!r:.80}"
        faults.add(("idle_timeout_minutes",), what)
    elif idle > MAX_IDLE_MIN and kind != "local":
        what = f"must be at most {MAX_IDLE_MIN}: idle workers are paid for until then, got {idle}"
        faults.add(("idle_timeout_minutes",), what)
    if not faults.lines:
        check_with_ray(faults, content)


def _odd_keys(value: Any, place: Place) -> Iterator[Place]:
    """Yield the places of keys that are not text. Neither Ray nor JSON schemas expect them."""
    if isinstance(value, Mapping):
        yield from ((*place, str(key)) for key in value if not isinstance(key, str))
        for key, entry in value.items():
            yield from _odd_keys(entry, (*place, str(key)))
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            yield from _odd_keys(entry, (*place, number))


def _check_zones(faults: Faults, provider: Mapping[str, Any], cloud: ModuleType) -> None:
    region, zones = provider.get("region"), provider.get("availability_zone")
    if not isinstance(region, str) or not isinstance(zones, str):
        return
    for zone in (zone.strip() for zone in zones.split(",")):
        if not cloud.in_region(zone, region):
            faults.add(("provider", "availability_zone"), f"must be zones of the region {region}, got {zone!r:.80}")


def _check_node_types(faults: Faults, content: Mapping[str, Any], kind: str) -> None:
    types = mapping(content.get(NODES))
    head = content.get("head_node_type")
    if NODES not in content:
        faults.missing((), NODES, "is missing; it must map names to node types")
    if head not in types if isinstance(head, str) else True:
        what = f"must be one of {', '.join(types) or 'the node types'}, got {head!r:.80}"
        faults.add(("head_node_type",), what, about=[(NODES,), ("~head_node_type",), (f"~{NODES}",)])
    least = 0
    for name, entry in types.items():
        place: Place = (NODES, name)
        node, config = mapping(entry), mapping(mapping(entry).get("node_config"))
        if kind == "aws":
            ec2.check_node(faults, (*place, "node_config"), config, name == head)
            ec2.check_machine(faults, place, config.get("InstanceType"), mapping(node.get("resources")), name == head)
        elif kind == "gcp":
            gcp.check_node(faults, (*place, "node_config"), config, name == head)
        resources = mapping(node.get("resources"))
        if resources.get("GPU") and resources.get(NO_GPU):
            faults.add(
                (*place, "resources"), f"must not have both GPU and {NO_GPU}, which marks machines without a GPU"
            )
        if name == head and resources.get("CPU") != 0:
            faults.add((*place, "resources"), "must have CPU: 0 on the head, so that no cells run there")
        least += _check_counts(faults, place, node)
    if kind in CLOUDS:
        _check_rights(faults, types, head, CLOUDS[kind])
    most = whole(content.get("max_workers", 2))
    if most is not None and least > most:
        faults.add(("max_workers",), f"must be at least {least}, the sum of all min_workers, got {most}", [(NODES,)])


def _check_rights(faults: Faults, types: Mapping[str, Any], head: Any, cloud: ModuleType) -> None:
    """Check that the head has its own account: workers must not be allowed to start machines."""
    whose = {name: cloud.identity(mapping(mapping(entry).get("node_config"))) for name, entry in types.items()}
    same = [name for name, account in whose.items() if name != head and account and account == whose.get(str(head))]
    if same:
        what = f"must differ from that of {same[0]}, as only the head may start workers, got {whose[str(head)]!r:.80}"
        faults.add((NODES, str(head), "node_config", cloud.ACCOUNT), what)


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


def _check_local_machines(faults: Faults, content: Mapping[str, Any], provider: Mapping[str, Any]) -> None:
    if not isinstance(mapping(content.get("auth")).get("ssh_private_key"), str):
        what = "must be a private key that all machines accept: the head uses it to start the workers"
        faults.missing(("auth",), "ssh_private_key", what)
    for key in ("min_workers", "max_workers"):
        if key in content and whole(content[key]) is None:
            faults.add((key,), f"must be a whole number, got {content[key]!r:.80}")
    if not isinstance(provider.get("head_ip"), str):
        faults.missing(("provider",), "head_ip", f"must be an address, got {provider.get('head_ip')!r:.80}")
    addresses = sequence(provider.get("worker_ips"))
    if not addresses or not all(isinstance(address, str) for address in addresses):
        what = f"must be a list of addresses, got {provider.get('worker_ips')!r:.80}"
        faults.missing(("provider",), "worker_ips", what)
        return
    if provider.get("head_ip") in addresses:
        what = f"must not contain head_ip, {provider['head_ip']}: a machine is either the head or a worker"
        faults.add(("provider", "worker_ips"), what)
    most = whole(content.get("max_workers"))
    if most is not None and most < len(addresses):
        faults.add(("max_workers",), f"must be at least {len(addresses)}, the number of worker_ips, got {most}")


def _check_docker(faults: Faults, content: Mapping[str, Any]) -> None:
    docker = mapping(content.get("docker"))
    for key in ("image", "head_image", "worker_image"):
        if key in docker:
            check_image(faults, ("docker", key), docker[key], gpu=False)
    types = mapping(content.get(NODES))
    if not docker.get("image") and not (docker.get("head_image") and docker.get("worker_image")):
        faults.missing(("docker",), "image", "must be the image that all machines run")
    for name, entry in types.items():
        node = mapping(entry)
        own = mapping(node.get("docker"))
        gpu = bool(whole(mapping(node.get("resources")).get("GPU")))
        if "worker_image" in own:
            check_image(faults, (NODES, name, "docker", "worker_image"), own["worker_image"], gpu)
        elif gpu:
            image = docker.get("worker_image", docker.get("image"))
            check_image(faults, (NODES, name, "docker"), image, gpu)
        check_run_options(faults, (NODES, name, "docker", "worker_run_options"), own.get("worker_run_options"))
    for key in ("run_options", "head_run_options", "worker_run_options"):
        check_run_options(faults, ("docker", key), docker.get(key))
    check_shared_memory(faults, content)


def _on_spot(content: Mapping[str, Any]) -> bool:
    configs = [mapping(mapping(entry).get("node_config")) for entry in mapping(content.get(NODES)).values()]
    return any(on_spot(config) or gcp.spot(config) for config in configs)
