"""What is written down about a search before it starts: enough to know, and to repeat, what was done."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helo.evaluation.folds import Fold, folds_digest
from helo.names import IDENTITY, FileName
from helo.run.directory import Run
from helo.search.planning.pace import Pace
from helo.search.sizing.resources import Resources

if TYPE_CHECKING:
    from helo.search.setup.search_setup import SearchSetup

PACKAGES = (
    "helo-search",
    "torch",
    "pot",
    "ray",
    "optuna",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "plotly",
)


def build_manifest(setup: SearchSetup, folds: tuple[Fold, ...], resources: Resources, pace: Pace) -> dict[str, Any]:
    """The content of ``manifest.json``."""
    dataset = setup.dataset
    search = {
        "seed": setup.seed,
        "protocol": setup.protocol,
        "racing": setup.racing,
        "pace": pace.as_dict(),
        "normalise": setup.training.normalise,
        "precision": setup.training.engine.precision,
        "compiled": setup.training.engine.compiled,
        "cpus_per_cell": resources.cpus_per_cell,
        "space": setup.space.as_dict(),
        "folds": {"digest": folds_digest(folds), "validation_subjects": len(folds[0].validation)},
    }
    return {
        "name": setup.out.name,
        "started": _now(),
        "command": setup.command,
        "data": setup.data,
        **search,
        "baselines": list(setup.baselines),
        IDENTITY: _identity({**search, "dataset": dataset.digest}),
        "dataset": {
            "name": dataset.schema.name,
            "digest": dataset.digest,
            "subjects": len(dataset.subject_names),
            "windows": len(dataset),
            "missing": str(dataset.missing),
            "emotions": list(dataset.emotions),
            "modalities": dataset.schema.as_dict()["modalities"],
            "source": dataset.schema.source,
            "licence": dataset.schema.licence,
        },
        **_circumstances(resources),
        "resumed": [],
    }


def add_resumption(run: Run, setup: SearchSetup, resources: Resources) -> None:
    """Write down that a search goes on, and on what."""
    entry = {"started": _now(), "command": setup.command, "data": setup.data, **_circumstances(resources)}
    run.manifest["resumed"] = [*run.manifest.get("resumed", []), entry]
    run.folder.write_json(FileName.MANIFEST, run.manifest)


def last_resources(run: Run) -> Resources:
    """What the cells of a run got, when it last went on."""
    return Resources(**[run.manifest, *run.manifest.get("resumed", [])][-1]["resources"])


def _identity(search: dict[str, Any]) -> str:
    """A hash of all that decides what a search computes."""
    return hashlib.sha256(json.dumps(search, sort_keys=True).encode()).hexdigest()[:16]


def _circumstances(resources: Resources) -> dict[str, Any]:
    return {
        "resources": asdict(resources),
        "machine": {"node": platform.node(), "system": platform.platform(), "cpus": os.cpu_count()},
        "versions": versions(),
        "git": _git_commit(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Python and the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _git_commit() -> str | None:
    """The commit of this project's checkout, if it is run from one."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
