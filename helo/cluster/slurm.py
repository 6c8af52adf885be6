"""Check of batch scripts for Slurm, without Slurm."""

from __future__ import annotations

import re
import shutil
import subprocess

from helo.cluster.faults import Faults

NEEDED = {
    "--nodes": "number of machines",
    "--cpus-per-task": "CPUs per machine",
    "--mem": "memory per machine",
    "--time": "time limit of the job",
}
"""Directives that a script must have, with their meaning or reason."""


def check_slurm(faults: Faults, text: str) -> None:
    """Add all faults of a batch script that starts a search."""
    lines = text.splitlines()
    if not lines or not re.match(r"#!.*\b(ba)?sh\b", lines[0]):
        faults.add(("line 1",), "must be #!/bin/bash")
    if bash := shutil.which("bash"):
        done = subprocess.run([bash, "-n"], input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            faults.add(("syntax",), done.stderr.strip().splitlines()[0].removeprefix(f"{bash}: "))
    given = re.findall(r"^#SBATCH\s+(--[\w-]+)", text, flags=re.MULTILINE)
    for option, why in NEEDED.items():
        if option not in given and not (option == "--mem" and "--mem-per-cpu" in given):
            faults.add((f"#SBATCH {option}",), f"is missing ({why})")
    first = next((number for number, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    for number, line in enumerate(lines[first:], first + 1):
        if line.startswith("#SBATCH"):
            faults.add((f"line {number}",), "must come before the first command; Slurm ignores it here")
    code = "\n".join(line for line in lines if not line.lstrip().startswith("#")).replace("\\\n", " ")
    stops_others = r"\bray\s+(stop|symmetric-run)\b"
    if re.search(stops_others, code) and "--exclusive" not in given:
        faults.add(
            ("#SBATCH --exclusive",), "is missing (`ray stop` and `ray symmetric-run` stop all of your Ray processes)"
        )
    if not re.search(r"\bray\s+(start|symmetric-run)\b", code):
        faults.add(("ray",), "must call `ray start` on all nodes")
    if "helo.search" not in code:
        faults.add(("search",), "must run python -m helo.search")
    elif not re.search(r"helo\.search\b[^\n]*--address[= ]", code):
        faults.add(("search",), "must run with --address, to use all machines")
    if not re.search(r"\bRAY_AUTH_MODE=['\"]?token\b", code):
        faults.add(("RAY_AUTH_MODE",), "must be token, so that others on the network cannot run jobs on your cluster")
