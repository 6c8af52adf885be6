"""Checks for AWS: nodes as parameters of EC2's RunInstances, and unsafe defaults of Ray."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from helo._yaml import read_text
from helo.cluster.faults import Faults, Place, mapping, sequence, whole
from helo.cluster.nodes import on_spot, price_list
from helo.errors import InputError, did_you_mean

ACCOUNT = "IamInstanceProfile"
"""Key of ``node_config`` with the account whose rights a machine has."""

MIN_DISK_GIB = 60
"""Minimum size of a disk in GiB: for the image, torch with its CUDA libraries, and temporary files."""

MIN_HEAD_MEMORY_GIB = 4
"""Minimum memory of the head in GiB: for Ray, the driver of the search with torch, and the object store."""


@cache
def _run_instances() -> Any:
    """Return the input of RunInstances as botocore's files describe it. AWS itself is not called."""
    try:
        from botocore.session import Session
    except ImportError:
        raise InputError("checking a file for AWS needs boto3; run pip install 'helo-search[cluster]'") from None
    return Session().get_service_model("ec2").operation_model("RunInstances").input_shape


def check_node(faults: Faults, place: Place, config: Mapping[str, Any], head: bool) -> None:
    """Check the ``node_config`` of a node type."""
    _check_shape(faults, place, config)
    if "InstanceType" not in config:
        faults.missing(place, "InstanceType", "must be a machine type such as g4dn.xlarge")
    if "ImageId" not in config:
        faults.missing(place, "ImageId", "must be an AMI; Ray's default has a driver that is too old for torch")
    elif not re.fullmatch(r"ami-[0-9a-f]{8,17}", str(config["ImageId"])):
        what = f"must be an AMI such as ami-0123456789abcdef0, got {config['ImageId']!r:.80}"
        faults.add((*place, "ImageId"), what)
    profile = mapping(config.get(ACCOUNT))
    if not profile.get("Name") and not profile.get("Arn"):
        reason = "Ray gives the head all rights on EC2 and S3" if head else "workers cannot reach the bucket"
        faults.missing(place, ACCOUNT, f"must have a Name or an Arn; otherwise {reason}")
    if not sequence(config.get("SecurityGroupIds")) and "NetworkInterfaces" not in config:
        faults.missing(
            place,
            "SecurityGroupIds",
            "must name a group; the one that Ray creates opens port 22 to the internet (0.0.0.0/0)",
        )
    if mapping(config.get("MetadataOptions")).get("HttpTokens") != "required":
        faults.missing(place, "MetadataOptions", "must have HttpTokens: required (IMDSv2)")
    tagged = _tagged(config)
    if untagged := [kind for kind in _resources(config, head) if kind not in tagged]:
        what = f"must tag {', '.join(untagged)}, so that the cost of the search can be found"
        faults.missing(place, "TagSpecifications", what)
    if head and "InstanceMarketOptions" in config:
        what = "must not be on the head: the search ends when AWS takes back a spot head"
        faults.add((*place, "InstanceMarketOptions"), what)
    _check_disk(faults, place, config)


def _resources(config: Mapping[str, Any], head: bool) -> list[str]:
    """Return the kinds of resources that start with a machine with this ``node_config``."""
    return ["instance", "volume", *(["spot-instances-request"] if on_spot(config) and not head else [])]


def _tagged(config: Mapping[str, Any]) -> list[str]:
    """Return the kinds of resources that machines with this ``node_config`` tag when they start."""
    entries = map(mapping, sequence(config.get("TagSpecifications")))
    return [str(entry.get("ResourceType")) for entry in entries if entry.get("Tags")]


def _check_disk(faults: Faults, place: Place, config: Mapping[str, Any]) -> None:
    sizes = [
        (number, whole(mapping(mapping(entry).get("Ebs")).get("VolumeSize")))
        for number, entry in enumerate(sequence(config.get("BlockDeviceMappings")))
    ]
    if not sizes:
        faults.missing(place, "BlockDeviceMappings", f"must have a VolumeSize of at least {MIN_DISK_GIB} GiB")
    elif max(size or 0 for _, size in sizes) < MIN_DISK_GIB:
        where = (*place, "BlockDeviceMappings", sizes[0][0], "Ebs")
        faults.missing(where, "VolumeSize", f"must be at least {MIN_DISK_GIB} GiB, got {sizes[0][1]}")


