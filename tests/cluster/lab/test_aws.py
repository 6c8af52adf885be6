"""The cluster file for AWS: ``ray up`` and a search on a simulated EC2, whose instances are hosts of this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from lab_cloud import (
    BUCKET,
    ENDPOINT,
    KEYS,
    NETWORK_OF_INSTANCES,
    RESOURCES,
    SOLD_OUT,
    Instances,
    ask_cloud,
    cells_in_cloud,
    cloud_in_hub,
)
from lab_hosts import PROJECT, USER, Hosts, running_hosts, wait_for, why_not
from lab_searches import FEW, SPACE, Job, comparable, local_cells

from helo._yaml import read_yaml
from helo.names import Column

WHY_NOT = why_not()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=str(WHY_NOT))]

ROOT = Path(__file__).parents[3]
METADATA_PORT = 1338
NOTICE = "/tmp/notice"
"""File on an instance with its notice, as soon as there is one."""

VARIABLES = "\n".join(f"export {name}={value}" for name, value in {**ENDPOINT, **KEYS}.items())
SHELL = f"cd {PROJECT} && export PATH=$PWD/.venv/bin:$PATH\n{VARIABLES}\n"
"""Start of a script on the laptop."""

PROFILE = f"""
export PATH=~/helo-search/.venv/bin:$PATH
{VARIABLES}
"""
"""What the role of an instance gives it on AWS, and the path that Ray's image has."""


@pytest.fixture
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with running_hosts(tmp_path_factory.mktemp("hosts"), "laptop") as running:
        yield running


