"""The cluster file for machines of the lab: ``ray up`` and a search on hosts of this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from lab_cloud import BUCKET, ENDPOINT, KEYS, cells_in_cloud, cloud_in_hub
from lab_hosts import PROJECT, USER, Hosts, running_hosts, wait_for, why_not
from lab_searches import DASHBOARD, FEW, SPACE, Job, comparable, local_cells

WHY_NOT = why_not()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=str(WHY_NOT))]

ROOT = Path(__file__).parents[3]
CREDENTIALS = f"""[default]
aws_access_key_id = {KEYS["AWS_ACCESS_KEY_ID"]}
aws_secret_access_key = {KEYS["AWS_SECRET_ACCESS_KEY"]}
"""

SHELL = f"cd {PROJECT} && export PATH=$PWD/.venv/bin:$PATH RAY_AUTH_MODE=token\n"
"""Start of a script on the laptop."""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with running_hosts(tmp_path_factory.mktemp("hosts"), "head", "first", "second", "laptop") as running:
        yield running


def cluster_file() -> str:
    """Return the file of the project for the hosts, which have the packages already."""
    text = (ROOT / "cluster" / "local.yaml").read_text(encoding="utf-8")
    for old, new in (
        ("192.168.1.10", "10.77.0.10"),
        ("192.168.1.11, 192.168.1.12", "10.77.0.11, 10.77.0.12"),
        ("ssh_user: ubuntu", f"ssh_user: {USER}"),
        ("python3 -m venv .venv && .venv/bin/pip install", f"ln -sfn {sys.prefix} .venv && echo pip install"),
        ("--object-store-memory=4000000000", "--object-store-memory=200000000 --num-cpus=1"),
        ("--object-store-memory=1000000000", "--object-store-memory=200000000"),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


def test_a_search_on_machines_of_the_lab_survives_one_of_them(hosts: Hosts, tmp_path: Path) -> None:
    """Follow the README from a laptop: ``ray up``, a job through the tunnel, and ``ray down``."""
    for name, text in (("local.yaml", cluster_file()), ("space.yaml", SPACE), ("keys", CREDENTIALS)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    hosts.install_project("laptop")
    hosts.copy(tmp_path / "local.yaml", "laptop", f"{PROJECT}/cluster/local.yaml")
    for name in ("head", "first", "second"):  # a lab may have the keys of its storage on all machines
        hosts.run(name, "mkdir -m 700 .aws")
        hosts.copy(tmp_path / "keys", name, ".aws/credentials", "--chmod=600")
    hosts.copy(tmp_path / "space.yaml", "head", "space.yaml")
    hosts.run("laptop", SHELL + "ray get-auth-token --generate > /dev/null 2>&1 && ray up -y cluster/local.yaml 2>&1")

    def status() -> str:
        return hosts.run("head", "RAY_AUTH_MODE=token helo-search/.venv/bin/ray status 2>&1")

    wait_for(lambda: " 3 local.cluster.node" in status(), status)
    assert hosts.run("head", "stat -c %a .ray") == "700\n"  # the token in it is for this user alone

    with cloud_in_hub(hosts, tmp_path):
        tunnel = "(ray dashboard cluster/local.yaml > /tmp/tunnel 2>&1 < /dev/null &)\n"
        ready = f"until ray job list --address {DASHBOARD} > /dev/null 2>&1; do sleep 1; done\n"
        variables = " ".join(f"{name}={value}" for name, value in ENDPOINT.items())
        search = f"env {variables} python -m helo.search --address auto --space space.yaml {' '.join(FEW)}"
        hosts.run("laptop", f"{SHELL}{tunnel}{ready}")
        job = Job(lambda command: hosts.run("laptop", f"{SHELL}{command} 2>&1"))
        job.submit(f"{search} --out s3://{BUCKET}/run")
        wait_for(lambda: job.has_cells() or job.has_ended(), job.logs)
        assert not job.has_ended(), job.logs()
        hosts.end("second")
        wait_for(job.has_ended, job.logs)
        assert "Job 'one' succeeded" in job.status(), job.logs()
        hosts.run("laptop", SHELL + "ray down -y cluster/local.yaml 2>&1")
        found = comparable(cells_in_cloud(hosts, f"s3://{BUCKET}/run", tmp_path))

    def left() -> str:
        return "".join(hosts.run(name, "pgrep -fl 'raylet|gcs_server|ray::' || true") for name in ("head", "first"))

    wait_for(lambda: left() == "", left)  # a worker ends by itself, a minute after its head
    expected = local_cells(tmp_path / "space.yaml", tmp_path / "local")
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