def identity(config: Mapping[str, Any]) -> object:
    """Return the account whose rights machines with this ``node_config`` have, or None."""
    profile = mapping(config.get(ACCOUNT))
    name = profile.get("Name") or profile.get("Arn")
    return str(name).rpartition("/")[2] if name else None


def in_region(zone: str, region: str) -> bool:
    """Return whether a zone belongs to a region: us-east-1a and the local zone us-east-1-bos-1a to us-east-1."""
    return re.match(rf"{re.escape(region)}(-|[a-z])", zone) is not None


def check_policy(faults: Faults, policy: Path, content: Mapping[str, Any]) -> None:
    """Check that the IAM policy of the head allows it to start the workers of a file for ``ray up``."""
    try:
        statements = sequence(mapping(json.loads(read_text(policy))).get("Statement"))
    except ValueError as error:
        faults.add((policy.name,), f"cannot be read ({error})")
        return
    allowed: dict[str, list[Any]] = {}
    may_tag: set[str] = set()
    for statement in map(mapping, statements):
        actions = _listed(statement.get("Action"))
        equal = mapping(mapping(statement.get("Condition")).get("StringEquals"))
        # What starts has no tags yet, which a condition could require.
        at_start = equal.get("ec2:CreateAction", "RunInstances") == "RunInstances"
        if "ec2:CreateTags" in actions and at_start and not any(key.startswith("aws:ResourceTag/") for key in equal):
            arns = map(str, _listed(statement.get("Resource")))
            may_tag |= {arn.rpartition(":")[2].partition("/")[0] for arn in arns}
        if "ec2:RunInstances" in actions:
            for key, values in equal.items():
                allowed.setdefault(key, []).extend(_listed(values))
    names = allowed.get("aws:RequestTag/ray-cluster-name", [])
    if names and content.get("cluster_name") not in names:
        what = f"must be {' or '.join(map(str, names))}, as {policy.name} requires for starting workers"
        faults.add(("cluster_name",), f"{what}, got {content.get('cluster_name')!r:.80}")
    kinds = allowed.get("ec2:InstanceType", [])
    for name, entry in mapping(content.get("available_node_types")).items():
        if name == content.get("head_node_type"):
            continue
        config = mapping(mapping(entry).get("node_config"))
        kind = config.get("InstanceType")
        for tagged in _tagged(config):
            if not may_tag & {tagged, "*"}:
                what = f"must not tag {tagged:.80}, because {policy.name} does not allow it"
                faults.add(("available_node_types", name, "node_config", "TagSpecifications"), what)
        if kinds and kind not in kinds:
            what = f"must be one of {', '.join(map(str, kinds))}, which {policy.name} allows, got {kind!r:.80}"
            faults.add(("available_node_types", name, "node_config", "InstanceType"), what)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def check_network(faults: Faults, provider: Mapping[str, Any]) -> None:
    """Check the security group that Ray would create, and rules that open ports to the internet."""
    group = mapping(provider.get("security_group"))
    for number, rule in enumerate(sequence(group.get("IpPermissions"))):
        sources = [entry for key in ("IpRanges", "Ipv6Ranges") for entry in sequence(mapping(rule).get(key))]
        for source in sources:
            cidr = next((value for key, value in mapping(source).items() if key in ("CidrIp", "CidrIpv6")), None)
            if str(cidr).endswith("/0"):
                ports = f"{mapping(rule).get('FromPort')} to {mapping(rule).get('ToPort')}"
                what = (
                    f"opens ports {ports} to the internet ({cidr}); allow only your own address, such as 203.0.113.7/32"
                )
                faults.add(("provider", "security_group", "IpPermissions", number), what)
    if group:
        what = "must be absent: Ray adds port 22 for the internet (0.0.0.0/0); name your own in SecurityGroupIds"
        faults.add(("provider", "security_group"), what, about=_wrong_rules(group))
    if not isinstance(provider.get("region"), str):
        faults.missing(("provider",), "region", "is missing; Ray's default is us-west-2")


