"""Commands and containers in a file for ``ray up``."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helo._yaml import read_text
from helo.cluster.faults import Faults, Place, mapping, sequence, words
from helo.cluster.sizes import in_bytes
from helo.errors import did_you_mean

LOCALHOST = ("127.0.0.1", "localhost", "::1")
CLOUDS = ("aws", "gcp")
PORT = "6379"
"""Default port of a head."""

HEAD, WORKERS = "head_start_ray_commands", "worker_start_ray_commands"


def check_commands(faults: Faults, content: Mapping[str, Any], spot: bool) -> None:
    """Check the commands that install the project, start the head and start the workers."""
    _check_setup(faults, content)
    _check_head(faults, words(content.get(HEAD)), mapping(content.get("provider")).get("type") == "local")
    _check_workers(faults, content, spot)


def _check_setup(faults: Faults, content: Mapping[str, Any]) -> None:
    setup = words(content.get("setup_commands"))
    if not re.search(r"pip install\b.*(-e|helo-search|\.\[)", setup):
        what = "must install the project on all machines: pip install -c constraints.txt -e '.[cluster]'"
        faults.missing((), "setup_commands", what)
    elif "constraints.txt" not in setup:
        faults.add(
            ("setup_commands",), "must install with -c constraints.txt, so that all machines have the same versions"
        )
    elif re.search(r"-e |\.\[", setup) and not mapping(content.get("file_mounts")):
        faults.missing((), "file_mounts", "must copy the project, which setup_commands installs")
    extras = _extras()
    for extra in re.findall(r"[\w-]+", " ".join(re.findall(r"(?:\.|helo-search)\[([^\]]*)\]", setup))):
        if extras and extra not in extras:
            what = f"must name extras of the project, got {extra!r}{did_you_mean(extra, extras)}"
            faults.add(("setup_commands",), what)


def _extras() -> list[str]:
    """Return the extras of the project, or an empty list if it was not installed from a checkout."""
    path = Path(__file__).parents[2] / "pyproject.toml"
    return list(tomllib.loads(read_text(path))["project"]["optional-dependencies"]) if path.is_file() else []


def _check_head(faults: Faults, start: str, is_local: bool) -> None:
    hosts = re.findall(r"--dashboard-host[= ]\s*(\S+)", start)
    if not start:
        faults.missing((), HEAD, "is missing; Ray's default opens the dashboard to the network")
    elif any(host not in LOCALHOST for host in hosts):
        what = "must have --dashboard-host=127.0.0.1; everybody who can reach the dashboard can run jobs"
        faults.add((HEAD,), what)
    elif "--autoscaling-config" not in start:
        what = "must run `ray start` with --autoscaling-config=~/ray_bootstrap_config.yaml, so that workers start"
        faults.add((HEAD,), what)
    if is_local and start and not re.search(r"\bRAY_enable_autoscaler_v2=0\b", start):
        what = "must set RAY_enable_autoscaler_v2=0: version 2 of the autoscaler loses machines that it did not make"
        faults.add((HEAD,), what)


def _check_workers(faults: Faults, content: Mapping[str, Any], spot: bool) -> None:
    commands = [str(command) for command in sequence(content.get(WORKERS))]
    cloud = mapping(content.get("provider")).get("type")
    if spot and not any("watch-spot" in command for command in commands):
        what = "must start `python -m helo.cluster watch-spot`, to react to the notice of the cloud"
        faults.missing((), WORKERS, what)
    head = re.search(r"(?<!\S)--port[= ]\s*(\d+)", words(content.get(HEAD)))
    head_port = head[1] if head else PORT
    if commands and not any(re.search(r"\bray start\b.*--address\b", command) for command in commands):
        faults.add(
            (WORKERS,), f"must run `ray start --address=$RAY_HEAD_IP:{head_port}`, so that workers join the cluster"
        )
    for number, command in enumerate(commands):
        port = re.search(r"--address[= ]\s*['\"]?[^\s'\"]*:(\d+)", command)
        if port and port[1] != head_port:
            faults.add((WORKERS, number), f"must use port {head_port} of the head, got --address with port {port[1]}")
        watched = re.search(r"watch-spot\b.*--cloud[= ]\s*(\w+)", command)
        if watched and cloud in CLOUDS and watched[1] != cloud:
            faults.add((WORKERS, number), f"must watch the cloud of the provider, --cloud {cloud}, got {watched[1]}")


def check_run_options(faults: Faults, place: Place, options: Any) -> None:
    """Check that no option of `docker run` opens a port."""
    for number, option in enumerate(sequence(options)):
        if re.match(r"(-p|-P|--publish(-all)?)\b", str(option)):
            what = f"{option!r} opens a port of the machine; remove it and use the tunnel of `ray dashboard`"
            faults.add((*place, number), what)


def check_shared_memory(faults: Faults, content: Mapping[str, Any]) -> None:
    """Check that containers have shared memory, and that Ray's object store fits into it."""
    docker = mapping(content.get("docker"))
    if "--shm-size" not in words(docker.get("run_options")) + words(docker.get("worker_run_options")):
        what = "must have --shm-size: the shared memory holds the data of all cells on a machine"
        faults.missing(("docker",), "run_options", what)
    for key, start in (("head_run_options", HEAD), ("worker_run_options", WORKERS)):
        options = f"{words(docker.get('run_options'))} {words(docker.get(key))}"
        given = re.findall(r"--shm-size[= ]\s*['\"]?([\w.]+)", options)
        store = re.findall(r"--object-store-memory[= ]\s*(\d+)", words(content.get(start)))
        size = in_bytes(given[-1]) if given else None
        if store and size is not None and size < int(store[-1]):
            gib = math.ceil(int(store[-1]) / 2**30)
            what = f"must have --shm-size of at least {gib}g, for --object-store-memory={store[-1]} of {start}"
            faults.add(("docker", "run_options"), f"{what}, got {given[-1]}")
