"""Predict emotion distributions of new windows with a fitted model: ``python -m helo.predict``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from helo._cli import (
    EXIT_OK,
    CommandParser,
    add_common_options,
    path_argument,
    run_command,
)
from helo._text import make_printable
from helo.errors import InputError, require_new, shorten

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from helo.data.dataset import Signals
    from helo.training.fitted import FittedModel

PROG = "helo-predict"
FEW_WINDOWS = 10
"""Windows of a subject below which its mean and standard deviation are unreliable."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(prog=PROG, description="Predict emotion distributions with a fitted model.")
    add_common_options(parser)
    parser.add_argument("model", metavar="MODEL", help="folder or URI of a fitted model, such as RUN/model")
    parser.add_argument(
        "data",
        type=path_argument,
        metavar="DATASET",
        help="dataset directory, or a table (CSV, Parquet, Excel, SPSS or Stata); labels are not needed",
    )
    parser.add_argument(
        "--subject", metavar="COLUMN", help="column of the subject in a table (default: as in the table of the model)"
    )
    parser.add_argument(
        "--out",
        type=path_argument,
        required=True,
        metavar="FILE",
        help="file of predictions to write: .parquet or .csv",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``helo-predict`` and return its exit code."""
    arguments = build_parser().parse_args(argv)
    return run_command(PROG, lambda: _predict(arguments.model, arguments.data, arguments.out, arguments.subject))


def _predict(model_place: str, data: Path, out: Path, subject: str | None) -> int:
    if out.suffix not in (".parquet", ".csv"):
        raise InputError(f"{out}: must end in .parquet or .csv")
    require_new(out)
    if not out.parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}")
    from helo._csv import write_csv
    from helo.data.unlabelled import read_signals
    from helo.storage.atomic import whole_file
    from helo.training.fitted import load_model

    with whole_file(out) as hidden:  # opened first: a place that cannot be written is found before the work
        model = load_model(model_place)
        signals = read_signals(data, model.schema, subject)
        predicted, disagreement = model.predict(signals, return_disagreement=True)
        table = _table(signals, model.emotions, predicted, disagreement)
        if out.suffix == ".csv":
            write_csv(table, hidden)
        else:
            table.to_parquet(hidden, index=False)
    print(f"{out}: {len(signals)} windows of {len(signals.subject_names)} subjects, {len(model.emotions)} emotions")
    for note in _notes(signals, model):
        print(make_printable(note))
    return EXIT_OK


def _table(
    signals: Signals, emotions: Sequence[str], predicted: NDArray[np.float64], disagreement: NDArray[np.float64]
) -> pd.DataFrame:
    """Return a row per window: its number, subject, group, ``pred_<emotion>`` and the disagreement of the members."""
    import pandas as pd

    from helo.names import Column, Prefix

    table = pd.DataFrame({Column.WINDOW: range(len(signals)), Column.SUBJECT: signals.subjects})
    if signals.groups is not None:
        table[Column.GROUP] = signals.groups
    distributions = pd.DataFrame(predicted, columns=[Prefix.PREDICTED + name for name in emotions])
    return pd.concat([table, distributions, pd.Series(disagreement, name=Column.DISAGREEMENT)], axis=1)


def _notes(signals: Signals, model: FittedModel) -> list[str]:
    """Return notes on how reliable the predictions are."""
    import numpy as np

    from helo.names import Normalisation

    notes = []
    shared = [name for name in signals.subject_names if name in model.subjects]
    if shared:
        notes.append(
            f"the model was fitted to subjects with the same names: {shorten(shared)}. If they are the same people, "
            f"scores of these predictions do not show how well the model predicts new people{_where_scores_are(model)}"
        )
    if signals.missing:
        notes.append(f"missing signals: {signals.missing}")
    if model.normalise == Normalisation.SUBJECT:
        names, counts = np.unique(signals.subjects, return_counts=True)
        few = [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count < FEW_WINDOWS]
        if few:
            notes.append(
                f"features are scaled within each subject, and some subjects have few windows: {shorten(few)}; all "
                "features of a single window become 0"
            )
    far = model.far_windows(signals)
    if far:
        named = shorten(f"{name} ({count:,} windows)" for name, count in far.items())
        notes.append(f"far from all that the model was fitted to (another unit?): {named}")
    doubted = model.doubted_units(signals)
    if doubted:
        named = shorten(f"{name} ({reason})" for name, reason in doubted.items() if name not in far)
        if named:
            notes.append(f"in another unit than in the fit? {named}")
    if model.facts.get("epochs") == 0:  # Only models of version 0.1.0 can have no epochs.
        notes.append("the model predicts the mean label for every window: training did not improve on it in the search")
    return notes


def _where_scores_are(model: FittedModel) -> str:
    from helo.names import FileName

    return f" ({FileName.MODEL_DESCRIPTION} has out-of-fold scores)" if model.out_of_fold else ""


if __name__ == "__main__":
    sys.exit(main())
