"""Bad input: exit code 2, one line that says what would be right, and nothing left on disk."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import helo.analysis.__main__
import helo.data.__main__
import helo.search.__main__
from helo.data import simulate, write_dataset

LABELS = ["label_joy", "label_enthusiasm", "label_tension"]


@dataclass(frozen=True)
class Refused:
    """Runs a command that must be refused, in an own empty folder, and returns its one line."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, main: Callable[[list[str]], int], prog: str, *words: object) -> str:
        before = self.listing()
        code = main([str(word) for word in words])
        out, err = self.capsys.readouterr()
        assert code == 2
        lines = err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith(f"{prog}: error: ")
        assert out == ""
        assert self.listing() == before
        return lines[0].removeprefix(f"{prog}: error: ")

    def search(self, *words: object) -> str:
        return self(helo.search.__main__.main, "helo-search", *words)

    def data(self, *words: object) -> str:
        return self(helo.data.__main__.main, "helo-data", *words)

    def analysis(self, *words: object) -> str:
        return self(helo.analysis.__main__.main, "helo-analysis", *words)

    def listing(self) -> dict[str, bytes | None]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes() if path.is_file() else None
            for path in self.folder.rglob("*")
        }


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refused:
    monkeypatch.chdir(tmp_path)
    return Refused(tmp_path, capsys)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_dataset(simulate(subjects=4, clips=2, windows=3, emotions=3), tmp_path / "mine")
    return tmp_path / "mine"


def edit(dataset: Path, change: Callable[[pd.DataFrame], Any]) -> None:
    path = dataset / "windows.parquet"
    table = pd.read_parquet(path)
    changed = change(table)
    (table if changed is None else changed).to_parquet(path, index=False)


# --- 1: a file is missing ---------------------------------------------------------------------


def test_missing_dataset(refused: Refused) -> None:
    message = refused.search("--data", "nowhere")
    assert "nowhere: no such dataset directory" in message
    assert "windows.parquet and dataset.yaml" in message


@pytest.mark.parametrize("name", ["windows.parquet", "dataset.yaml"])
def test_missing_file(refused: Refused, dataset: Path, name: str) -> None:
    (dataset / name).unlink()
    assert f"file {name} is missing" in refused.search("--data", "mine")


def test_a_file_that_is_no_parquet(refused: Refused, dataset: Path) -> None:
    (dataset / "windows.parquet").write_text("subject,hr\n")
    assert "is not a readable Parquet file" in refused.search("--data", "mine")


def test_missing_wesad_folder(refused: Refused) -> None:
    assert "nowhere" in refused.data("wesad", "nowhere", "--out", "out")


def test_missing_run(refused: Refused) -> None:
    assert "nowhere: is not a run directory" in refused.analysis("report", "nowhere")


# --- 2: a column is missing -------------------------------------------------------------------


@pytest.mark.parametrize("column", ["subject", "ecg_0", "label_joy"])
def test_missing_column(refused: Refused, dataset: Path, column: str) -> None:
    edit(dataset, lambda table: table.drop(columns=column))
    assert f"column '{column}' is missing" in refused.search("--data", "mine")


# --- 3: features that are no numbers ----------------------------------------------------------


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_features_that_are_not_finite(refused: Refused, dataset: Path, value: float) -> None:
    def change(table: pd.DataFrame) -> None:
        table.loc[5, "eda_1"] = value

    edit(dataset, change)
    message = refused.search("--data", "mine")
    assert "features must be finite numbers" in message
    assert "row 5 of column 'eda_1'" in message


@pytest.mark.parametrize("value", [np.nan, None])
def test_a_window_without_any_signal(refused: Refused, dataset: Path, value: float | None) -> None:
    def change(table: pd.DataFrame) -> None:
        table.loc[5, [c for c in table if c not in ("subject", "group") and not c.startswith(("label_", "best_"))]] = (
            value
        )

    edit(dataset, change)
    assert "a window must have at least one signal; 1 rows have only NaN" in refused.search("--data", "mine")


def test_features_that_are_words(refused: Refused, dataset: Path) -> None:
    edit(dataset, lambda table: table.assign(eda_1="high"))
    assert "column 'eda_1' must hold numbers" in refused.search("--data", "mine")


# --- 4: labels that are no distributions ------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ([-0.5, 1.0, 0.5], "labels must not be negative"),
        ([0.0, 0.0, 0.0], "labels must sum to 1, not to 0"),
        ([3.0, 1.0, 1.0], "labels must sum to 1"),
        ([np.nan, 0.5, 0.5], "labels must be finite numbers"),
    ],
)
def test_labels_that_are_no_distribution(refused: Refused, dataset: Path, values: list[float], rule: str) -> None:
    def change(table: pd.DataFrame) -> None:
        table.loc[4, LABELS] = values

    edit(dataset, change)
    message = refused.search("--data", "mine")
    assert rule in message
    assert "row 4" in message


# --- 5: too few subjects ----------------------------------------------------------------------


