"""The label correlation against NumPy."""

from __future__ import annotations

import numpy as np

from helo.data.label_correlation import label_correlation


def test_label_correlation_agrees_with_numpy() -> None:
    labels = np.random.default_rng(0).dirichlet(np.ones(6), size=40)
    np.testing.assert_allclose(label_correlation(labels), np.corrcoef(labels.T), atol=1e-12)


def test_an_emotion_that_never_varies_correlates_with_itself_only() -> None:
    labels = np.array([[0.2, 0.5, 0.3], [0.2, 0.3, 0.5], [0.2, 0.1, 0.7]])
    expected = [[1, 0, 0], [0, 1, -1], [0, -1, 1]]
    np.testing.assert_allclose(label_correlation(labels), expected, atol=1e-12)


def test_one_window_has_no_correlation() -> None:
    np.testing.assert_array_equal(label_correlation(np.array([[0.2, 0.8]])), np.eye(2))
