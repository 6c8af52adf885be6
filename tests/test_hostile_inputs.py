"""Whatever a file or an argument holds: no traceback, no hang, one line for an error, and nothing written.

Each example spoils one input of one parser. ``HELO_FUZZ=5000`` tries that many new ones. Without it the examples are
the same in each run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import signal
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import helo.analysis.__main__
import helo.cluster.__main__
import helo.data.__main__
import helo.predict
import helo.search.__main__
from helo.configuration import Configuration
from helo.data import simulate, write_dataset
from helo.errors import InputError
from helo.evaluation.folds import folds_as_json, folds_digest, loso_folds
from helo.evaluation.scaling import Scaling
from helo.model.network import HeLo
from helo.names import Normalisation
from helo.run.directory import Run
from helo.run.journal import read_journal
from helo.run.ledger import CellRecord, Ledger
from helo.run.manifest import Manifest
from helo.run.manifest_records import DatasetRecord, FoldsRecord, PaceRecord
from helo.run.seeds import SeedRuns
from helo.search.planning.space import load_space, parse_space
from helo.storage import open_folder
from helo.training.fitted_members import FittedMembers
from helo.training.model_files import SavedModel, read_model, write_model

LIMIT_S = 60
"""Seconds after which an example counts as a hang; most take a tenth of a second."""

EXAMPLES = int(os.environ.get("HELO_FUZZ", "0"))

TEXTS = (
    *("", " ", "0", "-1", "1e400", "nan", "inf", "-inf", "1.5", "9" * 30, "9" * 400, "9" * 5000, "0x10", "1_0", "٣"),
    *("é", "e\u0301", "\x1b[31m", "\x1b]0;x\x07", "\u202e", "\u200b", "a\0b", "\udcff", "a\nb", "\u2028", "x" * 300),
    *("../..", "/dev/zero", "pipe", "file", "~", "-", "--", "=1+1", "$(x)", "{}", "[", "null", "auto", "all", "none"),
    *(
        "ridge,ridge",
        ",",
        "a,b",
        "0,1",
        "1,1",
        "1:2",
        "2:1",
        "a=b",
        "x=physiological:*:0",
        "s3://",
        "s3:/b/x",
        "gs://b",
    ),
    *(
        "s3://user:secret@b/x",
        "http://x",
        "svg,svg",
        "Happy,Happy",
        "90s",
        "1000000d",
        "0.0000001s",
        "٣h",
        "*",
        "(",
        "!x",
    ),
)
"""Arguments, and texts in files."""

VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        1.5,
        2**63,
        10**400,
        float("nan"),
        float("inf"),
        -0.0,
        1e308,
        [],
        {},
        [[]],
        [None],
    ),
    *(
        {"a": {}},
        {"": 1},
        {"low": 1, "high": 0},
        {"choices": [[]]},
        {"value": {}},
        ["a", "a"],
        [1, "a"],
        "\ud800",
        "a" * 1000,
    ),
    *(text for text in TEXTS if len(text) < 500),
)


@dataclass(frozen=True)
class Place:
    """Folder with valid inputs, which each example copies."""

    valid: Path
    work: Path

    def fresh(self) -> Path:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.valid, self.work, symlinks=True, ignore=shutil.ignore_patterns("pipe"))
        os.mkfifo(self.work / "pipe")
        return self.work


DATASET = simulate(subjects=3, clips=2, windows=2, emotions=2)
CELL = {
    "params": {"width": 16},
    "status": "completed",
    "epochs": 1,
    "seconds": 1.5,
    "node": "here",
    "started": pd.Timestamp("2026-01-02", tz="UTC"),
    "finished": pd.Timestamp("2026-01-03", tz="UTC"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    valid = tmp_path_factory.mktemp("valid")
    write_dataset(DATASET, valid / "data")
    (valid / "file").touch()
    table = pd.DataFrame({"who": ["a", "b", "c"], "hr": [1.0, 2.0, 3.0], "joy": [1, 2, 3], "fear": [3, 2, 1]})
    table.to_csv(valid / "t.csv", index=False)
    table.to_csv(valid / "t.tsv.gz", index=False, sep="\t")
    table.to_parquet(valid / "t.parquet", compression=None)
    (valid / "space.yaml").write_text(json.dumps(load_space("small").as_dict()))
    (valid / "variants.yaml").write_text(json.dumps(load_space("ablation").as_dict()))
    for name in ("aws.yaml", "local.yaml", "kuberay.yaml", "slurm.sh"):
        shutil.copy(Path(__file__).parents[1] / "cluster" / name, valid)
    folds = loso_folds(DATASET.subject_names, 0, 2)
    manifest = Manifest(
        name="run",
        data="data",
        seed=0,
        protocol="shared",
        racing=True,
        pace=PaceRecord(2, 1, 1),
        normalise="train",
        precision="full",
        compiled=False,
        cpus_per_cell=1,
        space=load_space("small").as_dict(),
        folds=FoldsRecord(folds_digest(folds), 2),
        baselines=(),
        deliver="recommended",
        dataset=DatasetRecord(name="d", digest=DATASET.digest, emotions=tuple(DATASET.emotions)),
    ).with_identity()
    run = Run.create(valid / "run", manifest, folds_as_json(folds))
    run.ledger.append(CellRecord(0, DATASET.subject_names[0], **CELL), 0)  # type: ignore[arg-type]
    (valid / "run" / "journal.jsonl").write_text(
        '{"at": "2026-11-21T03:00:00+00:00", "phase": "cells", "cells": [3, 9]}\n'
    )
    (valid / "run" / "seeds.json").write_text('{"seeds": [0, 1], "command": "", "helo": ""}')
    configuration = Configuration(width=4, heads=1, epochs=1)
    network = HeLo(DATASET.schema, configuration, torch.full((1, 2), 0.5)).eval()
    size = len(DATASET.schema.features)
    scaling = Scaling(Normalisation.TRAIN, torch.zeros(size).numpy(), torch.ones(size).numpy())
    write_model(
        SavedModel(DATASET.schema, (FittedMembers(configuration, network, (scaling,), 1.0),), ("a",), {}),
        valid / "model",
    )
    description = json.loads((valid / "model" / "model.json").read_text())
    del description["weights_sha256"]  # as in earlier models, so that what is behind the checksum is reached
    (valid / "model" / "model.json").write_text(json.dumps(description))
    work = tmp_path_factory.mktemp("work") / "work"
    before = Path.cwd()
    yield Place(valid, work)
    os.chdir(before)


# --- spoilt inputs ------------------------------------------------------------------------------


def spoil_bytes(draw: st.DataObject, path: Path) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(draw.draw(st.integers(1, 4))):
        if content:
            content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
    path.write_bytes(content[: draw.draw(st.just(len(content)) | st.integers(0, len(content)))])


def spoil_value(draw: st.DataObject, content: Any) -> Any:
    """Replace, remove, add or rename one value somewhere in plain values."""
    if isinstance(content, dict | list) and content and draw.draw(st.integers(0, 4)):
        key = draw.draw(st.sampled_from(list(content) if isinstance(content, dict) else range(len(content))))
        changed = content.copy()
        change = draw.draw(st.sampled_from(["inside", "inside", "inside", "remove", "add"]))
        if change == "inside":
            changed[key] = spoil_value(draw, content[key])
        elif change == "remove":
            del changed[key]
        elif isinstance(changed, dict):
            changed[draw.draw(st.sampled_from(TEXTS))] = changed.pop(key)
        else:
            changed.append(changed[key])
        return changed
    return draw.draw(st.sampled_from(VALUES))


def spoil_json(draw: st.DataObject, path: Path) -> None:
    content = spoil_value(draw, yaml.safe_load(path.read_text()))
    path.write_text(json.dumps(content), encoding="utf-8")  # which is YAML, too


def spoil_tensors(draw: st.DataObject, path: Path) -> None:
    """Change the header of a file of weights: types, shapes, places, names."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    name = draw.draw(st.sampled_from(list(header)))
    if draw.draw(st.booleans()):
        header[name]["dtype"] = draw.draw(
            st.sampled_from(["BF16", "F16", "F8_E4M3", "F8_E5M2", "I64", "BOOL", "F64", "U8"])
        )
        width = {"BF16": 2, "F16": 2, "I64": 8, "F64": 8, "F32": 4}
        place = 0  # the places must fit, or safetensors itself refuses the file
        for entry in header.values():
            count = 1
            for length in entry["shape"]:
                count *= length
            entry["data_offsets"] = [place, place + count * width.get(entry["dtype"], 1)]
            place = entry["data_offsets"][1]
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(place))
        return
    text = json.dumps(spoil_value(draw, header)).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])


