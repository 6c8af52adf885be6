"""One run as every output sees it: its tables, read once, and the statistics and sentences made from them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import pandas as pd

from helo.analysis.ledger_tables import LedgerTables, is_behind, unreadable_tables
from helo.analysis.run_settings import RunSettings
from helo.analysis.statistics.ablation import compare_variants, first_variant_cells, subjects_by_variant
from helo.analysis.statistics.cell_counts import CellCounts, count_cells
from helo.analysis.statistics.common_subjects import (
    CommonSubjects,
    common_subjects,
    keep_common,
    subjects_by_estimate,
)
from helo.analysis.statistics.comparisons import (
    Ranks,
    compare_with_references,
    friedman_test,
    measure_optimism,
    rank_methods,
    subject_table,
)
from helo.analysis.statistics.configurations import configurations_table
from helo.analysis.statistics.emotions import emotion_shares, summarise_emotions
from helo.analysis.statistics.estimates import (
    chosen_cells,
    completed,
    count_unconverged,
    empty_baselines,
    empty_ensemble,
    estimate_names,
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
    incomplete_note,
    method_notes,
    new_person_note,
    optimism_note,
    training_end_note,
    unconverged_note,
    untrained_note,
    verdict,
)
from helo.errors import InputError
from helo.names import Column, Prefix, TableName
from helo.run.directory import Run
from helo.run.selection import best_per_fold, recommended


class Source(RunSettings):
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
        super().__init__(run)
        self._records = records

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
    def emotion_shares(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.emotions.emotion_shares`; all subjects with predictions."""
        return emotion_shares(self.predictions, self.cells, self.objective)

    @cached_property
    def emotion_table(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.emotions.summarise_emotions`; only the subjects that are compared."""
        return summarise_emotions(self.common_shares)

    @property
    def common_shares(self) -> pd.DataFrame:
        """Rows of `emotion_shares` of the subjects that are compared."""
        return self.emotion_shares[self.emotion_shares[Column.SUBJECT].isin(self.common.subjects)]

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
    def counts(self) -> CellCounts:
        """Cells that are finished, dropped or waiting, and whether the search has ended."""
        return count_cells(self.cells, self.folds, self.manifest, self.run.has_model)

    @cached_property
    def awaits_model(self) -> bool:
        """Whether all cells have finished, but not the fit of the model, as after the end of a time budget."""
        if not self.counts.ended or self.run.has_model or self.variants:
            return False
        return recommended(self.cells, self.objective, self.folds, self.nested) is not None

    def _all_scores(self, prefix: str = Prefix.TEST) -> pd.DataFrame:
        """Return the scores of all subjects that each estimate has."""
        return subject_scores(self.cells, self.baselines, self.objective, self.folds, prefix, self.ensemble)

    @cached_property
    def all_scores(self) -> pd.DataFrame:
        """Scores of all subjects that each estimate has, also of those that not all estimates have."""
        return self._all_scores()

    @cached_property
    def choice(self) -> dict[str, int]:
        """Fold → configuration chosen in it."""
        return {str(fold): int(number) for fold, number in best_per_fold(self.cells, self.objective).items()}

    @cached_property
    def common(self) -> CommonSubjects:
        """Subjects that every table, figure and sentence compares: those that all estimates and variants have."""
        variants = subjects_by_variant(self.cells, self.variants)
        # The first variant comes first, because the verdict is about it.
        named = {f"variant {name}": subjects for name, subjects in variants.items()}
        return common_subjects(named | subjects_by_estimate(self.all_scores))

    def of_common(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a table with a column ``fold`` that belong to the common subjects."""
        return table[table[Column.FOLD].isin(self.common.subjects)]

    @cached_property
    def scores(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.estimates.subject_scores`; only the subjects that are compared."""
        return keep_common(self.all_scores, self.common)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.estimates.summarise`.

        The seed of the run does not enter, so repeated reports of a run are equal.
        """
        return summarise(self.scores, estimate_names(self.baselines, self.ensemble))

    @cached_property
    def summary_by_group(self) -> pd.DataFrame:
        """Estimates after averaging the windows of each subject in each group, with the columns of `summary`.

        Empty if the data have no groups to average, and for runs of earlier versions.
        """
        if not has_scores_by_group(self.cells):
            return self.summary[:0]
        scores = keep_common(self._all_scores(Prefix.TEST_BY_GROUP), self.common)
        scores = keep_common(scores, common_subjects(subjects_by_estimate(scores)))
        return summarise(scores, estimate_names(self.baselines, self.ensemble))

    @cached_property
    def judged(self) -> pd.DataFrame:
        """Scores for tests and figures of subjects. With listed variants, the first one stands for the search."""
        if not self.variants:
            return self.scores
        return variant_scores(first_variant_cells(self.of_common(self.cells), self.variants), self.scores)

    @property
    def _folds_without_choice(self) -> int:
        """Number of folds in which a single cell ran to its end, so that the oracle has no choice."""
        return int((completed(self.of_common(self.cells))[Column.FOLD].value_counts() == 1).sum())

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
    def verdict(self) -> str:
        """See `helo.analysis.wording.verdict`. If the space lists variants, the first one is judged.

        It begins with `incomplete`, and with a sentence that says so if training was too short.
        """
        caution = [*self.incomplete, *training_end_note(self.training_end, self.objective)]
        if self.variants:
            name = f"the first variant ({next(iter(self.variants))})"
            return " ".join([*caution, verdict(self.judged, self.objective, name)])
        comparison = best_baseline_note(self.scores, self.objective)
        return " ".join([*caution, verdict(self.scores, self.objective), *comparison])

    @property
    def incomplete(self) -> list[str]:
        """See `helo.analysis.wording.incomplete_note`."""
        return incomplete_note(len(self.common.subjects), self.folds, self.counts)

    @cached_property
    def training_end(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.training_end`. It has no rows if the run has no table of epochs."""
        if self.variants:
            chosen = first_variant_cells(self.of_common(self.cells), self.variants)
        else:
            chosen = chosen_cells(completed(self.of_common(self.cells)), best_per_fold(self.cells, self.objective))
        try:
            curves = self.curves
        except InputError:
            return pd.DataFrame(columns=list(TRAINING_END_COLUMNS))
        return measure_training_end(chosen, curves, self.objective)

    @property
    def notes(self) -> list[str]:
        """Sentences that a reader of the estimates must know: what is missing, and how the run was made."""
        return [*self.warnings, *self.background]

    @cached_property
    def warnings(self) -> list[str]:
        """Sentences that may change what a reader concludes: what is missing, and what did not work."""
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
        searched = completed(self.cells)[Column.FOLD].nunique()
        gaps = coverage_notes(self.common, searched, self.folds, self.nested)
        missing = [*self.faults, *gaps, *failure_notes(self.baselines)]
        return [*missing, *untrained_note(self.of_common(self.cells), self.objective), *plans]

    @cached_property
    def faults(self) -> list[str]:
        """A sentence for each file of the run that exists and cannot be read."""
        return [*unreadable_tables(self.run), *([] if self._records is None else self._records.notes)]

    @cached_property
    def background(self) -> list[str]:
        """Sentences that say how the run was made, and how optimistic selection by test score would have been."""
        # If the space lists variants, the oracle also chooses ablated models: that gap says nothing of the search.
        gap = [] if self.variants else optimism_note(self.optimism, self.objective, self._folds_without_choice)
        bound = new_person_note(self.judged, self.objective)
        return [*gap, *bound, *method_notes(self.manifest)]

    @cached_property
    def ablation(self) -> pd.DataFrame | None:
        """See `helo.analysis.statistics.ablation`; None if the space lists no variants."""
        if not self.variants:
            return None
        return compare_variants(self.cells, self.variants, self.objective, self.common.subjects)

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
