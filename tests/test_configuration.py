"""Hyperparameters: bounds, types, and what an error says."""

from __future__ import annotations

import pytest

from helo.configuration import (
    DEFAULTS,
    PARAMETERS,
    REMOVED,
    Configuration,
    acting,
    configuration_problems,
    roles_read,
    single_role_note,
)
from helo.errors import InputError


def test_defaults_keep_the_rules() -> None:
    assert configuration_problems(DEFAULTS) == []
    assert Configuration().as_params() == DEFAULTS
    assert set(DEFAULTS) == set(PARAMETERS)


def test_round_trip() -> None:
    configuration = Configuration(width=16, ot_entropy=0.5)
    assert Configuration.from_params(configuration.as_params()) == configuration
    assert Configuration.from_params({"width": 16, "ot_entropy": 0.5}) == configuration


@pytest.mark.parametrize("name", [name for name, rule in PARAMETERS.items() if rule.words])
def test_a_word_is_one_of_its_words(name: str) -> None:
    rule = PARAMETERS[name]
    assert all(rule.problem(word) is None for word in rule.words)
    assert DEFAULTS[name] in rule.words
    for wrong in ("nothing", 1, None, True, rule.words[0].upper()):
        assert f"must be one of {', '.join(rule.words)}, got {wrong!r}" in str(rule.problem(wrong))
    assert "did you mean" in str(rule.problem(rule.words[0] + "s"))


@pytest.mark.parametrize("name", [name for name, rule in PARAMETERS.items() if not rule.words])
def test_bounds_are_allowed_and_what_lies_beyond_is_not(name: str) -> None:
    rule = PARAMETERS[name]
    step = 1 if rule.kind is int else 1e-9
    assert rule.problem(rule.kind(rule.low)) is None
    assert rule.problem(rule.kind(rule.high)) is None
    for beyond in (rule.kind(rule.low - step), rule.kind(rule.high + max(step, rule.high * 1e-9))):
        problem = rule.problem(beyond)
        assert problem is not None
        assert f"from {rule.low:g} to {rule.high:g}, got {beyond!r}" in problem


@pytest.mark.parametrize("value", ["3", None, True, float("nan"), float("inf"), [1]])
@pytest.mark.parametrize("name", ["width", "dropout"])
def test_what_is_no_number_is_refused(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{name} must be a"):
        Configuration.from_params({name: value})


def test_whole_numbers_stay_whole() -> None:
    with pytest.raises(InputError, match=r"epochs must be a whole number .* got 3\.0"):
        Configuration(epochs=3.0)  # type: ignore[arg-type]
    assert Configuration(alignment_weight=1).alignment_weight == 1


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        Configuration(width=0, dropout=1.0, ot_entropy=0.0)
    assert all(name in str(caught.value) for name in ("width", "dropout", "ot_entropy"))


def test_heads_divide_width() -> None:
    with pytest.raises(InputError, match="heads must divide width, got width 10 and heads 4"):
        Configuration(width=10, heads=4)


def test_a_removed_hyperparameter_in_a_stored_configuration_is_ignored() -> None:
    assert Configuration.from_params({"width": 16, "patience": 8}) == Configuration(width=16)
    assert not set(REMOVED) & set(PARAMETERS)


def test_an_unknown_name_gets_a_hint() -> None:
    with pytest.raises(InputError, match=r"'learning_rat' \(did you mean 'learning_rate'\?\)"):
        Configuration.from_params({"learning_rat": 0.1})


@pytest.mark.parametrize("role", ["physiological", "behavioural"])
def test_transport_does_not_act_on_modalities_of_one_role(role: str) -> None:
    selection = roles_read("both", [role, role])
    assert selection == role == roles_read(role, [role])
    without = {**DEFAULTS, "modalities": selection}
    assert set(DEFAULTS) - set(acting(without)) == {"transport", "ot_entropy", "ot_alpha"}
    assert acting(without) == acting({**without, "transport": "fused", "ot_entropy": 1.0, "ot_alpha": 0.1})
    assert roles_read("both", ["physiological", "behavioural"]) == "both"
    assert roles_read(role, ["physiological", "behavioural"]) == role


def test_a_role_that_the_data_lack_cannot_be_read() -> None:
    with pytest.raises(InputError, match=r"^modalities must be both or behavioural, because .*, got 'physiological'"):
        roles_read("physiological", ["behavioural"])


def test_only_data_of_one_role_have_a_note() -> None:
    assert single_role_note(iter(["physiological", "behavioural"])) is None
    assert single_role_note([]) is None
    assert single_role_note(iter(["behavioural"])) == "all modalities are behavioural, so transport is off"
