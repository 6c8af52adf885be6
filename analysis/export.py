"""Tables of a run for papers (LaTeX) and for other programs (CSV)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from helo._text import make_printable
from helo.analysis.source import Source
from helo.analysis.statistics.comparisons import count_corrected
from helo.analysis.statistics.signed_rank import ALPHA
from helo.analysis.web.standalone import write_figures
from helo.analysis.wording import NOT_REPORTABLE, format_percent, format_score
from helo.errors import InputError, require_new
from helo.metrics import METRICS
from helo.names import Column, Estimate, TableName
from helo.storage.atomic import whole_folder

LATEX_FILE: Final = f"{TableName.ESTIMATES}.tex"
"""Name of the LaTeX table in an export."""

LATEX_FILE_BY_GROUP: Final = f"{TableName.ESTIMATES_BY_GROUP}.tex"
"""Name of the LaTeX table with the scores by group."""

_NAME: Final = "Estimate"
_MARK: Final = r"$^{\ast}$"
_BOLD_EXPLAINED: Final = r"Bold: the best of per\_fold\_selection and its references. The oracle selects by test score."
# Never set in bold: these use test scores, cannot be reached, or are not the result to report.
_NOT_COMPARED = (Estimate.ORACLE, Estimate.BEST_POSSIBLE, Estimate.SINGLE_CONFIGURATION, Estimate.ENSEMBLE)


def csv_tables(source: Source) -> dict[str, pd.DataFrame]:
    """Return the tables of a run by name. Tables that the run does not have are left out."""
    makers: dict[str, Callable[[], pd.DataFrame]] = {
        TableName.SUMMARY: lambda: source.summary,
        TableName.SUBJECTS: lambda: source.subjects,
        TableName.COMPARISONS: lambda: source.comparisons,
        TableName.FRIEDMAN: lambda: source.friedman,
        TableName.OPTIMISM: lambda: source.optimism,
        TableName.CONFIGURATIONS: lambda: source.configurations,
        TableName.IMPORTANCE: lambda: source.importance,
        TableName.MARGINAL_EFFECTS: lambda: source.marginal_effects,
    }
    found: dict[str, pd.DataFrame] = {} if source.ablation is None else {TableName.ABLATION: source.ablation}
    if len(source.summary_by_group):
        found[TableName.SUMMARY_BY_GROUP] = source.summary_by_group
    if len(source.ensemble):
        found[TableName.ENSEMBLE] = source.ensemble
    for name, make in makers.items():
        with contextlib.suppress(InputError):
            found[name] = make()
    return found


def write_export(source: Source, folder: Path, on_step: Callable[[str], None] = lambda step: None) -> list[str]:
    """Write the tables and figures of a run into a new folder, all of them or none.

    The folder gets a CSV file for each of `csv_tables`, ``estimates.tex`` (see `latex_table`), and a folder
    ``figures`` with each figure as an HTML page and as the JSON of Plotly. A run with scores by group also has
    ``estimates_by_group.tex`` (see `latex_table_by_group`).

    Parameters
    ----------
    source : Source
        The run.
    folder : pathlib.Path
        Path of the new folder.
    on_step : callable
        Called with the title of each figure before it is drawn.

    Returns
    -------
    list of str
        Names of the figures that the run has no data for.

    Raises
    ------
    InputError
        If `folder` exists or cannot be written, or if the run has no cells.
    """
    require_new(folder, "--export")
    protocol = source.manifest.protocol or ""
    documents = {LATEX_FILE: latex_table(source.summary, source.comparisons, source.objective, protocol)}
    if len(source.summary_by_group):
        documents[LATEX_FILE_BY_GROUP] = latex_table_by_group(source.summary_by_group, source.objective, protocol)
    try:
        with whole_folder(folder) as hidden:
            for name, table in csv_tables(source).items():
                table.to_csv(hidden / f"{name}.csv", index=False, encoding="utf-8")
            for name, content in documents.items():
                (hidden / name).write_text(content, encoding="utf-8")
            (hidden / "figures").mkdir()
            return write_figures(source, hidden / "figures", on_step)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from None


def latex_table(summary: pd.DataFrame, comparisons: pd.DataFrame, objective: str, protocol: str = "") -> str:
    r"""Return the estimates as a LaTeX table, which needs ``\usepackage{booktabs}``.

    In each column, the best mean of ``per_fold_selection`` and its references is bold. A star marks a reference that
    differs significantly from ``per_fold_selection`` on that metric.

    Parameters
    ----------
    summary : pandas.DataFrame
        Estimates with the columns of ``summary.parquet``.
    comparisons : pandas.DataFrame
        Result of `helo.analysis.statistics.comparisons.compare_with_references`.
    objective : str
        Name of the metric whose interval and skill get a column.
    protocol : str
        Protocol of the search for the caption, or an empty string if it is unknown.

    Returns
    -------
    str
    """
    differs = {
        (str(row[Column.REFERENCE]), str(row[Column.METRIC]))
        for row in comparisons.to_dict("records")
        if row["p_holm"] < ALPHA
    }
    caption = _caption(summary, comparisons, objective, protocol)
    return _render_latex(summary, differs, objective, caption, "tab:estimates")


def latex_table_by_group(summary: pd.DataFrame, objective: str, protocol: str = "") -> str:
    r"""Return the estimates by group as a LaTeX table like `latex_table`, without stars: no test uses these scores.

    Parameters
    ----------
    summary : pandas.DataFrame
        Estimates with the columns of ``summary_by_group.parquet``.
    objective : str
        Name of the metric whose interval and skill get a column.
    protocol : str
        Protocol of the search for the caption, or an empty string if it is unknown.

    Returns
    -------
    str
    """
    caption = _caption_by_group(summary, objective, protocol)
    return _render_latex(summary, set(), objective, caption, "tab:estimates-by-group")


def _render_latex(
    summary: pd.DataFrame, differs: Collection[tuple[str, str]], objective: str, caption: str, label: str
) -> str:
    """Return a LaTeX table of estimates, with a star for each pair of estimate and metric in `differs`."""
    means = summary.pivot(index=Column.ESTIMATE, columns=Column.METRIC, values="mean")
    rows = []
    for estimate, of_estimate in summary.groupby(Column.ESTIMATE, sort=False):
        by_metric = of_estimate.set_index(Column.METRIC)
        name = make_printable(estimate).replace("\N{REPLACEMENT CHARACTER}", "?")
        row = {_NAME: f"{name} ({NOT_REPORTABLE})" if estimate == Estimate.ORACLE else name}
        for metric in METRICS:
            shown = _tex(format_score(by_metric.loc[metric, "mean"]))
            if _is_best(means, str(estimate), metric):
                shown = rf"\textbf{{{shown}}}"
            row[_head(metric)] = shown + (_MARK if (str(estimate), metric) in differs else "")
        aim = by_metric.loc[objective]
        between = "--" if pd.isna(aim["ci_low"]) else f"[{format_score(aim['ci_low'])}, {format_score(aim['ci_high'])}]"
        row[rf"{METRICS[objective].label} 95\,\%"] = between
        row["Skill"] = _tex(format_percent(aim[Column.SKILL]))
        rows.append(row)
    table = pd.DataFrame(rows)
    styled = table.style.hide(axis="index").format(_first_in_row, escape="latex", subset=[_NAME])
    found: str = styled.to_latex(
        hrules=True,
        column_format="l" + "r" * (table.shape[1] - 1),
        position_float="centering",
        label=label,
        caption=caption,
    )
    return found


def _head(metric: str) -> str:
    arrow = {"↑": r"\uparrow", "↓": r"\downarrow"}[METRICS[metric].arrow]
    return f"{METRICS[metric].label} ${arrow}$"


def _is_best(means: pd.DataFrame, estimate: str, metric: str) -> bool:
    compared = means.loc[[name for name in means.index if name not in _NOT_COMPARED], metric]
    if estimate in _NOT_COMPARED or not np.isfinite(compared).any():
        return False
    return bool(means.loc[estimate, metric] == METRICS[metric].best(compared))


def _caption(summary: pd.DataFrame, comparisons: pd.DataFrame, objective: str, protocol: str) -> str:
    tests = count_corrected(comparisons)
    return (
        f"Mean test scores over {_design(summary, objective, protocol)}. {_columns_explained(objective)}"
        f" {_MARK}: differs from {_escaped(Estimate.PER_FOLD_SELECTION)} at $p < {ALPHA}$ (two-sided Wilcoxon"
        f" signed-rank test over subjects; Holm's correction for {tests} references, without the train mean)."
        f" {_BOLD_EXPLAINED}"
    )


def _caption_by_group(summary: pd.DataFrame, objective: str, protocol: str) -> str:
    return (
        "Mean test scores by group (clip or condition): predictions and labels of a subject's windows in the same group"
        " are averaged before they are scored. Scores are averaged over the groups of each subject, then over"
        f" {_design(summary, objective, protocol)}. {_columns_explained(objective)} {_BOLD_EXPLAINED}"
    )


def _design(summary: pd.DataFrame, objective: str, protocol: str) -> str:
    """Return the number of subjects and how they are left out, as the end of a sentence."""
    searched = summary.loc[
        (summary[Column.ESTIMATE] == Estimate.PER_FOLD_SELECTION) & (summary[Column.METRIC] == objective), "subjects"
    ]
    subjects = int(searched.max()) if len(searched) else 0
    under = f", protocol {protocol}" if protocol.isalnum() else ""
    return rf"$n = {subjects}$ subjects, each left out once (leave-one-subject-out{under})"


def _columns_explained(objective: str) -> str:
    label = METRICS[objective].label
    return (
        rf"{label} 95\,\%: percentile bootstrap interval of the mean over subjects. Skill: the share of the way from"
        rf" the train mean to a perfect {label}."
    )


def _first_in_row(name: str) -> str:
    r"""Protect a name at the start of a row: LaTeX would read a bracket or star after ``\\`` as an argument."""
    return "{}" + name if name.startswith(("[", "*")) else name


def _tex(shown: str) -> str:
    r"""Return a formatted number for LaTeX's text mode.

    >>> _tex("-2.0 %"), _tex("–"), _tex("0.0387")
    ('$-$2.0\\,\\%', '--', '0.0387')
    """
    return shown.replace("-", "$-$").replace("–", "--").replace("+", "$+$").replace(" %", r"\,\%")


def _escaped(name: str) -> str:
    return name.replace("_", r"\_")
