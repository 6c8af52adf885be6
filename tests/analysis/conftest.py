"""A synthetic run: small, whole, and with every status in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from helo.metrics import METRICS
from helo.names import TableName
from helo.run.directory import Run
from helo.run.manifest import Manifest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SUBJECTS = ("S2", "S3", "S4", "S5", "S6", "S7")
EMOTIONS = ("joy", "fear", "anger", "calm")
LEVELS = {"chebyshev": 0.1, "clark": 0.9, "canberra": 1.6, "kl": 0.2, "cosine": 0.9, "intersection": 0.85}


def scores(rng: np.random.Generator, prefix: str, quality: float) -> dict[str, float]:
    """Six scores around their usual level; a higher `quality` is better in all."""
    found = {}
    for metric in METRICS:
        noise = 1 + 0.05 * rng.normal()
        if METRICS[metric].higher_is_better:
            found[prefix + metric] = 1 - (1 - LEVELS[metric]) * noise / quality
        else:
            found[prefix + metric] = LEVELS[metric] * noise / quality
    return found


def explanations(subjects: Sequence[str], emotions: int, configurations: int) -> pd.DataFrame:
    """What every cell of the synthetic run learnt: a correlation matrix, and a plan of 2 × 3 tokens."""
    rng = np.random.default_rng(5)
    parts = []
    for configuration in range(configurations):
        for subject in subjects:
            plan = rng.random((2, 3))
            learnt = {
                "label_correlation": np.corrcoef(rng.normal(size=(emotions, 9))),
                "transport_plan": plan / plan.sum(),
            }
            parts += [long_form(configuration, subject, kind, matrix) for kind, matrix in learnt.items()]
    return pd.concat(parts, ignore_index=True)


def long_form(configuration: int, subject: str, kind: str, matrix: np.ndarray) -> pd.DataFrame:
    """The rows of ``explanations.parquet`` that hold one matrix."""
    rows, columns = np.indices(matrix.shape).reshape(2, -1)
    given = {"configuration": configuration, "fold": subject, "kind": kind}
    return pd.DataFrame({**given, "row": rows, "column": columns, "value": matrix.ravel().astype(np.float32)})


def build(
    path: Path,
    subjects: Sequence[str] = SUBJECTS,
    emotions: Sequence[str] = EMOTIONS,
    groups: Sequence[str] | None = ("base", "stress", "fun"),
    configurations: int = 5,
    epochs: int = 4,
    name: str = "demo",
    without: Sequence[str] = (),
) -> Run:
    """A run of `configurations` on every subject; the last configuration fails on the last subject.

    With `groups`, the scores by group are better than those of windows.
    """
    rng, rng_by_group = np.random.default_rng(3), np.random.default_rng(4)
    manifest: dict[str, Any] = {
        "name": name,
        "dataset": {
            "name": "simulated",
            "digest": "0123456789abcdef0123",
            "subjects": len(subjects),
            "windows": 40 * len(subjects),
            "emotions": list(emotions),
            "modalities": {
                "EDA": {"role": "physiological", "main": True, "tokens": 2, "columns": ["eda level", "eda slope"]},
                "ACC": {"role": "behavioural", "tokens": 3, "columns": [f"acc {number}" for number in range(6)]},
            },
        },
        "space": {
            "name": "demo",
            "objective": "kl",
            "sampler": "tpe",
            "configurations": configurations,
            "parameters": {
                "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
                "dropout": {"low": 0.0, "high": 0.6},
                "width": {"choices": [16, 32, 64]},
                "fusion": {"choices": ["concat", "mean"]},
                "depth": {"value": 1},
            },
        },
        "seed": 0,
        "normalise": "subject",
        "protocol": "shared",
        "started": "2026-11-21T03:00:00+00:00",
        "versions": {"python": "3.11.2", "torch": "2.13.0"},
        "resources": {"concurrency": 2, "cpus_per_cell": 1, "gpus_per_cell": 0.0},
        "machine": {"cpus": 2},
    }
    run = Run.create(path, Manifest.from_dict(manifest), [{"test": subject} for subject in subjects])
    shown = groups or ["only"] * 3
    ease = {subject: 0.8 + 0.5 * rng.random() for subject in subjects}
    start = pd.Timestamp("2026-11-21T03:00:00Z")
    cells: list[dict[str, Any]] = []
    history: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for configuration in range(configurations):
        quality = 1 + 0.4 * rng.random()
        params = {
            "param_learning_rate": 10 ** rng.uniform(-4, -1),
            "param_dropout": 0.6 * rng.random(),
            "param_width": int(rng.choice([16, 32, 64])),
            "param_fusion": str(rng.choice(["concat", "mean"])),
            "param_depth": 1,
        }
        for number, subject in enumerate(subjects):
            failed = configuration == configurations - 1 and number == len(subjects) - 1
            good = 3.0 if failed else quality * ease[subject]  # a failed cell that looks best must not count
            row: dict[str, Any] = {"configuration": configuration, "fold": subject, **params}
            row |= scores(rng, "val_", good) | scores(rng, "test_", good)
            row |= scores(rng_by_group, "test_by_group_", 1.5 * good) if groups else {}
            row |= {
                "status": "failed" if failed else "completed",
                "reason": "loss is not finite" if failed else None,
                "epochs": epochs,
                "best_epoch": epochs - 1,
                "seconds": 2.5,
                "node": "here",
                "started": start + pd.Timedelta(seconds=3 * len(cells)),
                "finished": start + pd.Timedelta(seconds=3 * len(cells) + 2.5),
            }
            cells.append(row)
            for epoch in range(epochs + 1):
                entry: dict[str, Any] = {"configuration": configuration, "fold": subject, "epoch": epoch}
                entry |= {"train_loss": 1 / (epoch + 1), "alignment_loss": 0.1, "unconverged": 0.0}
                history.append(entry | scores(rng, "val_", good * (0.5 + 0.5 * epoch / epochs)))
            for window, group in enumerate(shown):
                truth = rng.dirichlet(np.full(len(emotions), 8.0))
                guess = 0.5 * truth + 0.5 * rng.dirichlet(np.full(len(emotions), 8.0))
                prediction: dict[str, Any] = {
                    "configuration": configuration,
                    "fold": subject,
                    "window": number * len(shown) + window,
                }
                prediction |= {"group": group} if groups else {}
                prediction |= {f"true_{e}": share for e, share in zip(emotions, truth, strict=True)}
                prediction |= {f"pred_{e}": share for e, share in zip(emotions, guess, strict=True)}
                predictions.append(prediction)
    baselines = []
    for method, quality in (("train_mean", 1.0), ("uniform", 0.6), ("best_possible", 4.0)):
        for subject in subjects:
            good = quality * ease[subject]
            by_group = scores(rng_by_group, "test_by_group_", 1.2 * good) if groups else {}
            baselines.append({"method": method, "fold": subject, **scores(rng, "test_", good), **by_group})
    tables = {
        TableName.CELLS: pd.DataFrame(cells).astype({"best_epoch": "Int64", "reason": "string"}),
        TableName.EPOCHS: pd.DataFrame(history),
        TableName.PREDICTIONS: pd.DataFrame(predictions),
        TableName.EXPLANATIONS: explanations(subjects, len(emotions), configurations),
        TableName.BASELINES: pd.DataFrame(baselines),
    }
    for table, content in tables.items():
        if table not in without:
            run.write_table(table, content)
    return run


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """Build a synthetic run in a temporary directory; see `build` for the arguments."""

    def make(folder: str = "run", **arguments: Any) -> Run:
        return build(tmp_path / folder, **arguments)

    return make


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic run as it is, built once."""
    path = tmp_path_factory.mktemp("analysis") / "run"
    build(path)
    return path


@pytest.fixture
def run(built: Path, tmp_path: Path) -> Run:
    """A copy of the synthetic run that a test may change."""
    shutil.copytree(built, tmp_path / "run")
    return Run.open(tmp_path / "run")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser; tests that need one are skipped without it."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