def spoil_kind(draw: st.DataObject, path: Path) -> None:
    """Put something else in the place of a file."""
    path.unlink()
    kind = draw.draw(st.sampled_from(["missing", "folder", "pipe", "device", "circle"]))
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "missing":
        path.symlink_to("/dev/zero" if kind == "device" else path)


Spoil = Callable[[st.DataObject, Path], None]
Read = Callable[[], Any]


def of_command(main: Callable[[list[str]], int], *words: str) -> Read:
    def call() -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            code = main(list(words))
        assert code in (0, 1, 2)
        if code == 2:
            assert said.getvalue().startswith("helo-")
            assert all(" error: " in line for line in said.getvalue().splitlines())

    return call


def read_run() -> None:
    run = Run.open("run")
    recorded = run.manifest.recorded_search("manifest.json")
    parse_space(recorded.space, "space", "unnamed")
    loso_folds(DATASET.subject_names, recorded.seed, recorded.inner_folds)


def table_words(name: str) -> tuple[str, ...]:
    return (
        "table",
        name,
        "--subject",
        "who",
        "--emotions",
        "joy",
        "fear",
        "--modality",
        "x=physiological:hr",
        "--out",
        "file/x",
    )


PARSERS: dict[str, tuple[str, tuple[Spoil, ...], Read]] = {
    "schema": (
        "data/dataset.yaml",
        (spoil_bytes, spoil_json, spoil_json, spoil_kind),
        of_command(helo.data.__main__.main, "check", "data"),
    ),
    "windows": (
        "data/windows.parquet",
        (spoil_bytes, spoil_kind),
        of_command(helo.data.__main__.main, "check", "data"),
    ),
    **{
        name: (name, (spoil_bytes, spoil_kind), of_command(helo.data.__main__.main, *table_words(name)))
        for name in ("t.csv", "t.tsv.gz", "t.parquet")
    },
    "space": ("space.yaml", (spoil_bytes, spoil_json, spoil_json, spoil_kind), lambda: load_space("space.yaml")),
    "variants": ("variants.yaml", (spoil_json,), lambda: load_space("variants.yaml")),
    "manifest": ("run/manifest.json", (spoil_bytes, spoil_json, spoil_json, spoil_kind), read_run),
    "folds": ("run/folds.json", (spoil_bytes, spoil_json, spoil_kind), lambda: Run.open("run").folds),
    "seeds": ("run/seeds.json", (spoil_bytes, spoil_json, spoil_kind), lambda: SeedRuns.open("run")),
    "journal": ("run/journal.jsonl", (spoil_bytes, spoil_json), lambda: read_journal(open_folder("run"))),
    "ledger": ("run/ledger/c00000-f0000.parquet", (spoil_bytes, spoil_kind), lambda: Ledger("run/ledger").inspect()),
    "model": ("model/model.json", (spoil_bytes, spoil_json, spoil_json, spoil_kind), lambda: read_model("model")),
    "weights": (
        "model/weights.safetensors",
        (spoil_bytes, spoil_tensors, spoil_tensors, spoil_kind),
        lambda: read_model("model"),
    ),
    **{
        name: (
            name,
            (spoil_bytes, spoil_json) if name.endswith("yaml") and "kube" not in name else (spoil_bytes, spoil_kind),
            of_command(helo.cluster.__main__.main, "check", name),
        )
        for name in ("aws.yaml", "local.yaml", "kuberay.yaml", "slurm.sh")
    },
}
"""Input → its file, ways to spoil it, and what reads it."""


