"""The cluster folder: its commands run or parse, its versions are pinned, and its policies are minimal."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from helo._yaml import read_yaml
from helo.cluster.__main__ import main
from helo.cluster.images import PYTHON, ray_version
from helo.search.__main__ import build_parser

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster"
README = (FOLDER / "README.md").read_text(encoding="utf-8")


def commands(*first: str) -> list[list[str]]:
    """Return the command lines of the README that begin with these words."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    lines = [
        shlex.split(re.split(r" 2>&1 \| | > /dev/null", line.removeprefix("until ").removesuffix(" &"))[0])
        for block in blocks
        for line in block.splitlines()
    ]
    return [words for words in lines if words[: len(first)] == list(first)]


def parse_with_ray(words: list[str]) -> None:
    """Let Ray parse a command, and one that it carries."""
    from ray.scripts.scripts import cli

    name, rest = words[1], words[2:]
    command: Any = cli.commands[name]
    if isinstance(command, click.Group):
        command, rest = command.commands[rest[0]], rest[1:]
    context = command.make_context(name, list(rest))
    if name == "exec":
        parse_with_ray(shlex.split(context.params["cmd"]))
    if search := list(context.params.get("entrypoint", ())):
        assert search[:3] == ["python", "-m", "helo.search"]
        build_parser().parse_args(search[3:])


@pytest.mark.parametrize("words", commands("python"), ids=" ".join)
def test_commands_of_the_project_run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert words[:3] == ["python", "-m", "helo.cluster"]
    assert main(words[3:]) == 0


@pytest.mark.parametrize("words", commands("ray"), ids=" ".join)
def test_commands_of_ray_parse(words: list[str]) -> None:
    parse_with_ray(words)


def test_the_readme_has_a_small_number_of_commands() -> None:
    assert len(commands("python")) == 5
    assert len(commands("ray")) >= 6
    start = README[README.index("export BUCKET") : README.index("```\n\n`ray exec` runs")]
    assert "ray down" not in start  # pasted as one block, it would end the search at once
    assert len(start.splitlines()) - 1 <= 6


def test_the_wait_for_a_job_ends_with_the_job_alone() -> None:
    """The texts are those of Ray's ``job status`` and of its commands that fail."""
    (found,) = re.findall(r'grep -qE "(.*)"; do', README)
    pattern = found.replace("$JOB", "wesad-1")
    for end in ("succeeded", "failed", "was stopped"):
        assert re.search(pattern, f"Job 'wesad-1' {end}")
    for other in (
        "Status for job 'wesad-1': RUNNING",
        "Command failed:",
        "Request failed with status code 500",
        "Token has expired and refresh failed",
    ):
        assert not re.search(pattern, other)


def test_links_have_targets() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert "://" in target or (FOLDER / target).exists(), target


def test_versions_match_the_pinned_ones() -> None:
    pinned = re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert pinned is not None
    assert ray_version() == pinned[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["mypy"]["python_version"] == PYTHON
    assert project["project"]["requires-python"] == f">={PYTHON}"
    assert f"TAG={pinned[1]}-py{PYTHON.replace('.', '')}-gpu" in (FOLDER / "Dockerfile").read_text(encoding="utf-8")


def statements(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / name).read_text(encoding="utf-8"))["Statement"]
    return found


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", ["aws-policy-head.json", "aws-policy-images.json", "aws-policy-worker.json"])
def test_policies_grant_minimal_permissions(name: str) -> None:
    """No action is a pattern. Every resource is named, except where AWS grants an action for all resources or none."""
    for statement in statements(name):
        actions, resources = listed(statement["Action"]), listed(statement["Resource"])
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in actions), statement["Sid"]
        if "*" in resources:
            for_all = ("ec2:Describe", "ecr:GetAuthorizationToken")
            assert all(action.startswith(for_all) for action in actions), statement["Sid"]
        services = {action.split(":")[0] for action in actions}
        if "s3" in services:
            assert all(resource.startswith("arn:aws:s3:::BUCKET") for resource in resources)
        if services & {"iam"} or {"ec2:CreateTags", "ec2:TerminateInstances"} & set(actions):
            assert statement["Condition"]


def test_workers_may_access_only_the_bucket() -> None:
    assert {
        action.split(":")[0] for one in statements("aws-policy-worker.json") for action in listed(one["Action"])
    } == {"s3"}
    (passed,) = [one for one in statements("aws-policy-head.json") if "iam:PassRole" in listed(one["Action"])]
    assert passed["Resource"] == "arn:aws:iam::ACCOUNT:role/helo-worker"


def test_the_head_may_start_only_the_workers_of_the_file() -> None:
    types = read_yaml(FOLDER / "aws.yaml")["available_node_types"]
    workers = {entry["node_config"]["InstanceType"] for name, entry in types.items() if name != "head"}
    (one,) = [one for one in statements("aws-policy-head.json") if one["Sid"] == "StartWorkersOfThisCluster"]
    assert set(one["Condition"]["StringEquals"]["ec2:InstanceType"]) == workers


@pytest.mark.parametrize("words", [[], ["--data", "d"], ["s3://bucket/run", "--data", "d"]], ids=repr)
def test_a_job_without_a_run_directory_is_rejected_in_one_line(words: list[str]) -> None:
    done = subprocess.run(["bash", str(FOLDER / "slurm.sh"), *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.endswith(f"RUN must be a folder, got '{words[0] if words else ''}'")


def test_the_batch_script_uses_existing_options_of_ray() -> None:
    from ray.scripts.scripts import cli

    text = (FOLDER / "slurm.sh").read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", str(FOLDER / "slurm.sh")], check=True)
    lines = [line for line in text.splitlines() if "ray start" in line or '"${start[@]}"' in line]
    assert len(lines) == 3
    known = {name for option in cli.commands["start"].params for name in option.opts}
    assert set(re.findall(r"--[a-z-]+", " ".join(lines))) <= known
