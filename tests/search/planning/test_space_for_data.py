"""Search spaces on data of one kind: what is no longer searched, which variants are left out, and what is said."""

from __future__ import annotations

from typing import Any

import pytest

from helo.configuration import DEFAULTS, acting
from helo.errors import InputError
from helo.search.planning.space import Choices, Range, Space, bundled_spaces, load_space, parse_space
from helo.search.planning.space_for_data import space_for_roles
from helo.search.planning.study import ConfigurationSampler

ROLES = ["physiological", "behavioural"]
EPSILON = {"low": 0.01, "high": 1, "log": True}


def drawn(**parameters: Any) -> Space:
    return parse_space({"configurations": 4, "parameters": parameters}, "here", "own")


def listed(parameters: dict[str, Any] | None = None, **variants: Any) -> Space:
    return parse_space({"parameters": parameters or {"width": 8}, "variants": variants}, "here", "own")


@pytest.mark.parametrize("name", bundled_spaces())
def test_data_of_both_kinds_leave_a_space_unchanged(name: str) -> None:
    space = load_space(name)
    assert space_for_roles(space, ROLES) is space


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", bundled_spaces())
def test_bundled_spaces_on_data_of_one_kind(name: str, role: str) -> None:
    space = space_for_roles(load_space(name), [role, role]).resolve(windows=240)
    assert space.left_out
    for number in range(space.configurations):
        params = space.full_params(ConfigurationSampler(space, 0, "test").draw(number))
        assert (params["modalities"], params["transport"]) == (role, "none")
        assert set(space.searched) <= set(acting(params)) | {"alignment_weight"}
    assert space_for_roles(space, [role]) == space
    assert parse_space(space.as_dict(), "manifest", "unnamed") == space


def test_hyperparameters_of_the_transport_are_not_searched() -> None:
    space = parse_space(
        {
            "configurations": 4,
            "parameters": {
                "transport": {"choices": ["linear", "fused"]},
                "ot_entropy": EPSILON,
                "ot_alpha": 0.3,
                "width": {"choices": [8, 16]},
                "dropout": 0.2,
            },
            "first": {"ot_entropy": 0.1, "width": 16},
        },
        "here",
        "own",
    )
    found = space_for_roles(space, ["behavioural"])
    assert found.searched == {"width": Choices((8, 16))}
    assert found.first == {"width": 16}
    assert found.fixed == {"dropout": 0.2, "modalities": "behavioural", "transport": "none"}
    assert found.left_out == ("not searched, because without effect on such data: transport, ot_entropy",)


def test_roles_are_not_searched() -> None:
    found = space_for_roles(
        drawn(modalities={"choices": ["both", "behavioural"]}, width={"choices": [8, 16]}), ROLES[:1]
    )
    assert (list(found.searched), found.fixed["modalities"]) == (["width"], "physiological")
    assert found.left_out == ("not searched, because without effect on such data: modalities",)


@pytest.mark.parametrize("modalities", ["behavioural", {"choices": ["behavioural"]}])
def test_a_space_that_reads_the_other_role_only(modalities: Any) -> None:
    space = drawn(modalities=modalities, width={"choices": [8, 16]})
    assert space_for_roles(space, ["behavioural"]).fixed["modalities"] == "behavioural"
    with pytest.raises(InputError, match=r"^space own: modalities must be both or physiological, .* 'behavioural'$"):
        space_for_roles(space, ["physiological"])


def test_a_space_that_searches_the_transport_only() -> None:
    space = drawn(ot_entropy=EPSILON)
    with pytest.raises(InputError, match=r"^space own: searches only ot_entropy, without effect on data"):
        space_for_roles(space, ["physiological"])


def test_a_single_configuration_may_have_nothing_to_search() -> None:
    space = parse_space({"configurations": 1, "parameters": {"ot_entropy": EPSILON}}, "here", "own")
    assert space_for_roles(space, ["physiological"]).searched == {}


def test_other_searched_hyperparameters_stay() -> None:
    space = drawn(dropout={"low": 0.1, "high": 0.5})
    found = space_for_roles(space, ["physiological"])
    assert (found.searched, found.left_out) == ({"dropout": Range(0.1, 0.5, False, False)}, ())


def test_variants_that_are_left_out() -> None:
    found = space_for_roles(load_space("ablation"), ["physiological"])
    parts = ["no label attention", "no correlation bias", "no alignment loss"]
    recipe = ["features without encoding", "no linear model", "no subject offsets"]
    assert list(found.variants) == ["whole model", *parts, *recipe]
    assert found.configurations == 7
    assert set(found.searched) == {
        *("label_attention", "alignment_weight"),
        *("feature_encoding", "linear_share", "subject_offset"),
    }
    assert found.left_out == (
        "variants left out on such data: Gromov-Wasserstein transport, fused transport, no transport, "
        "physiological only (the same model as whole model); behavioural only (reads no physiological modality)",
    )


def test_the_reference_may_be_left_out() -> None:
    found = space_for_roles(
        listed(face={"modalities": "behavioural"}, low={"alignment_weight": 0}, plain={"label_attention": "none"}),
        ["physiological"],
    )
    assert list(found.variants) == ["low", "plain"]
    assert parse_space(found.as_dict(), "manifest", "unnamed") == found


def test_values_that_all_remaining_variants_share_are_kept() -> None:
    space = listed(
        wide={"width": 64},
        deep={"width": 64, "attention_depth": 3},
        face={"modalities": "behavioural", "width": 16},
    )
    found = space_for_roles(space, ["physiological"])
    assert list(found.searched) == ["attention_depth"]
    widths = [found.full_params(values)["width"] for values in found.variants.values()]
    assert widths == [64, 64]


def test_two_variants_must_remain() -> None:
    space = listed(whole={}, none={"transport": "none"}, face={"modalities": "behavioural"})
    with pytest.raises(
        InputError, match=r"^space own: variants must be at least two, .* but 1 remains .* whole\); face"
    ):
        space_for_roles(space, ["physiological"])


def test_values_of_a_variant_do_not_depend_on_the_transport() -> None:
    space = listed(
        {"ot_entropy": 0.3},
        whole={"transport": "fused", "ot_alpha": 0.2},
        sharp={"transport": "fused", "ot_alpha": 0.2, "ot_entropy": 0.01},
        wide={"width": 64},
    )
    found = space_for_roles(space, ["behavioural"])
    assert list(found.variants) == ["whole", "wide"]
    for values in found.variants.values():
        params = found.full_params(values)
        assert {params[name] == DEFAULTS[name] for name in ("ot_entropy", "ot_alpha")} == {True}
