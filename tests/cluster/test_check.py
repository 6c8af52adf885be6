"""Check of cluster files: the shipped files are valid, and every planted mistake is reported in one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from helo._yaml import read_documents
from helo.cluster.__main__ import main
from helo.cluster.check import check

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster"
SHIPPED = ["aws.yaml", "gcp.yaml", "local.yaml", "kuberay.yaml", "slurm.sh"]
Mutation = Callable[[Any], object]


def documents(name: str) -> Any:
    """Return a shipped file as plain data without anchors: a list if it has several documents."""
    found = [yaml.safe_load(yaml.dump(each, Dumper=Plain, sort_keys=False)) for each in read_documents(FOLDER / name)]
    return found if len(found) > 1 else found[0]


class Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def write(folder: Path, content: Any) -> Path:
    path = folder / "file.yaml"
    parts = content if isinstance(content, list) else [content]
    path.write_text(yaml.dump_all(parts, Dumper=Plain, sort_keys=False), encoding="utf-8")
    return path


def faults(folder: Path, content: Any) -> tuple[str, ...]:
    return check(write(folder, content)).faults


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_are_valid(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(FOLDER / name)]) == 0
    message, wrong = capsys.readouterr()
    assert wrong == ""
    assert message.startswith(f"{FOLDER / name}: no faults found\n")


def test_price_and_filling(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(FOLDER / "aws.yaml"), "--gpus-per-cell", "0.3", "--cpus-per-cell", "1"]) == 0
    message = capsys.readouterr().out
    one = "3 cells by GPU (0.3 each), 4 by CPU (1 each); 3 at a time; 0.1 GPU and 1 CPU left over"
    assert f"gpu-t4: up to 8 of 4 CPUs and 1 GPU; {one}\n" in message
    assert "cpu-c6i: up to 8 of 8 CPUs; no GPU; 8 cells by CPU (1 each) at a time; nothing left over\n" in message
    price = 0.096 + 8 * 1.006 + 9 * (120 * 0.08 / 730 + 0.005)
    assert (
        f"price: at most {price:.2f} USD per hour: m5.large, 8 × g5.xlarge, with disks and addresses, on demand"
        in message
    )
    assert "idle: 0.114 USD per hour, 83 USD per month, for the head alone" in message
    assert "placeholders: ami-0123456789abcdef0, sg-0123456789abcdef0; " in message


def node(name: str, change: Mutation) -> Mutation:
    return lambda content: change(content["available_node_types"][name])


def config(name: str, change: Mutation) -> Mutation:
    return node(name, lambda entry: change(entry["node_config"]))


def put(key: Any, value: Any) -> Mutation:
    return lambda content: content.__setitem__(key, value)


def drop(key: Any) -> Mutation:
    return lambda content: content.pop(key)


def append(value: Any) -> Mutation:
    return lambda content: content.append(value)


def rename(old: str, new: str) -> Mutation:
    return lambda content: content.__setitem__(new, content.pop(old))


def within(key: Any, change: Mutation) -> Mutation:
    return lambda content: change(content[key])


def swap(number: int, old: str, new: str) -> Mutation:
    """Return a mutation that replaces a word in one command of a list."""

    def change(commands: Any) -> None:
        assert old in commands[number]
        commands[number] = commands[number].replace(old, new)

    return change


HEAD, WORKERS = "head_start_ray_commands", "worker_start_ray_commands"
OPEN = {"FromPort": 22, "ToPort": 22, "IpProtocol": "tcp", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
OPEN6 = {"FromPort": 8265, "ToPort": 8265, "IpProtocol": "tcp", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}
GPU = "available_node_types.gpu-t4"

PLANTED: dict[str, tuple[Mutation, str]] = {
    "misspelt key of EC2": (
        config("gpu-t4", rename("InstanceType", "InstanceTyp")),
        f"{GPU}.node_config.InstanceTyp: unknown key (did you mean 'InstanceType'?)",
    ),
    "misspelt key further down": (
        config("gpu-t4", within("BlockDeviceMappings", within(0, within("Ebs", rename("VolumeSize", "VolumSize"))))),
        f"{GPU}.node_config.BlockDeviceMappings[0].Ebs.VolumSize: unknown key (did you mean 'VolumeSize'?)",
    ),
    "size of the wrong type": (
        config("gpu-l4", within("BlockDeviceMappings", within(0, within("Ebs", put("VolumeSize", "120"))))),
        "gpu-l4.node_config.BlockDeviceMappings[0].Ebs.VolumeSize: must be of type int, got 120",
    ),
    "disk too small": (
        config("cpu-c6i", within("BlockDeviceMappings", within(0, within("Ebs", put("VolumeSize", 8))))),
        "cpu-c6i.node_config.BlockDeviceMappings[0].Ebs.VolumeSize: must be at least 60 GiB, got 8",
    ),
    "port 22 for the world": (
        within("provider", put("security_group", {"GroupName": "helo", "IpPermissions": [OPEN]})),
        "provider.security_group.IpPermissions[0]: opens ports 22 to 22 to the internet (0.0.0.0/0)",
    ),
    "the dashboard for the world, by IPv6": (
        within("provider", put("security_group", {"GroupName": "helo", "IpPermissions": [OPEN6]})),
        "provider.security_group.IpPermissions[0]: opens ports 8265 to 8265 to the internet (::/0)",
    ),
    "a group of Ray's": (
        config("gpu-t4", drop("SecurityGroupIds")),
        f"{GPU}.node_config.SecurityGroupIds: must name a group; the one that Ray creates opens "
        "port 22 to the internet",
    ),
    "a group whose rules Ray adds to": (
        within("provider", put("security_group", {"GroupName": "helo"})),
        "provider.security_group: must be absent: Ray adds port 22 for the internet (0.0.0.0/0)",
    ),
    "a port of the container": (
        within("docker", within("run_options", lambda options: options.append("-p 8265:8265"))),
        "docker.run_options[2]: '-p 8265:8265' opens a port of the machine",
    ),
    "the dashboard on all addresses": (
        put("head_start_ray_commands", ["ray start --head --dashboard-host=0.0.0.0"]),
        "head_start_ray_commands: must have --dashboard-host=127.0.0.1; everybody who can reach "
        "the dashboard can run jobs",
    ),
    "another Ray": (
        within("docker", put("image", "rayproject/ray:2.9.3-py311-cpu")),
        "docker.image: must have Ray 2.60.0, tag 2.60.0-py311, got rayproject/ray:2.9.3-py311-cpu",
    ),
    "another Python": (
        node("gpu-t4", within("docker", put("worker_image", "rayproject/ray:2.60.0-py39-gpu"))),
        f"{GPU}.docker.worker_image: must have Python 3.11, tag 2.60.0-py311-gpu, got rayproject/ray:2.60.0-py39-gpu",
    ),
    "no Python": (
        within("docker", put("image", "rayproject/ray:2.60.0")),
        "docker.image: must have Python 3.11, tag 2.60.0-py311, got rayproject/ray:2.60.0",
    ),
    "latest image": (
        within("docker", put("image", "rayproject/ray:latest-py311")),
        "docker.image: must be pinned with the tag 2.60.0-py311, got rayproject/ray:latest-py311",
    ),
    "image without a tag": (
        within("docker", put("image", "registry:5000/ray")),
        "docker.image: must be pinned with the tag 2.60.0-py311, got registry:5000/ray",
    ),
    "GPUs without an image for them": (
        node("gpu-t4", drop("docker")),
        f"{GPU}.docker: must be an image for GPUs, tag 2.60.0-py311-gpu, got rayproject/ray:2.60.0-py311-cpu",
    ),
    "workers without rights": (
        config("gpu-t4", drop("IamInstanceProfile")),
        f"{GPU}.node_config.IamInstanceProfile: must have a Name or an Arn; otherwise workers cannot reach",
    ),
    "a head without rights of its own": (
        config("head", drop("IamInstanceProfile")),
        "head.node_config.IamInstanceProfile: must have a Name or an Arn; otherwise Ray gives the head all rights",
    ),
    "a profile misspelt": (
        config("cpu-c6i", put("IamInstanceProfile", {"Nam": "helo-worker"})),
        "cpu-c6i.node_config.IamInstanceProfile.Nam: unknown key (did you mean 'Name'?)",
    ),
    "part of a GPU as a machine's": (
        node("gpu-t4", within("resources", put("GPU", 0.5))),
        f"{GPU}.resources.GPU: must be of type integer, got 0.5; a cell's share of a GPU is --gpus-per-cell",
    ),
    "GPUs that are not there": (
        node("gpu-t4", within("resources", put("GPU", 2))),
        f"{GPU}.resources.GPU: must be 1 for g4dn.xlarge, got 2",
    ),
    "CPUs that are not there": (
        node("cpu-c6i", within("resources", put("CPU", 64))),
        "available_node_types.cpu-c6i.resources.CPU: must be at most 8 for c6i.2xlarge, got 64",
    ),
    "a GPU on a machine without one": (
        node("gpu-t4", within("resources", put("no_gpu", 1))),
        "available_node_types.gpu-t4.resources: must not have both GPU and no_gpu, which marks machines without a GPU",
    ),
    "cells on the head": (
        node("head", put("resources", {"CPU": 2})),
        "available_node_types.head.resources: must have CPU: 0 on the head, so that no cells run there",
    ),
    "a head that is not there": (
        put("head_node_type", "haed"),
        "head_node_type: must be one of head, gpu-t4, gpu-l4, gpu-a10g, cpu-c6i, cpu-c5, got 'haed'",
    ),
    "an unknown machine": (
        config("gpu-l4", put("InstanceType", "g6.xlrage")),
        "gpu-l4.node_config.InstanceType: must be a value that AWS knows, got 'g6.xlrage' (did you mean 'g6.",
    ),
    "a head on spot": (
        config("head", put("InstanceMarketOptions", {"MarketType": "spot"})),
        "head.node_config.InstanceMarketOptions: must not be on the head: the search ends",
    ),
    "an unknown market": (
        config("cpu-c6i", put("InstanceMarketOptions", {"MarketType": "spott"})),
        "cpu-c6i.node_config.InstanceMarketOptions.MarketType: must be a value that AWS knows, got "
        "'spott' (did you mean 'spot'?)",
    ),
    "more workers at least than at most": (
        node("cpu-c6i", put("min_workers", 9)),
        "available_node_types.cpu-c6i.min_workers: must be at most max_workers, 8, got 9",
    ),
    "fewer than no workers": (
        node("cpu-c6i", put("min_workers", -1)),
        "available_node_types.cpu-c6i.min_workers: must be at least 0, got -1",
    ),
    "more of all than allowed": (
        lambda content: [content["available_node_types"][name].update(min_workers=5) for name in ("cpu-c6i", "gpu-t4")],
        "max_workers: must be at least 10, the sum of all min_workers, got 8",
    ),
    "misspelt key at the top": (
        rename("idle_timeout_minutes", "idle_timeout_minute"),
        "idle_timeout_minute: unknown key (did you mean 'idle_timeout_minutes'?)",
    ),
    "misspelt key of the provider": (
        within("provider", rename("availability_zone", "availablity_zone")),
        "provider.availablity_zone: unknown key (did you mean 'availability_zone'?)",
    ),
    "no idle timeout": (drop("idle_timeout_minutes"), "idle_timeout_minutes: is missing; set the minutes after which"),
    "no image of a machine": (
        config("cpu-c6i", drop("ImageId")),
        "cpu-c6i.node_config.ImageId: must be an AMI; Ray's default has a driver that is too old",
    ),
    "old metadata service": (
        config("cpu-c6i", drop("MetadataOptions")),
        "cpu-c6i.node_config.MetadataOptions: must have HttpTokens: required",
    ),
    "no tags": (
        config("cpu-c6i", drop("TagSpecifications")),
        "cpu-c6i.node_config.TagSpecifications: must tag instance, volume",
    ),
    "untagged spot requests": (
        config("cpu-c6i", within("TagSpecifications", drop(2))),
        "cpu-c6i.node_config.TagSpecifications: must tag spot-instances-request, so that",
    ),
    "no disk": (
        config("cpu-c6i", drop("BlockDeviceMappings")),
        "cpu-c6i.node_config.BlockDeviceMappings: must have a VolumeSize of at least 60 GiB",
    ),
    "no shared memory": (within("docker", drop("run_options")), "docker.run_options: must have --shm-size"),
    "project not installed": (put("setup_commands", ["echo hello"]), "setup_commands: must install the project"),
    "versions not pinned": (
        put("setup_commands", ["pip install -e '.[cluster]'"]),
        "setup_commands: must install with -c constraints.txt",
    ),
    "project not brought": (drop("file_mounts"), "file_mounts: must copy the project"),
    "no process watches for the notice": (
        put("worker_start_ray_commands", ["ray start"]),
        "worker_start_ray_commands: must start `python -m helo.cluster",
    ),
    "workers at another port": (
        within(WORKERS, swap(1, "6379", "6380")),
        f"{WORKERS}[1]: must use port 6379 of the head, got --address with port 6380",
    ),
    "a watcher at another port": (
        within(WORKERS, swap(2, "6379", "6380")),
        f"{WORKERS}[2]: must use port 6379 of the head, got --address with port 6380",
    ),
    "workers without a head to join": (
        within(WORKERS, swap(1, "--address=$RAY_HEAD_IP:6379 ", "")),
        f"{WORKERS}: must run `ray start --address=$RAY_HEAD_IP:6379`, so that workers join the cluster",
    ),
    "a notice of another cloud": (
        within(WORKERS, swap(2, "--cloud aws", "--cloud gcp")),
        f"{WORKERS}[2]: must watch the cloud of the provider, --cloud aws, got gcp",
    ),
    "a head that starts no workers": (
        within(HEAD, swap(1, "--autoscaling-config=~/ray_bootstrap_config.yaml ", "")),
        f"{HEAD}: must run `ray start` with --autoscaling-config=~/ray_bootstrap_config.yaml",
    ),
    "a head with the workers' rights": (
        config("head", put("IamInstanceProfile", {"Name": "helo-worker"})),
        "head.node_config.IamInstanceProfile: must differ from that of gpu-t4, as only the head may start workers, got",
    ),
    "the workers' rights, by their address": (
        config("head", put("IamInstanceProfile", {"Arn": "arn:aws:iam::123456789012:instance-profile/helo-worker"})),
        "head.node_config.IamInstanceProfile: must differ from that of gpu-t4",
    ),
    "a zone of another region": (
        within("provider", put("availability_zone", "us-east-1a,us-west-2b")),
        "provider.availability_zone: must be zones of the region us-east-1, got 'us-west-2b'",
    ),
    "shared memory too small for the workers": (
        within("docker", put("run_options", ["--shm-size=2g"])),
        "docker.run_options: must have --shm-size of at least 4g, for "
        f"--object-store-memory=4000000000 of {WORKERS}, got 2g",
    ),
    "shared memory too small for the head": (
        within("docker", put("head_run_options", ["--shm-size 512m"])),
        "docker.run_options: must have --shm-size of at least 1g, for "
        f"--object-store-memory=1000000000 of {HEAD}, got 512m",
    ),
    "a head without room": (
        config("head", put("InstanceType", "t3.micro")),
        "head.node_config.InstanceType: must have 4 GiB of memory on the head; t3.micro has 1",
    ),
    "no end of waiting": (
        put("idle_timeout_minutes", 600),
        "idle_timeout_minutes: must be at most 60: idle workers are paid for until then",
    ),
    "no AMI": (
        config("cpu-c6i", put("ImageId", "ami-0123456789ABCDEF0")),
        "cpu-c6i.node_config.ImageId: must be an AMI such as ami-0123456789abcdef0, got 'ami-0123456789ABCDEF0'",
    ),
    "an extra that is not there": (
        put("setup_commands", ["pip install -c constraints.txt -e '.[wesad,clusters]'"]),
        "setup_commands: must name extras of the project, got 'clusters' (did you mean 'cluster'?)",
    ),
    "no provider": (drop("provider"), "provider: is missing"),
    "another provider": (put("provider", {"type": "azure"}), "provider.type: must be aws, gcp or local, got 'azure'"),
    "a key that is a number": (put(5, "five"), "5: keys must be text"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_mistake_is_reported_in_one_line(tmp_path: Path, name: str) -> None:
    change, expected = PLANTED[name]
    content = documents("aws.yaml")
    change(content)
    (message,) = faults(tmp_path, content)
    assert expected in message
    assert "\n" not in message


def test_all_mistakes_are_reported_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = [
        "misspelt key of EC2",
        "size of the wrong type",
        "another Ray",
        "a head without rights of its own",
        "a head on spot",
        "no idle timeout",
        "port 22 for the world",
        "more workers at least than at most",
    ]
    content = documents("aws.yaml")
    for name in chosen:
        PLANTED[name][0](content)
    path = write(tmp_path, content)
    assert main(["check", str(path)]) == 2
    message, wrong = capsys.readouterr()
    assert message == ""
    lines = wrong.splitlines()
    assert len(lines) == len(chosen)
    assert all(line.startswith(f"helo-cluster: error: {path}: ") for line in lines)
    for name in chosen:
        assert sum(PLANTED[name][1] in line for line in lines) == 1, name


GOOGLE: dict[str, tuple[Mutation, str]] = {
    "default network": (
        config("cpu", drop("networkInterfaces")),
        "cpu.node_config.networkInterfaces: must name a subnetwork; Ray's default network opens port 22",
    ),
    "no account": (config("cpu", drop("serviceAccounts")), "cpu.node_config.serviceAccounts: must name an account"),
    "head on spot": (
        config("head", put("scheduling", [{"preemptible": True}])),
        "head.node_config.scheduling: must not make the head a spot VM",
    ),
    "no machine": (config("gpu-l4", drop("machineType")), "gpu-l4.node_config.machineType: must be a machine type"),
    "no disk": (config("gpu-l4", drop("disks")), "gpu-l4.node_config.disks: must have initializeParams.diskSizeGb"),
    "another Ray": (
        within("docker", put("image", "rayproject/ray:2.9.3-py311-cpu")),
        "must have Ray 2.60.0, tag 2.60.0-py311, got rayproject/ray:2.9.3-py311-cpu",
    ),
    "a model that Google has not": (
        config("cpu", put("scheduling", [{"provisioningModel": "SPOTT"}])),
        "cpu.node_config.scheduling: provisioningModel must be SPOT or STANDARD, got 'SPOTT'",
    ),
    "a head with the workers' rights": (
        config("head", put("serviceAccounts", [{"email": "helo-worker@my-project.iam.gserviceaccount.com"}])),
        "head.node_config.serviceAccounts: must differ from that of gpu-l4",
    ),
    "a zone of another region": (
        within("provider", put("availability_zone", "us-central2-a")),
        "provider.availability_zone: must be zones of the region us-central1, got 'us-central2-a'",
    ),
    "a notice of another cloud": (within(WORKERS, swap(2, "--cloud gcp", "--cloud aws")), "--cloud gcp, got aws"),
    "workers at another port": (within(WORKERS, swap(1, "6379", "6380")), "must use port 6379 of the head, got"),
}


@pytest.mark.parametrize("name", GOOGLE)
def test_mistakes_on_google_cloud(tmp_path: Path, name: str) -> None:
    change, expected = GOOGLE[name]
    content = documents("gcp.yaml")
    change(content)
    (message,) = faults(tmp_path, content)
    assert expected in message


LAB: dict[str, tuple[Mutation, str]] = {
    "a machine twice": (
        within("provider", put("worker_ips", ["192.168.1.10", "192.168.1.11"])),
        "provider.worker_ips: must not contain head_ip, 192.168.1.10",
    ),
    "fewer workers than machines": (
        lambda content: content.update(min_workers=1, max_workers=1),
        "max_workers: must be at least 2, the number of worker_ips, got 1",
    ),
    "workers that the head cannot reach": (
        within("auth", drop("ssh_private_key")),
        "auth.ssh_private_key: must be a private key that all machines accept",
    ),
    "workers that do not come back": (
        within(HEAD, swap(1, "RAY_enable_autoscaler_v2=0", "RAY_enable_autoscaler_v2=1")),
        "must set RAY_enable_autoscaler_v2=0",
    ),
    "containers without shared memory": (
        put("docker", {"image": "rayproject/ray:2.60.0-py311", "container_name": "helo"}),
        "docker.run_options: must have --shm-size",
    ),
    "workers that are never started": (
        within(HEAD, swap(1, "--autoscaling-config=", "--no-config=")),
        "with --autoscaling-config=",
    ),
}


@pytest.mark.parametrize("name", LAB)
def test_mistakes_in_the_lab(tmp_path: Path, name: str) -> None:
    change, expected = LAB[name]
    content = documents("local.yaml")
    change(content)
    (message,) = faults(tmp_path, content)
    assert expected in message


def test_local_machines_may_be_idle(tmp_path: Path) -> None:
    content = documents("local.yaml")
    content["idle_timeout_minutes"] = 600
    assert faults(tmp_path, content) == ()


POLICY: dict[str, tuple[Mutation, str]] = {
    "another name": (
        put("cluster_name", "mine"),
        "cluster_name: must be helo, as aws-policy-head.json requires for starting workers, got 'mine'",
    ),
    "another machine": (
        config("cpu-c6i", put("InstanceType", "c6i.4xlarge")),
        "cpu-c6i.node_config.InstanceType: must be one of g4dn.xlarge, g6.xlarge, g5.xlarge, c6i",
    ),
    "another tagged resource": (
        config(
            "cpu-c6i",
            within("TagSpecifications", append({"ResourceType": "network-interface", "Tags": [{"Key": "a"}]})),
        ),
        "cpu-c6i.node_config.TagSpecifications: must not tag network-interface, because aws-policy-head.json does",
    ),
}


@pytest.mark.parametrize("name", POLICY)
def test_workers_that_the_policy_of_the_head_forbids_are_reported(tmp_path: Path, name: str) -> None:
    change, expected = POLICY[name]
    content = documents("aws.yaml")
    change(content)
    assert faults(tmp_path, content) == ()
    policy = tmp_path / "aws-policy-head.json"
    policy.write_bytes((FOLDER / policy.name).read_bytes())
    (message,) = faults(tmp_path, content)
    assert expected in message
    policy.write_text("{", encoding="utf-8")
    (message,) = faults(tmp_path, content)
    assert message.startswith("aws-policy-head.json: cannot be read (")


def test_the_price_depends_on_region_and_spot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = documents("aws.yaml")
    content["provider"].update(region="eu-west-1", availability_zone="eu-west-1a")
    for entry in content["available_node_types"].values():
        entry["node_config"].pop("InstanceMarketOptions", None)
    for name, expected in (
        (FOLDER / "aws.yaml", ", us-east-1, 2026-06); spot workers usually cost less\n"),
        (write(tmp_path, content), ", us-east-1, 2026-06); prices in eu-west-1 differ\n"),
    ):
        assert main(["check", str(name)]) == 0
        assert expected in capsys.readouterr().out


def cluster(change: Mutation) -> Mutation:
    return lambda parts: change(parts[0]["spec"])


def group(change: Mutation) -> Mutation:
    return cluster(within("workerGroupSpecs", within(0, change)))


def pod(change: Mutation) -> Mutation:
    return group(within("template", within("spec", change)))


def container(change: Mutation) -> Mutation:
    return pod(within("containers", within(0, change)))


FIRST = "RayCluster.spec.workerGroupSpecs[0]"
KUBERNETES: dict[str, tuple[Mutation, str]] = {
    "public service": (
        cluster(within("headGroupSpec", put("serviceType", "LoadBalancer"))),
        "RayCluster.spec.headGroupSpec.serviceType: must be ClusterIP, got 'LoadBalancer'",
    ),
    "service of its own": (
        lambda parts: parts.append({"apiVersion": "v1", "kind": "Service", "spec": {"type": "NodePort"}}),
        "Service.spec.type: must be ClusterIP, got 'NodePort'",
    ),
    "another Ray": (
        container(put("image", "registry.example/helo-search:2.9.3-py311-gpu")),
        f"{FIRST}.template.spec.containers[0].image: must have Ray 2.60.0, tag 2.60.0-py311-gpu, "
        "got registry.example/helo-search:2.9.3-py311-gpu",
    ),
    "another Ray, named by the cluster": (
        cluster(put("rayVersion", "2.9.3")),
        "RayCluster.spec.rayVersion: must be '2.60.0', got '2.9.3'",
    ),
    "an image without a version": (
        container(put("image", "a/b:v1")),
        "must have a tag that starts with 2.60.0-py311-gpu, the versions of Ray and Python, got v1",
    ),
    "a misspelt key": (
        group(rename("maxReplicas", "maxReplica")),
        f"{FIRST}.maxReplica: unknown key (did you mean 'maxReplicas'?)",
    ),
    "part of a GPU": (
        container(within("resources", within("limits", put("nvidia.com/gpu", 0.5)))),
        ".limits.nvidia.com/gpu: must be a whole number, got 0.5; a cell's share of a GPU is --gpus-per-cell",
    ),
    "no limits": (container(drop("resources")), ".containers[0].resources.limits: must have cpu and memory"),
    "no shared memory": (pod(drop("volumes")), ".spec.volumes: must have an emptyDir with medium: Memory"),
    "root": (pod(drop("securityContext")), ".spec.securityContext: must have runAsNonRoot: true"),
    "more at least than at most": (group(put("minReplicas", 9)), "minReplicas: must be at most maxReplicas, 8, got 9"),
    "a port of the machine": (
        container(put("ports", [{"hostPort": 8265}])),
        "hostPort: must be absent: it opens a port of the machine",
    ),
    "cells on the head": (
        cluster(within("headGroupSpec", put("rayStartParams", {}))),
        'num-cpus: must be "0" on the head',
    ),
    "another version of the API": (
        lambda parts: parts[0].update(apiVersion="ray.io/v1alpha1"),
        "must be ray.io/v1, got",
    ),
    "no cluster": (lambda parts: parts.pop(0), "kind: must be RayCluster in one document, got 'RayJob'"),
    "no node for the search": (
        lambda parts: parts[1]["spec"].pop("clusterSelector"),
        "RayJob.spec.clusterSelector: must name the RayCluster",
    ),
    "another cluster to search on": (
        lambda parts: parts[1]["spec"].update(clusterSelector={"ray.io/cluster": "hello"}),
        "RayJob.spec.clusterSelector: must name a RayCluster of the file, helo, got 'hello'",
    ),
    "a search on the head only": (
        lambda parts: parts[1]["spec"].update(entrypoint="python -m helo.search --space full"),
        "RayJob.spec.entrypoint: must run helo.search with --address auto",
    ),
    "less memory than asked for": (
        container(within("resources", within("limits", put("memory", "8000M")))),
        ".containers[0].resources.requests.memory: must be at most its limit, 8000M, got 14Gi",
    ),
    "less CPU than asked for": (
        container(within("resources", within("limits", put("cpu", "3500m")))),
        ".containers[0].resources.requests.cpu: must be at most its limit, 3500m, got 4",
    ),
    "shared memory too small": (
        pod(within("volumes", within(0, within("emptyDir", put("sizeLimit", "3Gi"))))),
        f"{FIRST}.template.spec.volumes: /dev/shm must hold the object store of rayStartParams, 4000000000 bytes, got",
    ),
    "open to all pods": (
        cluster(drop("authOptions")),
        "RayCluster.spec.authOptions: must be {mode: token}, or the file must have a NetworkPolicy",
    ),
}


@pytest.mark.parametrize("name", KUBERNETES)
def test_mistakes_on_kubernetes(tmp_path: Path, name: str) -> None:
    change, expected = KUBERNETES[name]
    content = documents("kuberay.yaml")
    change(content)
    (message,) = faults(tmp_path, content)
    assert expected in message


def test_a_network_policy_replaces_a_token(tmp_path: Path) -> None:
    parts = documents("kuberay.yaml")
    parts[0]["spec"].pop("authOptions")
    parts.append({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}}})
    assert faults(tmp_path, parts) == ()


SLURM = {
    "no end": ("#SBATCH --time=24:00:00\n", "", "#SBATCH --time: is missing (time limit of the job)"),
    "shared machines": ("set -euo pipefail\n", "set -euo pipefail\nray stop\n", "#SBATCH --exclusive: is missing"),
    "too late": ("set -euo pipefail\n", "set -euo pipefail\n#SBATCH --mem=1G\n", "must come before the first command"),
    "syntax": ("fi\n", "\n", "syntax: "),
    "one machine only": ('helo.search --address "$head:$port"', "helo.search", "search: must run with --address"),
    "open to all": ("RAY_AUTH_MODE=token ", "", "RAY_AUTH_MODE: must be token"),
    "a token that is a comment": ("export RAY_AUTH_MODE", "# export RAY_AUTH_MODE", "RAY_AUTH_MODE: must be token"),
    "no Ray": ("ray start --block", "ray begin --block", "ray: must call `ray start` on all nodes"),
}


@pytest.mark.parametrize("name", SLURM)
def test_mistakes_on_slurm(tmp_path: Path, name: str) -> None:
    old, new, expected = SLURM[name]
    text = (FOLDER / "slurm.sh").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "job.sh").write_text(text.replace(old, new), encoding="utf-8")
    (message,) = check(tmp_path / "job.sh").faults
    assert expected in message


@pytest.mark.parametrize(
    "text", ["", "5", "- 1\n", "a: [", "a: &a [*a]\n", "\x00", "provider:\n- type: aws\n", "---\n---\n"]
)
def test_other_files_are_rejected_in_one_line(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    assert main(["check", str(path)]) == 2
    message, wrong = capsys.readouterr()
    assert message == ""
    assert all(line.startswith("helo-cluster: error: ") for line in wrong.splitlines())
    assert wrong


@pytest.mark.parametrize(("name", "text"), [("policy.json", '{"Statement": []}'), ("tidy.sh", "#!/bin/bash\nls\n")])
def test_the_kind_of_another_file_is_reported(
    tmp_path: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert main(["check", str(tmp_path / name)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"helo-cluster: error: {tmp_path / name}: must be a file for ray up, KubeRay or Slurm")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--gpus-per-cell", "-1"], "must be at least 0"),
        (["--gpus-per-cell", "nan"], "must be at least 0"),
        (["--cpus-per-cell", "0"], "must be at least 1"),
    ],
)
def test_invalid_shares_are_rejected(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(FOLDER / "aws.yaml"), *words]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(("package", "name"), [("botocore", "aws.yaml"), ("jsonschema", "gcp.yaml")])
def test_a_missing_package_is_reported(package: str, name: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None; from helo.cluster.__main__ import main; "
        f"sys.exit(main(['check', {str(FOLDER / name)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert "pip install 'helo-search[cluster]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
