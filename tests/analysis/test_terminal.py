"""The terminal table and the sentences around it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from helo.analysis.report import write_report, write_summary
from helo.analysis.result import load_run
from helo.analysis.source import Source, read_source
from helo.analysis.statistics.estimates import subject_scores
from helo.analysis.terminal import DROPPED, print_estimates, print_verdict
from helo.analysis.wording import BY_GROUP_TITLE, verdict
from helo.errors import InputError
from helo.metrics import METRICS
from helo.run.directory import Run


def printed(run: Run, width: int = 100) -> str:
    return shown(read_source(run), width)


def shown(source: Source, width: int = 100, verbose: bool = True) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    print_estimates(source, console, verbose)
    print_verdict(source, console)
    return file.getvalue()


def test_the_table_fits_100_columns_with_intervals(run: Run) -> None:
    output = printed(run, width=200)
    assert max(len(line.rstrip()) for line in output.splitlines()) <= 100
    for word in (
        "per_fold_selection",
        "oracle",
        "(not reportable)",
        "±",
        "↓",
        "↑",
        *(metric.label for metric in METRICS.values()),
    ):
        assert word in output


def test_narrow_terminal_shows_no_intervals(run: Run) -> None:
    table = printed(run, width=80).split("Means over")[0]
    assert "±" not in table
    assert "…" not in table
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 80


@pytest.mark.parametrize("objective", ["kl", "intersection"])
def test_a_narrow_table_names_what_it_leaves_out_and_keeps_the_objective(run: Run, objective: str) -> None:
    run.manifest = replace(run.manifest, space={**(run.manifest.space or {}), "objective": objective})
    source = read_source(run)
    for width in (40, 50, 60, 70, 80):
        output = shown(source, width, verbose=False)
        assert max(len(line.rstrip()) for line in output.splitlines()) <= width
        table, _, rest = output.partition("Means over")
        assert "…" not in table
        head = table.splitlines()[0]
        order = [METRICS[metric].label for metric in DROPPED if metric != objective]
        missing = [label for label in order if label not in head]
        assert METRICS[objective].label in head
        assert missing == order[: len(missing)]
        assert bool(missing) == (width < 80)
        if missing:
            note = f"Left out for lack of width: {', '.join(missing)}; see report.html or summary.parquet."
            assert note in " ".join(table.split())
            assert "see report.html or summary_by_group.parquet." in " ".join(rest.split())


def test_only_the_verbose_output_explains_but_warnings_are_always_printed(run: Run) -> None:
    cells = run.table("cells").assign(param_epochs=4)  # the curves of the synthetic run improve until their last epoch
    run.write_table("cells", cells[cells["fold"] != "S2"])
    source = read_source(run)
    short, long = (" ".join(shown(source, verbose=verbose).split()) for verbose in (False, True))
    for explanation in ("This is the result to report", "Optimism gap", "unlabelled windows", "Only the proposals"):
        assert explanation in long
        assert explanation not in short
    for warning in ("Training was too short", "Only 5 of the 6 folds have a completed cell"):
        assert warning in long
        assert warning in short
    assert short.index("Only 5 of the 6 folds") < short.index("Training was too short")


def test_the_verdict_is_last(run: Run) -> None:
    source = read_source(run)
    assert " ".join(shown(source).split()).endswith(source.verdict)


def test_a_long_path_in_a_warning_is_not_broken(make_run: Callable[..., Run]) -> None:
    run = make_run("a-rather-long-name-of-a-run-directory-" * 3)
    run.folder.write("explanations.parquet", b"")
    output = printed(run, width=60)
    assert any(str(run.folder.where("explanations.parquet")) in line for line in output.splitlines())


def test_numbers_equal_the_summary(run: Run) -> None:
    summary = write_summary(read_source(run)).set_index(["estimate", "metric"])
    line = next(line for line in printed(run).splitlines() if line.startswith("per_fold_selection "))
    assert f"{summary.loc[('per_fold_selection', 'chebyshev'), 'mean']:.4f}" in line
    assert line.endswith(f"{100 * summary.loc[('per_fold_selection', 'kl'), 'skill']:+.1f}")


def test_scores_by_group_have_a_second_table(run: Run, make_run: Callable[..., Run]) -> None:
    source = read_source(run)
    first, second = printed(run).split(BY_GROUP_TITLE)
    for summary, part in ((source.summary, first), (source.summary_by_group, second)):
        scores = summary.set_index(["estimate", "metric"])["mean"]
        line = next(line for line in part.splitlines() if line.startswith("per_fold_selection "))
        assert f"{scores['per_fold_selection', 'kl']:.4f}" in line
    assert source.verdict.split(" The fitted")[0] in " ".join(second.split())  # the verdict is that of windows
    assert "by group" not in printed(make_run("without", groups=None))


def test_cautions_follow_the_manifest(run: Run) -> None:
    assert "Only the proposals are affected" in " ".join(printed(run).split())
    assert "uses the unlabelled windows" in " ".join(printed(run).split())
    run.manifest = replace(run.manifest, protocol="nested", normalise="train")
    assert "proposals" not in printed(run)
    assert "unlabelled" not in printed(run)


def test_the_verdict_comes_with_its_test_and_the_optimism_gap(run: Run) -> None:
    output = " ".join(printed(run).split())
    assert (
        "Optimism gap: if the configurations had been selected by test score (oracle), KL would look better by 0."
        in output
    )
    last = output[output.index("Skill is shown: on KL, the search beats the train mean") :]
    assert "for 6 of 6 subjects" in last
    assert "p = 0.031, effect size +1.00" in last


def test_missing_folds_are_reported(run: Run) -> None:
    cells = run.table("cells")
    run.write_table("cells", cells[cells["fold"] != "S2"])
    output = " ".join(printed(run).split())
    assert "Only 5 of the 6 folds have a completed cell" in output
    assert "No configuration has scores in all 6 folds" in output


def test_control_characters_in_names_are_removed(run: Run) -> None:
    baselines = run.table("baselines")
    evil = baselines[baselines["method"] == "uniform"].assign(method="[red]\x1b[2Jridge")
    run.write_table("baselines", pd.concat([baselines, evil]))
    output = printed(run, width=200)
    assert "[red]\N{REPLACEMENT CHARACTER}[2Jridge" in output
    assert "\x1b[2J" not in output


def test_verdict_counts_subjects() -> None:
    def frame(estimate: str, kl: list[float], chebyshev: list[float]) -> pd.DataFrame:
        folds = ["S2", "S3", "S4"]
        return pd.DataFrame({"estimate": estimate, "fold": folds, "kl": kl, "chebyshev": chebyshev})

    scores = pd.concat(
        [
            frame("per_fold_selection", [0.125, 0.25, 0.5], [0.3, 0.2, 0.3]),
            frame("train_mean", [0.25, 0.25, 0.375], [0.1, 0.1, 0.1]),
        ]
    )
    sentence = verdict(scores, "kl")
    assert "for 1 of 3 subjects (mean 0.2917 against 0.2917; p = 1.000, effect size 0.00)" in sentence
    assert "On Chebyshev, it does so for 0 of 3 subjects (mean 0.2667 against 0.1000; p = 0.250" in sentence
    assert verdict(scores, "chebyshev").count("Chebyshev") == 1


def test_verdict_of_similarities_and_without_scores(run: Run) -> None:
    cells, baselines = run.table("cells"), run.table("baselines")
    scores = subject_scores(cells, baselines, "cosine")
    wide = scores.pivot(index="fold", columns="estimate", values="cosine")
    better = int((wide["per_fold_selection"] > wide["train_mean"]).sum())
    message = verdict(scores, "cosine")
    assert message.startswith("Skill is shown: on Cosine, the search beats the train mean")
    assert f"for {better} of 6 subjects" in message
    nothing = subject_scores(cells.assign(status="failed"), baselines, "cosine")
    assert "nothing to judge" in verdict(nothing, "cosine")


def test_without_cells_there_is_no_table(make_run: Callable[..., Run]) -> None:
    with pytest.raises(InputError, match=r"cells\.parquet: is missing"):
        printed(make_run(without=["cells"]))


def test_unknown_objective_is_reported(run: Run) -> None:
    run.manifest = replace(run.manifest, space={"objective": "accuracy"})
    with pytest.raises(InputError, match=r"space\.objective must be one of chebyshev, .*got 'accuracy'"):
        printed(run)


def test_short_training_is_reported_before_the_conclusion(run: Run) -> None:
    """In the terminal, in the report and in Python. The curves of the synthetic run improve until their last epoch."""
    run.write_table("cells", run.table("cells").assign(param_epochs=4))
    source = read_source(run)
    for text in (
        printed(run),
        Path(write_report(source)).read_text(encoding="utf-8"),
        load_run(str(run.folder)).verdict,
    ):
        plain = " ".join(text.split())
        assert 0 <= plain.index("Training was too short: in ") < plain.index("Skill is shown")
    assert printed(run).count("Training was too short") == 1
    run.write_table("cells", run.table("cells").assign(param_epochs=5))  # another rule stopped all cells
    assert "too short" not in printed(run)


def test_a_verdict_needs_no_table_of_epochs(make_run: Callable[..., Run]) -> None:
    run = make_run("short", without=["epochs"])
    run.write_table("cells", run.table("cells").assign(param_epochs=4))
    assert read_source(run).verdict.startswith("Skill is shown")
