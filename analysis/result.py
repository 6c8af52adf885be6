"""A run in Python: its tables, estimates, figures and model as attributes. What `helo.load_run` returns."""

from __future__ import annotations

import io
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects as go
from helo.analysis.exhibits import EXHIBITS, exhibit
from helo.analysis.figures import choose
from helo.analysis.report import write_report
from helo.analysis.source import Source, read_source
from helo.analysis.terminal import WIDTH, estimates_table
from helo.analysis.web.page import escape_html
from helo.analysis.web.tables import render_estimates
from rich.console import Console

from helo.errors import InputError
from helo.names import FileName
from helo.run.directory import Run

if TYPE_CHECKING:
    from helo.training.fitted import FittedModel


class RunResult:
    """What a search found, as of when it was first asked: everything is read or computed then.

    Whatever the search has not got far enough for raises `InputError`. Of a search that still runs, or was killed,
    cells and epochs are those that its ledger has; see `helo.analysis.source.read_source`.
    """

    def __init__(self, run: Run, complete: bool | None = None) -> None:
        self._run = run
        self._complete = complete

    @cached_property
    def _source(self) -> Source:
        return read_source(self._run)

    @property
    def path(self) -> Path | str:
        """The run directory: its path, or its URI on object storage."""
        return self._run.folder.here or str(self._run.folder)

    @property
    def manifest(self) -> dict[str, Any]:
        """What was written down when the search started: seed, space, data, versions and so on."""
        return self._run.manifest.as_dict()

    @cached_property
    def folds(self) -> list[dict[str, Any]]:
        """A mapping per fold: its test subject, its inner validation subjects, and who trains."""
        return self._run.folds

    @property
    def objective(self) -> str:
        """The metric by whose inner validation score configurations were chosen."""
        return self._source.objective

    @property
    def cells(self) -> pd.DataFrame:
        """A row per cell: parameters, inner validation and test scores, status."""
        return self._source.cells

    @property
    def epochs(self) -> pd.DataFrame:
        """A row per cell and epoch."""
        return self._source.epochs

    @property
    def predictions(self) -> pd.DataFrame:
        """A row per test window of the selected configurations: true and predicted distribution."""
        return self._source.predictions

    @property
    def baselines(self) -> pd.DataFrame:
        """A row per baseline and fold; empty if there are none."""
        return self._source.baselines

    @property
    def scores(self) -> pd.DataFrame:
        """A row per estimate and test subject, with the six metrics."""
        return self._source.scores

    @property
    def summary(self) -> pd.DataFrame:
        """A row per estimate and metric: mean over test subjects, 95 % bootstrap interval, skill."""
        return self._source.summary

    @property
    def comparisons(self) -> pd.DataFrame:
        """A row per metric and reference: the search against it; see `helo.analysis.statistics.comparisons`."""
        return self._source.comparisons

    @property
    def importance(self) -> pd.DataFrame:
        """How much each hyperparameter mattered: see `helo.analysis.statistics.importance`."""
        return self._source.importance

    @property
    def notes(self) -> list[str]:
        """What a reader of the estimates must know: what is missing, and how the run was made."""
        return self._source.notes

    @property
    def verdict(self) -> str:
        """The result in words."""
        return self._source.verdict

    @property
    def complete(self) -> bool | None:
        """Whether the search has come to its end; None where a run that was read does not show it.

        It does if its model is there (which is fitted at the end), or if all cells of its space are: racing leaves
        some out.
        """
        if self._complete is not None:
            return self._complete
        if self._run.has_model:
            return True
        configurations = self._source.space.get("configurations") or len(self._source.variants)
        if len(self._run.ledger) == configurations * len(self.folds):
            return True
        return None if self._run.manifest.racing else False

    @cached_property
    def model(self) -> FittedModel:
        """The recommended configuration, fitted to all subjects."""
        from helo.training.fitted import load_model  # torch takes seconds

        if not self._run.has_model:
            raise InputError(f"{self._run.model}: is not there; a model is fitted at the end of a search")
        return load_model(str(self._run.model))

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of the figures that this run has."""
        return tuple(name for name, one in EXHIBITS.items() if one.applies(self._source))

    def figure(self, name: str, subject: str | None = None, configuration: int | None = None) -> go.Figure:
        """A figure of the report; raise `InputError` for an unknown name, or where there is nothing to show.

        `subject`, `configuration`: what the figure shows, where it has such a choice.
        """
        return choose(exhibit(name).plot(self._source), subject, configuration)

    def report(self) -> Path | str:
        """Write ``report.html``, one page with everything, and return its path or URI."""
        return write_report(self._source)

    def __repr__(self) -> str:
        try:
            console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_jupyter=False)
            with console.capture() as captured:
                console.print(estimates_table(self.summary, self.objective, intervals=False))
            body = f"{captured.get().rstrip()}\n{self.verdict}"
        except InputError as error:
            return f"<RunResult {self.path}: {error}>"
        return f"<RunResult {self.path}>\n{body}"

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict and the estimates."""
        try:
            body = f"<p>{escape_html(self.verdict)}</p>{render_estimates(self.summary, self.objective)}"
        except InputError as error:
            body = f"<p>{escape_html(error)}</p>"
        return f"<p><b>{escape_html(self.path)}</b></p>{body}"


def load_run(path: os.PathLike[str] | str) -> RunResult:
    """Read a run directory; raise `InputError` for what is none, or whose manifest or folds are broken."""
    run = Run.open(path)
    result = RunResult(run)
    if not isinstance(result.folds, list) or not result.objective:  # which raise if they are not there
        raise InputError(f"{run.folder.where(FileName.FOLDS)}: is not a list of folds")
    return result
