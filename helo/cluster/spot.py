"""Watcher on a spot machine that drains the Ray node when the cloud announces the removal of the machine.

Ray then starts nothing more on the node. Its cells resume on other nodes from their checkpoints, and the interruption
does not count as a failed attempt.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

METADATA = {"aws": "http://169.254.169.254", "gcp": "http://metadata.google.internal"}
"""Addresses of the metadata services of the clouds."""

WARNING = {"aws": 120, "gcp": 30}
"""Seconds between the notice and the removal of a machine, as documented by the clouds."""

SPARE = 10
"""Seconds before the removal at which Ray's deadline for the node lies."""

TIMEOUT_S = 2
"""Seconds to wait for the metadata service, which runs on the same host."""


def watch(cloud: str, address: str | None, metadata: str | None, every: float, report: Callable[[str], None]) -> None:
    """Wait for the notice of the cloud, then drain the Ray node on this machine.

    Parameters
    ----------
    cloud : str
        ``"aws"`` or ``"gcp"``.
    address : str or None
        Address of the cluster, ``HOST:PORT``. None for the cluster that this machine belongs to.
    metadata : str or None
        Base URL of the metadata service. None for the one of the cloud.
    every : float
        Seconds between two requests.
    report : callable
        Function that prints a line.
    """
    base = (metadata or METADATA[cloud]).rstrip("/")
    read_notice = {"aws": aws_notice, "gcp": gcp_notice}[cloud]
    unreachable = False
    while True:
        try:
            left = read_notice(base)
        except (OSError, ValueError) as error:
            if not unreachable:
                report(f"{base}: no answer ({error}); trying again every {every:g} s")
            unreachable, left = True, None
        else:
            unreachable = False
        if left is not None and _drained(address, left, report):
            return
        time.sleep(every)


def aws_notice(base: str) -> int | None:
    """Return the seconds until EC2 takes back this spot instance, or None without a notice. Uses IMDSv2."""
    token = _get(f"{base}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, method="PUT")
    answer = _get(f"{base}/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token or ""})
    if answer is None:
        return None
    try:
        end = datetime.fromisoformat(json.loads(answer)["time"]).astimezone(UTC)
    except (ValueError, KeyError, TypeError):  # a notice in an unknown format is still a notice
        return WARNING["aws"] - SPARE
    return max(0, int((end - datetime.now(UTC)).total_seconds()) - SPARE)


def gcp_notice(base: str) -> int | None:
    """Return the seconds until Compute Engine takes back this spot VM, or None without a notice."""
    answer = _get(f"{base}/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    return WARNING["gcp"] - SPARE if answer is not None and answer.strip() == "TRUE" else None


def _get(url: str, headers: dict[str, str], method: str = "GET") -> str | None:
    """Return the answer of the metadata service, or None if it has no such entry (404)."""
    request = urllib.request.Request(url, headers=headers, method=method)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a link-local address: no proxy reaches it
    try:
        with direct.open(request, timeout=TIMEOUT_S) as answer:
            return str(answer.read(10_000).decode("utf-8"))
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


def node_here(address: str | None) -> tuple[str, str] | None:
    """Return the id of the Ray worker node on this machine and the address of its cluster.

    Both come from the command line of its raylet. Only the port of `address` is compared, because Ray may write the
    host differently. None if no worker node runs here.
    """
    port = address.rpartition(":")[2] if address else None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:  # it has ended, or is another user's
            continue
        if not words[0].endswith("/raylet") or "--head" in words:
            continue
        given = dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)
        found = given.get("gcs-address", "")
        if "node_id" in given and port in (None, found.rpartition(":")[2]):
            return given["node_id"], found
    return None


def _drained(address: str | None, left: int, report: Callable[[str], None]) -> bool:
    here = node_here(address)
    if here is None:
        report("this machine will be removed, but runs no Ray node")
        return False
    node, cluster = here
    words = ["drain-node", "--address", cluster, "--node-id", node, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    words += ["--reason-message", "spot notice", "--deadline-remaining-seconds", str(left)]
    done = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        report(f"node {node} could not be drained: {' '.join(last)}")
        return False
    report(f"this machine will be removed in {left} s: Ray drains node {node}")
    return True
