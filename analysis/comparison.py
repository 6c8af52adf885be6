"""Comparison of runs: those on the same data with each other, and the search with its references over data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from helo.analysis.figures.meta_analysis import plot_meta_analysis
from helo.analysis.figures.paired import plot_paired
from helo.analysis.source import Source, read_source
from helo.analysis.statistics.comparisons import compare_across_runs
from helo.analysis.statistics.meta_analysis import META_COLUMNS, Pairs, meta_analysis, pair_skills
from helo.analysis.statistics.signed_rank import holm_correction
from helo.analysis.web.standalone import write_tables_and_pages
from helo.errors import InputError, did_you_mean
from helo.metrics import METRICS
from helo.names import FITTED_BASELINES, Column, Estimate
from helo.run.directory import Run

OVERVIEW_COLUMNS: Final = ("run", "dataset", "subjects", "folds", "mean", Column.SKILL)
"""Columns of `Comparison.overview`."""

_LATER: Final = "later run"
_REFERENCES: Final = (Estimate.TRAIN_MEAN, Estimate.UNIFORM, *FITTED_BASELINES)


class Comparison(NamedTuple):
    """Comparison of runs on one metric.

    Attributes
    ----------
    metric : str
        Name of the metric.
    overview : pandas.DataFrame
        A row per run: data set, subjects with a result, folds, mean and skill of the search.
    differences : pandas.DataFrame
        A row per run that is not the first on its data: ``dataset`` and the columns of
        `helo.analysis.statistics.comparisons.compare_across_runs`.
    meta : pandas.DataFrame
        Columns ``judged``, ``reference``, those of `helo.analysis.statistics.meta_analysis.meta_analysis`, ``p_holm``.
        Empty if all runs are on the same data.
    pairs : dict
        (judged, reference) → data set → skills of both methods.
    """

    metric: str
    overview: pd.DataFrame
    differences: pd.DataFrame
    meta: pd.DataFrame
    pairs: dict[tuple[str, str], dict[str, Pairs]]


def read_runs(
    paths: Sequence[str], on_progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Source]:
    """Read runs, and name each after its directory.

    Raises
    ------
    InputError
        With fewer than two runs, if a run is named twice, or if a run cannot be read or has no result yet.
    """
    if len(paths) < 2:
        raise InputError(f"compare needs at least two runs, got {len(paths)}")
    found: dict[str, Source] = {}
    seen: set[str] = set()
    for path in paths:
        source = read_source(Run.open(path), on_progress)
        place = str(source.run.folder)
        if place in seen:
            raise InputError(f"{path}: is named twice; compare needs different runs")
        seen.add(place)
        if not (source.judged[Column.ESTIMATE] == Estimate.PER_FOLD_SELECTION).any():
            raise InputError(f"{path}: has no completed cell to compare yet")
        name = source.run.folder.name
        found[name if name not in found else f"{name} ({len(found) + 1})"] = source
    return found


def compare_runs(runs: Mapping[str, Source], metric: str = "") -> Comparison:
    """Compare runs.

    Runs on the same data are compared with the first of them, subject by subject. Over data sets, the search is
    compared with each reference that at least two of them have, with the first run of each. If every data set has
    several runs, their second runs are compared with their first ones over all data sets, and so on.

    Parameters
    ----------
    runs : mapping of str to Source
        Runs by name.
    metric : str
        Metric to compare on; the objective of the first run by default.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If the metric is unknown.
    """
    metric = metric or next(iter(runs.values())).objective
    if metric not in METRICS:
        raise InputError(f"--metric must be one of {', '.join(METRICS)}; got {metric!r}{did_you_mean(metric, METRICS)}")
    datasets = _group(runs)
    overview = pd.DataFrame(
        [_overview(run, dataset, source, metric) for dataset, own in datasets.items() for run, source in own.items()],
        columns=list(OVERVIEW_COLUMNS),
    )
    differences = [
        compare_across_runs({run: source.judged for run, source in own.items()}, metric).assign(dataset=dataset)
        for dataset, own in datasets.items()
        if len(own) > 1
    ]
    pairs = {**_search_and_references(datasets, metric), **_later_and_first_runs(datasets, metric)}
    return Comparison(
        metric,
        overview,
        pd.concat(differences, ignore_index=True) if differences else pd.DataFrame(columns=["run", "dataset"]),
        _meta(pairs),
        pairs,
    )


def _group(runs: Mapping[str, Source]) -> dict[str, dict[str, Source]]:
    """Return runs by the name of their data set. Data sets of the same name and other content get a number."""
    keys: dict[str, dict[str, Source]] = {}
    for run, source in runs.items():
        keys.setdefault(source.dataset.digest or source.dataset.name or run, {})[run] = source
    found: dict[str, dict[str, Source]] = {}
    for own in keys.values():
        name = next(iter(own.values())).dataset.name or "unnamed data"
        found[name if name not in found else f"{name} ({len(found) + 1})"] = own
    return found


def _overview(run: str, dataset: str, source: Source, metric: str) -> tuple[object, ...]:
    rows = source.summary[source.summary[Column.METRIC] == metric].set_index(Column.ESTIMATE)
    row = rows.loc[Estimate.PER_FOLD_SELECTION]
    return run, dataset, int(row["subjects"]), source.folds, float(row["mean"]), float(row[Column.SKILL])


def _search_and_references(
    datasets: Mapping[str, Mapping[str, Source]], metric: str
) -> dict[tuple[str, str], dict[str, Pairs]]:
    """Pair the search with each reference in the first run of each data set."""
    if len(datasets) < 2:
        return {}
    first = {dataset: next(iter(own.values())) for dataset, own in datasets.items()}
    found = {}
    for reference in _REFERENCES:
        pairs = {
            dataset: pair_skills(source.judged, metric, Estimate.PER_FOLD_SELECTION, reference)
            for dataset, source in first.items()
        }
        known = {dataset: one for dataset, one in pairs.items() if len(one.subjects)}
        if len(known) > 1:
            found["the search", str(reference)] = known
    return found


def _later_and_first_runs(
    datasets: Mapping[str, Mapping[str, Source]], metric: str
) -> dict[tuple[str, str], dict[str, Pairs]]:
    """Pair the k-th run of each data set with its first run, on the scale of the first."""
    fewest = min(map(len, datasets.values()))
    if len(datasets) < 2:
        return {}
    found = {}
    for place in range(1, fewest):
        pairs, names = {}, []
        for dataset, own in datasets.items():
            first, later = next(iter(own)), list(own)[place]
            scores = own[later].judged
            searched = scores[scores[Column.ESTIMATE] == Estimate.PER_FOLD_SELECTION].assign(estimate=_LATER)
            together = pd.concat([own[first].judged, searched], ignore_index=True)
            pairs[dataset] = pair_skills(together, metric, _LATER, Estimate.PER_FOLD_SELECTION)
            names.append((later, first))
        judged, reference = (" and ".join(dict.fromkeys(side)) for side in zip(*names, strict=True))
        found[judged, reference] = pairs
    return found


def _meta(pairs: Mapping[tuple[str, str], Mapping[str, Pairs]]) -> pd.DataFrame:
    columns = ["judged", Column.REFERENCE, *META_COLUMNS, "p_holm"]
    tables = [
        meta_analysis(by_dataset).assign(judged=judged, reference=reference)
        for (judged, reference), by_dataset in pairs.items()
    ]
    if not tables:
        return pd.DataFrame(columns=columns)
    table = pd.concat(tables, ignore_index=True)
    # The comparison with the train mean is fixed in advance; the others of one data set are a family.
    table["p_holm"] = table["p"]
    others = table[table[Column.REFERENCE] != Estimate.TRAIN_MEAN]
    for _, family in others.groupby("dataset", sort=False):
        table.loc[family.index, "p_holm"] = holm_correction(family["p"])
    return table[columns]


def draw_comparison(comparison: Comparison) -> dict[str, go.Figure]:
    """Return a paired plot and a plot of the meta-analysis for each pair of methods, by file name."""
    figures = {}
    for place, ((judged, reference), pairs) in enumerate(comparison.pairs.items(), 1):
        name = reference if reference in _REFERENCES else f"runs-{place}"
        rows = comparison.meta[(comparison.meta["judged"] == judged) & (comparison.meta[Column.REFERENCE] == reference)]
        figures[f"paired-{name}"] = plot_paired(pairs, judged, reference)
        if rows["smd"].notna().any():
            figures[f"meta-{name}"] = plot_meta_analysis(rows, judged, reference)
    return figures


def write_comparison(comparison: Comparison, folder: Path, formats: Sequence[str] = ()) -> None:
    """Write the tables and figures of a comparison into a new folder, all of them or none.

    The folder gets ``runs.csv``, ``differences.csv`` and ``meta_analysis.csv``, as far as they have rows, and a folder
    ``figures`` with a page for each figure.

    Parameters
    ----------
    comparison : Comparison
        What `compare_runs` returned.
    folder : pathlib.Path
        Path of the new folder.
    formats : sequence of str
        Formats of static images of the figures, see `helo.analysis.paper.images.FORMATS`.

    Raises
    ------
    InputError
        If `folder` exists or cannot be written, or if images need a Chromium that is missing.
    """
    tables = {
        "runs": comparison.overview,
        "differences": comparison.differences,
        "meta_analysis": comparison.meta,
    }
    figures = draw_comparison(comparison)
    texts = {name: _text(name, METRICS[comparison.metric].label) for name in figures}
    write_tables_and_pages("comparison", tables, figures, texts, folder, formats)


def _text(name: str, label: str) -> tuple[str, str]:
    """Return the title and the caption of a figure of `draw_comparison`."""
    if name.startswith("paired"):
        return "Paired plot", (
            f"Skill on {label}, each data set on its own scale. A mark is a subject. Above the line, the judged method"
            " is better."
        )
    return "Meta-analysis", (
        f"Standardised mean difference of skill on {label} with its 95 % interval. A filled mark is significant"
        " (p < 0.05, not corrected). Combined: weighted by the square root of the number of subjects."
    )
