"""Whole searches with the command: on simulated and real data, with a time budget, and with failures."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest

import helo.predict
import helo.search.__main__
from helo.cluster.nodes import read_nodes
from helo.data import simulate, write_dataset
from helo.names import FITTED_BASELINES
from helo.run.directory import Run
from helo.search.execution.connection import ray_cluster
from helo.search.planning.space import bundled_spaces

pytestmark = pytest.mark.slow

README = Path(__file__).parents[2] / "README.md"

MANY_CELLS = """
configurations: 200
parameters: {width: 8, heads: 2, epochs: 3, dropout: {low: 0.1, high: 0.5}}
"""

FEW = ("--baselines", "ridge", "--inner-folds", "1")
"""Options of a search with one baseline and one member per cell, for tests in which neither matters."""

CLUSTER = """
cluster_name: test
max_workers: 10
head_node_type: head
available_node_types:
  head: {node_config: {InstanceType: m5.xlarge}, resources: {CPU: 0}}
  worker: {node_config: {InstanceType: c6i.2xlarge}, max_workers: 10}
"""


def done(*words: str, cwd: Path) -> str:
    """Run a command in its own process and return its output."""
    command = [sys.executable, "-m", *words]
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=900, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray cluster that the searches of this process share, because each start takes seconds."""
    with ray_cluster(None, 2):
        yield


@dataclass(frozen=True)
class Here:
    """The command in this process. A call returns its exit status, output and errors."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = helo.search.__main__.main(words)
        return code, *self.capsys.readouterr()

    def done(self, *words: str) -> str:
        code, output, errors = self(*words)
        assert code == 0, errors
        return output


@pytest.fixture
def here(cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    monkeypatch.chdir(tmp_path)
    return Here(capsys)


def answers(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def estimates(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path / "summary.parquet").pivot(index="estimate", columns="metric", values="mean")


def test_without_arguments_it_runs_the_demo_and_beats_the_train_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.perf_counter()
    output = done("helo.search", cwd=tmp_path)
    print(f"demo: {time.perf_counter() - started:.0f} s")
    (path,) = (tmp_path / "runs").iterdir()
    name = path.relative_to(tmp_path)
    assert output.splitlines()[-4:] == [
        f"report: {name}/report.html",
        f"model: {name}/model",
        "predict new data with:",
        f"  python -m helo.predict {name}/model DATASET --out predictions.parquet",
    ]
    assert 0 < output.index("per_fold_selection") < output.index("fitting configuration") < output.index("Skill is")
    means = estimates(path)
    assert set(means.index) == {
        "per_fold_selection",
        "single_configuration",
        "ensemble",
        "oracle",
        "train_mean",
        "uniform",
        "best_possible",
        *FITTED_BASELINES,
    }
    for metric in ("chebyshev", "kl", "clark", "canberra"):
        assert means.loc["ensemble", metric] < means.loc["train_mean", metric]
        assert means.loc["per_fold_selection", metric] < means.loc["train_mean", metric]
        assert means.loc["oracle", metric] <= means.loc["per_fold_selection", metric]
    run = Run.open(path)
    cells, predictions = run.table("cells"), run.table("predictions")
    assert len(cells) == len(run.ledger)
    assert 6 * 4 <= len(cells) <= 48  # racing drops no configuration before the fourth fold
    assert set(predictions["fold"]) == set(cells["fold"])
    assert predictions.filter(like="pred_").sum(axis=1).sub(1).abs().max() < 1e-5
    assert (path / "report.html").stat().st_size > 100_000
    assert len(run.ledger.baseline_parts()) == 5 * 8
    assert "The best of 5 fitted baselines" in " ".join(output.split())
    assert f"{path.name}/model: the recommended" in (path / "report.html").read_text(encoding="utf-8")
    assert not (path / "all_predictions.parquet").exists()
    use_the_model(path, tmp_path, capsys)


def use_the_model(path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Predict new data with the model of a search, and check that resuming fits a deleted model again."""
    write_dataset(simulate(subjects=3, clips=2, windows=4, seed=5), folder / "new")
    words = [str(path / "model"), str(folder / "new"), "--out"]
    assert helo.predict.main([*words, str(folder / "first.parquet")]) == 0
    assert "24 windows of 3 subjects" in capsys.readouterr().out
    shutil.rmtree(path / "model")
    before = len(list((path / "ledger").iterdir()))
    assert "fitting configuration" in done("helo.search", "--resume", str(path), "--export-predictions", cwd=folder)
    assert len(list((path / "ledger").iterdir())) == before
    assert helo.predict.main([*words, str(folder / "second.parquet")]) == 0
    first, second = (pd.read_parquet(folder / f"{name}.parquet") for name in ("first", "second"))
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert first.filter(like="pred_").sum(axis=1).sub(1).abs().max() < 1e-6
    everything = pd.read_parquet(path / "all_predictions.parquet")
    assert set(everything["method"]) == {"helo", *FITTED_BASELINES}
    assert len(everything[everything["method"] == "ridge"]) == 480


