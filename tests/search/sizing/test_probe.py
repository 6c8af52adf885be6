"""Tests of the probe: choice of configurations, measured cost, and use of a separate process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helo.configuration import Configuration
from helo.data import simulate
from helo.evaluation.folds import loso_folds
from helo.search.planning.space import load_space, parse_space
from helo.search.sizing.probe import (
    TIMED_CONFIGURATIONS,
    largest_configuration,
    measure_cell,
    sample_configurations,
    thin_dataset,
)
from helo.settings import TrainingSettings

ROOT = Path(__file__).parents[3]


def test_largest_configuration_of_full_space() -> None:
    params = largest_configuration(load_space("full").resolve(windows=2000))
    assert (params["width"], params["heads"], params["attention_depth"], params["batch_size"]) == (128, 8, 6, 64)
    Configuration.from_params(params)


@pytest.mark.parametrize("name", ["demo", "small", "full"])
def test_sampled_configurations_lie_in_the_space(name: str) -> None:
    space = load_space(name).resolve(windows=2000)
    found = sample_configurations(space, seed=1)
    assert len({params["learning_rate"] for params in found}) == TIMED_CONFIGURATIONS
    for params in found:
        assert all(entry.contains(params[searched]) for searched, entry in space.searched.items())
    assert found == sample_configurations(space, seed=1)


def test_only_listed_variants_are_probed() -> None:
    space = load_space("ablation").resolve(windows=2000)
    params = [space.full_params(values) for values in space.variants.values()]
    assert largest_configuration(space) in params
    assert largest_configuration(space)["transport"] == "fused"
    assert all(found in params for found in sample_configurations(space, seed=1))


def test_largest_configuration_is_one_of_the_variants() -> None:
    variants = {"wide": {"width": 30, "heads": 3}, "heads": {"width": 16, "heads": 4}}
    space = parse_space({"variants": variants}, "here", "two")
    assert (largest_configuration(space)["width"], largest_configuration(space)["heads"]) == (30, 3)


def test_measured_cost_has_seconds_and_memory() -> None:
    data = simulate(subjects=4, clips=2, windows=5, emotions=3)
    params = largest_configuration(load_space("demo").resolve(windows=30))
    found = measure_cell(data, loso_folds(data.subject_names, 0)[0], params, TrainingSettings())
    assert 0 < found.seconds_per_epoch < 60
    assert found.memory > 50 * 2**20  # torch alone
    assert found.gpu_memory == found.gpu_total == 0


def test_thinned_dataset_keeps_all_subjects(monkeypatch: pytest.MonkeyPatch) -> None:
    data = simulate(subjects=4, clips=2, windows=5, emotions=3)
    assert thin_dataset(data) == (data, 1.0)
    monkeypatch.setattr("helo.search.sizing.probe.MAX_WINDOWS", 10)
    few, share = thin_dataset(data)
    assert (len(few), share) == (10, 0.25)
    assert few.subject_names == data.subject_names


def test_new_process_does_not_import_the_script_of_the_caller(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "from helo.search.sizing.probe import in_own_process\n"
        "print(in_own_process(os.getpid) != os.getpid())\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
