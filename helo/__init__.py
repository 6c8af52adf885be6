"""HeLo Search: leave-one-subject-out hyperparameter search of HeLo, an emotion-distribution model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from helo.fitted import FittedModel

__version__ = "0.1.0"
__all__ = ["load_model"]


def load_model(folder: Path | str) -> FittedModel:
    """Read a fitted model, such as ``RUN/model``; raise `helo.errors.InputError` for what is wrong in it.

    ``load_model("runs/wesad/model").predict("datasets/new")`` gives an emotion distribution for every window.
    """
    from helo.fitted import load_model as load  # torch takes seconds to import, and every command imports this module

    return load(folder)
