"""A run as analysis sees it: its manifest with gaps tolerated, its tables read once, its estimates."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pandas as pd

from analysis.ablation import ablation, first_variant
from analysis.estimates import no_baselines, subject_scores, summarise, variant_scores
from analysis.learnt import no_explanations
from analysis.wording import cautions, coverage, failures, rivals, unconverged, verdict
from helo.errors import InputError
from helo.names import BASELINES, CELLS, EPOCHS, EXPLANATIONS, MANIFEST_FILE, METRICS, PREDICTIONS
from helo.run import Run


class Source:
    """The tables of one run. A table that is not there raises `InputError` when it is asked for."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.manifest = run.manifest

    @cached_property
    def objective(self) -> str:
        """The metric that the search minimised or maximised; raise `InputError` if the manifest has none."""
        objective = self.section("space").get("objective")
        if objective not in METRICS:
            raise InputError(
                f"{self.run.path / MANIFEST_FILE}: space.objective must be one of {', '.join(METRICS)};"
                f" got {objective!r}"
            )
        return str(objective)

    @cached_property
    def folds(self) -> int:
        """How many folds the run was started with."""
        return len(self.run.folds)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """``cells.parquet``."""
        return self.run.table(CELLS)

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """``epochs.parquet``."""
        return self.run.table(EPOCHS)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """``predictions.parquet``."""
        return self.run.table(PREDICTIONS)

    @cached_property
    def explanations(self) -> pd.DataFrame:
        """``explanations.parquet``, empty if the run has none: runs of earlier versions do not."""
        try:
            return self.run.table(EXPLANATIONS)
        except InputError:
            return no_explanations()

    @cached_property
    def baselines(self) -> pd.DataFrame:
        """``baselines.parquet``, empty if the run has none: estimates then have no skill."""
        try:
            return self.run.table(BASELINES)
        except InputError:
            return no_baselines()

    @cached_property
    def scores(self) -> pd.DataFrame:
        """See `analysis.estimates.subject_scores`."""
        return subject_scores(self.cells, self.baselines, self.objective, self.folds)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """See `analysis.estimates.summarise`. The run's seed does not enter: reports of a run stay equal."""
        return summarise(self.cells, self.baselines, self.objective, self.folds)

    @cached_property
    def variants(self) -> dict[str, Any]:
        """The variants that the space lists; empty if its configurations were drawn."""
        return self.section("space", "variants")

    @cached_property
    def verdict(self) -> str:
        """See `analysis.wording.verdict`; of listed variants the first one is judged."""
        if not self.variants:
            return " ".join([verdict(self.scores, self.objective), *rivals(self.scores, self.objective)])
        scores = variant_scores(first_variant(self.cells, self.variants), self.scores)
        return verdict(scores, self.objective, f"the first variant ({next(iter(self.variants))})")

    @cached_property
    def notes(self) -> list[str]:
        """What a reader of the estimates must know: what is missing, and how the run was made."""
        try:
            plans = unconverged(self.epochs)
        except InputError:
            plans = []
        missing = [*coverage(self.summary, self.folds), *failures(self.baselines)]
        return [*missing, *cautions(self.manifest), *plans]

    @cached_property
    def ablation(self) -> pd.DataFrame | None:
        """See `analysis.ablation`; None if the space lists no variants."""
        return ablation(self.cells, self.variants, self.objective) if self.variants else None

    def section(self, *names: str) -> dict[str, Any]:
        """A nested object of the manifest; empty where the manifest does not have it."""
        found: Any = self.manifest
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}
