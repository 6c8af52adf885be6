"""One run as every output sees it: its tables, read once, and the statistics and sentences made from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import pandas as pd

from helo.analysis.ledger_tables import LedgerTables, is_behind
from helo.analysis.statistics.ablation import compare_variants, first_variant_cells
from helo.analysis.statistics.comparisons import (
    Ranks,
    compare_with_references,
    friedman_test,
    measure_optimism,
    rank_methods,
    subject_table,
)
from helo.analysis.statistics.configurations import configurations_table
from helo.analysis.statistics.estimates import (
    chosen_cells,
    completed,
    count_unconverged,
    empty_baselines,
    empty_ensemble,
    has_scores_by_group,
    subject_scores,
    summarise,
    variant_scores,
)
from helo.analysis.statistics.explanations import empty_explanations
from helo.analysis.statistics.importance import compute_importance, compute_marginal_effects
from helo.analysis.statistics.training_end import TRAINING_END_COLUMNS, measure_training_end
from helo.analysis.wording import (
    best_baseline_note,
    coverage_notes,
    failure_notes,
    method_notes,
    optimism_note,
    training_end_note,
    unconverged_note,
    untrained_note,
    verdict,
)
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, FileName, Prefix, SearchProtocol, TableName
from helo.run.directory import Run
from helo.run.manifest import DatasetRecord
from helo.run.selection import best_per_fold


class Source:
    """Tables, statistics and sentences of one run. Access to a missing table raises `InputError`.

    Use `read_source` to make one: while a search runs, or after it was interrupted, the ledger has more cells than the
    files, and cells, epochs and baselines are then read from the ledger.

    Parameters
    ----------
    run : helo.run.directory.Run
        The run directory.
    records : LedgerTables, optional
        Tables made from the ledger, used in place of the files.
    """

    def __init__(self, run: Run, records: LedgerTables | None = None) -> None:
        self.run = run
        self.manifest = run.manifest
        self._records = records

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

    @cached_property
    def cells(self) -> pd.DataFrame:
        """``cells.parquet``."""
        return self.run.table(TableName.CELLS) if self._records is None else self._records.cells

    @property
    def choices(self) -> tuple[list[str], list[int]]:
        """Subjects and configurations that have cells."""
        return list(map(str, self.cells[Column.FOLD].unique())), sorted(
            map(int, self.cells[Column.CONFIGURATION].unique())
        )

    @property
    def epochs(self) -> pd.DataFrame:
        """``epochs.parquet``. It is not kept in memory: in a long run it is by far the largest table."""
        return self.run.table(TableName.EPOCHS) if self._records is None else self._records.epochs()

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Columns of ``epochs.parquet`` that the report needs."""
        columns = [Column.CONFIGURATION, Column.FOLD, Column.EPOCH, Prefix.VAL + self.objective]
        return self.run.table(TableName.EPOCHS, columns) if self._records is None else self._records.epochs(columns)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """``predictions.parquet``."""
        return self.run.table(TableName.PREDICTIONS)

    @cached_property
    def explanations(self) -> pd.DataFrame:
        """``explanations.parquet``; empty if the run has none, as in earlier versions."""
        if self._records is not None:
            return self._records.explanations(self.objective)
        try:
            return self.run.table(TableName.EXPLANATIONS)
        except InputError:
            return empty_explanations()

    @cached_property
    def baselines(self) -> pd.DataFrame:
        """``baselines.parquet``; empty if the run has none, and estimates then have no skill."""
        try:
            known = self.run.table(TableName.BASELINES)
        except InputError:
            known = empty_baselines()
        return known if self._records is None else self._records.baselines(known)

    @cached_property
    def ensemble(self) -> pd.DataFrame:
        """``ensemble.parquet``; empty if the run has none, as in earlier versions and while the search runs."""
        try:
            return empty_ensemble() if self._records is not None else self.run.table(TableName.ENSEMBLE)
        except InputError:
            return empty_ensemble()

    @cached_property
    def scores(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.estimates.subject_scores`."""
        return subject_scores(self.cells, self.baselines, self.objective, self.folds, ensemble=self.ensemble)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.estimates.summarise`.

        The seed of the run does not enter, so repeated reports of a run are equal.
        """
        return summarise(self.cells, self.baselines, self.objective, self.folds, ensemble=self.ensemble)

    @cached_property
    def summary_by_group(self) -> pd.DataFrame:
        """Estimates after averaging the windows of each subject in each group, with the columns of `summary`.

        Empty if the data have no groups to average, and for runs of earlier versions.
        """
        if not has_scores_by_group(self.cells):
            return self.summary[:0]
        return summarise(
            self.cells,
            self.baselines,
            self.objective,
            self.folds,
            prefix=Prefix.TEST_BY_GROUP,
            ensemble=self.ensemble,
        )

    @cached_property
    def judged(self) -> pd.DataFrame:
        """Scores for tests and figures of subjects. With listed variants, the first one stands for the search."""
        if not self.variants:
            return self.scores
        return variant_scores(first_variant_cells(self.cells, self.variants), self.scores)

    @property
    def _folds_without_choice(self) -> int:
        """Number of folds in which a single cell ran to its end, so that the oracle has no choice."""
        return int((completed(self.cells)[Column.FOLD].value_counts() == 1).sum())

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.comparisons.compare_with_references`."""
        return compare_with_references(self.judged)

    @cached_property
    def friedman(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.comparisons.friedman_test`."""
        return friedman_test(self.judged)

    @cached_property
    def optimism(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.comparisons.measure_optimism`."""
        return measure_optimism(self.scores)

    @cached_property
    def ranks(self) -> Ranks:
        """See `helo.analysis.statistics.comparisons.rank_methods`, on the objective."""
        return rank_methods(self.judged, self.objective)

    @cached_property
    def subjects(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.comparisons.subject_table`."""
        return subject_table(self.scores, self.objective)

    @cached_property
    def variants(self) -> dict[str, Any]:
        """Variants that the space lists; empty if a sampler proposed the configurations."""
        return self._of_space("variants")

    @cached_property
    def verdict(self) -> str:
        """See `helo.analysis.wording.verdict`. If the space lists variants, the first one is judged.

        If training was too short, the verdict begins with a sentence that says so.
        """
        caution = training_end_note(self.training_end, self.objective)
        if self.variants:
            name = f"the first variant ({next(iter(self.variants))})"
            return " ".join([*caution, verdict(self.judged, self.objective, name)])
        comparison = best_baseline_note(self.scores, self.objective)
        return " ".join([*caution, verdict(self.scores, self.objective), *comparison])

    @cached_property
    def training_end(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.training_end`. It has no rows if the run has no table of epochs."""
        if self.variants:
            chosen = first_variant_cells(self.cells, self.variants)
        else:
            chosen = chosen_cells(completed(self.cells), best_per_fold(self.cells, self.objective))
        try:
            curves = self.curves
        except InputError:
            return pd.DataFrame(columns=list(TRAINING_END_COLUMNS))
        return measure_training_end(chosen, curves, self.objective)

    @cached_property
    def notes(self) -> list[str]:
        """Sentences that a reader of the estimates must know: what is missing, and how the run was made."""
        try:
            plans = unconverged_note(
                count_unconverged(
                    self.run.table(TableName.EPOCHS, [Column.CONFIGURATION, Column.FOLD, Column.UNCONVERGED])
                )
                if self._records is None
                else self._records.unconverged
            )
        except InputError:
            plans = []
        unread = [*self._broken(), *([] if self._records is None else self._records.notes)]
        missing = [*unread, *coverage_notes(self.summary, self.folds, self.nested), *failure_notes(self.baselines)]
        # If the space lists variants, the oracle also chooses ablated models: that gap says nothing of the search.
        gap = [] if self.variants else optimism_note(self.optimism, self.objective, self._folds_without_choice)
        idle = untrained_note(self.cells, self.objective)
        return [*missing, *idle, *gap, *method_notes(self.manifest), *plans]

    def _broken(self) -> list[str]:
        """Return a sentence for each table that exists and cannot be read."""
        found = []
        for name in (
            TableName.CELLS,
            TableName.EPOCHS,
            TableName.BASELINES,
            TableName.ENSEMBLE,
            TableName.PREDICTIONS,
            TableName.EXPLANATIONS,
        ):
            if self.run.folder.exists(f"{name}.parquet"):
                try:
                    self.run.table(name, [])
                except InputError as error:
                    found.append(f"{error}. Results that need this table are missing, or made from the ledger.")
        return found

    @cached_property
    def ablation(self) -> pd.DataFrame | None:
        """See `helo.analysis.statistics.ablation`; None if the space lists no variants."""
        return compare_variants(self.cells, self.variants, self.objective) if self.variants else None

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.run.folder.name if self.manifest.name is None else self.manifest.name

    @property
    def space(self) -> Mapping[str, Any]:
        """Search space as in the manifest; empty if the manifest has none."""
        return self.manifest.space or {}

    @property
    def dataset(self) -> DatasetRecord:
        """Description of the data."""
        return self.manifest.dataset

    @property
    def modalities(self) -> Mapping[str, Any]:
        """Modalities of the data; empty if the manifest has none."""
        return self.dataset.modalities or {}

    def _of_space(self, key: str) -> dict[str, Any]:
        """Return an object of the search space, or an empty mapping if the space does not have it."""
        found = self.space.get(key)
        return found if isinstance(found, dict) else {}

    @property
    def nested(self) -> bool:
        """Whether each fold has its own configurations."""
        return self.manifest.protocol == SearchProtocol.NESTED

    @property
    def parameters(self) -> dict[str, Any]:
        """Hyperparameters of the space: name to ``{low, high, log, choices}`` or ``{value}``."""
        return self._of_space("parameters")

    @property
    def emotions(self) -> tuple[str, ...]:
        """Names of the emotions, in the order of the labels."""
        return self.dataset.emotions or ()

    @cached_property
    def configurations(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.configurations.configurations_table`."""
        return configurations_table(self.cells, self.objective, self.nested, self.folds)

    @cached_property
    def importance(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.importance.compute_importance`."""
        return compute_importance(self.cells, self.objective, self.parameters, self.nested)

    @cached_property
    def marginal_effects(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.importance.compute_marginal_effects`."""
        return compute_marginal_effects(self.configurations, self.objective, self.parameters)


def read_source(run: Run, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Source:
    """Read a run from its files, or from its ledger if that has more cells than the files.

    Parameters
    ----------
    run : helo.run.directory.Run
        The run directory.
    on_progress : callable
        Called with the number of cells read from the ledger, and with their total.

    Returns
    -------
    Source
    """
    if not is_behind(run):
        return Source(run)
    records = LedgerTables(run)
    records.refresh(on_progress)
    return Source(run, records)
