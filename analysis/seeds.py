"""Result of a search that ran with several seeds: what its report and the terminal show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import pandas as pd

from helo.analysis.source import Source, read_source
from helo.analysis.statistics.common_subjects import CommonSubjects
from helo.analysis.statistics.estimates import summarise
from helo.analysis.statistics.seeds import MEAN, common_scores, gains_by_seed, mean_over_seeds, seed_table, spread_table
from helo.analysis.wording import training_end_note
from helo.analysis.wording.seeds import describe_seeds, missing_seeds_notes, short_training_note
from helo.errors import InputError
from helo.names import Column, Estimate, TableName
from helo.run.directory import Run
from helo.run.seeds import SeedRuns


class SeedsResult:
    """Result of the runs of several seeds. All of it compares the same subjects.

    Use `read_seeds` to make one.

    Parameters
    ----------
    runs : SeedRuns
        Directory of the runs.
    sources : mapping of int to Source
        Seed → its run, for each seed that has a completed cell.
    """

    def __init__(self, runs: SeedRuns, sources: Mapping[int, Source]) -> None:
        self.runs = runs
        self.sources = dict(sources)
        first = next(iter(sources.values()))
        self.objective = first.objective
        self.dataset = first.dataset
        self.folds = first.folds

    @property
    def name(self) -> str:
        """Name of the directory."""
        return self.runs.name

    @cached_property
    def _common(self) -> tuple[dict[int, pd.DataFrame], CommonSubjects]:
        return common_scores({seed: source.judged for seed, source in self.sources.items()})

    @property
    def scores(self) -> dict[int, pd.DataFrame]:
        """Seed → scores of the subjects that are compared."""
        return self._common[0]

    @property
    def subjects(self) -> int:
        """Number of subjects that are compared."""
        return len(self._common[1].subjects)

    @cached_property
    def mean_scores(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.seeds.mean_over_seeds`."""
        return mean_over_seeds(self.scores)

    @cached_property
    def table(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.seeds.seed_table`."""
        return seed_table(self.scores)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Rows of `table` on the objective, and one for the mean over seeds."""
        mean = seed_table({MEAN: self.mean_scores})
        together = pd.concat([table for table in (self.table, mean) if len(table)] or [self.table], ignore_index=True)
        return together[together[Column.METRIC] == self.objective]

    @cached_property
    def spread(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.seeds.spread_table`."""
        return spread_table(self.scores)

    @cached_property
    def gains(self) -> pd.DataFrame:
        """See `helo.analysis.statistics.seeds.gains_by_seed`, on the objective."""
        return gains_by_seed(self.scores, self.objective)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Estimates of `mean_scores`, see `helo.analysis.statistics.estimates.summarise`."""
        return summarise(self.mean_scores, dict.fromkeys(self.mean_scores[Column.ESTIMATE]))

    @property
    def is_complete(self) -> bool:
        """Whether the searches of all seeds have ended."""
        return not self._unfinished

    @property
    def _unfinished(self) -> list[int]:
        ended = {seed for seed, source in self.sources.items() if source.counts.ended}
        return [seed for seed in self.runs.seeds if seed not in ended]

    @cached_property
    def cautions(self) -> list[str]:
        """What a reader must know first: seeds without a whole result, and training that was too short."""
        left_out = {int(seed): subjects for seed, subjects in self._common[1].left_out.items()}
        short = [
            seed for seed, source in self.sources.items() if training_end_note(source.training_end, self.objective)
        ]
        return [*missing_seeds_notes(self.runs.seeds, self._unfinished, left_out), *short_training_note(short)]

    @cached_property
    def verdict(self) -> list[str]:
        """See `helo.analysis.wording.seeds.describe_seeds`."""
        return describe_seeds(self.table, self.spread, self.mean_scores, self.objective)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables of an export by name."""
        return {
            TableName.SUMMARY: self.summary,
            TableName.SEEDS: self.table,
            "spread": self.spread,
            TableName.SUBJECTS: self.gains.rename(columns="seed_{}".format).rename_axis(Column.SUBJECT).reset_index(),
        }


def read_seeds(runs: SeedRuns, on_progress: Callable[[int, int], None] = lambda done, total: None) -> SeedsResult:
    """Read the runs of several seeds.

    Parameters
    ----------
    runs : SeedRuns
        Directory of the runs.
    on_progress : callable
        See `helo.analysis.source.read_source`.

    Returns
    -------
    SeedsResult

    Raises
    ------
    InputError
        If no run has a completed cell, or if the runs have different data or objectives.
    """
    started = runs.started()
    sources = {seed: source for seed, run in started.items() if (source := _with_result(run, on_progress)) is not None}
    if not sources:
        raise InputError(f"{runs.folder}: no seed has a completed cell yet")
    first, *others = sources.values()
    for other in others:
        if other.dataset.digest != first.dataset.digest or other.objective != first.objective:
            raise InputError(f"{other.run.folder}: has other data or another objective than {first.run.folder}")
    return SeedsResult(runs, sources)


def _with_result(run: Run, on_progress: Callable[[int, int], None]) -> Source | None:
    source = read_source(run, on_progress)
    try:
        has_result = (source.judged[Column.ESTIMATE] == Estimate.PER_FOLD_SELECTION).any()
    except InputError:  # the search has not written its tables yet
        return None
    return source if has_result else None
