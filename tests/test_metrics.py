"""The six measures against SciPy, and the properties that hold for any pair of distributions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.spatial import distance
from scipy.special import rel_entr
from scipy.stats import entropy

from helo.metrics import KL_FLOOR, METRICS, mean_scores, mean_scores_by_group, subject_scores, window_scores

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """Two sets of distributions of the same shape; zeros are common."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(2, 6)))
    weights = st.one_of(st.just(0.0), st.floats(1e-6, 1.0))
    both = draw(arrays(np.float64, (2, *shape), elements=weights))
    both[..., 0] += 1e-3  # not a row of zeros only
    d, p = both / both.sum(axis=-1, keepdims=True)
    return d, p


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    d, p = generator.dirichlet(np.full(7, 0.7), size=(2, 20))
    scores = window_scores(d, p)
    for row, (a, b) in enumerate(zip(d, p, strict=True)):
        assert scores["chebyshev"][row] == pytest.approx(distance.chebyshev(a, b))
        assert scores["canberra"][row] == pytest.approx(distance.canberra(a, b))
        assert scores["cosine"][row] == pytest.approx(1 - distance.cosine(a, b))
        assert scores["kl"][row] == pytest.approx(entropy(a, b))
        assert scores["kl"][row] == pytest.approx(rel_entr(a, b).sum())
        assert scores["clark"][row] == pytest.approx(np.linalg.norm((a - b) / (a + b)))
        assert scores["intersection"][row] == pytest.approx(1 - distance.cityblock(a, b) / 2)


def test_returns_the_measures_by_name_in_order() -> None:
    scores = window_scores([[0.5, 0.5]], [[0.5, 0.5]])
    assert tuple(scores) == tuple(METRICS)
    assert all(values.shape == (1,) and values.dtype == np.float64 for values in scores.values())


@settings(max_examples=50, deadline=None)
@given(pairs())
def test_a_perfect_prediction(pair: Pair) -> None:
    d, _ = pair
    for name, values in window_scores(d, d).items():
        assert values == pytest.approx(1.0 if METRICS[name].higher_is_better else 0.0, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(pairs())
def test_bounds(pair: Pair) -> None:
    d, p = pair
    emotions = d.shape[1]
    highest = {
        "chebyshev": 1.0,
        "clark": emotions**0.5,
        "canberra": emotions,
        "kl": -np.log(KL_FLOOR),
        "cosine": 1.0,
        "intersection": 1.0,
    }
    for name, values in window_scores(d, p).items():
        assert np.all(values >= -1e-9), name
        assert np.all(values <= highest[name] + 1e-9), name


@settings(max_examples=50, deadline=None)
@given(pairs(), st.randoms(use_true_random=False))
def test_the_order_of_emotions_does_not_matter(pair: Pair, random: object) -> None:
    d, p = pair
    order = list(range(d.shape[1]))
    random.shuffle(order)  # type: ignore[attr-defined]
    before, after = window_scores(d, p), window_scores(d[:, order], p[:, order])
    for name in METRICS:
        assert after[name] == pytest.approx(before[name], abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(pairs())
def test_all_but_kl_are_symmetric(pair: Pair) -> None:
    forth, back = window_scores(*pair), window_scores(*reversed(pair))
    for name in set(METRICS) - {"kl"}:
        assert back[name] == pytest.approx(forth[name])


def test_zeros_on_both_sides_count_nothing() -> None:
    short = window_scores([[0.5, 0.5]], [[0.25, 0.75]])
    padded = window_scores([[0.5, 0.5, 0.0]], [[0.25, 0.75, 0.0]])
    for name in METRICS:
        assert padded[name] == pytest.approx(short[name])


def test_a_reported_zero_adds_one_to_canberra_and_nothing_to_kl() -> None:
    scores = window_scores([[1.0, 0.0]], [[0.5, 0.5]])
    assert scores["canberra"] == pytest.approx(1 / 3 + 1)
    assert scores["kl"] == pytest.approx(np.log(2))


def test_a_confident_mistake_is_clipped() -> None:
    scores = window_scores([[1.0, 0.0]], [[0.0, 1.0]])
    assert scores["kl"] == pytest.approx(-np.log(KL_FLOOR))
    assert scores["chebyshev"] == 1
    assert scores["cosine"] == 0
    assert scores["intersection"] == 0


def test_arithmetic_is_float64() -> None:
    d = np.array([[0.1, 0.9]])
    p = np.array([[0.1, 0.9]], dtype=np.float32)
    assert 0 < window_scores(d, p)["chebyshev"][0] < 1e-7


GOOD = [[0.5, 0.5], [0.2, 0.8]]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([0.5, 0.5], "must have shape"),
        (np.empty((0, 2)), "must have shape"),
        (np.empty((2, 0)), "must have shape"),
        ([[0.5, 0.5], [np.nan, 0.5]], "must be finite; row 1"),
        ([[0.5, 0.5], [np.inf, 0.5]], "must be finite; row 1"),
        ([[0.5, 0.5], [1.5, -0.5]], "must not be negative; row 1"),
        ([[0.5, 0.5], [0.5, 0.6]], r"must sum to 1; row 1 sums to 1\.1"),
    ],
)
def test_what_is_no_distribution_is_refused(bad: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"reported {message}"):
        window_scores(bad, GOOD)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"predicted {message}"):
        window_scores(GOOD, bad)  # type: ignore[arg-type]


