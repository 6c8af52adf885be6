"""Check of files for Kubernetes: RayCluster and RayJob of KubeRay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from helo.cluster.faults import Faults, Place, mapping, sequence, whole
from helo.cluster.images import check_image, ray_version
from helo.cluster.sizes import quantity

API = "ray.io/v1"
KINDS = ("RayCluster", "RayJob")
INSIDE = ("ClusterIP", "None")
GPU = "nvidia.com/gpu"
NETWORK_POLICY = "NetworkPolicy"

KNOWN = {
    "document": ("apiVersion", "kind", "metadata", "spec"),
    "RayCluster": (
        "authOptions",
        "autoscalerOptions",
        "enableInTreeAutoscaling",
        "gcsFaultToleranceOptions",
        "headGroupSpec",
        "headServiceAnnotations",
        "managedBy",
        "rayVersion",
        "suspend",
        "upgradeStrategy",
        "workerGroupSpecs",
    ),
    "RayJob": (
        "activeDeadlineSeconds",
        "backoffLimit",
        "clusterSelector",
        "deletionStrategy",
        "entrypoint",
        "entrypointNumCpus",
        "entrypointNumGpus",
        "entrypointResources",
        "jobId",
        "managedBy",
        "metadata",
        "preRunningDeadlineSeconds",
        "rayClusterSpec",
        "runtimeEnvYAML",
        "shutdownAfterJobFinishes",
        "submissionMode",
        "submitterConfig",
        "submitterPodTemplate",
        "suspend",
        "ttlSecondsAfterFinished",
    ),
    "head": ("enableIngress", "headService", "labels", "rayStartParams", "resources", "serviceType", "template"),
    "worker": (
        "groupName",
        "idleTimeoutSeconds",
        "labels",
        "maxReplicas",
        "minReplicas",
        "numOfHosts",
        "rayStartParams",
        "replicas",
        "resources",
        "scaleStrategy",
        "suspend",
        "template",
    ),
}
"""Keys of KubeRay's own types. Kubernetes checks those of pods."""


def check_kuberay(faults: Faults, documents: Sequence[Mapping[str, Any]]) -> None:
    """Add all faults of a file with a RayCluster and possibly a RayJob that runs on it."""
    kinds = [document.get("kind") for document in documents]
    if "RayCluster" not in kinds and not any(
        "rayClusterSpec" in mapping(document.get("spec")) for document in documents
    ):
        faults.add(("kind",), f"must be RayCluster in one document, got {', '.join(f'{kind!r:.40}' for kind in kinds)}")
    for document in documents:
        kind = document.get("kind")
        if document.get("apiVersion") != API and kind in KINDS:
            faults.add((str(kind), "apiVersion"), f"must be {API}, got {document.get('apiVersion')!r:.80}")
        if kind == "Service":
            _check_service(faults, ("Service", "spec", "type"), mapping(document.get("spec")).get("type"))
        elif kind == "Ingress":
            faults.add(("Ingress",), "must be absent: it opens the cluster to the internet; use kubectl port-forward")
        elif kind in KINDS:
            _check_own(faults, document, str(kind), documents)
        elif kind != NETWORK_POLICY:
            faults.add(("kind",), f"must be {' or '.join(KINDS)}, got {kind!r:.80}")


