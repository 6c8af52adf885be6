"""Batch and epochs that the number of training windows determines: the value ``auto``.

Training needs a number of optimisation steps that depends little on the size of a table. A fixed number of epochs is
therefore wrong for most tables: with batches of 256, 16 epochs are 16 steps for 240 windows and 50,000 steps for
800,000 windows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from helo.configuration import DEFAULTS

AUTO: Final = "auto"
"""Value of a hyperparameter of `AUTOMATIC` that the number of training windows determines."""

AUTOMATIC: Final = ("batch_size", "epochs")
"""Hyperparameters that may be `AUTO`. Each one needs the values of those before it."""

STEPS: Final = 300
"""Training steps of a model."""

SHORT_EPOCH, LONG_EPOCH = 32, 400
"""Steps of an epoch. Batches of up to `USUAL_BATCH` windows give short epochs, larger ones give long epochs."""

SMALLEST_BATCH, USUAL_BATCH, LARGEST_BATCH = 16, 256, 4096
"""Windows of a batch. Smaller batches have noisy gradients, and larger ones save no time."""

MIN_EPOCHS = 4
"""Smallest number of epochs. An epoch is the interval between two validations, and cells are compared after a quarter
and a half of the epochs of their first members."""

MAX_EPOCHS = 1000
"""Largest number of epochs. Each epoch scores the validation windows and adds a row to the record of the cell."""


class Budget(NamedTuple):
    """Length of the training of one model.

    Attributes
    ----------
    batch_size : int
        Windows of a batch.
    steps_per_epoch : int
        Training steps of an epoch.
    epochs : int
        Number of epochs.
    """

    batch_size: int
    steps_per_epoch: int
    epochs: int

    @property
    def steps(self) -> int:
        """Number of training steps."""
        return self.steps_per_epoch * self.epochs


def training_budget(
    windows: int, batch_size: int | None = None, epochs: int | None = None, steps: int = STEPS
) -> Budget:
    """Return the batch and the epochs for a number of training windows.

    The batch is the power of two nearest to a 32nd of the windows, from 16 to 256, so that an epoch has about 32
    steps. From 100,000 windows on it is the power of two nearest to a 400th of the windows, up to 4096, so that an
    epoch has a few hundred steps. The epochs are as many as `steps` need, and at least 4. With few windows the
    steps decide. From 20,000 windows on the 4 epochs decide: a model that sees more data trains for more steps, but
    sees each window no more than four times.

    Parameters
    ----------
    windows : int
        Number of training windows, at least 1.
    batch_size, epochs : int, optional
        Given values, which are kept.
    steps : int
        Number of training steps that the epochs should have together.

    Returns
    -------
    Budget

    Examples
    --------
    >>> for windows in (12, 200, 312, 2_140, 20_000, 100_000, 1_000_000):
    ...     budget = training_budget(windows, steps=300)
    ...     print(f"{windows:9,}: {budget.batch_size:4} × {budget.steps_per_epoch:3} × {budget.epochs:3}", budget.steps)
           12:   16 ×   1 × 300 300
          200:   16 ×  13 ×  24 312
          312:   16 ×  20 ×  15 300
        2,140:   64 ×  34 ×   9 306
       20,000:  256 ×  79 ×   4 316
      100,000:  256 × 391 ×   4 1564
    1,000,000: 2048 × 489 ×   4 1956
    >>> training_budget(240, batch_size=256, epochs=16).steps
    16
    """
    if batch_size is None:
        usual = min(max(windows / SHORT_EPOCH, SMALLEST_BATCH), USUAL_BATCH)
        batch_size = 2 ** round(math.log2(min(max(usual, windows / LONG_EPOCH), LARGEST_BATCH)))
    steps_per_epoch = math.ceil(windows / batch_size)
    if epochs is None:
        epochs = min(max(math.ceil(steps / steps_per_epoch), MIN_EPOCHS), MAX_EPOCHS)
    return Budget(batch_size, steps_per_epoch, epochs)


def resolve_automatic(params: Mapping[str, Any], windows: int, steps: int = STEPS) -> dict[str, Any]:
    """Return hyperparameters with numbers in place of `AUTO`.

    Parameters
    ----------
    params : mapping
        Hyperparameters with all names of `AUTOMATIC`.
    windows : int
        Number of training windows.
    steps : int
        Number of training steps for automatic epochs.

    Returns
    -------
    dict

    Examples
    --------
    >>> resolve_automatic({"batch_size": "auto", "epochs": "auto"}, windows=240)
    {'batch_size': 16, 'epochs': 20}
    """
    given = {name: None if params[name] == AUTO else params[name] for name in AUTOMATIC}
    budget = training_budget(windows, given["batch_size"], given["epochs"], steps)
    return {**params, "batch_size": budget.batch_size, "epochs": budget.epochs}


def with_defaults_for_auto(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return hyperparameters with defaults in place of `AUTO`, to check the others before the windows are known."""
    return {name: DEFAULTS[name] if name in AUTOMATIC and value == AUTO else value for name, value in params.items()}
