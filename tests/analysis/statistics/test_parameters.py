"""What was tried of each hyperparameter, and where it acts."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from helo.analysis.statistics.parameters import SearchedParameter, searched_parameters


def axes(columns: dict[str, list[Any]], parameters: dict[str, Any] | None = None) -> dict[str, SearchedParameter]:
    count = len(next(iter(columns.values())))
    table = pd.DataFrame({"configuration": range(count)} | {f"param_{name}": of for name, of in columns.items()})
    return {axis.name: axis for axis in searched_parameters(table, parameters or {})}


def test_inactive_parameters_are_left_out() -> None:
    found = axes(
        {
            "transport": ["linear", "fused", "fused", "none"],
            "ot_alpha": [0.1, 0.2, 0.3, 0.4],
            "ot_entropy": [1.0, 2.0, 3.0, 4.0],
            "alignment_weight": [1.0, 2.0, 3.0, 4.0],
            "label_attention": ["plain", "correlated", "none", "none"],
        }
    )
    assert found["ot_alpha"].values.to_dict() == {1: 0.2, 2: 0.3}
    assert found["ot_entropy"].values.index.tolist() == [0, 1, 2]
    assert found["alignment_weight"].values.index.tolist() == [0, 1]
    assert found["transport"].values.index.tolist() == [0, 1, 2, 3]


def test_parameters_constant_where_they_act_are_left_out() -> None:
    found = axes({"transport": ["linear", "linear", "fused"], "ot_alpha": [0.1, 0.2, 0.3]})
    assert set(found) == {"transport"}


def test_transport_does_not_act_without_both_modalities() -> None:
    found = axes({"modalities": ["both", "both", "behavioural"], "transport": ["linear", "none", "fused"]})
    assert found["transport"].choices == ("linear", "none")


def test_unknown_parameters_always_act() -> None:
    assert axes({"fusion": ["mean", "concat"]})["fusion"].choices == ("concat", "mean")


def test_scales_and_bounds() -> None:
    found = axes(
        {"learning_rate": [1e-3, 1e-2], "attention_depth": [1, 4], "width": [64.0, 16.0], "dropout": [0.0, 0.9]},
        {
            "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "attention_depth": {"low": 1, "high": 3},
            "width": {"choices": [16, 32, 64]},
            "dropout": {"low": 0.0, "high": 0.5, "log": True},
        },
    )
    assert (found["learning_rate"].low, found["learning_rate"].high, found["learning_rate"].log) == (1e-4, 1e-2, True)
    assert (found["attention_depth"].low, found["attention_depth"].high) == (1.0, 4.0)  # what was tried is inside
    assert found["attention_depth"].whole
    assert not found["learning_rate"].whole
    assert found["width"].choices == ("16", "64")
    assert found["width"].values.tolist() == ["64", "16"]
    assert math.isnan(found["width"].low)
    assert not found["dropout"].log  # 0 has no logarithm


def test_fixed_parameters_are_not_searched() -> None:
    found = axes(
        {"width": [16, 32], "heads": [1, 2], "dropout": [0.1, 0.2]},
        {"width": {"value": 16}, "heads": {"low": 1, "high": 4}},
    )
    assert {name: axis.defined for name, axis in found.items()} == {"width": False, "heads": True, "dropout": False}
