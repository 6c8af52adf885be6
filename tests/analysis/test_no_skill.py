"""Where there is nothing to find, the verdict says so; where there is something, it says that."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helo.analysis.statistics.estimates import subject_scores
from helo.analysis.wording import verdict
from helo.configuration import Configuration
from helo.data import Dataset, simulate
from helo.evaluation.baselines.table import baselines_table
from helo.evaluation.folds import loso_folds
from helo.metrics import METRICS
from helo.names import Estimate, Status
from helo.run.ledger import CellRecord, rows_of
from helo.run.tables import cells_table
from helo.settings import TrainingSettings
from helo.training.cell import train_cell

SUBJECTS = 15
TABLES = 400
SHUFFLES = int(os.environ.get("HELO_TEST_SHUFFLES", "3"))
"""How many runs with shuffled labels are trained: 20 take two minutes."""


def says_skill(sentences: str) -> bool:
    """A verdict is one of two things, and never both."""
    shown = sentences.startswith("Skill is shown")
    assert shown != ("no skill" in sentences.lower())
    return shown


def score_table(rng: np.random.Generator, gain: float, spread: float, heavy: bool) -> pd.DataFrame:
    """KL of the train mean and of a search that differs from it by `gain` and noise."""
    level = rng.uniform(0.1, 0.5, SUBJECTS)
    noise = rng.standard_t(2, SUBJECTS) if heavy else rng.normal(size=SUBJECTS)
    folds = [f"S{number}" for number in range(SUBJECTS)]
    parts = [(Estimate.TRAIN_MEAN, level), (Estimate.PER_FOLD_SELECTION, level - gain + spread * noise)]
    return pd.concat(
        pd.DataFrame({"estimate": name, "fold": folds, **dict.fromkeys(METRICS, values)}) for name, values in parts
    )


@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "heavy tails"])
def test_noise_has_a_false_positive_rate_of_at_most_one_in_forty(heavy: bool) -> None:
    """Two-sided p < 0.05 lets chance through in 1 of 40 on the good side: 400 tables, three standard errors."""
    rng = np.random.default_rng(11)
    shown = sum(says_skill(verdict(score_table(rng, 0, 0.05, heavy), "kl")) for _ in range(TABLES))
    assert shown / TABLES <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / TABLES)
    assert shown > 0  # the test is no wall: chance gets through now and then


def test_real_difference_is_detected() -> None:
    """A gain as large as its standard deviation over 15 subjects: a t test would see it in 94 of 100 tables."""
    rng = np.random.default_rng(12)
    shown = sum(says_skill(verdict(score_table(rng, 0.05, 0.05, False), "kl")) for _ in range(200))
    assert shown >= 0.85 * 200


def test_a_search_that_is_worse_has_no_skill() -> None:
    rng = np.random.default_rng(13)
    verdicts = [verdict(score_table(rng, -0.1, 0.05, False), "kl") for _ in range(20)]
    assert not any(map(says_skill, verdicts))
    assert all(sentences.startswith("Worse than the train mean, so no skill") for sentences in verdicts)


# --- real runs


def shuffled(dataset: Dataset, seed: int) -> Dataset:
    """The same windows, each with the label of any other: signals say nothing of labels."""
    order = np.random.default_rng(seed).permutation(len(dataset.labels))
    return replace(dataset, labels=dataset.labels[order], best_possible=None)


def searched(dataset: Dataset, seed: int) -> pd.DataFrame:
    """The subject scores of a run of three small configurations on every fold."""
    folds = loso_folds(dataset.subject_names, seed, inner_folds=2)
    records = []
    for number, rate in enumerate((0.003, 0.01, 0.03)):
        params = {"width": 8, "heads": 2, "epochs": 4, "batch_size": 64, "dropout": 0.1, "learning_rate": rate}
        for fold in folds:
            result = train_cell(dataset, fold, Configuration.from_params(params), TrainingSettings(seed=seed))
            assert result is not None
            now = datetime.now(UTC)
            fields = {name: getattr(result, name) for name in ("epochs", "best_epoch", "val", "test")}
            common: dict[str, Any] = {
                "status": Status.COMPLETED,
                "seconds": 0.0,
                "node": "here",
                "started": now,
                "finished": now,
            }
            records.append(CellRecord(configuration=number, fold=fold.test, params=params, **common, **fields))
    return subject_scores(cells_table(rows_of(enumerate(records))), baselines_table(dataset, folds), "kl", len(folds))


def simulated(seed: int) -> Dataset:
    return simulate(subjects=8, clips=4, windows=4, emotions=4, seed=seed)


@pytest.mark.slow
def test_shuffled_labels_give_no_skill() -> None:
    """In at least 19 of 20 runs."""
    verdicts = [verdict(searched(shuffled(simulated(seed), seed), seed), "kl") for seed in range(SHUFFLES)]
    shown = [sentences for sentences in verdicts if says_skill(sentences)]
    print(f"no skill in {SHUFFLES - len(shown)} of {SHUFFLES} runs", *verdicts, sep="\n")
    assert len(shown) <= SHUFFLES / 20, shown


@pytest.mark.slow
def test_the_same_run_with_its_own_labels_shows_skill() -> None:
    """Else the runs above would be too short to learn anything at all."""
    assert all(says_skill(verdict(searched(simulated(seed), seed), "kl")) for seed in range(2))
