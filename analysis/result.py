"""A run in Python, with its tables, estimates, figures and model as attributes: the result of `helo.load_run`."""

from __future__ import annotations

import io
import os
import textwrap
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects as go
from rich.console import Console

from helo.analysis.exhibits import EXHIBITS, find_exhibit
from helo.analysis.figures import choose
from helo.analysis.report import write_report
from helo.analysis.source import Source, read_source
from helo.analysis.terminal import estimates_table
from helo.analysis.web.page import escape_html
from helo.analysis.wording import NOT_REPORTABLE, format_percent, format_score
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Estimate, FileName
from helo.run.directory import Run

if TYPE_CHECKING:
    from helo.training.fitted import FittedModel

SCREEN_COLUMNS, SCREEN_LINES = 80, 25
"""Size of the text form of a run."""


class RunResult:
    """Result of a search, read from its run directory.

    Tables and statistics are read or computed on first access and then kept. An attribute raises `InputError` while
    the search has not yet produced its data. For a search that is running or was interrupted, `cells` and `epochs`
    hold the cells that its ledger has.

    Parameters
    ----------
    run : Run
        The run directory.

    Attributes
    ----------
    path : pathlib.Path or str
        Run directory: its path, or its URI on object storage.
    manifest : dict
        Record of how the search was started: seed, space, dataset, versions and so on.
    folds : list of dict
        Test subject and inner splits of each fold.
    objective : str
        Name of the metric whose inner validation score selects configurations.
    cells, epochs, predictions, baselines, ensemble : pandas.DataFrame
        Tables of the run; see each property for its rows.
    scores, summary, summary_by_group, comparisons, importance : pandas.DataFrame
        Statistics of the run, likewise.
    notes : list of str
        Sentences that a reader of the estimates must know.
    verdict : str
        Result in words.
    complete : bool or None
        Whether the search has ended, or None if that is unknown.
    model : helo.training.fitted.FittedModel
        Recommended configuration, fitted to all subjects.
    figures : tuple of str
        Names for `figure`.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    @cached_property
    def _source(self) -> Source:
        return read_source(self._run)

    @property
    def path(self) -> Path | str:
        """Run directory: its path, or its URI on object storage."""
        return self._run.folder.here or str(self._run.folder)

    @property
    def manifest(self) -> dict[str, Any]:
        """Record of how the search was started: seed, space, dataset, versions and so on."""
        return self._run.manifest.as_dict()

    @cached_property
    def folds(self) -> list[dict[str, Any]]:
        """A mapping per fold with its test subject and its inner splits (validation and training subjects)."""
        return self._run.folds

    @property
    def objective(self) -> str:
        """Name of the metric whose inner validation score selects configurations."""
        return self._source.objective

    @property
    def cells(self) -> pd.DataFrame:
        """A row per cell: hyperparameters, inner validation and test scores, status."""
        return self._source.cells

    @property
    def epochs(self) -> pd.DataFrame:
        """A row per cell and epoch."""
        return self._source.epochs

    @property
    def predictions(self) -> pd.DataFrame:
        """A row per test window of the selected configurations: reported and predicted distribution."""
        return self._source.predictions

    @property
    def baselines(self) -> pd.DataFrame:
        """A row per baseline and fold; empty for a run without baselines."""
        return self._source.baselines

    @property
    def ensemble(self) -> pd.DataFrame:
        """A row per fold: weights of the ensemble's configurations, and its scores; empty while the search runs."""
        return self._source.ensemble

    @property
    def scores(self) -> pd.DataFrame:
        """A row per estimate and test subject that all estimates have, with the six metrics."""
        return self._source.scores

    @property
    def summary(self) -> pd.DataFrame:
        """A row per estimate and metric: mean over the same test subjects, 95 % bootstrap interval, skill."""
        return self._source.summary

    @property
    def summary_by_group(self) -> pd.DataFrame:
        """Estimates as in `summary`, after averaging predictions and labels of each subject's windows in each group.

        Empty if the data have no groups (clips, conditions), or if each group of a subject is a single window.
        """
        return self._source.summary_by_group

    @property
    def comparisons(self) -> pd.DataFrame:
        """A row per metric and reference that compares the search with the reference."""
        return self._source.comparisons

    @property
    def importance(self) -> pd.DataFrame:
        """A row per searched hyperparameter: its share of the importance, with interval and noise level."""
        return self._source.importance

    @property
    def notes(self) -> list[str]:
        """Sentences that a reader of the estimates must know: what is missing, and how the run was made."""
        return self._source.notes

    @property
    def verdict(self) -> str:
        """Result in words."""
        return self._source.verdict

    @property
    def complete(self) -> bool | None:
        """Whether the search has ended, or None if that is unknown.

        A search has ended if it has fitted its model, or if it has as many cells as its manifest records or its space
        has. Racing drops cells, and earlier versions did not record how many: such a run without a model is unknown.
        """
        return self._source.counts.ended

    @cached_property
    def model(self) -> FittedModel:
        """Model that the search fitted with all subjects: the recommended configuration, or an ensemble."""
        from helo.training.fitted import load_model  # imports torch, which takes seconds

        if not self._run.has_model:
            raise InputError(f"{self._run.model}: is not there; a model is fitted at the end of a search")
        return load_model(str(self._run.model))

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures of this kind of run."""
        return tuple(name for name, one in EXHIBITS.items() if one.applies(self._source))

    def figure(self, name: str, subject: str | None = None, configuration: int | None = None) -> go.Figure:
        """Draw a figure of the report.

        Parameters
        ----------
        name : str
            One of `figures`.
        subject : str, optional
            Test subject to show, in figures that can show a single one.
        configuration : int, optional
            Number of the configuration to show, in figures that can show a single one.

        Returns
        -------
        plotly.graph_objects.Figure
            The figure, as in the report.

        Raises
        ------
        InputError
            If the name is unknown, the figure has no such choice, or the run has no data for it.
        """
        return choose(find_exhibit(name).plot(self._source), subject, configuration)

    def report(self) -> Path | str:
        """Write ``report.html`` into the run directory.

        Returns
        -------
        pathlib.Path or str
            Path of the report, or its URI on object storage.
        """
        return write_report(self._source)

    def __repr__(self) -> str:
        head = f"<RunResult {self.path}>"
        try:
            console = Console(file=io.StringIO(), width=SCREEN_COLUMNS, color_system=None, force_jupyter=False)
            with console.capture() as captured:
                console.print(estimates_table(self.summary, self.objective, intervals=False, gap=1))
            verdict = textwrap.wrap(self.verdict, SCREEN_COLUMNS)
        except InputError as error:
            return f"<RunResult {self.path}: {error}>"
        lines = [head, *(line.rstrip() for line in captured.get().rstrip().splitlines()), *verdict]
        if len(lines) > SCREEN_LINES:
            lines[SCREEN_LINES - 1 :] = ["(continued in .verdict)"]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the verdict and the estimates for a notebook, styled without a style sheet."""
        try:
            body = f"<p>{escape_html(self.verdict)}</p>{_inline_table(self.summary, self.objective)}"
        except InputError as error:
            body = f"<p>{escape_html(error)}</p>"
        return f'<div style="max-width: 60em"><p><b>{escape_html(self.path)}</b></p>{body}</div>'


