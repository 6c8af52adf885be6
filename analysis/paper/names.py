"""Names of estimates as they are printed."""

from __future__ import annotations

from typing import Final

from helo._text import make_printable
from helo.names import Estimate, Method

PRINTED: Final = {
    Estimate.PER_FOLD_SELECTION: "HeLo",
    Estimate.SINGLE_CONFIGURATION: "HeLo single",
    Estimate.ENSEMBLE: "HeLo ensemble",
    Estimate.ORACLE: "Oracle",
    Estimate.TRAIN_MEAN: "Train mean",
    Estimate.UNIFORM: "Uniform",
    Method.KNN: "AA-kNN",
    Method.MAX_ENTROPY: "Max. entropy",
    Method.RIDGE: "Ridge",
    Method.RANDOM_FOREST: "Random forest",
    Method.MLP: "MLP",
    Estimate.BEST_POSSIBLE: "Best possible",
}
"""Estimate → printed name."""

_LONGEST: Final = 40


def printed_name(estimate: str) -> str:
    """Return the printed name of an estimate. A method that a user added keeps its own name.

    >>> printed_name("train_mean"), printed_name("my_method")
    ('Train mean', 'my_method')
    """
    known: dict[str, str] = {str(name): shown for name, shown in PRINTED.items()}
    name = known.get(estimate, make_printable(estimate))
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
