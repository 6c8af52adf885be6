"""Benchmark of the report and the dashboard of a long run: seconds, memory, page size, and time until usable.

    python tests/benchmarks/report.py [--subjects 73] [--configurations 200] [--epochs 102] [--chromium PATH]

A run with simulated tables (14,600 cells, 1.5 million epochs) is written to a temporary directory, with its ledger.
One process writes the report. For comparison, a second process draws all learning curves of ``epochs.parquet`` as one
figure with Plotly Express. Headless Chromium opens the report. Then cells are added to the ledger, and the dashboard
computes all figures of each part. The result is printed as one JSON line.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helo.metrics import METRICS
from helo.names import FITTED_BASELINES, Column, Estimate, Prefix, Status, TableName
from helo.run.directory import Run
from helo.run.ledger import HISTORY_COLUMNS, CellRecord, rows_of
from helo.run.manifest import Manifest
from helo.run.selection import best_per_fold
from helo.run.tables import cells_table, epochs_table

EMOTIONS = [f"emotion {number}" for number in range(10)]
LEVELS = {"chebyshev": 0.09, "clark": 0.9, "canberra": 2.4, "kl": 0.1, "cosine": 0.9, "intersection": 0.85}
PARAMETERS: dict[str, Any] = {
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "ot_entropy": {"low": 1e-3, "high": 1.0, "log": True},
    "alignment_weight": {"low": 0.01, "high": 10.0, "log": True},
    "dropout": {"low": 0.0, "high": 0.6},
    "attention_depth": {"low": 0, "high": 3},
    "width": {"choices": [16, 32, 64]},
    "transport": {"choices": ["linear", "gromov", "fused", "none"]},
}
REPEATS = 3
REPORT = "from helo.analysis.__main__ import main; code = main(['report', {path!r}])"
NAIVE = (
    "import pandas as pd, plotly.express as px; table = pd.read_parquet({path!r} + '/epochs.parquet');"
    "table['cell'] = table['configuration'].astype(str) + ' ' + table['fold'];"
    "px.line(table, x='epoch', y='val_kl', line_group='cell').write_html({path!r} + '/naive.html')"
)
# The peak of `getrusage` starts at the memory of the parent process.
MEMORY = "\nprint(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"


def draw_params(rng: np.random.Generator) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, entry in PARAMETERS.items():
        if "choices" in entry:
            found[name] = entry["choices"][rng.integers(len(entry["choices"]))]
        elif entry.get("log"):
            found[name] = float(np.exp(rng.uniform(np.log(entry["low"]), np.log(entry["high"]))))
        else:
            found[name] = type(entry["low"])(rng.uniform(entry["low"], entry["high"] + isinstance(entry["low"], int)))
    return found


def scores(loss: float, rng: np.random.Generator) -> dict[str, float]:
    """Return six scores whose distances from a perfect score are `loss` times the usual ones, with noise."""
    factors = loss * (1 + 0.03 * rng.normal(size=len(METRICS)))
    return {
        name: metric.perfect + (LEVELS[name] - metric.perfect) * factor
        for (name, metric), factor in zip(METRICS.items(), factors, strict=True)
    }


def make_records(subjects: list[str], configurations: int, epochs: int, rng: np.random.Generator) -> list[CellRecord]:
    start = datetime(2026, 11, 1, tzinfo=UTC)
    hard = rng.uniform(0.7, 1.5, len(subjects))
    idle_from = [0.0] * 4
    records = []
    for configuration in range(configurations):
        params = draw_params(rng) | {"epochs": epochs}
        quality = 1 + 0.1 * abs(np.log10(params["learning_rate"]) + 3) + 0.02 * rng.normal()
        for number, subject in enumerate(subjects):
            curve = quality * hard[number] * (1 + 0.3 * np.exp(-np.arange(epochs + 1) / 15))
            curve *= 1 + 0.01 * rng.normal(size=epochs + 1)
            best = int(curve.argmin())
            val = np.outer(curve, [LEVELS[metric] for metric in METRICS])
            columns = np.column_stack([curve, curve / 10, np.zeros(epochs + 1), val]).tolist()
            history = tuple(
                {"epoch": epoch, **dict(zip(HISTORY_COLUMNS, row, strict=True))} for epoch, row in enumerate(columns)
            )
            worker = int(np.argmin(idle_from))
            begun = idle_from[worker]
            idle_from[worker] += float(rng.gamma(8, 4))
            records.append(
                CellRecord(
                    configuration,
                    subject,
                    params,
                    Status.STOPPED if rng.random() < 0.3 else Status.COMPLETED,
                    epochs,
                    idle_from[worker] - begun,
                    f"node{worker // 2}",
                    start + timedelta(seconds=begun),
                    start + timedelta(seconds=idle_from[worker]),
                    best,
                    None,
                    dict(zip(METRICS, val[best].tolist(), strict=True)),
                    scores(quality * hard[number], rng),
                    history,
                )
            )
    return records


def make_run(path: Path, subjects: int, configurations: int, epochs: int) -> tuple[Run, list[CellRecord]]:
    rng = np.random.default_rng(0)
    names = [f"P{number:02d}" for number in range(subjects)]
    manifest = {
        "name": "long",
        "identity": "long",
        "protocol": "shared",
        "racing": True,
        "normalise": "train",
        "seed": 0,
        "baselines": list(FITTED_BASELINES),
        "dataset": {"name": "simulated", "subjects": subjects, "windows": subjects * 320, "emotions": EMOTIONS},
        "space": {
            "name": "full",
            "objective": "kl",
            "sampler": "tpe",
            "configurations": configurations,
            "parameters": PARAMETERS | {"epochs": {"value": epochs}},
        },
    }
    run = Run.create(path, Manifest.from_dict(manifest), [{"test": name} for name in names])
    records = make_records(names, configurations, epochs, rng)
    rows = rows_of(enumerate(records))
    cells = cells_table(rows)
    run.write_table(TableName.CELLS, cells)
    run.write_table(TableName.EPOCHS, epochs_table(rows))
    run.write_table(
        TableName.BASELINES,
        pd.DataFrame(
            [
                {
                    Column.METHOD: method,
                    "fold": name,
                    **{Prefix.TEST + key: value for key, value in scores(loss, rng).items()},
                }
                for method, loss in (
                    ("train_mean", 1.2),
                    (Estimate.UNIFORM, 1.6),
                    *((one, 1.15) for one in FITTED_BASELINES),
                )
                for name in names
            ]
        ),
    )
    predictions = []
    for fold, configuration in best_per_fold(cells, "kl").items():
        true = rng.dirichlet(np.full(len(EMOTIONS), 4.0), size=320)
        part = pd.DataFrame(true, columns=[Prefix.TRUE + emotion for emotion in EMOTIONS])
        part.insert(0, Column.GROUP, [f"clip {number // 10}" for number in range(320)])
        part.insert(0, "window", np.arange(320))
        part.insert(0, "fold", fold)
        part.insert(0, "configuration", configuration)
        guess = 0.7 * true + 0.3 * rng.dirichlet(np.full(len(EMOTIONS), 4.0), size=320)
        predictions.append(
            pd.concat([part, pd.DataFrame(guess, columns=[Prefix.PREDICTED + one for one in EMOTIONS])], axis=1)
        )
    run.write_table(TableName.PREDICTIONS, pd.concat(predictions, ignore_index=True))
    return run, records


def timed(code: str) -> dict[str, float]:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code + MEMORY], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "gb": round(int(done.stdout.split()[-2]) / 2**20, 2),
    }


def open_page(path: Path, chromium: str) -> dict[str, float]:
    """Return the seconds until a report shows its first figure, and until it shows a chosen subject."""
    from playwright.sync_api import sync_playwright

    found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        started = time.perf_counter()
        page.goto(path.as_uri(), timeout=600_000)
        page.wait_for_selector(".main-svg", state="attached", timeout=600_000)
        found["usable_s"] = round(time.perf_counter() - started, 2)
        if page.query_selector("#choose-subject"):
            page.evaluate("document.getElementById('learning').scrollIntoView()")
            page.wait_for_selector("#learning[data-drawn]", timeout=60_000)
            started = time.perf_counter()
            page.select_option("#choose-subject", "P03")
            page.wait_for_function("document.getElementById('learning').dataset.drawn.includes('P03')")
            found["choose_s"] = round(time.perf_counter() - started, 2)
        browser.close()
    return found


def dashboard(run: Run, records: list[CellRecord]) -> dict[str, float]:
    """Return the median seconds from a new cell in the ledger to the serialised overview and figures of each part.

    ``refresh`` is that of one run. ``align`` is what the alignment with a second run adds, whose figures are known.
    """
    from helo.analysis.dashboard.overview import render_overview
    from helo.analysis.dashboard.shown_runs import ShownRuns
    from helo.analysis.dashboard.watched import WatchedRun
    from helo.analysis.exhibits import EXHIBITS, PARTS

    number = {fold["test"]: place for place, fold in enumerate(run.folds)}
    held = len(PARTS) * (REPEATS + 1)
    for record in records[:-held]:
        run.ledger.append(record, number[record.fold])
    for table in (TableName.CELLS, TableName.EPOCHS):
        (run.folder.here / f"{table}.parquet").unlink()
    gc.freeze()  # as the dashboard's server does
    started = time.perf_counter()
    watched = WatchedRun(str(run.folder))
    found = {"dashboard_start_s": round(time.perf_counter() - started, 1)}
    alone, beside = ShownRuns({"long": watched}), ShownRuns({"long": watched, "same": watched})
    coming = iter(records[-held:])
    for part in PARTS:
        seconds, aligning = [], []
        names = [name for name, exhibit in EXHIBITS.items() if exhibit.part == part]
        for repeat in range(REPEATS + 1):
            record = next(coming)
            run.ledger.append(record, number[record.fold])
            started = time.perf_counter()
            watched.refresh()
            json.dumps(render_overview("long", watched.overview()).to_plotly_json(), default=str)
            json.dumps(alone.placed([(0, name) for name in names]))
            drawn = time.perf_counter()
            beside.placed([(0, name) for name in names])
            if repeat:  # the first repeat includes imports
                seconds.append(drawn - started)
                aligning.append(time.perf_counter() - drawn)
            for thread in threading.enumerate():  # figures computed in the background
                if thread.daemon and thread is not threading.current_thread():
                    thread.join()
        found[f"refresh_{part}_s"] = round(float(np.median(seconds)), 2)
        found[f"align_{part}_s"] = round(float(np.median(aligning)), 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=73)
    parser.add_argument("--configurations", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=102)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("chromium-browser"))
    parser.add_argument("--keep", type=Path, help="write the run to this directory and keep it; skips the dashboard")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.keep or Path(folder) / "long"
        run, records = make_run(path, arguments.subjects, arguments.configurations, arguments.epochs)
        found: dict[str, Any] = {
            "benchmark": "report",
            "cells": len(records),
            "epochs": len(records) * (arguments.epochs + 1),
        }
        pages = {"report": (REPORT, Path(run.report)), "naive": (NAIVE, path / "naive.html")}
        for name, (code, page) in pages.items():
            found[name] = timed(code.format(path=str(path))) | {"mb": round(page.stat().st_size / 2**20, 1)}
            if arguments.chromium and name == "report":
                found[name] |= open_page(page, arguments.chromium)
        found["size_ratio"] = round(found["naive"]["mb"] / found["report"]["mb"], 1)
        if not arguments.keep:
            found["dashboard"] = dashboard(run, records)
        print(json.dumps(found))


if __name__ == "__main__":
    main()