def _wrong_rules(group: Mapping[str, Any]) -> list[Place]:
    rules = range(len(sequence(group.get("IpPermissions"))))
    return [("provider", "security_group", "IpPermissions", number) for number in rules]


def check_machine(faults: Faults, place: Place, kind: Any, resources: Mapping[str, Any], head: bool) -> None:
    """Check the resources of a node type against those of its machine."""
    machine = price_list().instances.get(kind) if isinstance(kind, str) else None
    if machine is None:
        return
    if head and machine.mem_gib < MIN_HEAD_MEMORY_GIB:
        what = f"must have {MIN_HEAD_MEMORY_GIB} GiB of memory on the head; {kind} has {machine.mem_gib:g}"
        faults.add((*place, "node_config", "InstanceType"), what)
    gpus, cpus = whole(resources.get("GPU", 0)), whole(resources.get("CPU"))
    where = (*place, "resources", "GPU")
    if gpus is not None and gpus != machine.gpus and not head:
        faults.add(where, f"must be {machine.gpus} for {kind}, got {gpus}", about=[(*place, "node_config")])
    if cpus is not None and cpus > machine.cpus:
        faults.add((*place, "resources", "CPU"), f"must be at most {machine.cpus} for {kind}, got {cpus}")


def _check_shape(faults: Faults, place: Place, config: Mapping[str, Any]) -> None:
    shape = _run_instances()
    from botocore.validate import ParamValidator

    # Ray turns SubnetIds, a key of its own, into SubnetId, and fills in the counts.
    given = {**{key: entry for key, entry in config.items() if key != "SubnetIds"}, "MinCount": 1, "MaxCount": 1}
    report = ParamValidator().validate(given, shape).generate_report()
    for line in report.splitlines():
        _add_report_line(faults, place, line)
    for where, value, known in _enumerated(given, shape, ()):
        guess = did_you_mean(value, known) or (f"; must be one of {', '.join(known)}" if len(known) < 10 else "")
        faults.add((*place, *where), f"must be a value that AWS knows, got {value!r:.80}{guess}")


def _add_report_line(faults: Faults, place: Place, line: str) -> None:
    """Add a line of botocore's report, which has no other form than text, in the words of this check."""
    if found := re.match(r'Unknown parameter in (.*?): "(.*)", must be one of: (.*)', line):
        faults.unknown((*place, *_steps(found[1])), found[2], found[3].split(", "))
    elif found := re.match(r"Invalid type for parameter (.*?), value: (.*), type: .*, valid types: (.*)", line):
        right = " or ".join(re.findall(r"'(\w+)'", found[3]))
        faults.add((*place, *_steps(found[1])), f"must be of type {right}, got {found[2]!s:.80}")
    elif found := re.match(r'Missing required parameter in (.*?): "(.*)"', line):
        faults.missing((*place, *_steps(found[1])), found[2], "is missing")
    else:
        faults.add(place, line[:200])


def _steps(path: str) -> Place:
    """Return the place that botocore calls ``BlockDeviceMappings[0].Ebs``, or ``input`` for the whole file."""
    if path == "input":
        return ()
    return tuple(int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", path))


def _enumerated(value: Any, shape: Any, place: Place) -> Iterator[tuple[Place, str, list[str]]]:
    """Yield values that are not among the choices of AWS. The validator of botocore ignores them."""
    if shape.type_name == "structure":
        for key, entry in mapping(value).items():
            if key in shape.members:
                yield from _enumerated(entry, shape.members[key], (*place, key))
    elif shape.type_name == "list":
        for number, entry in enumerate(sequence(value)):
            yield from _enumerated(entry, shape.member, (*place, number))
    elif isinstance(value, str) and getattr(shape, "enum", []) and value not in shape.enum:
        yield place, value, list(shape.enum)
