"""Records of a search and its circumstances, written before it starts and each time it is resumed."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from helo.errors import InputError
from helo.evaluation.folds import Fold, folds_digest
from helo.names import FileName
from helo.run.directory import Run
from helo.run.manifest import Manifest
from helo.run.manifest_records import (
    Circumstances,
    DatasetRecord,
    FoldsRecord,
    MachineRecord,
    PaceRecord,
    ResourcesRecord,
    Resumption,
)
from helo.run.versions import package_versions
from helo.search.planning.pace import Pace
from helo.search.sizing.resources import Resources

if TYPE_CHECKING:
    from helo.search.setup.search_setup import SearchSetup

GIT_TIMEOUT_S: Final = 5
"""Seconds to wait for ``git``."""


def build_manifest(setup: SearchSetup, folds: tuple[Fold, ...], resources: Resources, pace: Pace) -> Manifest:
    """Return the manifest of a new search.

    Parameters
    ----------
    setup : SearchSetup
        Inputs and settings of the search.
    folds : tuple of Fold
        Its folds.
    resources : Resources
        Settled resources of its cells.
    pace : Pace
        Its lookahead.
    """
    dataset, training = setup.dataset, setup.training
    manifest = Manifest(
        name=setup.out.name,
        started=_now(),
        command=setup.command,
        data=setup.data,
        seed=setup.seed,
        protocol=setup.protocol,
        racing=setup.racing,
        pace=PaceRecord(**pace.as_dict()),
        normalise=training.normalise,
        precision=training.engine.precision,
        compiled=training.engine.compiled,
        cpus_per_cell=resources.cpus_per_cell,
        space=setup.space.as_dict(),
        folds=FoldsRecord(folds_digest(folds), len(folds[0].splits)),
        baselines=setup.baselines,
        deliver=setup.deliver,
        dataset=DatasetRecord(
            name=dataset.schema.name,
            digest=dataset.digest,
            subjects=len(dataset.subject_names),
            windows=len(dataset),
            missing=str(dataset.missing),
            emotions=tuple(dataset.emotions),
            modalities=dataset.schema.as_dict()["modalities"],
            source=dataset.schema.source,
            licence=dataset.schema.licence,
        ),
        circumstances=_circumstances(resources),
    )
    return manifest.with_identity()


def record_resumption(run: Run, setup: SearchSetup, resources: Resources) -> None:
    """Add an entry to the manifest of a run that is resumed."""
    run.update_manifest(
        run.manifest.with_resumption(
            Resumption(_now(), setup.command, setup.data, setup.deliver, _circumstances(resources))
        )
    )


def last_resources(run: Run) -> Resources:
    """Return the resources that the cells of a run got at its latest start or resumption."""
    found = run.manifest.last_circumstances.resources
    if found is None or found.cpus_per_cell is None:
        raise InputError(f"{run.folder.where(FileName.MANIFEST)}: resources must have cpus_per_cell, got {found}")
    return Resources(found.concurrency, found.cpus_per_cell, found.gpus_per_cell)


def _circumstances(resources: Resources) -> Circumstances:
    return Circumstances(
        resources=ResourcesRecord(**asdict(resources)),
        machine=MachineRecord(node=platform.node(), system=platform.platform(), cpus=os.cpu_count()),
        versions=package_versions(),
        git=_git_commit(),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _git_commit() -> str | None:
    """Return the commit of this project's checkout; None if the package does not run from one."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
