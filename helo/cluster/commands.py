"""The commands of a file of ``ray up``, and the containers that they run in."""

from __future__ import annotations

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
"""Of a head whose command names none."""

HEAD, WORKERS = "head_start_ray_commands", "worker_start_ray_commands"


def check_commands(faults: Faults, content: Mapping[str, Any], spot: bool) -> None:
    """Installation, start of the head, and start of workers, some of them perhaps on spot."""
    _check_setup(faults, content)
    _check_head(faults, words(content.get(HEAD)))
    _check_workers(faults, content, spot)


def _check_setup(faults: Faults, content: Mapping[str, Any]) -> None:
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
    known = _extras()
    for extra in re.findall(r"[\w-]+", " ".join(re.findall(r"(?:\.|helo-search)\[([^\]]*)\]", setup))):
        if known and extra not in known:
            what = f"the project has no extra {extra!r}{did_you_mean(extra, known)}; pip would leave it out"
            faults.add(("setup_commands",), what)


def _extras() -> list[str]:
    """The project's extras; none where it is installed without its folder, which `ray up` takes to the machines."""
    path = Path(__file__).parents[2] / "pyproject.toml"
    return list(tomllib.loads(read_text(path))["project"]["optional-dependencies"]) if path.is_file() else []


def _check_head(faults: Faults, start: str) -> None:
    hosts = re.findall(r"--dashboard-host[= ]\s*(\S+)", start)
    if not start:
        faults.missing((), HEAD, "is missing; Ray's own opens the dashboard to the network")
    elif any(host not in LOCALHOST for host in hosts):
        what = "the dashboard takes jobs from whoever reaches it; give --dashboard-host=127.0.0.1"
        faults.add((HEAD,), what)
    elif "--autoscaling-config" not in start:
        what = "must give --autoscaling-config=~/ray_bootstrap_config.yaml to `ray start`, or no worker is ever started"
        faults.add((HEAD,), what)


def _check_workers(faults: Faults, content: Mapping[str, Any], spot: bool) -> None:
    commands = [str(command) for command in sequence(content.get(WORKERS))]
    cloud = mapping(content.get("provider")).get("type")
    if spot and not any("watch-spot" in command for command in commands):
        what = "must start `python -m helo.cluster watch-spot`, as workers are spot: or nobody hears their notice"
        faults.missing((), WORKERS, what)
    head = re.search(r"(?<!\S)--port[= ]\s*(\d+)", words(content.get(HEAD)))
    right = head[1] if head else PORT
    if commands and not any(re.search(r"\bray start\b.*--address\b", command) for command in commands):
        faults.add((WORKERS,), f"must run `ray start --address=$RAY_HEAD_IP:{right}`, or workers join no cluster")
    for number, command in enumerate(commands):
        port = re.search(r"--address[= ]\s*['\"]?[^\s'\"]*:(\d+)", command)
        if port and port[1] != right:
            faults.add((WORKERS, number), f"the head listens on port {right}, got --address with port {port[1]}")
        whose = re.search(r"watch-spot\b.*--cloud[= ]\s*(\w+)", command)
        if whose and cloud in CLOUDS and whose[1] != cloud:
            faults.add((WORKERS, number), f"must watch for a notice of the provider, --cloud {cloud}, got {whose[1]}")


def check_run_options(faults: Faults, place: Place, options: Any) -> None:
    """Options of `docker run` that would open a port."""
    for number, option in enumerate(sequence(options)):
        if re.match(r"(-p|-P|--publish(-all)?)\b", str(option)):
            what = f"{option!r} opens a port of the machine; leave it out: `ray dashboard` makes a tunnel"
            faults.add((*place, number), what)


def check_shared_memory(faults: Faults, content: Mapping[str, Any]) -> None:
    """Whether the containers' shared memory is there, and holds Ray's object store."""
    docker = mapping(content.get("docker"))
    if "--shm-size" not in words(docker.get("run_options")) + words(docker.get("worker_run_options")):
        what = "must have --shm-size, which holds the copy of the data that cells share"
        faults.missing(("docker",), "run_options", what)
    for key, start in (("head_run_options", HEAD), ("worker_run_options", WORKERS)):
        options = f"{words(docker.get('run_options'))} {words(docker.get(key))}"
        given = re.findall(r"--shm-size[= ]\s*['\"]?([\w.]+)", options)
        store = re.findall(r"--object-store-memory[= ]\s*(\d+)", words(content.get(start)))
        held = in_bytes(given[-1]) if given else None
        if store and held is not None and held < int(store[-1]):
            what = f"--shm-size={given[-1]} is below --object-store-memory={store[-1]} of {start}"
            faults.add(("docker", "run_options"), f"{what}; give at least {-(-int(store[-1]) // 2**30)}g")
