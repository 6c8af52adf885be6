"""Checks for Google Cloud."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helo.cluster.faults import Faults, Place, mapping, sequence, whole

ACCOUNT = "serviceAccounts"
"""Key of ``node_config`` with the account whose rights a machine has."""

MIN_DISK_GIB = 60
"""Minimum size of a disk in GiB, as on AWS."""

MODELS = ("SPOT", "STANDARD")
"""Choices of ``provisioningModel``."""


def spot(config: Mapping[str, Any]) -> bool:
    """Return whether Google may take back machines with this ``node_config`` at any time."""
    scheduling = _scheduling(config)
    return bool(scheduling.get("preemptible")) or scheduling.get("provisioningModel") == "SPOT"


def _scheduling(config: Mapping[str, Any]) -> Mapping[str, Any]:
    scheduling = mapping(config.get("scheduling"))
    for entry in sequence(config.get("scheduling")):  # Ray's examples write a list
        scheduling = {**scheduling, **mapping(entry)}
    return scheduling


def identity(config: Mapping[str, Any]) -> object:
    """Return the account whose rights machines with this ``node_config`` have, or None."""
    return next((mapping(entry).get("email") for entry in sequence(config.get(ACCOUNT))), None)


def in_region(zone: str, region: str) -> bool:
    """Return whether a zone belongs to a region, such as us-central1-a to us-central1."""
    return zone.rpartition("-")[0] == region


def check_node(faults: Faults, place: Place, config: Mapping[str, Any], head: bool) -> None:
    """Check the ``node_config`` of a node type."""
    if not isinstance(config.get("machineType"), str):
        faults.add((*place, "machineType"), f"must be a machine type, got {config.get('machineType')!r:.80}")
    if not sequence(config.get("networkInterfaces")):
        what = "must name a subnetwork; Ray's default network opens port 22 to the internet (0.0.0.0/0)"
        faults.add((*place, "networkInterfaces"), what)
    for number, entry in enumerate(sequence(config.get("networkInterfaces"))):
        if not isinstance(mapping(entry).get("subnetwork"), str):
            faults.add((*place, "networkInterfaces", number), "must name a subnetwork of your own")
    if not head and not sequence(config.get("serviceAccounts")):
        faults.add((*place, "serviceAccounts"), "must name an account; otherwise workers cannot reach the bucket")
    if not mapping(config.get("labels")):
        faults.add((*place, "labels"), "must label machines, so that their cost can be found")
    model = _scheduling(config).get("provisioningModel", "STANDARD")
    if model not in MODELS:
        faults.add((*place, "scheduling"), f"provisioningModel must be {' or '.join(MODELS)}, got {model!r:.80}")
    if head and spot(config):
        faults.add(
            (*place, "scheduling"), "must not make the head a spot VM: the search ends when Google takes it back"
        )
    sizes = [
        whole(mapping(mapping(entry).get("initializeParams")).get("diskSizeGb")) or 0
        for entry in sequence(config.get("disks"))
    ]
    if max(sizes, default=0) < MIN_DISK_GIB:
        faults.add((*place, "disks"), f"must have initializeParams.diskSizeGb of at least {MIN_DISK_GIB}")