def cluster_file(network: dict[str, str], image: str | None) -> str:
    """Return the file of the project for instances that have the packages, or containers of an image that has them.

    It has three types of workers with one CPU each, one of them with a GPU by its file, and at most two workers.
    """
    content = read_yaml(ROOT / "cluster" / "aws.yaml")
    if image is None:
        del content["docker"]
        content["file_mounts"] = {"~/helo-search": "."}
        content["setup_commands"] = [f"ln -sfn {sys.prefix} ~/helo-search/.venv"]
    else:
        variables = [f"-e {name}={value}" for name, value in {**ENDPOINT, **KEYS}.items()]
        content["docker"].update(image=image, pull_before_run=False, run_options=["--shm-size=1g", *variables])
        content["setup_commands"] = []  # they need the package index
    content["provider"].update(availability_zone="us-east-1a", use_internal_ips=True)
    content["auth"]["ssh_user"] = USER
    types = content["available_node_types"]
    types = {name: types[name] for name in ("head", "gpu-t4", "cpu-c6i", "cpu-c5")}
    content.update(available_node_types=types, max_workers=2)
    for name, entry in types.items():
        entry.pop("docker", None)
        if name != "head":
            entry["resources"]["CPU"] = 1
        entry["node_config"].update(
            ImageId=network["image"], SecurityGroupIds=[network["group"]], SubnetIds=[network["subnet"]]
        )
    server = f"python helo-search/tests/spot_metadata.py {METADATA_PORT} {NOTICE}"
    content["worker_start_ray_commands"].insert(0, f"nohup {server} > /tmp/metadata 2>&1 < /dev/null &")
    text = yaml.safe_dump(content, sort_keys=False, width=1000)
    for old, new in (
        ("--object-store-memory=4000000000", "--object-store-memory=200000000"),
        ("--object-store-memory=1000000000", "--object-store-memory=200000000"),
        ("watch-spot --cloud aws", f"watch-spot --cloud aws --metadata http://127.0.0.1:{METADATA_PORT}"),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


IMAGES = os.environ.get("HELO_TEST_IMAGES")
IMAGE = "helo-search:2.60.0-py311-cpu"
needs_images = pytest.mark.skipif(
    IMAGES is None,
    reason=f"needs {IMAGE} of cluster/Dockerfile; set HELO_TEST_IMAGES to the data folder of a dockerd that has ended",
)


@pytest.mark.parametrize("image", [None, pytest.param(IMAGE, marks=needs_images)], ids=["bare", "containers"])
def test_a_search_on_spot_instances_survives_a_notice_and_a_lack_of_capacity(
    hosts: Hosts, tmp_path: Path, image: str | None
) -> None:
    """Follow the README from a laptop: ``ray up``, a job on the head, and ``ray down``."""
    hosts.images = Path(IMAGES) if image is not None and IMAGES is not None else None
    with cloud_in_hub(hosts, tmp_path):
        instances = Instances(hosts, "" if image else PROFILE)
        instances.start()
        try:
            _follow_readme(hosts, tmp_path, image)
        finally:
            instances.end()
        found = cells_in_cloud(hosts, f"s3://{BUCKET}/run", tmp_path)
    assert found[Column.NODE].nunique() >= 2
    expected = local_cells(tmp_path / "space.yaml", tmp_path / "local")
    pd.testing.assert_frame_equal(comparable(found), expected, check_exact=True)


def _follow_readme(hosts: Hosts, tmp_path: Path, image: str | None) -> None:
    text = cluster_file(ask_cloud(hosts, NETWORK_OF_INSTANCES), image)
    (tmp_path / "aws.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    hosts.install_project("laptop")
    hosts.copy(tmp_path / "aws.yaml", "laptop", f"{PROJECT}/cluster/aws.yaml")
    hosts.copy(tmp_path / "space.yaml", "laptop", f"{PROJECT}/space.yaml")
    hosts.run("laptop", SHELL + "ray up -y cluster/aws.yaml 2>&1")

    def on_head(command: str) -> str:
        return hosts.run("laptop", f"{SHELL}ray exec cluster/aws.yaml '{command}' 2>&1")

    def resources() -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = ask_cloud(hosts, RESOURCES)
        return found

    def running() -> list[dict[str, Any]]:
        return [one for one in resources()["instances"] if one["State"]["Name"] == "running"]

    search = f"python -m helo.search --address auto --gpus-per-cell 0 --space helo-search/space.yaml {' '.join(FEW)}"
    job, sold_out = Job(on_head), tmp_path / SOLD_OUT
    sold_out.write_text("c6i.2xlarge", encoding="utf-8")
    job.submit(f"{search} --out s3://{BUCKET}/run")
    wait_for(lambda: len(running()) >= 2 or job.has_ended(), lambda: on_head("ray status"))
    assert '" 500 ' in (tmp_path / "moto.log").read_text(encoding="utf-8")  # it was asked for the other type first
    sold_out.unlink()
    wait_for(lambda: len(running()) == 3 or job.has_ended(), lambda: on_head("ray status"))
    assert not job.has_ended(), job.logs()
    workers = {one["InstanceId"]: one["InstanceType"] for one in running() if one["InstanceType"] != "m5.large"}
    assert "c5.2xlarge" in workers.values()
    assert "g4dn.xlarge" not in workers.values()  # as the cells have no GPU
    for kind in ("instances", "volumes"):
        tagged = [{tag["Key"]: tag["Value"] for tag in one.get("Tags", ())}.get("project") for one in resources()[kind]]
        assert tagged == ["helo-search"] * 3, kind
    wait_for(lambda: job.has_cells() or job.has_ended(), job.logs)
    taken = next(name for name, kind in workers.items() if kind == "c5.2xlarge")
    notice = hosts.run(
        taken,
        f"{'docker exec -i helo ' if image else ''}bash -c "
        f"'cd && echo notice > {NOTICE} && until grep -s drains helo-spot.log; do sleep 1; done'",
    )
    assert "Ray drains node" in notice
    assert not job.has_ended(), job.logs()
    ask_cloud(hosts, f"import boto3; boto3.client('ec2').terminate_instances(InstanceIds=['{taken}']); print(0)")
    wait_for(job.has_ended, job.logs)
    assert "Job 'one' succeeded" in job.status(), job.logs()
    hosts.run("laptop", SHELL + "ray down -y cluster/aws.yaml 2>&1")
    assert running() == []
    assert resources()["volumes"] == []
