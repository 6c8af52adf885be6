"""Settings of a run as its manifest records them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import FileName, SearchProtocol
from helo.run.directory import Run
from helo.run.manifest_records import DatasetRecord


class RunSettings:
    """Settings of a run: its objective, folds, space and data.

    Parameters
    ----------
    run : helo.run.directory.Run
        The run directory.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.manifest = run.manifest

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.run.folder.name if self.manifest.name is None else self.manifest.name

    @cached_property
    def objective(self) -> str:
        """Name of the metric that the search optimised. Raises `InputError` if the manifest has none."""
        objective = self.space.get("objective")
        if objective not in tuple(METRICS):  # a file may hold anything, also what has no hash
            raise InputError(
                f"{self.run.folder.where(FileName.MANIFEST)}: space.objective must be one of {', '.join(METRICS)};"
                f" got {objective!r}"
            )
        return str(objective)

    @cached_property
    def folds(self) -> int:
        """Number of folds that the run was started with."""
        return len(self.run.folds)

    @property
    def nested(self) -> bool:
        """Whether each fold has its own configurations."""
        return self.manifest.protocol == SearchProtocol.NESTED

    @property
    def space(self) -> Mapping[str, Any]:
        """Search space as in the manifest; empty if the manifest has none."""
        return self.manifest.space or {}

    @property
    def parameters(self) -> dict[str, Any]:
        """Hyperparameters of the space: name to ``{low, high, log, choices}`` or ``{value}``."""
        return self._of_space("parameters")

    @cached_property
    def variants(self) -> dict[str, Any]:
        """Variants that the space lists; empty if a sampler proposed the configurations."""
        return self._of_space("variants")

    def _of_space(self, key: str) -> dict[str, Any]:
        """Return an object of the search space, or an empty mapping if the space does not have it."""
        found = self.space.get(key)
        return found if isinstance(found, dict) else {}

    @property
    def dataset(self) -> DatasetRecord:
        """Description of the data."""
        return self.manifest.dataset

    @property
    def modalities(self) -> Mapping[str, Any]:
        """Modalities of the data; empty if the manifest has none."""
        return self.dataset.modalities or {}

    @property
    def emotions(self) -> tuple[str, ...]:
        """Names of the emotions, in the order of the labels."""
        return self.dataset.emotions or ()
