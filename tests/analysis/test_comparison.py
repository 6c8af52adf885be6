"""Comparison of runs: on the same data, and over data sets with scales of their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from helo.analysis.__main__ import main
from helo.analysis.comparison import Comparison, compare_runs, draw_comparison, read_runs
from helo.analysis.comparison_text import describe_comparison
from helo.analysis.statistics.meta_analysis import COMBINED
from helo.run.directory import Run

OTHERS = ("A", "B", "C", "D", "E", "F", "G")


@pytest.fixture
def two_data_sets(make_run: Callable[..., Run]) -> dict[str, Path]:
    """Runs on two data sets. The losses of the second are ten times those of the first."""
    paths = {}
    for name, subjects in (("first", None), ("second", OTHERS)):
        run = make_run(name, **({} if subjects is None else {"subjects": subjects}))
        paths[name] = Path(str(run.folder))
    change_data_set(paths["second"], "other data", "fedcba")
    for table in ("cells", "baselines"):
        content = pd.read_parquet(paths["second"] / f"{table}.parquet")
        scaled = {column: content[column] * 10 for column in content if str(column).endswith("_kl")}
        content.assign(**scaled).to_parquet(paths["second"] / f"{table}.parquet")
    return paths


def change_data_set(path: Path, name: str, digest: str) -> None:
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    manifest["dataset"] |= {"name": name, "digest": digest}
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def make_better(path: Path, new: Path, factor: float) -> Path:
    """Copy a run whose search has a smaller loss."""
    shutil.copytree(path, new)
    cells = pd.read_parquet(new / "cells.parquet")
    cells.assign(test_kl=cells["test_kl"] * factor).to_parquet(new / "cells.parquet")
    return new


def compare(*paths: Path, metric: str = "") -> Comparison:
    return compare_runs(read_runs(list(map(str, paths))), metric)


def test_runs_on_the_same_data_are_compared_with_the_first(run: Run, tmp_path: Path) -> None:
    better = make_better(tmp_path / "run", tmp_path / "better", 0.9)
    comparison = compare(tmp_path / "run", better)
    (row,) = comparison.differences.to_dict("records")
    assert (row["run"], row["reference"], row["subjects"], row["better"]) == ("better", "run", 6, 6)
    assert row["gain"] > 0
    assert comparison.meta.empty
    assert draw_comparison(comparison) == {}
    assert comparison.overview["run"].tolist() == ["run", "better"]


def test_each_data_set_has_its_own_scale(two_data_sets: dict[str, Path]) -> None:
    comparison = compare(*two_data_sets.values())
    assert comparison.differences.empty  # KL of different data must not be subtracted
    rows = comparison.meta[comparison.meta["reference"] == "train_mean"].set_index("dataset")
    assert list(rows.index) == ["simulated", "other data", COMBINED]
    assert rows["subjects"].tolist() == [6, 7, 13]
    skills = comparison.overview.set_index("dataset")["skill"]
    for name in skills.index:
        assert rows.loc[name, "skill"] == pytest.approx(skills[name])
        assert rows.loc[name, "reference_skill"] == pytest.approx(0)
    assert set(comparison.meta["reference"]) == {"train_mean", "uniform"}
    figures = draw_comparison(comparison)
    assert set(figures) == {"paired-train_mean", "meta-train_mean", "paired-uniform", "meta-uniform"}
    assert [len(trace.x) for trace in figures["paired-train_mean"].data] == [6, 7]
    assert list(figures["meta-train_mean"].data[0].x) == pytest.approx(rows["smd"].tolist())


def test_only_references_of_both_data_sets_are_compared(two_data_sets: dict[str, Path]) -> None:
    path = two_data_sets["second"] / "baselines.parquet"
    baselines = pd.read_parquet(path)
    baselines[baselines["method"] != "uniform"].to_parquet(path)
    assert set(compare(*two_data_sets.values()).meta["reference"]) == {"train_mean"}


def test_second_runs_are_compared_with_first_ones_over_data_sets(
    two_data_sets: dict[str, Path], tmp_path: Path
) -> None:
    better = [make_better(path, tmp_path / f"{name}-better", 0.9) for name, path in two_data_sets.items()]
    comparison = compare(*two_data_sets.values(), *better)
    rows = comparison.meta[comparison.meta["judged"] != "the search"].set_index("dataset")
    assert rows.loc[COMBINED, "judged"] == "first-better and second-better"
    assert rows.loc[COMBINED, "reference"] == "first and second"
    assert rows.loc[COMBINED, "better"] == 13
    assert comparison.differences["dataset"].tolist() == ["simulated", "other data"]
    assert {"paired-runs-3", "meta-runs-3"} <= set(draw_comparison(comparison))
    (sentence,) = [said for said in describe_comparison(comparison) if "second-better" in said]
    assert "first-better and second-better is better than first and second" in sentence
    assert "better for 13" in sentence


def test_another_metric_may_be_compared(two_data_sets: dict[str, Path]) -> None:
    comparison = compare(*two_data_sets.values(), metric="cosine")
    rows = comparison.meta[(comparison.meta["reference"] == "train_mean") & (comparison.meta["dataset"] == COMBINED)]
    assert comparison.metric == "cosine"
    assert rows["difference"].iloc[0] > 0


def test_data_sets_of_one_name_and_other_content_are_kept_apart(two_data_sets: dict[str, Path]) -> None:
    change_data_set(two_data_sets["second"], "simulated", "fedcba")
    assert compare(*two_data_sets.values()).overview["dataset"].tolist() == ["simulated", "simulated (2)"]


def test_an_incomplete_run_is_named_first(two_data_sets: dict[str, Path]) -> None:
    path = two_data_sets["second"] / "cells.parquet"
    cells = pd.read_parquet(path)
    cells[cells["fold"].isin(OTHERS[:4])].to_parquet(path)
    sentences = describe_comparison(compare(*two_data_sets.values()))
    assert sentences[0] == "INCOMPLETE: second has a result for 4 of 7 subjects."
    assert "10 subjects" in sentences[1]


def test_the_command_prints_and_exports(
    two_data_sets: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "compared"
    assert main(["compare", *map(str, two_data_sets.values()), "--export", str(folder)]) == 0
    printed = capsys.readouterr().out
    for words in ("other data", "the search against train_mean", COMBINED, "Over 2 data sets with 13 subjects"):
        assert words in printed
    assert "differences.csv" not in {path.name for path in folder.iterdir()}
    meta = pd.read_csv(folder / "meta_analysis.csv")
    assert set(meta["dataset"]) == {"simulated", "other data", COMBINED}
    assert (folder / "figures" / "paired-train_mean.html").stat().st_size < 500_000
    assert (folder / "figures" / "plotly.min.js").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "compare needs at least two runs, got 1"),
        (["run", "run"], "is named twice"),
        (["run", "nowhere"], "nowhere"),
        (["run", "empty"], "empty"),
        (["run", "other", "--figures", "svg"], "--figures needs --export DIR"),
        (["run", "other", "--metric", "cosin"], "got 'cosin' (did you mean 'cosine'?)"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    shutil.copytree(tmp_path / "run", tmp_path / "empty")
    (tmp_path / "empty" / "cells.parquet").unlink()
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert said in captured.err
