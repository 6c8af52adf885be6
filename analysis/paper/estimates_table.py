r"""The estimates of a run as a LaTeX table that fits one column of a two-column article.

The table needs ``\usepackage{booktabs}``. It has two blocks with the same rows: the objective of the search with its
interval and skill, and the other metrics. A column of 3.3 in (84 mm) has no room for all of them side by side.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from helo.analysis.paper.latex import LONGEST, escape_latex, format_tex
from helo.analysis.paper.names import printed_name
from helo.analysis.statistics.comparisons import count_corrected
from helo.analysis.statistics.estimates import CONFIDENCE
from helo.analysis.statistics.signed_rank import ALPHA
from helo.analysis.wording import NOT_REPORTABLE, count, format_percent
from helo.metrics import METRICS
from helo.names import Column, Estimate, TableName

LATEX_FILE: Final = f"{TableName.ESTIMATES}.tex"
"""Name of the LaTeX table in an export."""

LATEX_FILE_BY_GROUP: Final = f"{TableName.ESTIMATES_BY_GROUP}.tex"
"""Name of the LaTeX table with the scores by group."""

_MARK: Final = r"\rlap{$^{\ast}$}"
_NOT_REPORTABLE: Final = r"$^{\dagger}$"
_LEVEL: Final = rf"{100 * CONFIDENCE:.0f}\,\%"
# Never set in bold: these use test scores, cannot be reached, or are not the result to report.
_NOT_COMPARED = (Estimate.ORACLE, Estimate.BEST_POSSIBLE, Estimate.SINGLE_CONFIGURATION, Estimate.ENSEMBLE)
_SHORT_HEADS: Final = {"chebyshev": "Cheb.", "intersection": "Inters."}
_FIRST_COLUMN: Final = r"p{0.24\columnwidth}"


class Design(NamedTuple):
    """What the caption says about a run.

    Attributes
    ----------
    objective : str
        Metric of the search, whose interval and skill are shown.
    protocol : str
        Protocol of the search; empty if it is unknown.
    folds : int
        Number of folds that the run was started with. A run with fewer results is called incomplete.
    """

    objective: str
    protocol: str
    folds: int


def latex_table(summary: pd.DataFrame, comparisons: pd.DataFrame | None, design: Design) -> str:
    """Return the estimates as a LaTeX table.

    For each metric, the best mean of ``per_fold_selection`` and its references is bold. A star marks a reference that
    differs significantly from ``per_fold_selection`` on that metric. Estimates without a score are left out.

    Parameters
    ----------
    summary : pandas.DataFrame
        Estimates with the columns of ``summary.parquet``.
    comparisons : pandas.DataFrame or None
        Result of `helo.analysis.statistics.comparisons.compare_with_references`; None if ``per_fold_selection`` is
        not what was tested.
    design : Design
        What the caption says about the run.

    Returns
    -------
    str
    """
    differs: set[tuple[str, str]] = set()
    star = ""
    if comparisons is not None and len(comparisons):
        differs = {
            (str(row[Column.REFERENCE]), str(row[Column.METRIC]))
            for row in comparisons.to_dict("records")
            if row["p_holm"] < ALPHA
        }
        star = (
            rf" $^{{\ast}}$: differs from {printed_name(Estimate.PER_FOLD_SELECTION)} at $p < {ALPHA}$ (two-sided"
            " Wilcoxon signed-rank test over subjects; Holm's correction for"
            f" {count(count_corrected(comparisons), 'reference')}, without the train mean)."
        )
    caption = f"Mean test scores of {_subjects(summary, design)}.{_explained(summary, design.objective)}{star}"
    return _render(summary, differs, design, caption, "tab:estimates")


def latex_table_by_group(summary: pd.DataFrame, design: Design) -> str:
    """Return the estimates by group as a LaTeX table like `latex_table`, without stars: no test uses these scores.

    Parameters
    ----------
    summary : pandas.DataFrame
        Estimates with the columns of ``summary_by_group.parquet``.
    design : Design
        What the caption says about the run.

    Returns
    -------
    str
    """
    caption = (
        f"Mean test scores by group (clip or condition) of {_subjects(summary, design)}. Predictions and labels of a"
        " subject's windows in the same group are averaged before they are scored; scores are averaged over the"
        f" groups of each subject, then over subjects.{_explained(summary, design.objective)}"
    )
    return _render(summary, set(), design, caption, "tab:estimates-by-group")


def _render(
    summary: pd.DataFrame, differs: Collection[tuple[str, str]], design: Design, caption: str, label: str
) -> str:
    """Return a LaTeX table, with a star for each pair of estimate and metric in `differs`."""
    means = summary.pivot(index=Column.ESTIMATE, columns=Column.METRIC, values="mean")
    objective = design.objective
    others = [metric for metric in METRICS if metric != objective]
    decimals = {metric: 3 if (means[metric].abs() >= 1).any() else 4 for metric in METRICS}
    blocks: tuple[list[str], list[str]] = ([], [])
    for estimate, of_estimate in summary.groupby(Column.ESTIMATE, sort=False):
        by_metric = of_estimate.set_index(Column.METRIC)
        if not by_metric.loc[objective, "subjects"]:
            continue
        name = _row_name(str(estimate))
        scores = {
            metric: _score(by_metric.loc[metric, "mean"], decimals[metric], _is_best(means, str(estimate), metric))
            + (_MARK if (str(estimate), metric) in differs else "")
            for metric in METRICS
        }
        aim = by_metric.loc[objective]
        skill = format_tex(format_percent(aim[Column.SKILL]).removesuffix(" %"))
        blocks[0].append(_row(name, scores[objective], _interval(aim, decimals[objective]), skill))
        blocks[1].append(_row(name, *(scores[metric] for metric in others)))
    heads = (
        _row("", _head(objective), f"{_LEVEL} interval", r"Skill (\%)"),
        _row("", *(_head(metric) for metric in others)),
    )
    tabulars = [
        "\n".join(
            [
                rf"\begin{{tabular*}}{{\columnwidth}}{{@{{\extracolsep{{\fill}}}}{_FIRST_COLUMN}"
                rf"{'r' * (head.count('&'))}@{{\hspace{{4pt}}}}}}",
                r"\toprule",
                head,
                r"\midrule",
                *rows,
                r"\bottomrule",
                r"\end{tabular*}",
            ]
        )
        for head, rows in zip(heads, blocks, strict=True)
    ]
    return "\n".join(
        [
            r"% Needs \usepackage{booktabs}.",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\label{{{label}}}",
            r"\vspace{4pt}",
            r"\footnotesize",
            r"\setlength{\tabcolsep}{1.5pt}",
            ("\n" + r"\par\medskip" + "\n").join(tabulars),
            r"\end{table}",
            "",
        ]
    )


def _row(first: str, *others: str) -> str:
    return rf"\raggedright\hspace{{0pt}}{first} & {' & '.join(others)} \\"


def _row_name(estimate: str) -> str:
    name = escape_latex(printed_name(estimate), LONGEST)
    if estimate == Estimate.ORACLE:
        name += _NOT_REPORTABLE
    return name


def _number(value: float, decimals: int) -> str:
    """Return a score with as many decimals as all others of its column, so that they align."""
    return "--" if pd.isna(value) else format_tex(f"{value:.{decimals}f}")


def _score(value: float, decimals: int, is_best: bool) -> str:
    shown = _number(value, decimals)
    return rf"\textbf{{{shown}}}" if is_best else shown


def _interval(row: pd.Series, decimals: int) -> str:
    if pd.isna(row["ci_low"]):
        return "--"
    return f"[{_number(row['ci_low'], decimals)}, {_number(row['ci_high'], decimals)}]"


def _head(metric: str) -> str:
    arrow = {"↑": r"\uparrow", "↓": r"\downarrow"}[METRICS[metric].arrow]
    return f"{_SHORT_HEADS.get(metric, METRICS[metric].label)}${arrow}$"


def _is_best(means: pd.DataFrame, estimate: str, metric: str) -> bool:
    compared = means.loc[[name for name in means.index if name not in _NOT_COMPARED], metric]
    if estimate in _NOT_COMPARED or not np.isfinite(compared).any():
        return False
    return bool(means.loc[estimate, metric] == METRICS[metric].best(compared))


def _subjects(summary: pd.DataFrame, design: Design) -> str:
    """Return the number of subjects and how they are left out."""
    subjects = int(summary["subjects"].max())
    missing = rf" of {design.folds} (\textsc{{incomplete run}})" if subjects < design.folds else ""
    under = f", protocol {design.protocol}" if design.protocol.isalnum() else ""
    return rf"$n = {subjects}$ subjects{missing}, each left out once (leave-one-subject-out{under})"


def _explained(summary: pd.DataFrame, objective: str) -> str:
    """Return the sentences that explain rows and columns, each with a space before it."""
    label, helo = METRICS[objective].label, printed_name(Estimate.PER_FOLD_SELECTION)
    present = set(summary.loc[summary["subjects"] > 0, Column.ESTIMATE])
    sentences = (
        rf" Brackets: {_LEVEL} bootstrap interval of the mean over subjects. Skill: share of the way from the train"
        f" mean to a perfect {label}. KL is in nats; the other metrics have no unit. {helo}: in each fold, the"
        f" configuration with the best inner validation {label}."
    )
    if Estimate.SINGLE_CONFIGURATION in present:
        sentences += f" {printed_name(Estimate.SINGLE_CONFIGURATION)}: the same configuration in all folds."
    if Estimate.ENSEMBLE in present:
        sentences += f" {printed_name(Estimate.ENSEMBLE)}: weighted mean of good configurations of the fold."
    sentences += f" Bold: the best of {helo} and its references."
    if Estimate.ORACLE in present:
        sentences += f" {_NOT_REPORTABLE}: selected by test score, {NOT_REPORTABLE}."
    return sentences
