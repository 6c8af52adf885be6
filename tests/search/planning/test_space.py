"""Tests of search spaces: bundled ones, and the messages about mistakes in a file."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from helo.configuration import DEFAULTS, PARAMETERS, Configuration
from helo.errors import InputError
from helo.search.planning.space import Choices, Range, Space, bundled_spaces, load_space, parse_space, read_space
from helo.search.planning.study import ConfigurationSampler

GOOD = "configurations: 4\nparameters: {dropout: {low: 0.1, high: 0.5}}\n"


def read(folder: Path, text: str) -> Space:
    path = folder / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return read_space(path)


def message(folder: Path, text: str) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, text)
    text_of_error = str(caught.value)
    assert "\n" not in text_of_error
    assert text_of_error.startswith(f"{folder / 'own.yaml'}: ")
    return text_of_error


def test_demo_small_and_full_are_bundled() -> None:
    assert {"demo", "small", "full"} <= set(bundled_spaces())


@pytest.mark.parametrize("name", sorted(bundled_spaces()))
def test_corners_of_bundled_spaces_are_valid_configurations(name: str) -> None:
    space = load_space(name).resolve(windows=300)
    assert space.name == name
    assert space.about
    assert space.configurations >= 1
    ends = [(entry.low, entry.high) if isinstance(entry, Range) else entry.values for entry in space.searched.values()]
    for values in itertools.product(*ends):
        Configuration.from_params(space.full_params(dict(zip(space.searched, values, strict=True))))
    first = space.preset_values(0)
    assert first, "a bundled space should define its first configuration"
    Configuration.from_params(space.full_params(first))


def test_ranges_of_full_space() -> None:
    searched = load_space("full").searched
    assert searched["ot_entropy"] == Range(1e-3, 1.0, log=True, whole=False)
    assert searched["alignment_weight"] == Range(1e-3, 10.0, log=True, whole=False)
    assert searched["attention_depth"] == Range(1, 6, log=False, whole=True)


def test_space_from_a_file(tmp_path: Path) -> None:
    space = read(
        tmp_path,
        "name: mine\nabout: a try\nconfigurations: 7\nsampler: random\nobjective: cosine\n"
        "parameters:\n  ot_entropy: {low: 1e-3, high: 1, log: true}\n  attention_depth: {low: 1, high: 3}\n"
        "  width: {choices: [16, 32]}\n  epochs: 30\n  learning_rate: 1e-2\n"
        "first: {ot_entropy: 0.1, width: 32}\n",
    )
    assert space == Space(
        name="mine",
        about="a try",
        configurations=7,
        sampler="random",
        objective="cosine",
        searched={
            "ot_entropy": Range(1e-3, 1.0, True, False),
            "attention_depth": Range(1, 3, False, True),
            "width": Choices((16, 32)),
        },
        fixed={"epochs": 30, "learning_rate": 0.01},
        first={"ot_entropy": 0.1, "width": 32},
    )
    assert space.full_params({"width": 16}) == {**DEFAULTS, "epochs": 30, "learning_rate": 0.01, "width": 16}


def test_omitted_keys_have_defaults(tmp_path: Path) -> None:
    space = read(tmp_path, GOOD)
    assert (space.name, space.about, space.sampler, space.objective) == ("own", "", "tpe", "kl")
    assert space.first == {}
    assert space.fixed == {}


def test_as_dict_has_the_entries_of_the_file() -> None:
    plain = load_space("full").as_dict()
    assert plain["parameters"]["ot_entropy"] == {"low": 1e-3, "high": 1.0, "log": True}
    assert plain["parameters"]["width"] == {"choices": [16, 32, 64, 128]}
    assert plain["parameters"]["epochs"] == {"value": "auto"}
    assert plain["steps"] == 600
    assert load_space("full").resolve(2140).as_dict()["parameters"]["epochs"] == {"value": 18}
    assert "steps" not in load_space("full").resolve(2140).as_dict()


PARAMETER_MISTAKES = [
    ("{}", "parameters must map hyperparameters to ranges, choices or values"),
    ("[dropout]", "parameters must map hyperparameters to ranges, choices or values"),
    ("{ot_entropi: 0.1}", "did you mean 'ot_entropy'?"),
    ("{ot_entropi: 0.1}", f"known are {', '.join(PARAMETERS)}"),
    ("{patience: 8}", "own.yaml: patience was removed: all members train for all epochs"),
    ("{patience: auto}", "patience was removed: all members train for all epochs"),
    ("{patience: {low: 1, high: 9}}", "patience was removed: all members train for all epochs"),
    ("{dropout: 2}", "dropout must be a number from 0 to 0.9, got 2"),
    ("{dropout: .nan}", "dropout must be a number from 0 to 0.9, got nan"),
    ("{dropout: high}", "dropout must be a number from 0 to 0.9, got 'high'"),
    ("{dropout: true}", "dropout must be a number from 0 to 0.9, got True"),
    ("{dropout: }", "dropout must be a number from 0 to 0.9, got None"),
    ("{dropout: [0.1, 0.2]}", "dropout must be a number from 0 to 0.9, got [0.1, 0.2]"),
    ("{epochs: 2.5}", "epochs must be a whole number from 1 to 10000, got 2.5"),
    ("{dropout: {lo: 0.1, high: 0.2}}", "dropout: unknown key 'lo' (did you mean 'low'?)"),
    ("{dropout: {high: 0.2}}", "dropout: low is missing"),
    ("{dropout: {low: 0.2}}", "dropout: high is missing"),
    ("{dropout: {}}", "dropout: low is missing"),
    ("{dropout: {low: 0.1, high: 7}}", "dropout: high must be a number from 0 to 0.9, got 7"),
    ("{dropout: {low: 0.5, high: 0.1}}", "dropout: low < high must hold, got low 0.5 and high 0.1"),
    ("{dropout: {low: 0.5, high: 0.5}}", "dropout: low < high must hold, got low 0.5 and high 0.5"),
    ("{dropout: {low: 0, high: 0.5, log: true}}", "dropout: low > 0 must hold if log is true, got 0"),
    ("{dropout: {low: 0.1, high: 0.5, log: 10}}", "dropout: log must be true or false, got 10"),
    ("{dropout: {choices: [0.1], low: 0}}", "dropout: give either choices, or low and high"),
    ("{dropout: {choices: []}}", "dropout: choices must be a list of values, got []"),
    ("{dropout: {choices: 0.1}}", "dropout: choices must be a list of values, got 0.1"),
    ("{dropout: {choices: [0.1, 5]}}", "dropout: each choice must be a number from 0 to 0.9, got 5"),
    ("{dropout: {choices: [[0.1], 0.2]}}", "dropout: each choice must be a number from 0 to 0.9, got [0.1]"),
    ("{dropout: {choices: [0, 0.0]}}", "dropout: choices must differ, got [0, 0.0]"),
    ("{attention_depth: {low: 1, high: 2.5}}", "attention_depth: high must be a whole number from 0 to 12"),
    ("{width: {low: 8, high: 64}}", "width must be a value or choices"),
    ("{heads: {low: 1, high: 4}}", "heads must be a value or choices"),
]


@pytest.mark.parametrize(("parameters", "expected"), PARAMETER_MISTAKES)
def test_message_about_a_mistake_in_a_parameter(tmp_path: Path, parameters: str, expected: str) -> None:
    assert expected in message(tmp_path, f"configurations: 4\nparameters: {parameters}\n")


TOP_MISTAKES = [
    ("parameters: {dropout: 0.1}", "configurations must be a whole number of at least 1, got None"),
    (
        "configurations: 0\nparameters: {dropout: 0.1}",
        "configurations must be a whole number of at least 1, got 0",
    ),
    ("configurations: true\nparameters: {dropout: 0.1}", "at least 1, got True"),
    ("configurations: 1.5\nparameters: {dropout: 0.1}", "at least 1, got 1.5"),
    ("configurations: 4", "parameters must map hyperparameters to ranges, choices or values, got None"),
    (f"{GOOD}samplr: tpe", "unknown key 'samplr' (did you mean 'sampler'?)"),
    (f"{GOOD}1: tpe", "unknown key 1"),
    (f"{GOOD}sampler: grid", "sampler must be one of tpe, random, got 'grid'"),
    (f"{GOOD}sampler: [tpe]", "sampler must be one of tpe, random, got ['tpe']"),
    (
        f"{GOOD}objective: loss",
        "objective must be one of chebyshev, clark, canberra, kl, cosine, intersection",
    ),
    (f"{GOOD}objective: {{kl: 1}}", "objective must be one of chebyshev"),
    (f"{GOOD}first: [0.1]", "first must map hyperparameters to values, got [0.1]"),
    (f"{GOOD}first: {{dropuot: 0.1}}", "first: 'dropuot' is not searched (did you mean 'dropout'?)"),
    (f"{GOOD}first: {{epochs: 3}}", "first: 'epochs' is not searched"),
]


@pytest.mark.parametrize(("text", "expected"), TOP_MISTAKES)
def test_message_about_a_mistake_at_the_top_level(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in message(tmp_path, text)


@pytest.mark.parametrize("value", ["0.09", "0.51", "2", "high", ".nan", "true", "[0.2]"])
def test_value_in_first_outside_its_range_is_refused(tmp_path: Path, value: str) -> None:
    assert "first: dropout must lie in its range or choices under parameters, got" in message(
        tmp_path, f"{GOOD}first: {{dropout: {value}}}"
    )


def test_value_in_first_must_be_one_of_the_choices(tmp_path: Path) -> None:
    text = "configurations: 2\nparameters: {{width: {{choices: [16, 32]}}}}\nfirst: {{width: {}}}\n"
    assert read(tmp_path, text.format(32)).first == {"width": 32}
    assert "first: width must lie in its range or choices under parameters, got 24" in message(
        tmp_path, text.format(24)
    )


@pytest.mark.parametrize("value", [0.1, 0.5])
def test_range_includes_both_ends(tmp_path: Path, value: float) -> None:
    assert read(tmp_path, f"{GOOD}first: {{dropout: {value}}}").first == {"dropout": value}


def test_all_mistakes_are_in_one_line(tmp_path: Path) -> None:
    found = message(
        tmp_path,
        "configurations: 0\nsampler: grid\nobjective: loss\nfrist: {}\nparameters: {dropuot: 0.1, epochs: 0}\n",
    )
    for part in (
        "unknown key 'frist'",
        "configurations must",
        "sampler must",
        "objective must",
        "'dropuot'",
        "epochs must",
    ):
        assert part in found


@pytest.mark.parametrize(
    ("width", "heads", "expected"),
    [
        ("{choices: [16, 32]}", "{choices: [2, 3]}", "heads must divide width, got width 16 and heads 3"),
        ("{choices: [16, 30]}", "4", "heads must divide width, got width 30 and heads 4"),
        ("16", "{choices: [2, 32]}", "heads must divide width, got width 16 and heads 32"),
        ("30", "4", "heads must divide width, got width 30 and heads 4"),
    ],
)
def test_heads_must_divide_width_in_all_combinations(tmp_path: Path, width: str, heads: str, expected: str) -> None:
    text = f"configurations: 2\nparameters: {{width: {width}, heads: {heads}}}\n"
    assert expected in message(tmp_path, text)


def test_width_is_checked_against_the_default_heads(tmp_path: Path) -> None:
    assert "got width 15 and heads 2" in message(tmp_path, "configurations: 2\nparameters: {width: 15}\n")


def test_duplicate_key_is_refused(tmp_path: Path) -> None:
    assert "key 'dropout' is given twice" in message(
        tmp_path, "configurations: 4\nparameters:\n  dropout: 0.1\n  dropout: 0.2\n"
    )


@pytest.mark.parametrize("name", ["smal", "nosuch", "", "spaces/mine", "small.yml.bak"])
def test_unknown_space_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"unknown space .* are ablation, demo, full, small.*path of a \.yaml file"):
        load_space(name)


def test_message_about_unknown_space_suggests_the_closest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'small'"):
        load_space("smal")
    with pytest.raises(InputError, match="cannot be read"):
        load_space(str(tmp_path / "nowhere.yaml"))


# --- variants -----------------------------------------------------------------------------------

ABLATION = """
objective: chebyshev
parameters: {width: 16, alignment_weight: 2}
variants:
  whole model: {}
  no transport: {transport: none}
  no alignment: {alignment_weight: 0, epochs: 30}
