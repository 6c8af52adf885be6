"""Tables of a run for papers (LaTeX) and for other programs (CSV)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from helo._csv import write_csv
from helo._paths import local_path
from helo.analysis.exhibits import EXHIBITS
from helo.analysis.paper.estimates_table import (
    LATEX_FILE,
    LATEX_FILE_BY_GROUP,
    Design,
    latex_table,
    latex_table_by_group,
)
from helo.analysis.paper.images import write_images
from helo.analysis.paper.methods import render_methods
from helo.analysis.source import Source
from helo.analysis.statistics.equivalence import compare_practically
from helo.analysis.web.standalone import draw_figures, write_pages
from helo.errors import InputError, require_new
from helo.names import TableName
from helo.storage.atomic import whole_folder


def csv_tables(source: Source) -> dict[str, pd.DataFrame]:
    """Return the tables of a run by name. Tables that the run does not have are left out."""
    makers: dict[str, Callable[[], pd.DataFrame]] = {
        TableName.SUMMARY: lambda: source.summary,
        TableName.SUBJECTS: lambda: source.subjects,
        TableName.EMOTIONS: lambda: source.emotion_table,
        TableName.COMPARISONS: lambda: source.comparisons,
        TableName.FRIEDMAN: lambda: source.friedman,
        TableName.OPTIMISM: lambda: source.optimism,
        TableName.EQUIVALENCE: lambda: compare_practically(source.judged, source.objective),
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


def write_export(
    source: Source,
    folder: Path,
    on_step: Callable[[str], None] = lambda step: None,
    formats: Sequence[str] = (),
) -> list[str]:
    """Write the tables and figures of a run into a new folder, all of them or none.

    The folder gets a CSV file for each of `csv_tables`, ``estimates.tex``
    (see `helo.analysis.paper.estimates_table.latex_table`), the text of `helo.analysis.paper.methods.render_methods`
    with its references, and a folder ``figures`` with each figure as an HTML page and as the JSON of Plotly. A run with
    scores by group also has ``estimates_by_group.tex``.

    Parameters
    ----------
    source : Source
        The run.
    folder : pathlib.Path
        Path of the new folder.
    on_step : callable
        Called with the title of each figure before it is drawn.
    formats : sequence of str
        Formats of static images of the figures, see `helo.analysis.paper.images.FORMATS`.

    Returns
    -------
    list of str
        Names of the figures that the run has no data for.

    Raises
    ------
    InputError
        If `folder` exists or cannot be written, if the run has no cells, or if images need a Chromium that is missing.
    """
    folder = local_path(folder)
    require_new(folder, "--export")
    documents = _documents(source)
    try:
        with whole_folder(folder) as hidden:
            for name, table in csv_tables(source).items():
                write_csv(table, hidden / f"{name}.csv")
            for name, content in documents.items():
                (hidden / name).write_text(content, encoding="utf-8")
            (hidden / "figures").mkdir()
            figures, empty = draw_figures(source, on_step)
            texts = {name: (EXHIBITS[name].title, EXHIBITS[name].caption) for name in figures}
            write_pages(source.name, figures, hidden / "figures", texts)
            if formats:
                on_step(f"images ({', '.join(formats)})")
                write_images(figures, hidden / "figures", formats)
            return empty
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from None


def _documents(source: Source) -> dict[str, str]:
    """Return the texts of an export by the name of their file."""
    design = Design(source.objective, source.manifest.protocol or "", source.folds)
    # Where the space lists variants, tests are of the first one, which is no row of the table.
    tested = None if source.variants else source.comparisons
    documents = {LATEX_FILE: latex_table(source.summary, tested, design), **render_methods(source)}
    if len(source.summary_by_group):
        documents[LATEX_FILE_BY_GROUP] = latex_table_by_group(source.summary_by_group, design)
    return documents
