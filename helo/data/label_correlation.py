"""Correlation between emotion labels, to which HeLo aligns its label embeddings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def label_correlation(labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Pearson correlation between emotions over windows.

    The correlation of a constant emotion is undefined; it is set to 0, and to 1 with itself.

    Parameters
    ----------
    labels
        Emotion distributions (N, E).

    Returns
    -------
    ndarray
        Correlation matrix (E, E), with values from -1 to 1.

    Examples
    --------
    >>> label_correlation(np.array([[0.2, 0.8, 0.0], [0.6, 0.4, 0.0]])).round(6).tolist()
    [[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    centred = labels - labels.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    varies = spread > 1e-9
    scaled = np.divide(centred, spread, out=np.zeros_like(centred), where=varies)
    correlation: NDArray[np.float64] = np.clip(scaled.T @ scaled / len(labels), -1, 1)
    np.fill_diagonal(correlation, 1.0)
    return correlation