@pytest.mark.parametrize(("subjects", "least"), [(1, 2), (2, 3)])
def test_too_few_subjects(refused: Refused, dataset: Path, subjects: int, least: int) -> None:
    kept = [f"P{number + 1:02d}" for number in range(subjects)]
    edit(dataset, lambda table: table[table["subject"].isin(kept)])
    message = refused.search("--data", "mine", "--out", "deep/run")
    assert f"needs at least {least} subjects" in message
    assert f"got {subjects}" in message


# --- 6: an unknown emotion --------------------------------------------------------------------


def test_unknown_emotion(refused: Refused) -> None:
    message = refused.data("wesad", "nowhere", "--items", "Happyy,Stressed", "--out", "out")
    assert "Happyy" in message
    assert "did you mean 'Happy'?" in message


def test_unknown_emotion_column(refused: Refused, dataset: Path) -> None:
    schema = dataset / "dataset.yaml"
    schema.write_text(schema.read_text().replace("joy: label_joy", "joy: label_joyy"))
    message = refused.search("--data", "mine")
    assert "column 'label_joyy' is missing" in message
    assert "did you mean 'label_joy'?" in message


# --- 7 and 8: a space that is unknown or misspelt ---------------------------------------------


def test_unknown_space(refused: Refused) -> None:
    assert "unknown space 'smal' (did you mean 'small'?)" in refused.search("--space", "smal")
    assert "nowhere.yaml: cannot be read" in refused.search("--space", "nowhere.yaml")


def test_misspelt_keys_of_a_space(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("configurations: 3\nsamplr: tpe\nparameters: {droput: 0.1}\n")
    message = refused.search("--space", "own.yaml")
    assert "unknown key 'samplr' (did you mean 'sampler'?)" in message
    assert "unknown hyperparameter 'droput' (did you mean 'dropout'?)" in message


# --- 9: an output that cannot be written ------------------------------------------------------


@pytest.mark.parametrize("out", ["file/run", "file/deep/run", "/proc/helo/run", "x" * 300, "new/" + "x" * 300])
def test_unwritable_run(refused: Refused, tmp_path: Path, out: str) -> None:
    (tmp_path / "file").touch()
    assert "cannot be" in refused.search("--out", out)


@pytest.mark.parametrize("out", ["file/set", "/proc/helo"])
def test_unwritable_dataset(refused: Refused, tmp_path: Path, out: str) -> None:
    (tmp_path / "file").touch()
    message = refused.data("simulate", "--subjects", 3, "--out", out)
    assert message.startswith(f"{out}: cannot be written")


# --- 10: an output that is there --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["empty", "full", "file"])
def test_an_output_that_is_there(refused: Refused, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        if kind == "full":
            (out / "manifest.json").write_text("{}")
    for message in (refused.search("--out", "out"), refused.data("simulate", "--out", "out")):
        assert message == "out: is already there; choose another --out or remove it"


# --- numbers, resources, addresses ------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--concurrency", "0"], "--concurrency must be at least 1, got 0"),
        (["--cpus-per-cell", "-2"], "--cpus-per-cell must be at least 1, got -2"),
        (["--configurations", "0"], "--configurations must be at least 1, got 0"),
        (["--seed", "-1"], "--seed must be at least 0, got -1"),
        (["--inner-folds", "0"], "--inner-folds must be at least 1, got 0"),
        (["--inner-folds", "8"], "--inner-folds must be at most 7, the number of subjects besides the test subject"),
        (["--gpus-per-cell", "2.5"], "--gpus-per-cell must be auto, from 0 to 1, or a whole number, got 2.5"),
        (["--gpus-per-cell", "-1"], "--gpus-per-cell must be auto, from 0 to 1, or a whole number, got -1"),
        (["--gpus-per-cell", "nan"], "--gpus-per-cell must be auto, from 0 to 1, or a whole number, got nan"),
        (["--gpus-per-cell", "inf"], "--gpus-per-cell must be auto, from 0 to 1, or a whole number, got inf"),
        (["--gpus-per-cell", "half"], "--gpus-per-cell must be auto, from 0 to 1, or a whole number, got half"),
        (["--baselines", "rigde"], "--baselines: unknown 'rigde' (did you mean 'ridge'?); known are all, none, knn"),
        (["--baselines", "ridge,knn,ridge"], "--baselines names 'ridge' twice, got 'ridge,knn,ridge'"),
        (["--baselines", "none,knn"], "--baselines: 'none' cannot be combined with other names, got 'none,knn'"),
        (["--baselines", ""], "--baselines: unknown ''; known are all, none, knn"),
        (
            ["--time-budget", "soon"],
            "--time-budget must be a number with the unit s, m, h or d, such as 90s or 2h, got 'soon'",
        ),
        (["--time-budget", "0s"], "--time-budget must be from 1 s to 1000 d, got '0s'"),
        (["--price", "3"], "--price needs --plan"),
        (["--cluster", "cluster.yaml"], "--cluster needs --plan"),
        (["--plan", "--price", "-1"], "--price must be from 0 to 1e+06, got -1"),
        (["--plan", "--price", "nan"], "--price must be from 0 to 1e+06, got nan"),
        (
            ["--resume", "run", "--seed", "1", "--inner-folds", "3", "--no-racing"],
            "--resume reads the settings from the run; leave out --seed, --inner-folds, --no-racing",
        ),
        (["--address", "nonsense"], "--address must be auto or HOST:PORT, got 'nonsense'"),
        (["--address", "ray://127.0.0.1:10001"], "--address must be auto or HOST:PORT"),
        (["--address", "127.0.0.1:99999"], "--address must be auto or HOST:PORT"),
        (["--address", ""], "--address must be auto or HOST:PORT"),
    ],
)
def test_wrong_values(refused: Refused, words: list[str], message: str) -> None:
    assert message in refused.search(*words)


