"""Result of a search with several seeds: what it averages, compares and says."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helo.analysis.__main__ import main
from helo.analysis.seeds import SeedsResult, read_seeds
from helo.analysis.seeds_report import build_seeds_answer
from helo.analysis.statistics.comparisons import compare_with_references
from helo.errors import InputError
from helo.run.directory import Run
from helo.run.seeds import SeedRuns

FACTORS = {0: 1.0, 1: 0.7, 2: 0.8}
"""Factor of the losses of each seed, so that the seeds have known differences."""


@pytest.fixture
def runs(built: Path, tmp_path: Path) -> SeedRuns:
    """Runs of three seeds on the same people."""
    found = SeedRuns.create(tmp_path / "many", tuple(FACTORS), "helo-search --seeds 0,1,2")
    for seed, factor in FACTORS.items():
        place = tmp_path / "many" / f"seed-{seed}"
        shutil.copytree(built, place)
        scale_losses(place, factor)
    return found


def scale_losses(place: Path, factor: float) -> None:
    cells = pd.read_parquet(place / "cells.parquet")
    cells.assign(test_kl=cells["test_kl"] * factor).to_parquet(place / "cells.parquet")


def keep_subjects(place: Path, count: int) -> None:
    cells = pd.read_parquet(place / "cells.parquet")
    cells[cells["fold"].isin(cells["fold"].unique()[:count])].to_parquet(place / "cells.parquet")


def own_scores(result: SeedsResult, seed: int, estimate: str = "per_fold_selection") -> pd.Series:
    scores = result.sources[seed].judged
    return scores[scores["estimate"] == estimate].set_index("fold")["kl"].sort_index()


def test_scores_are_averaged_per_subject_before_the_test(runs: SeedRuns) -> None:
    result = read_seeds(runs)
    expected = np.mean([own_scores(result, seed) for seed in FACTORS], axis=0)
    means = result.mean_scores
    found = means[means["estimate"] == "per_fold_selection"].set_index("fold")["kl"].sort_index()
    np.testing.assert_allclose(found, expected)
    row = result.rows.iloc[-1]
    compared = compare_with_references(means, ("kl",)).set_index("reference").loc["train_mean"]
    assert row["seed"] == "mean over seeds"
    assert row["p"] == compared["p"]
    assert row["subjects"] == 6  # not 18: seeds are no further people
    assert result.summary["subjects"].max() == 6


def test_the_spread_is_over_seeds(runs: SeedRuns) -> None:
    result = read_seeds(runs)
    means = [own_scores(result, seed).mean() for seed in FACTORS]
    row = result.spread.set_index(["estimate", "metric"]).loc[("per_fold_selection", "kl")]
    assert row["mean"] == pytest.approx(np.mean(means))
    assert row["std"] == pytest.approx(np.std(means, ddof=1))
    assert (row["min"], row["max"], row["seeds"]) == (pytest.approx(min(means)), pytest.approx(max(means)), 3)
    trivial = result.spread.set_index(["estimate", "metric"]).loc[("train_mean", "kl")]
    assert trivial["std"] == pytest.approx(0)
    assert row["skill"] == pytest.approx(1 - row["mean"] / trivial["mean"])
    gains = result.gains[1].sort_index()
    np.testing.assert_allclose(gains, own_scores(result, 1, "train_mean") - own_scores(result, 1))


def test_the_verdict_says_how_often_skill_is_shown(runs: SeedRuns) -> None:
    scale_losses(Path(str(runs.place(2))), 10.0)
    result = read_seeds(runs)
    said = " ".join(result.verdict)
    assert "Skill is shown with 2 of 3 seeds (seeds 0, 1), and the search is worse than the train mean with 1." in said
    assert "With the scores of each subject averaged over the 3 seeds:" in said
    assert result.is_complete
    assert not any("INCOMPLETE" in sentence for sentence in result.cautions)


def test_all_seeds_compare_the_same_subjects(runs: SeedRuns) -> None:
    keep_subjects(Path(str(runs.place(1))), 4)
    result = read_seeds(runs)
    assert result.subjects == 4
    assert set(result.table["subjects"]) == {4}
    assert {len(table["fold"].unique()) for table in result.scores.values()} == {4}
    assert len(result.gains) == 4


def test_a_seed_with_few_subjects_is_left_out(runs: SeedRuns) -> None:
    keep_subjects(Path(str(runs.place(2))), 2)
    shutil.rmtree(str(runs.place(1)))
    result = read_seeds(runs)
    assert list(result.scores) == [0]
    assert result.cautions[0].startswith("INCOMPLETE: the search of")
    assert "seed 1" in result.cautions[0] or "seeds 1" in result.cautions[0]
    assert "Left out, with too few subjects: seed 2 (2)." in result.cautions
    assert not any("averaged" in sentence for sentence in result.verdict)


def test_runs_on_other_data_are_refused(runs: SeedRuns) -> None:
    run = Run.open(str(runs.place(1)))
    manifest = run.manifest.as_dict()
    manifest["dataset"] |= {"digest": "fedcba"}
    run.folder.write_json("manifest.json", manifest)
    with pytest.raises(InputError, match="has other data or another objective"):
        read_seeds(runs)


def test_the_report_of_the_directory(
    runs: SeedRuns, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["report", str(runs.folder), "--export", str(tmp_path / "export")]) == 0
    out = capsys.readouterr().out
    assert "mean over seeds" in out
    assert "Skill is shown with 3 of 3 seeds." in out
    page = (tmp_path / "many" / "report.html").read_text(encoding="utf-8")
    assert all(f'href="seed-{seed}/report.html"' in page for seed in FACTORS)
    assert 'id="gains"' in page
    assert pd.read_parquet(tmp_path / "many" / "seeds.parquet")["seed"].nunique() == 3
    written = sorted(path.relative_to(tmp_path / "export").as_posix() for path in (tmp_path / "export").rglob("*.*"))
    tables = ["seeds.csv", "spread.csv", "subjects.csv", "summary.csv"]
    figures = [f"figures/{name}" for name in ("gains.html", "gains.json", "plotly.min.js", "seeds.html", "seeds.json")]
    assert written == [*figures, *tables]


def test_runs_of_a_directory_are_compared(runs: SeedRuns, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(runs.folder)]) == 0
    out = capsys.readouterr().out
    assert all(f"seed-{seed}" in out for seed in FACTORS)


def test_a_directory_without_results_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SeedRuns.create(tmp_path / "many", (0, 1), "")
    assert main(["report", str(tmp_path / "many")]) == 2
    assert "no seed has a completed cell yet" in capsys.readouterr().err


def test_the_answer_is_about_the_mean_over_seeds(runs: SeedRuns) -> None:
    scale_losses(Path(str(runs.place(2))), 10.0)
    answer = build_seeds_answer(read_seeds(runs))
    assert answer.tiles[0].number == "2 of 3 seeds"
    assert "skill is shown with 2 of 3 seeds" in answer.line
    assert answer.badge == "worse"  # the mean of three seeds, one of which is ten times as bad
    shutil.rmtree(str(runs.place(2)))
    answer = build_seeds_answer(read_seeds(runs))
    assert (answer.badge, answer.tiles[0].number) == ("incomplete", "2 of 2 seeds")
    assert answer.cautions[0] == "INCOMPLETE: the search of 1 of 3 seeds has not ended (seed 2)."
