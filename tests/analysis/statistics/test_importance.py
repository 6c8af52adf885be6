"""Which hyperparameters mattered, on cells where that is known."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from helo.analysis.statistics.configurations import adjusted_means, configurations_table
from helo.analysis.statistics.estimates import bootstrap_interval
from helo.analysis.statistics.importance import BIN_LEAST, LEAST, compute_importance, compute_marginal_effects
from helo.errors import InputError
from helo.metrics import METRICS

SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "dropout": {"low": 0.0, "high": 0.6, "log": False},
    "attention_depth": {"low": 1, "high": 3, "log": False},
    "transport": {"choices": ["linear", "fused"]},
    "ot_alpha": {"low": 0.0, "high": 1.0, "log": False},
    "epochs": {"value": 10},
}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def cells_of(rng: np.random.Generator, configurations: int = 60, folds: int = 6, nested: bool = False) -> pd.DataFrame:
    """Cells whose score depends on the learning rate, best at 1e-2, and on the fold; on nothing else."""
    n = configurations
    params = pd.DataFrame(
        {
            "configuration": np.arange(n),
            "param_learning_rate": 10 ** rng.uniform(-4, -1, n),
            "param_dropout": rng.uniform(0, 0.6, n),
            "param_attention_depth": rng.integers(1, 4, n),
            "param_transport": rng.choice(["linear", "fused"], n),
            "param_ot_alpha": rng.uniform(0, 1, n),
            "param_epochs": 10,
        }
    )
    c, f = (
        (np.arange(n), np.arange(n) % folds)
        if nested
        else (np.repeat(np.arange(n), folds), np.tile(np.arange(folds), n))
    )
    cells = params.iloc[c].reset_index(drop=True).assign(fold=[f"S{one}" for one in f], status="completed")
    score = 1 + (np.log10(cells["param_learning_rate"]) + 2) ** 2 + 5 * f + rng.normal(0, 0.05, len(c))
    for metric in METRICS:
        cells["val_" + metric] = cells["test_" + metric] = score
    return cells.assign(epochs=10, best_epoch=5)


@pytest.mark.parametrize("nested", [False, True])
def test_relevant_hyperparameters_are_most_important(rng: np.random.Generator, nested: bool) -> None:
    found = compute_importance(cells_of(rng, 120 if nested else 60, nested=nested), "kl", SPACE, nested)
    assert found["parameter"][0] == "learning_rate"
    assert found["share"].sum() == pytest.approx(1)
    assert found["share"].is_monotonic_decreasing
    first = found.iloc[0]
    assert first["share"] > first["noise"]
    assert first["low"] <= first["share"] <= first["high"]
    assert set(found["parameter"]) == set(SPACE) - {"epochs"}


def test_similarities_are_maximised(rng: np.random.Generator) -> None:
    """The learning rate's best values are few for one sign and many for the other, so the shares differ."""
    cells = cells_of(rng)
    cells["val_cosine"] = -cells["val_kl"]
    pd.testing.assert_frame_equal(compute_importance(cells, "kl", SPACE), compute_importance(cells, "cosine", SPACE))
    cells["val_cosine"] = cells["val_kl"]
    assert not compute_importance(cells, "kl", SPACE).equals(compute_importance(cells, "cosine", SPACE))


def test_noise_level_separates_effects_from_chance(rng: np.random.Generator) -> None:
    """Scores that depend on nothing leave the noise about once in twenty times."""
    above = []
    for _ in range(4):
        cells = cells_of(rng, configurations=30)
        cells["val_kl"] = rng.normal(size=30).repeat(6) + 0.01 * rng.normal(size=len(cells))
        found = compute_importance(cells, "kl", SPACE)
        above += (found["share"] > found["noise"]).tolist()
    assert np.mean(above) <= 0.3


def test_parameter_counts_only_where_it_acts(rng: np.random.Generator) -> None:
    """α is good where transport is fused; where it is linear, its values are all there is, and must not matter."""
    cells = cells_of(rng)
    fused = cells["param_transport"] == "fused"
    found = compute_importance(cells, "kl", SPACE).set_index("parameter")
    assert found.loc["ot_alpha", "configurations"] == cells[fused]["configuration"].nunique()
    assert found.loc["dropout", "configurations"] == 60
    idle = cells.assign(param_ot_alpha=cells["param_ot_alpha"].where(fused, 0.99))
    pd.testing.assert_frame_equal(compute_importance(idle, "kl", SPACE).set_index("parameter"), found)


