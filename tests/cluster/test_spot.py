"""Interruption notices of spot instances, with a simulated metadata service and a real Ray cluster."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from spot_metadata import Answers, Metadata

from helo.cluster.__main__ import main
from helo.cluster.spot import SPARE, aws_notice, gcp_notice, node_here


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    server = Metadata(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def seconds_from_now(seconds: float) -> datetime:
    """Return a time as precise as those in the notices of AWS, which have whole seconds."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)


def action(end: datetime) -> str:
    """Return the notice of AWS that a machine is terminated at a time."""
    return f'{{"action": "terminate", "time": "{end.strftime("%Y-%m-%dT%H:%M:%SZ")}"}}'


def test_the_notice_of_aws_gives_the_remaining_seconds(metadata: Metadata) -> None:
    assert aws_notice(metadata.base) is None
    end = seconds_from_now(120)
    metadata.notice = action(end)
    before = datetime.now(UTC)
    remaining = aws_notice(metadata.base)
    after = datetime.now(UTC)
    assert remaining is not None
    assert max(int((end - after).total_seconds()) - SPARE, 0) <= remaining <= (end - before).total_seconds() - SPARE
    metadata.notice = action(seconds_from_now(-60))
    assert aws_notice(metadata.base) == 0
    metadata.notice = "not JSON"
    assert aws_notice(metadata.base) == 120 - SPARE


def test_the_notice_of_google_gives_a_fixed_time(metadata: Metadata) -> None:
    assert gcp_notice(metadata.base) is None
    metadata.preempted = "TRUE"
    assert gcp_notice(metadata.base) == 30 - SPARE


def test_a_machine_without_ray_has_no_node() -> None:
    assert node_here("192.0.2.1:1") is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["--metadata", "file:///etc/passwd"], "must be an http:// address"), (["--every", "0"], "must be above 0")],
)
def test_bad_options(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch-spot", "--cloud", "aws", *words]) == 2
    assert expected in capsys.readouterr().err


BUSY = """
import sys, time, ray
from ray._private.state import state
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")

@ray.remote(num_cpus=1)
def work():
    time.sleep(600)

task = work.remote()
while not ray.cluster_resources().get("CPU") or ray.available_resources().get("CPU"):
    time.sleep(0.1)
(node,) = [each["NodeID"] for each in ray.nodes() if each["Resources"].get("CPU")]
print("busy", node, flush=True)
sys.stdin.readline()
print(*state.get_draining_nodes().items(), flush=True)
"""


@pytest.mark.slow
def test_a_notice_drains_the_node_of_this_machine(
    metadata: Metadata, tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[int], list[int]]
) -> None:
    """After the notice, the busy worker node drains until the termination, and the head node does not."""
    folder = tmp_path_factory.mktemp("r")
    port, client, *agents = free_ports(4)
    address = f"127.0.0.1:{port}"
    # A separate token, so that none is read from or written to the user's home.
    environment = {
        **os.environ,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    started: list[subprocess.Popen[str]] = []

    def start(words: list[str], **pipes: Any) -> subprocess.Popen[str]:
        """Start a process in a separate group, so that its children can be ended with it."""
        process = subprocess.Popen(words, env=environment, start_new_session=True, text=True, **pipes)
        started.append(process)
        return process

    def ray_start(name: str, agent: int, *words: str) -> subprocess.Popen[str]:
        log = (folder / f"{name}.log").open("w")
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--node-ip-address=127.0.0.1"]
        return start([*command, f"--dashboard-agent-listen-port={agent}", *words], stdout=log, stderr=log)

    try:
        head = [f"--port={port}", "--head", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={folder}"]
        ray_start("head", agents[0], *head, f"--ray-client-server-port={client}")
        wait_for(port)
        ray_start("worker", agents[1], f"--address={address}", "--num-cpus=1")
        deadline = time.monotonic() + 240
        while (here := node_here(address)) is None:
            assert time.monotonic() < deadline, (folder / "worker.log").read_text()
            time.sleep(0.2)
        node = here[0]
        busy = start([sys.executable, "-c", BUSY, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert busy.stdin is not None
        assert busy.stdout is not None
        assert busy.stdout.readline().split() == ["busy", node]

        words = ["watch-spot", "--cloud", "aws", "--address", address, "--metadata", metadata.base, "--every", "0.2"]
        watcher = start([sys.executable, "-m", "helo.cluster", *words], stdout=subprocess.PIPE)
        time.sleep(1)
        assert watcher.poll() is None
        termination = seconds_from_now(120)
        metadata.notice = action(termination)
        message, _ = watcher.communicate(timeout=60)
        assert watcher.returncode == 0
        assert f"Ray drains node {node}" in message

        busy.stdin.write("\n")
        busy.stdin.flush()
        drained = busy.stdout.readline()
        assert drained.count(",") == 1
        assert node in drained
        # Ray counts the remaining whole seconds from the arrival of the command, so its deadline may be later.
        end = int(drained.rstrip(")\n").split()[-1]) / 1000
        assert termination.timestamp() - SPARE - 1 <= end <= time.time() + 120
    finally:
        for process in reversed(started):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in started:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def wait_for(port: int) -> None:
    """Wait until a port accepts connections; fail after a minute."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        with socket.socket() as asked:
            asked.settimeout(1)
            if asked.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"port {port} accepts no connections")
