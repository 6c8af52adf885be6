"""The way from a table to predictions on machines that differ from those of developers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]

SPACE = """
configurations: 2
parameters:
  learning_rate: {low: 1e-3, high: 5e-3, log: true}
  width: 8
  epochs: 2
"""

# What a file system such as exFAT or Lustre answers below the folder LIMITED.
LIMITED_FILES = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int limited(const char *path) {
    const char *folder = getenv("LIMITED");
    return folder && (path[0] != '/' || !strncmp(path, folder, strlen(folder)));
}
static int refuse(void) { errno = EPERM; return -1; }
#define REAL(name) ((int (*)()) dlsym(RTLD_NEXT, name))

int symlink(const char *from, const char *to) { return limited(to) ? refuse() : REAL("symlink")(from, to); }
int symlinkat(const char *from, int at, const char *to) {
    return limited(to) ? refuse() : REAL("symlinkat")(from, at, to);
}
int link(const char *from, const char *to) { return limited(to) ? refuse() : REAL("link")(from, to); }
int linkat(int at, const char *from, int into, const char *to, int flags) {
    return limited(to) ? refuse() : REAL("linkat")(at, from, into, to, flags);
}
int flock(int file, int operation) {
    char name[64], path[4096] = {0};
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    if (readlink(name, path, sizeof path - 1) > 0 && limited(path)) { errno = ENOSYS; return -1; }
    return REAL("flock")(file, operation);
}
"""


def write_table(path: Path) -> None:
    """Write a table of six subjects."""
    draw = np.random.default_rng(0)
    labels = draw.dirichlet(np.ones(3), size=72)
    features = labels @ draw.normal(size=(3, 4)) + 0.2 * draw.normal(size=(72, 4))
    frame = pd.DataFrame(features, columns=["eda_1", "eda_2", "face_1", "face_2"])
    frame[["joy", "fear", "calm"]] = labels
    frame.insert(0, "clip", [f"c{row % 4}" for row in range(72)])
    frame.insert(0, "subject", [f"P{row // 12}" for row in range(72)])
    frame.to_csv(path, index=False)


def whole_path(folder: Path, environment: Mapping[str, str | None], before: Sequence[str] = ()) -> None:
    """Make a dataset, search, report and predict in a folder, each with a command."""
    folder.mkdir(parents=True)
    write_table(folder / "table.csv")
    (folder / "space.yaml").write_text(SPACE, encoding="utf-8")
    columns = ("--subject", "subject", "--group", "clip", "--emotions", "joy", "fear", "calm")
    modalities = ("--modality", "eda=physiological:eda_*", "face=behavioural:face_*")
    search = ("--data", "ds", "--space", "space.yaml", "--inner-folds", "2", "--baselines", "ridge", "--out", "run")
    commands: list[tuple[str, ...]] = [
        ("helo.data", "table", "table.csv", *columns, *modalities, "--out", "ds"),
        ("helo.data", "check", "ds"),
        ("helo.search", *search),
        ("helo.analysis", "report", "run"),
        ("helo.predict", "run/model", "table.csv", "--out", "predictions.csv"),
    ]
    variables = {**os.environ, "RAY_worker_niceness": "0", **environment}
    for command in commands:
        done = subprocess.run(
            [*before, sys.executable, "-m", *command],
            cwd=folder,
            env={name: value for name, value in variables.items() if value is not None},
            capture_output=True,
            timeout=900,
        )
        said = (done.stdout + done.stderr).decode("ascii", "backslashreplace")
        assert done.returncode == 0, f"{command}: {said}"
        assert "Traceback" not in said, f"{command}: {said}"
    assert len(pd.read_csv(folder / "predictions.csv")) == 72
    assert (folder / "run" / "report.html").stat().st_size > 100_000
    assert (folder / "run" / "model" / "model.json").is_file()


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs a preloaded library, CPU affinity and /proc")


@pytest.mark.slow
@LINUX
def test_one_cpu_and_files_without_links_and_locks(tmp_path: Path) -> None:
    """The folder has letters that shells treat specially."""
    compiler, affinity = shutil.which("cc"), shutil.which("taskset")
    if compiler is None or affinity is None:
        pytest.skip("needs a C compiler and taskset")
    source, library = tmp_path / "files.c", tmp_path / "files.so"
    source.write_text(LIMITED_FILES, encoding="utf-8")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    one_cpu = (affinity, "-c", str(min(os.sched_getaffinity(0))))
    limits: dict[str, str | None] = {"LD_PRELOAD": str(library), "LIMITED": str(tmp_path)}
    whole_path(tmp_path / "My Project (2)" / "ä & $HOME", limits, one_cpu)
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


@pytest.mark.slow
@LINUX
def test_an_ascii_locale_without_home_network_and_usual_variables(tmp_path: Path) -> None:
    environment = {
        "LC_ALL": "C",
        "LANG": None,
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "HOME": "/proc",  # nobody can write there
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "RAY_ADDRESS": "10.255.255.1:6379",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "many",
        "TZ": "Asia/Kathmandu",
    }
    whole_path(tmp_path / "My Project (2)", environment)


def test_a_python_without_docstrings_is_refused(tmp_path: Path) -> None:
    """Ray reads the docstrings of its own functions."""
    command = [sys.executable, "-OO", "-m", "helo.search", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("helo-search: error: Ray needs docstrings: run Python without -OO")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@LINUX
def test_a_machine_that_does_not_reach_itself_is_named(tmp_path: Path) -> None:
    """Ray would wait for ever."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-n", "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs unshare and the right to make a network namespace")
    command = [unshare, "-n", sys.executable, "-m", "helo.search", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1
    assert "Ray does not start: this machine does not reach itself at 127.0.0.1 (" in done.stderr
    assert "Traceback" not in done.stderr
