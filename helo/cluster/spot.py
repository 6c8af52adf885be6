"""Tell Ray that this machine is about to be taken away, as soon as the cloud says so.

Ray then starts nothing more on the node, and Tune spares the retries of the cells it loses there: they go on elsewhere
from their last checkpoint.
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
"""Where a machine asks its cloud about itself."""

WARNING = {"aws": 120, "gcp": 30}
"""Seconds from the notice to the end, as the clouds promise them."""

SPARE = 10
"""Seconds before the end at which the node counts as gone."""

PATIENCE = 2
"""Seconds to wait for the metadata service, which is on the same machine."""


def watch(cloud: str, address: str | None, metadata: str | None, every: float, tell: Callable[[str], None]) -> None:
    """Ask for a notice every so many seconds until there is one, and have Ray drain this node.

    - `address`: of the cluster, ``HOST:PORT``; None for the one that this machine's Ray belongs to
    - `metadata`: base URL of the metadata service; None for the cloud's own
    """
    base = (metadata or METADATA[cloud]).rstrip("/")
    ask = {"aws": aws_notice, "gcp": gcp_notice}[cloud]
    deaf = False
    while True:
        try:
            left = ask(base)
        except (OSError, ValueError) as error:
            if not deaf:
                tell(f"{base}: no answer ({error}); asking again every {every:g} s")
            deaf, left = True, None
        else:
            deaf = False
        if left is not None and _drained(address, left, tell):
            return
        time.sleep(every)


def aws_notice(base: str) -> int | None:
    """Seconds until EC2 takes this spot instance, None without a notice; by IMDSv2."""
    token = _get(f"{base}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, method="PUT")
    answer = _get(f"{base}/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token or ""})
    if answer is None:
        return None
    try:
        end = datetime.fromisoformat(json.loads(answer)["time"]).astimezone(UTC)
    except (ValueError, KeyError, TypeError):  # a notice all the same
        return WARNING["aws"] - SPARE
    return max(0, int((end - datetime.now(UTC)).total_seconds()) - SPARE)


def gcp_notice(base: str) -> int | None:
    """Seconds until Compute Engine takes this spot VM, None without a notice."""
    answer = _get(f"{base}/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    return WARNING["gcp"] - SPARE if answer is not None and answer.strip() == "TRUE" else None


def _get(url: str, headers: dict[str, str], method: str = "GET") -> str | None:
    """What the metadata service answers; None where it has nothing (404)."""
    request = urllib.request.Request(url, headers=headers, method=method)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a link-local address: no proxy reaches it
    try:
        with direct.open(request, timeout=PATIENCE) as answer:
            return str(answer.read(10_000).decode("utf-8"))
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


def node_here(address: str | None) -> tuple[str, str] | None:
    """This machine's Ray node that is no head, from its raylet's command line: its id, and its cluster's address.

    Of `address` only the port is compared, as Ray writes down hosts in its own way. None if there is no such node.
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


def _drained(address: str | None, left: int, tell: Callable[[str], None]) -> bool:
    here = node_here(address)
    if here is None:
        tell("this machine will be taken, but runs no Ray node")
        return False
    node, cluster = here
    words = ["drain-node", "--address", cluster, "--node-id", node, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    words += ["--reason-message", "spot notice", "--deadline-remaining-seconds", str(left)]
    done = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        tell(f"node {node} could not be drained: {' '.join(last)}")
        return False
    tell(f"this machine will be taken in {left} s: Ray drains node {node}")
    return True
