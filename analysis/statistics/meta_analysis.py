r"""Comparison of two methods over several data sets. Pure functions.

Scores of different data sets have different scales: a KL of 0.07 may be good on one and poor on another. Each data
set is therefore put on its own skill scale. With the score :math:`y_s` of a subject, the mean score :math:`\bar t` of
``train_mean`` and the perfect score :math:`y^*`, the skill of a subject is

.. math:: k_s = 1 - \frac{y^* - y_s}{y^* - \bar t}.

Its mean over subjects is the skill of every other table. A data set gives n paired differences of skill. Their test is
Wilcoxon's signed-rank test; the standardised mean difference is :math:`d = \bar x / s_x`. Over data sets, with weights
:math:`w_i = \sqrt{n_i}` as in MOABB: Stouffer's :math:`Z = \sum w_i z_i / \sqrt{\sum w_i^2}` with the signed
:math:`z_i` of the tests, and :math:`d = \sum w_i d_i / \sum w_i`, whose variance follows from :math:`v_i = 1 / n_i +
d_i^2 / 2 n_i`.

S. A. Stouffer et al., "The American Soldier", 1949; V. Jayaram and A. Barachant, "MOABB: trustworthy algorithm
benchmarking for BCIs", J. Neural Eng. 15, 2018; M. Borenstein et al., "Introduction to Meta-Analysis", 2009.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from helo.analysis.statistics.estimates import by_subject
from helo.analysis.statistics.signed_rank import signed_rank_test
from helo.metrics import METRICS
from helo.names import Column, Estimate

META_COLUMNS: Final = (
    "dataset",
    "subjects",
    Column.SKILL,
    "reference_skill",
    "difference",
    "better",
    "p",
    "smd",
    "smd_low",
    "smd_high",
)
"""Columns of `meta_analysis`."""

COMBINED: Final = "combined"
"""Name of the row over all data sets."""

_Z: Final = float(norm.ppf(0.975))


class Pairs(NamedTuple):
    """Skills of two methods on the common subjects of a data set, arrays of shape (subjects,).

    Attributes
    ----------
    subjects : tuple of str
        Names of the subjects.
    judged, reference : ndarray
        Skills.
    """

    subjects: tuple[str, ...]
    judged: NDArray[np.float64]
    reference: NDArray[np.float64]

    @property
    def differences(self) -> NDArray[np.float64]:
        """Skill of the judged method less that of the reference."""
        return self.judged - self.reference


def skill_by_subject(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the skill of each method on each subject, on the scale of the data set.

    Parameters
    ----------
    scores : DataFrame
        As from `helo.analysis.statistics.estimates.subject_scores`.
    metric : str
        Name of the metric.

    Returns
    -------
    DataFrame
        A row per subject and a column per method. NaN without ``train_mean``, or if it is perfect.
    """
    wide = by_subject(scores, metric)
    perfect = METRICS[metric].perfect
    way = perfect - wide[Estimate.TRAIN_MEAN].mean() if Estimate.TRAIN_MEAN in wide else np.nan
    return 1 - (perfect - wide) / (way or np.nan)


def pair_skills(scores: pd.DataFrame, metric: str, judged: str, reference: str) -> Pairs:
    """Return the skills of two methods on the subjects that both have.

    Parameters
    ----------
    scores : DataFrame
        As from `helo.analysis.statistics.estimates.subject_scores`.
    metric : str
        Name of the metric.
    judged, reference : str
        Names of estimates.

    Returns
    -------
    Pairs
    """
    both = skill_by_subject(scores, metric).reindex(columns=[judged, reference]).dropna()
    return Pairs(tuple(map(str, both.index)), both[judged].to_numpy(float), both[reference].to_numpy(float))


def meta_analysis(pairs: Mapping[str, Pairs]) -> pd.DataFrame:
    """Compare two methods in each data set, and over all of them.

    Parameters
    ----------
    pairs : mapping of str to Pairs
        Name of a data set → skills of both methods on its subjects.

    Returns
    -------
    DataFrame
        A row per data set, and the row ``combined`` if there are two or more. Columns:

        - ``dataset``
        - ``subjects``: number of common subjects
        - ``skill``, ``reference_skill``, ``difference``: means over subjects; in the last row, means over data sets
          weighted by the square root of their number of subjects
        - ``better``: number of subjects for which the judged method is better
        - ``p``: two-sided, of Wilcoxon's signed-rank test; in the last row, of Stouffer's method
        - ``smd``, ``smd_low``, ``smd_high``: standardised mean difference of skill with its 95 % interval

        Values are NaN with fewer than two subjects, and ``smd`` without variance. Such data sets do not take part in
        what is combined.
    """
    rows = [{"dataset": name, **_within(one)} for name, one in pairs.items()]
    if len(rows) > 1:
        rows.append({"dataset": COMBINED, **_combined(rows)})
    return pd.DataFrame([{column: row[column] for column in META_COLUMNS} for row in rows], columns=list(META_COLUMNS))


def _within(pairs: Pairs) -> dict[str, Any]:
    values = pairs.differences
    subjects = len(values)
    _, p, effect = signed_rank_test(values)
    spread = values.std(ddof=1) if subjects > 1 else np.nan
    smd = values.mean() / spread if spread > 0 else np.nan
    variance = 1 / subjects + smd**2 / (2 * subjects) if subjects else np.nan
    return {
        "subjects": subjects,
        Column.SKILL: _mean(pairs.judged),
        "reference_skill": _mean(pairs.reference),
        "difference": _mean(values),
        "better": int((values > 0).sum()),
        "p": p,
        "z": np.sign(effect) * norm.isf(p / 2),
        **_interval(smd, variance),
    }


def _combined(rows: list[dict[str, Any]]) -> dict[str, Any]:
    table = pd.DataFrame(rows)
    weights = np.sqrt(table["subjects"].to_numpy(float))
    found: dict[str, Any] = {"subjects": int(table["subjects"].sum()), "better": int(table["better"].sum())}
    for column in (Column.SKILL, "reference_skill", "difference"):
        found[column] = _weighted(table[column].to_numpy(float), weights)
    tested = table["z"].notna().to_numpy()
    own = weights[tested]
    z = (own * table["z"][tested]).sum() / np.sqrt((own**2).sum()) if tested.any() else np.nan
    known = table["smd"].notna().to_numpy()
    own = weights[known] / weights[known].sum() if known.any() else weights[known]
    variance = float((own**2 * table["variance"][known]).sum()) if known.any() else np.nan
    smd = float((own * table["smd"][known]).sum()) if known.any() else np.nan
    return {**found, "p": min(1.0, 2 * norm.sf(abs(z))) if tested.any() else np.nan, **_interval(smd, variance)}


def _interval(smd: float, variance: float) -> dict[str, float]:
    margin = _Z * np.sqrt(variance)
    return {"smd": smd, "variance": variance, "smd_low": smd - margin, "smd_high": smd + margin}


def _weighted(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    known = np.isfinite(values)
    return float(np.average(values[known], weights=weights[known])) if known.any() else float("nan")


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")