def _check_own(faults: Faults, document: Mapping[str, Any], kind: str, documents: Sequence[Mapping[str, Any]]) -> None:
    _check_keys(faults, (kind,), document, KNOWN["document"])
    if not isinstance(mapping(document.get("metadata")).get("name"), str):
        faults.missing((kind, "metadata"), "name", "must be a name")
    spec, place = document.get("spec"), (kind, "spec")
    if not isinstance(spec, Mapping):
        faults.missing((kind,), "spec", f"must be a mapping, got {spec!r:.80}")
        return
    _check_keys(faults, place, spec, KNOWN[kind])
    if kind == "RayCluster":
        _check_cluster(faults, place, spec)
        _check_access(faults, place, spec, documents)
        return
    entrypoint = spec.get("entrypoint")
    if not isinstance(entrypoint, str):
        faults.missing(place, "entrypoint", "must be the command of a search")
    elif "helo.search" in entrypoint and not re.search(r"--address[= ]\s*auto\b", entrypoint):
        faults.add((*place, "entrypoint"), "must run helo.search with --address auto, to use the workers")
    if "rayClusterSpec" in spec:
        inside = mapping(spec["rayClusterSpec"])
        _check_cluster(faults, (*place, "rayClusterSpec"), inside)
        _check_access(faults, (*place, "rayClusterSpec"), inside, documents)
        return
    wanted = mapping(spec.get("clusterSelector")).get("ray.io/cluster")
    names = [mapping(other.get("metadata")).get("name") for other in documents if other.get("kind") == "RayCluster"]
    if not isinstance(wanted, str):
        faults.missing(place, "clusterSelector", "must name the RayCluster in the form ray.io/cluster: NAME")
    elif names and wanted not in names:
        what = f"must name a RayCluster of the file, {' or '.join(map(str, names))}, got {wanted!r:.80}"
        faults.add((*place, "clusterSelector"), what, about=[("RayCluster", "metadata")])


def _check_access(
    faults: Faults, place: Place, spec: Mapping[str, Any], documents: Sequence[Mapping[str, Any]]
) -> None:
    """Check that other pods of the Kubernetes cluster cannot run jobs on the head."""
    fenced = any(document.get("kind") == NETWORK_POLICY for document in documents)
    if mapping(spec.get("authOptions")).get("mode") != "token" and not fenced:
        what = f"must be {{mode: token}}, or the file must have a {NETWORK_POLICY}: other pods can run jobs otherwise"
        faults.missing(place, "authOptions", what)


def _check_cluster(faults: Faults, place: Place, spec: Mapping[str, Any]) -> None:
    if spec.get("rayVersion") != ray_version():
        faults.missing(place, "rayVersion", f"must be {ray_version()!r}, got {spec.get('rayVersion')!r:.80}")
    options = mapping(spec.get("autoscalerOptions"))
    if spec.get("enableInTreeAutoscaling") is not True:
        faults.missing(place, "enableInTreeAutoscaling", "must be true, so that idle workers stop")
    elif whole(options.get("idleTimeoutSeconds")) is None:
        faults.missing(
            (*place, "autoscalerOptions"), "idleTimeoutSeconds", "must be the seconds after which an idle worker stops"
        )
    head = mapping(spec.get("headGroupSpec"))
    if not head:
        faults.missing(place, "headGroupSpec", f"must be a mapping, got {spec.get('headGroupSpec')!r:.80}")
    else:
        where = (*place, "headGroupSpec")
        _check_keys(faults, where, head, KNOWN["head"])
        _check_service(faults, (*where, "serviceType"), head.get("serviceType", "ClusterIP"))
        service = mapping(mapping(head.get("headService")).get("spec"))
        _check_service(faults, (*where, "headService", "spec", "type"), service.get("type", "ClusterIP"))
        if head.get("enableIngress"):
            faults.add(
                (*where, "enableIngress"),
                "must be absent: it opens the dashboard to the internet; use kubectl port-forward",
            )
        if mapping(head.get("rayStartParams")).get("num-cpus") != "0":
            faults.missing(
                (*where, "rayStartParams"), "num-cpus", 'must be "0" on the head, so that no cells run there'
            )
        _check_pod(faults, where, head)
    groups = spec.get("workerGroupSpecs")
    if not sequence(groups):
        faults.missing(place, "workerGroupSpecs", f"must be a list of groups, got {groups!r:.80}")
    for number, entry in enumerate(sequence(groups)):
        where = (*place, "workerGroupSpecs", number)
        if not isinstance(entry, Mapping):
            faults.add(where, f"must be a mapping, got {entry!r:.80}")
            continue
        _check_keys(faults, where, entry, KNOWN["worker"])
        _check_replicas(faults, where, entry)
        _check_pod(faults, where, entry)