def test_ablation_with_missing_signals(here: Here, tmp_path: Path) -> None:
    """Every variant runs on every subject without racing, and has a row in terminal and report."""
    dataset = simulate(subjects=4, clips=3, windows=4)
    features = dataset.features.copy()
    features[::3, dataset.schema.slices["eda"]] = float("nan")
    write_dataset(replace(dataset, features=features), tmp_path / "gaps")
    bundled = bundled_spaces()["ablation"].read_text(encoding="utf-8")
    (tmp_path / "quick.yaml").write_text(bundled.replace("epochs: auto", "epochs: 2"), encoding="utf-8")
    output = here.done("--data", "gaps", "--space", "quick.yaml", *FEW, "--out", "run")
    assert "missing signals: eda in 16 of 48 windows" in output
    run = Run.open(tmp_path / "run")
    variants = (run.manifest.space or {})["variants"]
    cells = pd.read_parquet(tmp_path / "run" / "cells.parquet")
    assert (cells["status"] == "completed").all()
    assert len(cells) == 4 * len(variants)
    assert run.manifest.racing is False
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for name in variants:
        assert name in output
        assert re.search(rf'<th scope="row"[^>]*>{re.escape(name)}</th>', report)
    assert "missing signals: eda in 16 of 48 windows" in report


def test_time_budget_ends_the_search_with_a_run_that_can_be_resumed(here: Here, tmp_path: Path) -> None:
    (tmp_path / "many.yaml").write_text(MANY_CELLS)
    words = ["--space", "many.yaml", *FEW, "--out", "run"]
    for budget in (12, 90, 270):  # a longer one only if workers start so slowly that no cell has finished
        code, output, errors = here(*words, "--time-budget", f"{budget}s")
        if len(Run.open("run").ledger):
            break
        words = ["--resume", "run"]
    assert code == 3
    assert "helo-search: time is up; " in errors
    assert errors.endswith("resume with:\n  python -m helo.search --resume run\n")
    run = Run.open(tmp_path / "run")
    before = len(run.ledger)
    assert 0 < before < 1600  # the time budget has ended the search before its last cell
    assert len(run.table("cells")) == before
    assert output.splitlines()[-1] == "report: run/report.html"


