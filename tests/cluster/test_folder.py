"""The cluster folder: its commands run or parse, its versions are pinned, and its policies are minimal."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
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
        shlex.split(line.removesuffix(" &").removesuffix(" > /dev/null"))
        for block in blocks
        for line in block.splitlines()
    ]
    return [words for words in lines if words[: len(first)] == list(first)]


@pytest.mark.parametrize("words", commands("python"), ids=" ".join)
def test_commands_of_the_project_run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert words[:3] == ["python", "-m", "helo.cluster"]
    assert main(words[3:]) == 0


@pytest.mark.parametrize("words", commands("ray"), ids=" ".join)
def test_commands_of_ray_parse(words: list[str]) -> None:
    from ray.scripts.scripts import cli

    name, rest = words[1], words[2:]
    command: Any = cli.commands[name]
    if isinstance(command, click.Group):
        command, rest = command.commands[rest[0]], rest[1:]
    context = command.make_context(name, list(rest))
    search = list(context.params.get("entrypoint", ()))
    if search:
        assert search[:3] == ["python", "-m", "helo.search"]
        build_parser().parse_args(search[3:])


def test_the_readme_has_a_small_number_of_commands() -> None:
    assert len(commands("python")) == 5
    assert len(commands("ray")) >= 6
    start = README[README.index("export BUCKET") : README.index("```\n\n`ray dashboard` keeps")]
    assert "ray down" not in start  # pasted as one block, it would end the search at once
    assert len(start.splitlines()) - 1 <= 6


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


@pytest.mark.parametrize("name", ["aws-policy-head.json", "aws-policy-worker.json"])
def test_policies_grant_minimal_permissions(name: str) -> None:
    """No action is a pattern. Every resource is named, except for Describe, which EC2 grants for all or none."""
    for statement in statements(name):
        actions, resources = listed(statement["Action"]), listed(statement["Resource"])
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in actions), statement["Sid"]
        if "*" in resources:
            assert all(action.startswith("ec2:Describe") for action in actions), statement["Sid"]
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


SRUN = """echo "$@"
while [ "$1" != -- ]; do shift; done
shift
"$@"
"""
"""Prints its arguments, as `python` below does, and runs the command of the head."""

PYTHON_OF_A_JOB = """[ "$1" != -c ] || exec {executable} "$@"
echo "python $*"
exit {code}
"""


def batch(
    folder: Path, *words: str, scontrol: str = "seq -f node%g 50000", code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the batch script. Scripts take the place of Slurm's commands, and of the search, which ends with `code`."""
    programs, venv = folder / "programs", folder / "venv" / "bin"
    programs.mkdir()
    venv.mkdir(parents=True)
    (venv / "activate").write_text("", encoding="utf-8")
    python = PYTHON_OF_A_JOB.format(executable=sys.executable, code=code)
    for name, body in (("scontrol", scontrol), ("srun", SRUN), ("python", python)):
        (programs / name).write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    given = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"}
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", str(FOLDER / "slurm.sh"), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, **given, "HELO_VENV": str(venv.parent), "PATH": path, "TMPDIR": str(programs)},
    )


def begun(folder: Path) -> Path:
    """Make a folder in which the run directory ``runs`` exists."""
    (folder / "runs").mkdir(parents=True)
    (folder / "runs" / "manifest.json").touch()
    return folder


def test_a_job_starts_a_search_and_resumes_an_existing_run(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    done = batch(tmp_path / "first", "runs", "--data", "my data")
    assert done.returncode == 0, done.stderr
    assert "ray symmetric-run --address node1:20007 --min-nodes 2" in done.stdout
    assert done.stdout.endswith("\npython -m helo.search --address auto --out runs --data my data\n")
    done = batch(begun(tmp_path / "again"), "runs", "--data", "my data")
    message, _, search = done.stdout.splitlines()
    assert message == "resuming runs with its original options; ignored: --data my data"
    assert search == "python -m helo.search --address auto --resume runs"


SCONTROL = 'if [ "$1" = show ]; then echo node1; else echo "scontrol $*"; fi'


@pytest.mark.parametrize("budget", [["--time-budget", "23h"], ["--time-budget=23h"]], ids=repr)
def test_a_job_whose_time_is_up_requeues_itself_and_keeps_its_budget(tmp_path: Path, budget: list[str]) -> None:
    folder = begun(tmp_path / "job")
    done = batch(folder, "runs", *budget, "--data", "d", scontrol=SCONTROL, code=3)
    assert done.returncode == 0, done.stderr
    message, _, search, requeueing, command = done.stdout.splitlines()
    assert message.endswith("ignored: --data d")
    assert search == f"python -m helo.search --address auto --resume runs {' '.join(budget)}"
    assert requeueing == "time is up; requeueing the job, which resumes runs"
    assert command == "scontrol requeue 7"
    assert {path.name for path in (folder / "programs").iterdir()} == {"scontrol", "srun", "python"}


def test_a_job_ends_with_code_3_if_it_cannot_requeue_itself(tmp_path: Path) -> None:
    refused = 'if [ "$1" = show ]; then echo node1; else exit 1; fi'
    assert batch(begun(tmp_path / "job"), "runs", "--time-budget", "1h", scontrol=refused, code=3).returncode == 3


@pytest.mark.parametrize("code", [1, 130])
def test_a_job_of_a_search_that_failed_is_not_requeued(tmp_path: Path, code: int) -> None:
    done = batch(begun(tmp_path / "job"), "runs", scontrol=SCONTROL, code=code)
    assert done.returncode == code
    assert "requeue" not in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("words", [[], ["--data", "d"], ["s3://bucket/run", "--data", "d"]], ids=repr)
def test_a_job_without_a_run_directory_is_rejected_in_one_line(tmp_path: Path, words: list[str]) -> None:
    done = batch(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.endswith(f"RUN must be a folder, got '{words[0] if words else ''}'")


def test_a_job_ends_with_the_error_of_scontrol(tmp_path: Path) -> None:
    done = batch(tmp_path, "runs", scontrol="echo no such nodes >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "no such nodes\n")


def test_the_batch_script_uses_existing_options_of_ray() -> None:
    from ray.scripts.scripts import cli

    text = (FOLDER / "slurm.sh").read_text(encoding="utf-8").replace("\\\n", " ")
    subprocess.run(["bash", "-n", str(FOLDER / "slurm.sh")], check=True)
    line = text[text.index("ray symmetric-run") :].split(" -- ")[0]
    known = {
        name for each in ("symmetric-run", "start") for option in cli.commands[each].params for name in option.opts
    }
    assert set(re.findall(r"--[a-z-]+", line)) <= known
