"""Tables for papers and for other programs: LaTeX and CSV."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from helo.analysis.source import Source
from helo.analysis.statistics.comparisons import corrected
from helo.analysis.statistics.signed_rank import ALPHA
from helo.analysis.web.standalone import write_figures
from helo.analysis.wording import NOT_REPORTABLE, number, percent

from helo._text import printable
from helo.errors import InputError, require_new
from helo.metrics import METRICS
from helo.names import Column, Estimate, TableName
from helo.storage.atomic import whole_folder

_NAME: Final = "Estimate"
_MARK: Final = r"$^{\ast}$"
# Never the best: what test scores chose, what nobody can reach, and what is not the result to report.
_UNRIVALLED = (Estimate.ORACLE, Estimate.BEST_POSSIBLE, Estimate.SINGLE_CONFIGURATION)


def csv_tables(source: Source) -> dict[str, pd.DataFrame]:
    """The tables of a run by name, to be written as ``<name>.csv``; those that it does not have are left out."""
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
    for name, make in makers.items():
        with contextlib.suppress(InputError):
            found[name] = make()
    return found


def write_export(source: Source, folder: Path, told: Callable[[str], None] = lambda step: None) -> list[str]:
    """Write the tables and figures of a run into a new `folder`, all or none; the names of what it has not.

    A CSV file for each of `csv_tables`, ``estimates.tex`` (see `latex_table`), and in ``figures`` each figure as a
    page of its own and as plotly's JSON. Raise `InputError` if something is at `folder` already, it cannot be written,
    or the run has no cells.
    """
    require_new(folder, "--export")
    protocol = source.manifest.protocol or ""
    tex = latex_table(source.summary, source.comparisons, source.objective, protocol)
    try:
        with whole_folder(folder) as hidden:
            for name, table in csv_tables(source).items():
                table.to_csv(hidden / f"{name}.csv", index=False, encoding="utf-8")
            (hidden / f"{TableName.ESTIMATES}.tex").write_text(tex, encoding="utf-8")
            (hidden / "figures").mkdir()
            return write_figures(source, hidden / "figures", told)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from None


def latex_table(summary: pd.DataFrame, comparisons: pd.DataFrame, objective: str, protocol: str = "") -> str:
    r"""The estimates as a LaTeX table; it needs ``\usepackage{booktabs}`` alone.

    - `summary`: as ``summary.parquet``; `comparisons`: see `helo.analysis.statistics.comparisons.comparisons`
    - `objective`: the metric whose interval and skill get a column
    - `protocol`: said in the caption, if known

    The best mean of ``per_fold_selection`` and its references is bold in each column. A star says that a reference
    differs from ``per_fold_selection`` on that metric.
    """
    differs = {
        (str(row[Column.REFERENCE]), str(row[Column.METRIC]))
        for row in comparisons.to_dict("records")
        if row["p_holm"] < ALPHA
    }
    means = summary.pivot(index=Column.ESTIMATE, columns=Column.METRIC, values="mean")
    rows = []
    for estimate, of_estimate in summary.groupby(Column.ESTIMATE, sort=False):
        by_metric = of_estimate.set_index(Column.METRIC)
        name = printable(estimate).replace("\N{REPLACEMENT CHARACTER}", "?")
        row = {_NAME: f"{name} ({NOT_REPORTABLE})" if estimate == Estimate.ORACLE else name}
        for metric in METRICS:
            shown = _tex(number(by_metric.loc[metric, "mean"]))
            if _is_best(means, str(estimate), metric):
                shown = rf"\textbf{{{shown}}}"
            row[_head(metric)] = shown + (_MARK if (str(estimate), metric) in differs else "")
        aim = by_metric.loc[objective]
        between = "--" if pd.isna(aim["ci_low"]) else f"[{number(aim['ci_low'])}, {number(aim['ci_high'])}]"
        row[rf"{METRICS[objective].label} 95\,\%"] = between
        row["Skill"] = _tex(percent(aim[Column.SKILL]))
        rows.append(row)
    table = pd.DataFrame(rows)
    styled = table.style.hide(axis="index").format(_first_in_row, escape="latex", subset=[_NAME])
    found: str = styled.to_latex(
        hrules=True,
        column_format="l" + "r" * (table.shape[1] - 1),
        position_float="centering",
        label="tab:estimates",
        caption=_caption(summary, comparisons, objective, protocol),
    )
    return found


def _head(metric: str) -> str:
    direction = "uparrow" if METRICS[metric].higher_is_better else "downarrow"
    return rf"{METRICS[metric].label} $\{direction}$"


def _is_best(means: pd.DataFrame, estimate: str, metric: str) -> bool:
    rivals = means.loc[[name for name in means.index if name not in _UNRIVALLED], metric]
    if estimate in _UNRIVALLED or not np.isfinite(rivals).any():
        return False
    return bool(means.loc[estimate, metric] == (rivals.max() if METRICS[metric].higher_is_better else rivals.min()))


def _caption(summary: pd.DataFrame, comparisons: pd.DataFrame, objective: str, protocol: str) -> str:
    searched = summary.loc[
        (summary[Column.ESTIMATE] == Estimate.PER_FOLD_SELECTION) & (summary[Column.METRIC] == objective), "subjects"
    ]
    subjects = int(searched.max()) if len(searched) else 0
    under = f", protocol {protocol}" if protocol.isalnum() else ""
    tests = corrected(comparisons)
    label = METRICS[objective].label
    return (
        rf"Mean test scores over $n = {subjects}$ subjects, each left out once (leave-one-subject-out{under})."
        rf" {label} 95\,\%: percentile bootstrap interval of the mean over subjects. Skill: the share of the way from"
        rf" the train mean to a perfect {label}. {_MARK}: differs from {_escaped(Estimate.PER_FOLD_SELECTION)} at $p < {ALPHA}$"
        f" (two-sided Wilcoxon signed-rank test over subjects, Holm's correction for {tests} references, the train mean"
        " apart)."
        r" Bold: the best of per\_fold\_selection and its references; the oracle chooses by test score."
    )


def _first_in_row(name: str) -> str:
    """After the end of a row, LaTeX would read a bracket or star as an argument."""
    return "{}" + name if name.startswith(("[", "*")) else name


def _tex(words: str) -> str:
    r"""A number in text mode.

    >>> _tex("-2.0 %"), _tex("–"), _tex("0.0387")
    ('$-$2.0\\,\\%', '--', '0.0387')
    """
    return words.replace("-", "$-$").replace("–", "--").replace("+", "$+$").replace(" %", r"\,\%")


def _escaped(name: str) -> str:
    return name.replace("_", r"\_")