def listing(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


@contextlib.contextmanager
def no_hang() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"took more than {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def many(examples: int) -> settings:
    return settings(
        max_examples=EXAMPLES or examples,
        deadline=None,
        derandomize=not EXAMPLES,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.slow
@many(350)
@given(data=st.data())
def test_files(place: Place, data: st.DataObject) -> None:
    name, spoils, read = PARSERS[data.draw(st.sampled_from(list(PARSERS)), label="input")]
    os.chdir(place.fresh())
    data.draw(st.sampled_from(spoils), label="spoilt")(data, Path(name))
    before = listing(place.work)
    with no_hang(), contextlib.suppress(InputError):
        read()
    assert listing(place.work) == before


# --- arguments ----------------------------------------------------------------------------------

COMMANDS: dict[str, tuple[Any, list[str]]] = {
    "search": (helo.search.__main__, ["--data", "nowhere"]),
    "data simulate": (helo.data.__main__, ["--out", "file"]),
    "data wesad": (helo.data.__main__, ["nowhere", "--out", "file/x"]),
    "data dmer": (helo.data.__main__, ["nowhere", "--out", "file/x"]),
    "data e4": (helo.data.__main__, ["nowhere", "--ratings", "nowhere", "--out", "file/x"]),
    "data table": (
        helo.data.__main__,
        ["t.csv", "--subject", "who", "--emotions", "joy", "--modality", "x=physiological:hr", "--out", "file/x"],
    ),
    "data check": (helo.data.__main__, ["nowhere"]),
    "predict": (helo.predict, ["nowhere", "data", "--out", "p.csv"]),
    "cluster check": (helo.cluster.__main__, ["nowhere.yaml"]),
    "analysis report": (helo.analysis.__main__, ["nowhere"]),
    "analysis compare": (helo.analysis.__main__, ["nowhere", "nowhere"]),
    "analysis dashboard": (helo.analysis.__main__, ["nowhere"]),
}
"""Command → its module, and the arguments that come last: with them, it can do nothing but refuse."""

NETWORK = {"--address", "--help", "--print-completion", "--version"}
"""Options that are left out: they ask the network, or have no values."""


def options_of(command: str) -> list[argparse.Action]:
    parser = COMMANDS[command][0].build_parser()
    for word in command.split()[1:]:
        (kinds,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        parser = kinds.choices[word]
    return [action for action in parser._actions if action.option_strings and not NETWORK & set(action.option_strings)]


@pytest.mark.slow
@many(150)
@given(data=st.data())
def test_arguments(place: Place, data: st.DataObject) -> None:
    command = data.draw(st.sampled_from(list(COMMANDS)), label="command")
    module, last = COMMANDS[command]
    words = command.split()[1:]
    for _ in range(data.draw(st.integers(1, 3))):
        action = data.draw(st.sampled_from(options_of(command)))
        value = data.draw(st.sampled_from(TEXTS))
        words.append(action.option_strings[-1] if action.nargs == 0 else f"{action.option_strings[-1]}={value}")
    if data.draw(st.booleans()):
        words.append(data.draw(st.sampled_from(TEXTS)))
    os.chdir(place.fresh())
    before = listing(place.work)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said, no_hang():
        try:
            code = module.main([*words, *last])
        except SystemExit as error:
            code = error.code
    assert code == 2
    (line,) = said.getvalue().splitlines()
    assert line.startswith("helo-")
    assert " error: " in line
    assert "secret" not in line
    assert listing(place.work) == before
