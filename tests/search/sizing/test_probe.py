"""What a probe tries: the largest configuration for memory, ordinary ones for time."""

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
from helo.search.sizing.probe import SAMPLES, largest, measure, samples, thinned
from helo.settings import TrainingSettings

ROOT = Path(__file__).parents[3]


def test_the_largest_configuration_of_full() -> None:
    params = largest(load_space("full"))
    assert (params["width"], params["heads"], params["attention_depth"], params["batch_size"]) == (128, 8, 6, 256)
    Configuration.from_params(params)


@pytest.mark.parametrize("name", ["demo", "small", "full"])
def test_samples_are_configurations_of_the_space(name: str) -> None:
    space = load_space(name)
    found = samples(space, seed=1)
    assert len({params["learning_rate"] for params in found}) == SAMPLES
    for params in found:
        assert all(entry.contains(params[searched]) for searched, entry in space.searched.items())
    assert found == samples(space, seed=1)


def test_variants_are_tried_as_they_are_listed() -> None:
    space = load_space("ablation")
    params = [space.full_params(values) for values in space.variants.values()]
    assert largest(space) in params
    assert largest(space)["transport"] == "fused"
    assert all(found in params for found in samples(space, seed=1))


def test_the_largest_of_variants_is_one_of_them() -> None:
    variants = {"wide": {"width": 30, "heads": 3}, "heads": {"width": 16, "heads": 4}}
    space = parse_space({"variants": variants}, "here", "two")
    assert (largest(space)["width"], largest(space)["heads"]) == (30, 3)


def test_measure_says_time_and_memory() -> None:
    data = simulate(subjects=4, clips=2, windows=5, emotions=3)
    params = largest(load_space("demo"))
    found = measure(data, loso_folds(data.subject_names, 0)[0], params, TrainingSettings())
    assert 0 < found.seconds_per_epoch < 60
    assert found.memory > 50 * 2**20  # torch alone
    assert found.gpu_memory == found.gpu_total == 0


def test_of_a_large_dataset_some_windows_of_everyone_are_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = simulate(subjects=4, clips=2, windows=5, emotions=3)
    assert thinned(data) == (data, 1.0)
    monkeypatch.setattr("helo.search.sizing.probe.PROBED", 10)
    few, share = thinned(data)
    assert (len(few), share) == (10, 0.25)
    assert few.subject_names == data.subject_names


def test_a_script_without_a_guard_is_not_started_again(tmp_path: Path) -> None:
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
