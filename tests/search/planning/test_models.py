"""Models of a space: no model is trained twice, and a space that holds too few says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helo.configuration import acting
from helo.names import SearchProtocol, enum_values
from helo.search.planning.models import list_models, model_of, space_of_models
from helo.search.planning.outcome import Outcome
from helo.search.planning.planner import Planner
from helo.search.planning.space import Choices, Range, Space

FIXED = {"epochs": 2}
TRANSPORT = {"transport": Choices(("linear", "none", "fused")), "ot_alpha": Choices((0.0, 0.5, 1.0))}
WIDTHS = {"width": Choices((8, 16))}
SMALL = Space("small", 10, {**TRANSPORT, **WIDTHS}, FIXED)
BRANCHES = Space(
    "branches", 8, {"transport": Choices(("none", "linear")), "ot_entropy": Range(1e-3, 1.0, True, False)}, FIXED
)


def loss_of(params: Mapping[str, Any]) -> float:
    """A loss that is lowest for one model, to which TPE then returns."""
    return (params["transport"] != "none") + (params["width"] != 8) / 2


def search(
    space: Space,
    seed: int = 0,
    protocol: str = SearchProtocol.SHARED,
    most: int | None = None,
    before: tuple[Mapping[int, Any], Mapping[tuple[int, int], Outcome]] = ({}, {}),
) -> tuple[dict[int, Any], dict[tuple[int, int], Outcome]]:
    """Run at most `most` cells over three folds; return hyperparameters and outcomes, those from `before` included."""
    params, outcomes = dict(before[0]), dict(before[1])
    planner = Planner(space, 3, seed, protocol, recorded_params=params)
    planner.restore(outcomes)
    while (most is None or len(outcomes) < most) and (cell := planner.ask()) is not None:
        loss = loss_of(cell.params) + 0.01 * cell.fold
        params[cell.configuration] = dict(cell.params)
        outcomes[cell.configuration, cell.fold] = Outcome("completed", (2.0, 1.5, loss), loss)
        planner.tell(cell, outcomes[cell.configuration, cell.fold])
    return params, outcomes


def test_hyperparameters_without_effect_make_no_model() -> None:
    models = list_models(SMALL)
    assert models is not None
    assert len(models) == 2 * (1 + 1 + 3)
    for model, drawn in models.items():
        assert model_of(SMALL.full_params(drawn)) == model
        assert dict(model) == acting(SMALL.full_params(drawn))
    assert list_models(BRANCHES) is None
    assert list_models(Space("large", 3, {"epochs": Range(1, 10_001, False, True)})) is None


def test_a_space_with_too_few_models_says_so() -> None:
    space = space_of_models(Space("two", 8, WIDTHS, FIXED))
    assert space.configurations == 2
    assert space.left_out == (
        "the space holds 2 different models, fewer than the 8 configurations that were asked for",
    )
    assert space_of_models(space) == space
    for enough in (SMALL, BRANCHES, Space("two", 2, WIDTHS, FIXED)):
        assert space_of_models(enough) == enough
    listed = Space("listed", 2, WIDTHS, FIXED, sampler="listed", variants={"a": {"width": 8}, "b": {"width": 16}})
    assert space_of_models(listed) == listed


@pytest.mark.parametrize("protocol", enum_values(SearchProtocol))
@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("space", [SMALL, BRANCHES], ids=lambda space: space.name)
def test_no_model_is_trained_twice(space: Space, sampler: str, protocol: str) -> None:
    """Once, 7 of 8 configurations over two widths were the same model."""
    space = Space(space.name, space.configurations, space.searched, space.fixed, sampler=sampler)
    params, outcomes = search(space, protocol=protocol)
    by_study: dict[int, list[int]] = {}
    for configuration, _ in outcomes:
        by_study.setdefault(configuration % 3 if protocol == SearchProtocol.NESTED else 0, []).append(configuration)
    for configurations in by_study.values():
        models = [model_of(params[number]) for number in sorted(set(configurations))]
        assert len(models) == space.configurations
        assert len(set(models)) == len(models)


@settings(deadline=None, max_examples=10, derandomize=True)
@given(st.integers(0, 29), st.integers(0, 5), st.sampled_from([SMALL, BRANCHES]))
def test_an_interrupted_search_draws_the_same_models(most: int, seed: int, space: Space) -> None:
    whole = search(space, seed)
    interrupted = search(space, seed, most=most)
    assert search(space, seed, before=interrupted) == whole
    # Hyperparameters of configurations without a finished cell are not recorded.
    params, outcomes = search(space, seed, before=({}, interrupted[1]))
    assert ({**interrupted[0], **params}, outcomes) == whole