"""


def test_variants_are_configurations_in_the_order_of_the_file(tmp_path: Path) -> None:
    space = read(tmp_path, ABLATION)
    assert space.configurations == 3
    assert list(space.variants) == ["whole model", "no transport", "no alignment"]
    whole = [space.full_params(space.preset_values(number) or {}) for number in range(3)]
    base = {**DEFAULTS, "width": 16, "alignment_weight": 2.0}
    assert whole == [base, base | {"transport": "none"}, base | {"alignment_weight": 0.0}]
    assert set(space.searched) == {
        "transport",
        "alignment_weight",
    }  # hyperparameters that are equal in all variants are fixed
    assert space.fixed == {"width": 16}


def test_sampler_returns_variants_in_the_order_of_the_file(tmp_path: Path) -> None:
    space = read(tmp_path, ABLATION)
    drawn = [ConfigurationSampler(space, 3, "shared").draw(number) for number in range(3)]
    assert drawn == [space.preset_values(number) for number in range(3)]


@pytest.mark.parametrize("name", sorted(bundled_spaces()))
def test_parse_space_inverts_as_dict(name: str) -> None:
    space = load_space(name)
    assert parse_space(json.loads(json.dumps(space.as_dict())), "manifest", name) == space


@pytest.mark.parametrize("head", ["", "parameters: {transport: linear}\n", "parameters: {}\n"])
def test_variants_do_not_need_parameters(tmp_path: Path, head: str) -> None:
    """A space whose parameters are all changed by variants must survive `as_dict`, or its run could not be resumed."""
    space = read(tmp_path, head + "variants:\n  a:\n  b: {transport: none}\n")
    assert parse_space(json.loads(json.dumps(space.as_dict())), "manifest", space.name) == space
    assert list(space.variants.values()) == [{"transport": "linear"}, {"transport": "none"}]


def test_ablation_space_has_the_rows_of_the_paper() -> None:
    space = load_space("ablation")
    whole, *others = space.variants.values()
    assert (whole["transport"], whole["label_attention"], whole["modalities"]) == ("linear", "correlated", "both")
    changes = [{key: value for key, value in other.items() if value != whole[key]} for other in others]
    for change in (
        {"transport": "none"},
        {"label_attention": "none"},
        {"alignment_weight": 0.0},
        {"modalities": "physiological"},
        {"modalities": "behavioural"},
    ):
        assert change in changes
    assert all(len(change) == 1 for change in changes)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("{transport: none}", "{transport: nothing}", "variant 'no transport': transport must be one of linear"),
        ("{transport: none}", "{patience: 3}", "variant 'no transport': patience was removed: all members train for"),
        ("{transport: none}", "{transpart: none}", "did you mean 'transport'?"),
        ("{transport: none}", "{}", "variant 'no transport': is the same model as 'whole model'"),
        ("{transport: none}", "none", "variant 'no transport' must map hyperparameters to values, got 'none'"),
        ("{transport: none}", "{heads: 3}", "variant 'no transport': heads must divide width"),
        ("{transport: none}", "{dropout: {low: 0, high: 0.5}}", "variant 'no transport': dropout must be a value"),
        ("{transport: none}", "{ot_alpha: 0.9}", "variant 'no transport': ot_alpha acts only where transport is fused"),
        ("{transport: none}", "{modalities: physiological, ot_entropy: 1}", "ot_entropy acts only where there is"),
        ("  no transport:", "  no:", "a name must be text (put it in quotes if necessary), got False"),
        ("  no transport:", "  1:", "a name must be text (put it in quotes if necessary), got 1"),
        ("  no transport:", "  ' ':", "a name must be text (put it in quotes if necessary), got ' '"),
        ("objective: chebyshev", "configurations: 3", "configurations cannot be given together with variants"),
        ("objective: chebyshev", "sampler: tpe", "sampler cannot be given together with variants"),
        ("objective: chebyshev", "objective: cheb", "objective must be one of"),
        (
            "width: 16",
            "width: {choices: [16, 32]}",
            "parameters must be single values if there are variants, got a range or choices for width",
        ),
        (
            "  no transport: {transport: none}\n  no alignment: {alignment_weight: 0, epochs: 30}\n",
            "",
            "variants must be at least two",
        ),
    ],
)
def test_message_about_a_mistake_in_variants(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in ABLATION
    with pytest.raises(InputError, match=re.escape(expected)):
        read(tmp_path, ABLATION.replace(old, new))


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("{ot_alpha: {low: 0, high: 1}}", "ot_alpha acts only where transport is fused"),
        ("{transport: none, ot_entropy: {low: 0.1, high: 1}}", "ot_entropy acts only where there is"),
        ("{label_attention: none, alignment_weight: {low: 0.1, high: 1}}", "acts only where there is label attention"),
        (
            "{modalities: physiological, ot_entropy: {low: 0.1, high: 1}}",
            "ot_entropy acts only where there is transport",
        ),
        (
            "{transport: {low: 0, high: 1}}",
            "transport: must have choices, because its values are words and not numbers",
        ),
        ("{transport: {choices: [linear, liner]}}", "must be one of linear, gromov, fused, none, got 'liner'"),
        ("{transport: 1}", "transport must be one of linear"),
    ],
)
def test_hyperparameter_without_effect_is_refused(tmp_path: Path, parameters: str, expected: str) -> None:
    with pytest.raises(InputError, match=re.escape(expected)):
        read(tmp_path, f"configurations: 3\nparameters: {parameters}\n")


def test_words_can_be_searched(tmp_path: Path) -> None:
    text = "configurations: 3\nparameters: {transport: {choices: [fused, none]}, ot_alpha: {low: 0, high: 1}}\n"
    space = read(tmp_path, text)
    assert space.searched["transport"] == Choices(("fused", "none"))
    assert ConfigurationSampler(space, 0, "shared").draw(1)["transport"] in ("fused", "none")


# --- automatic batch and epochs -----------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(bundled_spaces()) - {"demo"}))  # the demo is for its own data
def test_batch_and_epochs_of_bundled_spaces_follow_from_the_data(name: str) -> None:
    space = load_space(name)
    assert {"batch_size", "epochs"} <= set(space.automatic)
    for windows in (160, 2_140, 800_000):
        resolved = space.resolve(windows)
        assert not resolved.automatic
        assert parse_space(json.loads(json.dumps(resolved.as_dict())), "manifest", name) == resolved


def test_small_has_enough_configurations_for_importance() -> None:
    assert load_space("small").configurations >= 12


def test_a_space_gives_its_steps(tmp_path: Path) -> None:
    text = "configurations: 2\nsteps: 90\nparameters: {batch_size: 32, epochs: auto}\n"
    space = read(tmp_path, text)
    assert (space.steps, space.automatic) == (90, ("epochs",))
    assert space.resolve(320).fixed == {"batch_size": 32, "epochs": 9}
    assert parse_space(json.loads(json.dumps(space.as_dict())), "here", "own") == space


def test_an_automatic_space_has_no_configurations_before_it_is_resolved() -> None:
    with pytest.raises(ValueError, match="must be resolved first: batch_size, epochs"):
        load_space("small").full_params({})


AUTO_MISTAKES = [
    ("parameters: {dropout: auto}", "dropout must be a number from 0 to 0.9, got 'auto'"),
    ("parameters: {batch_size: {choices: [auto, 64]}}", "batch_size: auto must be the only value, not part of a range"),
    ("parameters: {epochs: {low: auto, high: 64}}", "epochs: auto must be the only value, not part of a range"),
    (
        "parameters: {batch_size: {choices: [32, 64]}, epochs: auto}",
        "epochs: auto needs one value of batch_size for all configurations",
    ),
    ("steps: 300\nparameters: {epochs: 20}", "steps acts only with epochs: auto, got epochs: 20"),
    ("steps: 300\nparameters: {dropout: 0.1}", "steps acts only with epochs: auto"),
    ("steps: 0\nparameters: {epochs: auto}", "steps must be a whole number from 1 to 10000000, got 0"),
    ("steps: auto\nparameters: {epochs: auto}", "steps must be a whole number from 1 to 10000000, got 'auto'"),
]


@pytest.mark.parametrize(("text", "expected"), AUTO_MISTAKES)
def test_message_about_a_mistaken_auto(tmp_path: Path, text: str, expected: str) -> None:
    found = message(tmp_path, f"configurations: 4\n{text}\n")
    assert expected in found
    assert ";" not in found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("{epochs: 30}", "variant 'b': epochs: auto must hold for all variants, under parameters, got auto there"),
        ("{batch_size: 8}", "variant 'b': epochs: auto needs one value of batch_size for all configurations"),
    ],
)
def test_message_about_a_mistaken_auto_in_a_variant(tmp_path: Path, change: str, expected: str) -> None:
    found = message(tmp_path, f"parameters: {{epochs: auto}}\nvariants: {{a: {{}}, b: {change}}}\n")
    assert expected in found
    assert ";" not in found