def test_cost_estimate_starts_no_search(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    output = done("helo.search", "--plan", "--cluster", "cluster.yaml", cwd=tmp_path)
    assert "cells: 48 at most (6 configurations × 8 folds)" in output
    assert "MiB per cell, for the largest configuration" in output
    assert "10 × c6i.2xlarge (worker):" in output
    assert "with 80 cells at a time" in output
    price = sum(nodes.most * (nodes.usd or 0.0) for nodes in read_nodes(tmp_path / "cluster.yaml"))
    assert f" hours × {price:.2f} USD = " in output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cluster.yaml"]


def test_loggers_and_optuna_dashboard_read_the_run(here: Here, tmp_path: Path) -> None:
    """The loggers of Ray write every cell, and the Optuna dashboard opens the exported study."""
    (tmp_path / "few.yaml").write_text(MANY_CELLS.replace("200", "2"))
    logs = ["--log", "tensorboard", "--log", "mlflow", *FEW]
    here.done("--space", "few.yaml", "--out", "run", "--sampler", "random", *logs)
    run = Run.open(tmp_path / "run")
    cells = run.table("cells")
    events = list((run.folder.here / "tensorboard").glob("*/events.out.tfevents.*"))
    assert {event.parent.name for event in events} == {
        Path(part).stem for part in (*run.ledger.files(), *run.ledger.baseline_parts())
    }
    assert all(b"val_kl" in event.read_bytes() for event in events)

    import sqlite3

    with sqlite3.connect(run.folder.here / "mlflow.db") as database:
        logged = database.execute("select step, value from metrics where key = 'val_kl'").fetchall()
        params = {row[0] for row in database.execute("select distinct key from params")}
    assert len(logged) == len(run.table("epochs")) + 8
    assert {"dropout", "width", "fold", "configuration"} <= params
    best = min(cells["val_kl"].min(), run.table("baselines")["val_kl"].min())
    assert min(value for _, value in logged) == pytest.approx(best)

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "optuna_dashboard._cli", str(run.folder.here / "study.log"), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    address = f"http://127.0.0.1:{port}/api/studies"
    try:
        assert any("Listening" in line for line in server.stderr)
        while not answers(port):  # the message comes shortly before the port is open
            assert server.poll() is None
        with urllib.request.urlopen(address, timeout=60) as answer:
            (study,) = json.load(answer)["study_summaries"]
        with urllib.request.urlopen(f"{address}/{study['study_id']}?after=0", timeout=60) as answer:
            trials = json.load(answer)["trials"]
    finally:
        server.kill()
        server.communicate()
    assert study["study_name"] == "shared"
    assert len(trials) == 2
    values = [trial["values"][0] for trial in trials if trial["state"] == "Complete"]
    assert min(values) == pytest.approx(cells.groupby("configuration")["val_kl"].mean().min())


def test_search_fails_if_every_cell_fails(here: Here, tmp_path: Path) -> None:
    """Signals near the largest float32 make the training of every fold diverge."""
    base = simulate(subjects=3, clips=2, windows=4, emotions=3)
    wild = base.features.copy()
    for column, subject in enumerate(
        base.subject_names
    ):  # validation subjects are far outside the range of training subjects
        wild[base.subjects == subject, column] = 3e38
    write_dataset(replace(base, features=wild), tmp_path / "wild")
    (tmp_path / "one.yaml").write_text("configurations: 1\nparameters: {epochs: 1}\n")
    code, _, errors = here("--data", "wild", "--space", "one.yaml", *FEW, "--out", "run")
    cells = Run.open(tmp_path / "run").table("cells")
    assert (cells["status"] == "failed").all()
    assert "3 of 3 cells failed, the first (configuration 0, fold P01): predictions are not finite" in errors
    assert "Traceback" not in errors
    assert code == 1


def test_the_commands_of_the_readme_on_wesad(wesad_search: Path, tmp_path: Path) -> None:
    shutil.copytree(wesad_search, tmp_path, dirs_exist_ok=True)
    output = done("helo.analysis", "report", "runs/wesad", "--export", "runs/wesad/export", cwd=tmp_path)
    assert "report.html" in output
    assert {"summary.csv", "estimates.tex", "figures"} <= {
        one.name for one in (tmp_path / "runs/wesad/export").iterdir()
    }
    done("helo.predict", "runs/wesad/model", "datasets/wesad", "--out", "wesad.parquet", cwd=tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), flags=re.M | re.S)
    (example,) = (block for block in blocks if "load_model" in block)
    shown = subprocess.run(
        [sys.executable, "-c", example + "print(distributions.shape)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "(2870, 23)\n"
    means = estimates(tmp_path / "runs" / "wesad")
    assert means.loc["train_mean", "chebyshev"] == pytest.approx(0.0387, abs=5e-5)
    assert means.loc["train_mean", "kl"] == pytest.approx(0.0703, abs=5e-5)
    assert means.loc["per_fold_selection", "kl"] < means.loc["train_mean", "kl"]
    fitted = means.loc[[name for name in FITTED_BASELINES if name in means.index], "kl"]
    assert len(fitted) == 3
    assert (fitted < means.loc["train_mean", "kl"]).all()
