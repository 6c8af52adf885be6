r"""A bound on the loss of a new person: split-conformal prediction from the test subjects.

:math:`l_1, …, l_n` are the losses of n test subjects, each predicted by models that have not seen the subject. If a new
person comes from the same population, its loss is equally likely to have each of the n + 1 ranks, so that it is at most
the :math:`\lceil (n + 1)(1 - α) \rceil`-th smallest loss with a probability of at least :math:`1 - α`, whatever the
distribution of losses. The bound holds on average over studies. Models of different folds share training subjects and
differ a little; that the bound still holds there is checked on simulated people, not proved.

V. Vovk et al., "Algorithmic Learning in a Random World", 2005; J. Lei et al., "Distribution-Free Predictive Inference
for Regression", JASA 113, 2018.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

LEVEL: Final = 0.9
"""Probability of the bound. It needs at least 9 subjects; 0.95 would need 19."""


def loss_bound(losses: ArrayLike, level: float = LEVEL) -> float:
    """Return an upper bound on the loss of a new person.

    Parameters
    ----------
    losses : array-like of shape (subjects,)
        Losses of the test subjects: lower is better.
    level : float
        Probability that the loss of a new person is at most the bound.

    Returns
    -------
    float
        Bound; NaN if a loss is NaN or if there are too few subjects for `level`.

    Examples
    --------
    >>> loss_bound([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    0.9
    >>> loss_bound([0.1, 0.2, 0.3])
    nan
    """
    values = np.sort(np.asarray(losses, dtype=float))
    rank = math.ceil((len(values) + 1) * level - 1e-9)
    if np.isnan(values).any() or rank > len(values):
        return float("nan")
    return float(values[rank - 1])


def fewest_subjects(level: float = LEVEL) -> int:
    """Return the number of subjects from which on there is a bound.

    >>> fewest_subjects(), fewest_subjects(0.95)
    (9, 19)
    """
    return math.ceil(level / (1 - level) - 1e-9)