def _check_replicas(faults: Faults, place: Place, group: Mapping[str, Any]) -> None:
    if not isinstance(group.get("groupName"), str):
        faults.missing(place, "groupName", f"must be a name, got {group.get('groupName')!r:.80}")
    counts = {key: whole(group.get(key, 0)) for key in ("minReplicas", "maxReplicas")}
    for key, count in counts.items():
        if count is None or count < 0 or key not in group:
            faults.missing(place, key, f"must be a whole number of at least 0, got {group.get(key)!r:.80}")
    least, most = counts["minReplicas"], counts["maxReplicas"]
    if least is not None and most is not None and least > most:
        faults.add(
            (*place, "minReplicas"), f"must be at most maxReplicas, {most}, got {least}", [(*place, "maxReplicas")]
        )


def _check_pod(faults: Faults, place: Place, group: Mapping[str, Any]) -> None:
    pod, where = mapping(mapping(group.get("template")).get("spec")), (*place, "template", "spec")
    containers = sequence(pod.get("containers"))
    if not containers:
        faults.missing(where, "containers", f"must be a list of containers, got {pod.get('containers')!r:.80}")
        return
    if pod.get("hostNetwork"):
        faults.add((*where, "hostNetwork"), "must be absent: it opens Ray's ports on the machine")
    if mapping(pod.get("securityContext")).get("runAsNonRoot") is not True:
        faults.missing(where, "securityContext", "must have runAsNonRoot: true")
    shm = [entry for entry in map(mapping, sequence(pod.get("volumes"))) if _in_memory(entry)]
    if not shm:
        what = "must have an emptyDir with medium: Memory and a sizeLimit, for /dev/shm"
        faults.missing(where, "volumes", what)
    store = quantity(mapping(group.get("rayStartParams")).get("object-store-memory"))
    sizes = [mapping(entry["emptyDir"])["sizeLimit"] for entry in shm]
    held = max((quantity(size) or 0.0 for size in sizes), default=None)
    if store is not None and held is not None and held < store:
        what = f"/dev/shm must hold the object store of rayStartParams, {store:.0f} bytes, got sizeLimit {sizes[0]}"
        faults.add((*where, "volumes"), what)
    for number, entry in enumerate(containers):
        _check_container(faults, (*where, "containers", number), mapping(entry))


def _check_container(faults: Faults, place: Place, container: Mapping[str, Any]) -> None:
    limits = mapping(mapping(container.get("resources")).get("limits"))
    if not {"cpu", "memory"} <= set(limits):
        faults.missing((*place, "resources"), "limits", "must have cpu and memory")
    gpus = limits.get(GPU, 0)
    count = re.fullmatch(r"\d+", str(gpus))
    if count is None:
        what = f"must be a whole number, got {gpus!r:.80}; a cell's share of a GPU is --gpus-per-cell"
        faults.add((*place, "resources", "limits", GPU), what)
    for key, wanted in mapping(mapping(container.get("resources")).get("requests")).items():
        limit, request = quantity(limits.get(key)), quantity(wanted)
        if limit is not None and request is not None and limit < request:
            what = f"must be at most its limit, {limits[key]}, got {wanted}: Kubernetes refuses the pod"
            faults.add((*place, "resources", "requests", key), what, about=[(*place, "resources", "limits", key)])
    check_image(faults, (*place, "image"), container.get("image"), gpu=count is not None and int(count[0]) > 0)
    for number, port in enumerate(sequence(container.get("ports"))):
        if "hostPort" in mapping(port):
            faults.add((*place, "ports", number, "hostPort"), "must be absent: it opens a port of the machine")


def _in_memory(volume: Mapping[str, Any]) -> bool:
    held = mapping(volume.get("emptyDir"))
    return held.get("medium") == "Memory" and bool(held.get("sizeLimit"))


def _check_service(faults: Faults, place: Place, kind: Any) -> None:
    if kind not in INSIDE:
        faults.add(place, f"must be ClusterIP, got {kind!r:.80}: everybody who can reach the head can run jobs")


def _check_keys(faults: Faults, place: Place, content: Mapping[str, Any], known: Iterable[str]) -> None:
    names = [*known, *(("status",) if len(place) == 1 else ())]
    for key in content:
        if str(key) not in names:
            faults.unknown(place, str(key), names)
