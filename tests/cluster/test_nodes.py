"""Nodes and prices read from cluster files, and the messages about invalid files."""

from __future__ import annotations

from pathlib import Path

import pytest

from helo.cluster.nodes import Instance, Nodes, price_list, read_nodes
from helo.errors import InputError

GOOD = """
cluster_name: mine
max_workers: 4
available_node_types:
  workers:
    min_workers: 1
    max_workers: 4
    node_config: {InstanceType: g5.xlarge, ImageId: ami-1}
  head:
    node_config: {InstanceType: m5.large}
  strange:
    max_workers: 0
    node_config: {InstanceType: z99.huge}
head_node_type: head
"""


def read(folder: Path, text: str) -> list[Nodes]:
    path = folder / "cluster.yaml"
    path.write_text(text, encoding="utf-8")
    return read_nodes(path)


def test_the_head_is_the_first_node(tmp_path: Path) -> None:
    small = Instance(usd=0.096, cpus=2, gpus=0, mem_gib=8)
    large = Instance(usd=1.006, cpus=4, gpus=1, gpu_gib=24, mem_gib=16)
    assert read(tmp_path, GOOD) == [
        Nodes("head", "m5.large", 1, small, head=True, extras_usd=0.005),
        Nodes("workers", "g5.xlarge", 4, large, head=False, extras_usd=0.005),
        Nodes("strange", "z99.huge", 0, None, head=False, extras_usd=0.005),
    ]


def test_workers_of_the_type_of_the_head_are_counted(tmp_path: Path) -> None:
    text = """
available_node_types: {all: {max_workers: 3, node_config: {InstanceType: m5.large}}}
head_node_type: all
"""
    head, workers = read(tmp_path, "max_workers: 8" + text)
    assert (head.most, head.head) == (1, True)
    assert (workers.most, workers.head, workers.kind) == (3, False, "m5.large")


def test_machines_have_the_price_of_their_disks_and_addresses(tmp_path: Path) -> None:
    disks = "BlockDeviceMappings: [{Ebs: {VolumeSize: 100}}, {Ebs: {VolumeSize: 46}}, {DeviceName: sdb}]"
    text = GOOD.replace("ImageId: ami-1", disks)
    head, workers, strange = read(tmp_path, text)
    assert (head.usd, strange.usd) == (0.096 + 0.005, None)
    assert workers.usd == pytest.approx(1.006 + 146 * 0.08 / 730 + 0.005)
    hidden = read(tmp_path, f"provider: {{type: aws, use_internal_ips: true}}\n{text}")[1]
    assert hidden.usd == pytest.approx(1.006 + 146 * 0.08 / 730)


def test_spot_workers_are_recognised(tmp_path: Path) -> None:
    spot = "InstanceType: g5.xlarge, InstanceMarketOptions: {MarketType: spot}"
    found = read(tmp_path, GOOD.replace("InstanceType: g5.xlarge", spot))
    assert [nodes.name for nodes in found if nodes.spot] == ["workers"]


CAPPED = """
available_node_types:
  h: {node_config: {InstanceType: m5.large}}
  cheap: {max_workers: 3, node_config: {InstanceType: m5.xlarge}}
  dear: {node_config: {InstanceType: g5.xlarge}}
head_node_type: h
"""


@pytest.mark.parametrize(
    ("cap", "counts"),
    [
        ("", {"dear": 2, "cheap": 0}),
        ("max_workers: 5", {"dear": 5, "cheap": 0}),
        ("max_workers: 0", {"dear": 0, "cheap": 0}),
    ],
)
def test_worker_limits_are_filled_with_the_most_expensive_type_first(
    tmp_path: Path, cap: str, counts: dict[str, int]
) -> None:
    assert {nodes.name: nodes.most for nodes in read(tmp_path, cap + CAPPED) if not nodes.head} == counts


def test_only_marked_types_count_for_cells_without_a_gpu(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("max_workers: 5" + CAPPED, encoding="utf-8")
    assert read_nodes(path, without_gpus=True) == read_nodes(path)
    path.write_text("max_workers: 5" + CAPPED.replace("{max", "{resources: {no_gpu: 1}, max"), encoding="utf-8")
    counts = {nodes.name: nodes.most for nodes in read_nodes(path, without_gpus=True) if not nodes.head}
    assert counts == {"cheap": 3}
    assert {nodes.name: nodes.most for nodes in read_nodes(path)} == {"h": 1, "dear": 5, "cheap": 0}


def test_listed_machines_have_a_price_and_cpus() -> None:
    prices = price_list()
    known, source = prices.instances, prices.source
    assert f", {prices.region}, " in source
    assert {"m5.large", "g5.xlarge", "g4dn.xlarge"} <= set(known)
    for kind, instance in known.items():
        assert instance.usd > 0, kind
        assert instance.cpus >= 2, kind
        assert instance.mem_gib >= 1, kind
        assert (instance.gpus > 0) is (instance.gpu_gib > 0) is kind.startswith("g"), kind
    address, _, date = source.rpartition(", ")
    assert address.startswith("https://")
    year, month = map(int, date.split("-"))
    assert year >= 2026
    assert 1 <= month <= 12


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (GOOD, "", "must be a mapping of keys to values, got NoneType"),
        (GOOD, "- a\n", "must be a mapping of keys to values, got list"),
        (GOOD, "a: [", "is not valid YAML"),
        (GOOD, "head_node_type: head", "available_node_types must map names to node types, got None"),
        (GOOD, "available_node_types: {}", "available_node_types must map names to node types, got {}"),
        (GOOD, "available_node_types: [head]", "available_node_types must map names to node types, got ['head']"),
        ("head_node_type: head", "", "head_node_type must be one of workers, head, strange, got None"),
        ("head_node_type: head", "head_node_type: haed", "must be one of workers, head, strange, got 'haed'"),
        ("  strange:\n", "  strange:\n  stranger:\n", "strange: node_config.InstanceType must be a machine type"),
        ("InstanceType: g5.xlarge", "Instance: g5.xlarge", "workers: node_config.InstanceType must be a machine type"),
        ("InstanceType: g5.xlarge", "InstanceType: 5", "node_config.InstanceType must be a machine type, got 5"),
        ("{InstanceType: m5.large}", "m5.large", "head: node_config.InstanceType must be a machine type, got None"),
        ("max_workers: 4\n    node", "max_workers: -1\n    node", "workers: max_workers must be a whole number of at"),
        ("max_workers: 4\n    node", "max_workers: 2.5\n    node", "workers: max_workers must be a whole number of at"),
        ("head_node_type: head", "head_node_type: head\nhead_node_type: head", "given twice"),
    ],
)
def test_a_fault_of_a_file_is_reported_in_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(InputError) as caught:
        read(tmp_path, GOOD.replace(old, new))
    output = str(caught.value)
    assert output.startswith(f"{tmp_path / 'cluster.yaml'}: ")
    assert message in output
    assert "\n" not in output


def test_an_unreadable_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml: cannot be read"):
        read_nodes(tmp_path / "nowhere.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.yaml: cannot be read"):
        read_nodes(tmp_path / "binary.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        read_nodes(tmp_path)


@pytest.mark.parametrize(("name", "whose"), [("gcp", "gcp"), ("local", "local"), ("kuberay", "Kubernetes")])
def test_other_providers_have_no_prices(name: str, whose: str) -> None:
    path = Path(__file__).parents[2] / "cluster" / f"{name}.yaml"
    with pytest.raises(InputError, match=f"prices are known for AWS only, not for {whose}; give the price"):
        read_nodes(path)
