"""What only Google Cloud has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helo.cluster.faults import Faults, Place, mapping, sequence, whole

ACCOUNT = "serviceAccounts"
"""Key of a node's ``node_config`` that says whose rights it has."""

LEAST_DISK = 60
"""GiB, as on AWS."""


MODELS = ("SPOT", "STANDARD")
"""What ``provisioningModel`` may be."""


def spot(config: Mapping[str, Any]) -> bool:
    """Whether Google may take the machine back at any time."""
    scheduling = _scheduling(config)
    return bool(scheduling.get("preemptible")) or scheduling.get("provisioningModel") == "SPOT"


def _scheduling(config: Mapping[str, Any]) -> Mapping[str, Any]:
    scheduling = mapping(config.get("scheduling"))
    for entry in sequence(config.get("scheduling")):  # Ray's examples write a list
        scheduling = {**scheduling, **mapping(entry)}
    return scheduling


def identity(config: Mapping[str, Any]) -> object:
    """Whose rights machines with this ``node_config`` have; None if nobody's."""
    return next((mapping(entry).get("email") for entry in sequence(config.get(ACCOUNT))), None)


def in_region(zone: str, region: str) -> bool:
    """Whether a zone is of a region: us-central1-a of us-central1."""
    return zone.rpartition("-")[0] == region


def check_node(faults: Faults, place: Place, config: Mapping[str, Any], head: bool) -> None:
    """One node type's ``node_config``."""
    if not isinstance(config.get("machineType"), str):
        faults.add((*place, "machineType"), f"must be a machine type, got {config.get('machineType')!r:.80}")
    if not sequence(config.get("networkInterfaces")):
        what = "must name a subnetwork; Ray takes the default network, which opens port 22 to the world (0.0.0.0/0)"
        faults.add((*place, "networkInterfaces"), what)
    for number, entry in enumerate(sequence(config.get("networkInterfaces"))):
        if not isinstance(mapping(entry).get("subnetwork"), str):
            faults.add((*place, "networkInterfaces", number), "must name a subnetwork of your own")
    if not head and not sequence(config.get("serviceAccounts")):
        faults.add((*place, "serviceAccounts"), "must name an account; without, workers could not reach the bucket")
    if not mapping(config.get("labels")):
        faults.add((*place, "labels"), "must label machines, so that their cost is found again")
    model = _scheduling(config).get("provisioningModel", "STANDARD")
    if model not in MODELS:
        faults.add((*place, "scheduling"), f"provisioningModel must be {' or '.join(MODELS)}, got {model!r:.80}")
    if head and spot(config):
        faults.add((*place, "scheduling"), "the head must not be a spot VM: the search ends with it")
    sizes = [
        whole(mapping(mapping(entry).get("initializeParams")).get("diskSizeGb")) or 0
        for entry in sequence(config.get("disks"))
    ]
    if max(sizes, default=0) < LEAST_DISK:
        faults.add((*place, "disks"), f"must have initializeParams.diskSizeGb of at least {LEAST_DISK}")