@pytest.mark.parametrize("option", ["--space", "--data", "--out", "--resume"])
def test_messages_show_no_credentials(refused: Refused, option: str) -> None:
    message = refused.search(option, "s3://user:secret@bucket/run")
    assert "secret" not in message
    assert "@bucket/run" in message or "…@" in message


def test_all_wrong_values_in_one_line(refused: Refused) -> None:
    message = refused.search("--seed", -1, "--concurrency", 0)
    assert "--seed must" in message
    assert "--concurrency must" in message


class Quiet(BaseHTTPRequestHandler):
    """A server of something else, such as Ray's dashboard."""

    def log_message(self, *words: object) -> None:
        """Nothing."""


def test_what_answers_at_the_address_is_no_ray(refused: Refused) -> None:
    """Ray itself asks for ever; its dashboard's port is the likely mistake."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"127.0.0.1:{server.server_port}"
        assert f"--address {address}: the server there is not a Ray cluster" in refused.search("--address", address)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_share_of_no_gpu(refused: Refused) -> None:
    message = refused.search("--gpus-per-cell", 0.5)
    assert message == "--gpus-per-cell must be 0 or auto on this machine, which has 0 GPUs, got 0.5"


def test_no_server_answers_at_the_address(refused: Refused) -> None:
    with socket.socket() as taken:  # bound, but it does not listen: a connection is refused at once
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert f"--address {address}: no Ray cluster answers there" in refused.search("--address", address)


@pytest.mark.parametrize(
    "words", [["--subjects", 1], ["--emotions", 1], ["--emotions", 99], ["--windows", 0], ["--seed", -1]]
)
def test_wrong_simulation(refused: Refused, words: list[object]) -> None:
    assert f"{str(words[0])[2:]} must be at" in refused.data("simulate", *words, "--out", "out")


# --- the process itself -----------------------------------------------------------------------


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "prog", "words"),
    [
        ("helo.search", "helo-search", ["--out", "file/run"]),
        ("helo.search", "helo-search", ["--data", "file"]),
        ("helo.data", "helo-data", ["simulate", "--out", "file"]),
        ("analysis", "helo-analysis", ["report", "file"]),
    ],
)
def test_exit_code(tmp_path: Path, module: str, prog: str, words: list[str]) -> None:
    """Through a process, where warnings of whatever is imported would show up too."""
    (tmp_path / "file").touch()
    done = run(tmp_path, module, *words)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{prog}: error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (helo.search.__main__.main, ["--spaec", "small"]),
        (helo.search.__main__.main, ["--sampler", "grid"]),
        (helo.search.__main__.main, ["--seed", "1.5"]),
        (helo.search.__main__.main, ["--seed", "٣"]),
        (helo.search.__main__.main, ["--concurrency", "1_0"]),
        (helo.search.__main__.main, ["--configurations", "9" * 5000]),
        (helo.search.__main__.main, ["--price", "1" * 5000]),
        (helo.data.__main__.main, ["simulate", "--out", "a\0b"]),
        (helo.search.__main__.main, ["--normalise", "all"]),
        (helo.data.__main__.main, []),
        (helo.data.__main__.main, ["simulate"]),
        (helo.analysis.__main__.main, ["reprot", "x"]),
    ],
)
def test_wrong_arguments_are_one_line(
    main: Callable[[list[str]], int], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("helo-")
    assert ": error: " in line


def test_a_path_too_long_is_one_line_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = str(tmp_path / ("x" * 300))
    for command, words in (
        (helo.data.__main__.main, ["simulate", "--out", long]),
        (helo.data.__main__.main, ["wesad", long, "--out", str(tmp_path / "out")]),
        (helo.analysis.__main__.main, ["report", long]),
    ):
        assert command(words) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("--precision", "mixed"), ("--compile",)])
def test_what_pays_on_gpus_only_is_refused_without_one(refused: Refused, words: tuple[str, ...]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert f"{' '.join(words)} makes cells faster on GPUs only" in refused.search(*words)
