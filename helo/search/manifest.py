"""What is written down about a search before it starts: enough to know, and to repeat, what was done."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helo.folds import Fold, folds_digest
from helo.names import PROTOCOL_SHARED

if TYPE_CHECKING:
    from helo.search.driver import SearchPlan

PACKAGES = ("helo-search", "torch", "pot", "ray", "optuna", "numpy", "scipy", "pandas", "pyarrow", "plotly")


def build_manifest(plan: SearchPlan, folds: tuple[Fold, ...]) -> dict[str, Any]:
    """The content of ``manifest.json``."""
    dataset = plan.dataset
    return {
        "name": plan.out.name,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": plan.command,
        "seed": plan.seed,
        "protocol": PROTOCOL_SHARED,
        "normalise": plan.normalise,
        "space": plan.space.as_dict(),
        "dataset": {
            "name": dataset.schema.name,
            "digest": dataset.digest,
            "subjects": len(dataset.subject_names),
            "windows": len(dataset),
            "emotions": list(dataset.emotions),
            "modalities": dataset.schema.as_dict()["modalities"],
            "source": dataset.schema.source,
            "licence": dataset.schema.licence,
        },
        "folds": {"digest": folds_digest(folds), "validation_subjects": len(folds[0].validation)},
        "resources": asdict(plan.resources),
        "machine": {"node": platform.node(), "system": platform.platform(), "cpus": os.cpu_count()},
        "versions": {"python": platform.python_version(), **_versions()},
        "git": _git_commit(),
    }


def _versions() -> dict[str, str]:
    found = {}
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