def test_importance_is_reproducible_and_quiet(rng: np.random.Generator, caplog: pytest.LogCaptureFixture) -> None:
    cells = cells_of(rng, configurations=12)
    before = optuna.logging.get_verbosity()
    optuna.logging.enable_propagation()
    try:
        with warnings.catch_warnings(), caplog.at_level(logging.DEBUG, logger="optuna"):
            warnings.simplefilter("error")
            optuna.logging.set_verbosity(before)
            first = compute_importance(cells, "kl", SPACE)
    finally:
        optuna.logging.disable_propagation()
    assert not caplog.records
    assert optuna.logging.get_verbosity() == before
    pd.testing.assert_frame_equal(first, compute_importance(cells, "kl", SPACE))
    assert not first.equals(compute_importance(cells, "kl", SPACE, seed=1))


def test_one_subject_has_no_interval(rng: np.random.Generator) -> None:
    found = compute_importance(cells_of(rng, folds=1), "kl", SPACE)
    assert found[["low", "high"]].isna().all(axis=None)
    assert found["share"].notna().all()


def test_reason_for_missing_importance_is_reported(rng: np.random.Generator) -> None:
    cells = cells_of(rng, configurations=LEAST)
    with pytest.raises(InputError, match="at least 10 configurations with scores, got 9: too few to tell"):
        compute_importance(cells[cells["configuration"] < LEAST - 1], "kl", SPACE)
    infinite = cells.assign(val_kl=cells["val_kl"].where(cells["configuration"] > 0, np.inf))
    with pytest.raises(InputError, match="got 9"):
        compute_importance(infinite, "kl", SPACE)
    with pytest.raises(InputError, match="at least one searched hyperparameter, got none"):
        compute_importance(cells, "kl", {name: {"value": 1} for name in SPACE})  # as in a space that lists variants


def test_effects_of_choices_and_integers(rng: np.random.Generator) -> None:
    cells = cells_of(rng)
    table = configurations_table(cells, "kl", nested=False)
    found = compute_marginal_effects(table, "kl", SPACE).set_index(["parameter", "level"])
    means = adjusted_means(cells, "kl")["mean"]
    for column, level in (("param_transport", "linear"), ("param_attention_depth", 2)):
        mine = means[table[column].to_numpy() == level].to_numpy()
        row = found.loc[(column.removeprefix("param_"), str(level))]
        assert row["mean"] == pytest.approx(mine.mean())
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(bootstrap_interval(mine))
        assert row["configurations"] == len(mine)
    assert found.loc["attention_depth", "from"].tolist() == [1.0, 2.0, 3.0]
    assert found.loc["attention_depth", "to"].tolist() == [1.0, 2.0, 3.0]


def test_effects_of_numbers_are_binned_at_quantiles(rng: np.random.Generator) -> None:
    found = compute_marginal_effects(configurations_table(cells_of(rng), "kl", nested=False), "kl", SPACE)
    rates = found[found["parameter"] == "learning_rate"]
    assert rates["configurations"].tolist() == [12] * 5
    assert rates["to"].tolist()[:-1] == rates["from"].tolist()[1:]
    assert rates["mean"].idxmin() == rates.index[3]  # 1e-2 lies in the fourth fifth of 1e-4 to 1e-1
    assert found.loc[found["parameter"] == "ot_alpha", "configurations"].sum() < 60


def test_bin_edges_lie_halfway_on_the_scale_of_the_space() -> None:
    rates = [1e-4, 2e-4, 3e-4, 4e-4, 1e-2, 2e-2, 3e-2, 4e-2]
    table = pd.DataFrame(
        {"configuration": range(8), "param_learning_rate": rates, "adjusted_val_kl": [1.0] * 4 + [2.0] * 4}
    )
    found = compute_marginal_effects(table, "kl", SPACE)
    assert found["from"].tolist() == pytest.approx([1e-4, 2e-3])  # the root of 4e-4 times 1e-2
    assert found["to"].tolist() == pytest.approx([2e-3, 4e-2])
    assert found["mean"].tolist() == [1.0, 2.0]
    linear = compute_marginal_effects(table, "kl", {})
    assert linear["to"].tolist()[0] == pytest.approx(5.2e-3)
    assert len(compute_marginal_effects(table[: 2 * BIN_LEAST - 1], "kl", SPACE)) == 1
    left = compute_marginal_effects(table.assign(adjusted_val_kl=[np.inf] + [1.0] * 7), "kl", SPACE)
    assert left["configurations"].sum() == 7