def _inline_table(summary: pd.DataFrame, objective: str) -> str:
    """Return the estimates as an HTML table with inline styles."""
    heads = ["Skill", *(f"{metric.label}&nbsp;{metric.arrow}" for metric in METRICS.values()), "Subjects"]
    rows = [_inline_row("th", "Estimate", heads)]
    for estimate, of_estimate in summary.groupby(Column.ESTIMATE, sort=False):
        by_metric = of_estimate.set_index(Column.METRIC)
        subjects = int(by_metric["subjects"].max())
        if not subjects:
            continue
        name = f"{estimate} ({NOT_REPORTABLE})" if estimate == Estimate.ORACLE else str(estimate)
        means = [format_score(by_metric.loc[metric, "mean"]) for metric in METRICS]
        values = [format_percent(by_metric.loc[objective, Column.SKILL]), *means, str(subjects)]
        rows.append(_inline_row("td", escape_html(name), values))
    return f'<table style="border-collapse: collapse">{"".join(rows)}</table>'


def _inline_row(tag: str, first: str, others: list[str]) -> str:
    style = "padding: 0.2em 0.6em; border-bottom: 1px solid #8884; text-align:"
    cells = [f'<{tag} style="{style} left">{first}</{tag}>']
    cells += [f'<{tag} style="{style} right">{value}</{tag}>' for value in others]
    return f"<tr>{''.join(cells)}</tr>"


def load_run(path: os.PathLike[str] | str) -> RunResult:
    """Read a run directory.

    Parameters
    ----------
    path : path-like or str
        Run directory, or its URI on object storage.

    Returns
    -------
    RunResult

    Raises
    ------
    InputError
        If the path is not a run directory, or its manifest or folds cannot be read.
    """
    run = Run.open(path)
    result = RunResult(run)
    # Reading both attributes raises InputError if they are missing.
    if not isinstance(result.folds, list) or not result.objective:
        raise InputError(f"{run.folder.where(FileName.FOLDS)}: is not a list of folds")
    return result
