"""Simulated AWS in the hub of the lab: object storage, and EC2 whose instances are hosts of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from lab_hosts import HUB, NETWORK, Hosts, wait_for

PORT = 5000
"""Port of the simulated AWS. It is the only server in the namespace of the hub."""

ENDPOINT = {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://{HUB}:{PORT}"}
"""Variables by which a program on a host reaches the simulated AWS, but for the keys."""

KEYS = {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "secret"}

BUCKET = "lab"

SOLD_OUT = "sold-out"
"""Name of the file with the types of machines that cannot be had, see `lab_moto`."""

SUBNET = f"{NETWORK}.64/26"
"""Addresses of the instances, apart from those of the other hosts."""

NETWORK_OF_INSTANCES = f"""
import boto3, json
ec2, iam = boto3.client("ec2"), boto3.client("iam")
vpc = ec2.create_vpc(CidrBlock="{NETWORK}.0/24")["Vpc"]["VpcId"]
subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="{SUBNET}", AvailabilityZone="us-east-1a")["Subnet"]["SubnetId"]
group = ec2.create_security_group(GroupName="helo", Description="helo", VpcId=vpc)["GroupId"]
for name in ("helo-head", "helo-worker"):
    iam.create_role(RoleName=name, AssumeRolePolicyDocument="{{}}")
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
print(json.dumps({{"subnet": subnet, "group": group, "image": image}}))
"""

INSTANCES = """
import boto3, json, time
ec2 = boto3.client("ec2")
while True:
    found = [one for some in ec2.describe_instances()["Reservations"] for one in some["Instances"]]
    keys = [key["PublicKey"] for key in ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]]
    states = {one["InstanceId"]: [one["State"]["Name"], one["PrivateIpAddress"]] for one in found}
    print(json.dumps({"states": states, "keys": keys}), flush=True)
    time.sleep(1)
"""

RESOURCES = """
import boto3, json
ec2 = boto3.client("ec2")
print(json.dumps({
    "instances": [one for some in ec2.describe_instances()["Reservations"] for one in some["Instances"]],
    "volumes": ec2.describe_volumes()["Volumes"],
}, default=str))
"""


@contextmanager
def cloud_in_hub(hosts: Hosts, folder: Path) -> Iterator[None]:
    """Run a simulated AWS with the bucket `BUCKET`, which all hosts reach. A folder has its log and `SOLD_OUT`."""
    script = Path(__file__).parent / "lab_moto.py"
    server = [sys.executable, str(script), str(folder / SOLD_OUT), HUB, str(PORT)]
    path = folder / "moto.log"
    with path.open("wb") as log, subprocess.Popen(hosts.in_hub(*server), stdout=log, stderr=log) as process:
        try:
            listening = hosts.in_hub(
                sys.executable, "-c", f"import socket; socket.create_connection(('{HUB}', {PORT}))"
            )
            wait_for(
                lambda: not subprocess.run(listening, capture_output=True, check=False).returncode,
                lambda: path.read_text(encoding="utf-8"),
            )
            ask_cloud(hosts, f"import boto3; boto3.client('s3').create_bucket(Bucket='{BUCKET}'); print(0)")
            yield
        finally:
            process.kill()


def in_cloud(hosts: Hosts, script: str) -> list[str]:
    """Return a command that runs a Python script with access to the simulated AWS."""
    variables = [f"{name}={value}" for name, value in {**ENDPOINT, **KEYS, "AWS_DEFAULT_REGION": "us-east-1"}.items()]
    return hosts.in_hub("env", *variables, sys.executable, "-c", script)


def ask_cloud(hosts: Hosts, script: str) -> Any:
    """Run a Python script with access to the simulated AWS, and return the JSON that it prints."""
    return json.loads(subprocess.run(in_cloud(hosts, script), stdout=subprocess.PIPE, check=True).stdout)


def cells_in_cloud(hosts: Hosts, place: str, folder: Path) -> pd.DataFrame:
    """Return the cells of a run on the object storage."""
    target = folder / "cells.parquet"
    script = f"import helo; helo.load_run({place!r}).cells.to_parquet({str(target)!r})"
    subprocess.run(in_cloud(hosts, script), check=True)
    return pd.read_parquet(target)


class Instances(threading.Thread):
    """Thread that starts a host for each instance of the simulated EC2, and ends it with its instance.

    Parameters
    ----------
    hosts : Hosts
        Running hosts.
    profile : str
        Script that a login shell on an instance runs.
    """

    def __init__(self, hosts: Hosts, profile: str) -> None:
        super().__init__(daemon=True)
        self._hosts, self._profile = hosts, profile
        self._running: set[str] = set()
        self._error: BaseException | None = None
        self._look = subprocess.Popen(in_cloud(hosts, INSTANCES), stdout=subprocess.PIPE, text=True)

    def run(self) -> None:
        """Follow the instances until `end`."""
        try:
            self._follow()
        except BaseException as error:
            self._error = error

    def _follow(self) -> None:
        assert self._look.stdout is not None
        for line in self._look.stdout:
            found = json.loads(line)
            for name, (state, address) in found["states"].items():
                if state in ("pending", "running") and name not in self._running:
                    self._running.add(name)
                    self._hosts.start(name, address, "\n".join(found["keys"]), self._profile)
                elif state in ("shutting-down", "terminated") and name in self._running:
                    self._running.remove(name)
                    self._hosts.end(name)

    def end(self) -> None:
        """Stop following, and raise what went wrong meanwhile. The hosts stay until those of the lab end."""
        self._look.kill()
        self._look.wait()
        self.join()
        if self._error is not None:
            raise self._error