def test_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"same shape, got \(2, 2\) and \(1, 2\)"):
        window_scores(GOOD, [[0.5, 0.5]])


def test_subjects_count_the_same_however_many_windows_they_have() -> None:
    d = np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    p = np.full((4, 2), 0.5)
    p[0] = [1.0, 0.0]
    p[3] = [0.0, 1.0]
    who = np.array(["a", "a", "a", "b"])
    by_subject = subject_scores(d, p, who)
    assert list(by_subject) == ["a", "b"]
    assert by_subject["a"]["chebyshev"] == pytest.approx((0 + 0.5 + 0.5) / 3)
    assert by_subject["b"]["chebyshev"] == 0
    assert mean_scores(d, p, who)["chebyshev"] == pytest.approx((1 / 3 + 0) / 2)
    assert mean_scores(d, p, who)["chebyshev"] != pytest.approx(window_scores(d, p)["chebyshev"].mean())


def test_rows_of_a_subject_may_be_scattered() -> None:
    generator = np.random.default_rng(0)
    d, p = generator.dirichlet(np.ones(4), size=(2, 9))
    who = np.array(["a", "b", "c"] * 3)
    order = np.argsort(who, kind="stable")
    shuffled, sorted_ = mean_scores(d, p, who), mean_scores(d[order], p[order], who[order])
    assert shuffled == pytest.approx(sorted_)


def test_subjects_must_match_the_rows() -> None:
    with pytest.raises(ValueError, match=r"subjects must have shape \(2,\), got \(3,\)"):
        subject_scores(GOOD, GOOD, np.array(["a", "b", "c"]))


def test_scores_by_group_agree_with_pandas() -> None:
    """Groups of different size, with scattered rows and names that subjects share; one subject lacks a group."""
    generator = np.random.default_rng(1)
    names = [("a", "x")] * 5 + [("a", "y")] + [("b", "x")] * 2 + [("b", "z")] * 3 + [("c", "y")] * 4
    order = generator.permutation(len(names))
    who, where = np.array(names)[order].T
    d, p = generator.dirichlet(np.ones(4), size=(2, len(names)))
    table = pd.DataFrame(np.hstack([d, p])).groupby([who, where]).mean()
    by_metric = pd.DataFrame(window_scores(table.iloc[:, :4], table.iloc[:, 4:]), index=table.index)
    expected = by_metric.groupby(level=0).mean().mean().to_dict()
    assert mean_scores_by_group(d, p, who, where) == pytest.approx(expected)
    assert mean_scores(d, p, who) != pytest.approx(expected)


def test_scores_by_group_of_single_windows_are_those_of_the_windows() -> None:
    generator = np.random.default_rng(2)
    d, p = generator.dirichlet(np.ones(4), size=(2, 6))
    who, where = np.array(["a", "b"] * 3), np.array(["x", "x", "y", "y", "z", "z"])
    assert mean_scores_by_group(d, p, who, where) == pytest.approx(mean_scores(d, p, who))


def test_scores_by_group_need_a_distribution_and_a_group_for_each_row() -> None:
    who = np.array(["a", "a"])
    with pytest.raises(ValueError, match=r"groups must have shape \(2,\), got \(1,\)"):
        mean_scores_by_group(GOOD, GOOD, who, np.array(["x"]))
    with pytest.raises(ValueError, match="predicted must sum to 1; row 0"):  # although the average would
        mean_scores_by_group(GOOD, [[0.5, 0.4], [0.5, 0.6]], who, who)


@pytest.mark.parametrize("metric", METRICS)
def test_a_better_prediction_has_a_lower_loss(metric: str) -> None:
    d, near, far = [[0.7, 0.2, 0.1]], [[0.65, 0.25, 0.1]], [[0.1, 0.2, 0.7]]
    near_loss = METRICS[metric].loss(window_scores(d, near)[metric][0])
    far_loss = METRICS[metric].loss(window_scores(d, far)[metric][0])
    assert near_loss < far_loss
