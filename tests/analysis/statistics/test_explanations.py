"""What was learnt: matrices out of the long table, their names, and the two figures of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import plotly.io
import pytest

from helo.analysis.figures import correlation, plot_correlation, plot_transport, transport
from helo.analysis.figures._links import choose
from helo.analysis.source import Source
from helo.analysis.statistics.explanations import empty_explanations, learnt_matrices, token_names
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column
from helo.run.directory import Run
from helo.run.ledger import CellRecord, rows_of
from helo.run.selection import best_per_fold
from helo.run.tables import cells_table, explanations_table

EMOTIONS = ["joy", "fear", "anger", "calm"]
CELLS = pd.DataFrame(
    {
        "configuration": [0, 1, 0, 1],
        "fold": ["S2", "S2", "S3", "S3"],
        "status": "completed",
        "val_kl": [0.1, 0.2, 0.4, 0.3],
        Column.BEST_EPOCH: pd.array([2, 2, 2, 2], dtype="Int64"),
    }
)


def long_form(configuration: int, fold: str, kind: str, matrix: list[list[float]]) -> pd.DataFrame:
    rows, columns = np.indices(np.shape(matrix)).reshape(2, -1)
    given = {"configuration": configuration, "fold": fold, "kind": kind}
    return pd.DataFrame({**given, "row": rows, "column": columns, "value": np.ravel(matrix)})


def plans(*of_folds: list[list[float]]) -> pd.DataFrame:
    """Plans of the configurations that `CELLS` choose, S2's 0 and S3's 1, and another one that is not chosen."""
    chosen = ((0, "S2"), (1, "S3"))
    parts = [long_form(*cell, "transport_plan", plan) for cell, plan in zip(chosen, of_folds, strict=False)]
    return pd.concat([*parts, long_form(1, "S2", "transport_plan", [[9.0, 9.0]])], ignore_index=True)


ONE, OTHER = [[0.3, 0.2], [0.0, 0.5]], [[0.1, 0.4], [0.2, 0.3]]


def test_matrices_of_the_selected_configurations_for_any_row_order() -> None:
    table = plans(ONE, OTHER).sample(frac=1, random_state=1)
    found = learnt_matrices(table, CELLS, "kl", "transport_plan")
    assert list(found.matrices) == ["S2", "S3"]
    np.testing.assert_array_equal(found.matrices["S2"], ONE)
    np.testing.assert_allclose(found.mean, [[0.2, 0.3], [0.1, 0.4]])
    assert found.coverage == "mean of 2 folds"


def test_cell_with_best_epoch_zero_learnt_nothing() -> None:
    cells = CELLS.assign(**{Column.BEST_EPOCH: pd.array([0, 2, 2, 2], dtype="Int64")})
    found = learnt_matrices(plans(ONE, OTHER), cells, "kl", "transport_plan")
    assert list(found.matrices) == ["S3"]
    assert found.coverage == "mean of 1 of 2 folds"
    with pytest.raises(InputError, match="no selected cell learnt anything"):
        learnt_matrices(plans(ONE, OTHER), CELLS.assign(**{Column.BEST_EPOCH: 0}), "kl", "transport_plan")


def test_missing_explanations_are_reported() -> None:
    with pytest.raises(InputError, match="made before they kept it"):
        learnt_matrices(empty_explanations(), CELLS, "kl", "transport_plan")
    with pytest.raises(InputError, match="no selected configuration has label attention"):
        learnt_matrices(plans(ONE), CELLS, "kl", "label_correlation")
    with pytest.raises(InputError, match="no selected configuration has transport"):
        learnt_matrices(plans(), CELLS, "kl", "transport_plan")
    with pytest.raises(InputError, match="not finite"):
        learnt_matrices(plans([[np.nan]]), CELLS, "kl", "transport_plan")
    with pytest.raises(InputError, match="no fold has a completed cell"):
        learnt_matrices(plans(ONE), CELLS.assign(status="failed"), "kl", "transport_plan")


def test_a_run_without_the_table_has_an_empty_one(run: Run) -> None:
    assert len(Source(run).explanations) == 5 * 6 * (16 + 6)
    run.folder.delete("explanations.parquet")
    assert Source(run).explanations.empty
    assert list(Source(run).explanations) == list(empty_explanations())


def test_tokens_are_named_after_features_or_modalities() -> None:
    modalities = {
        "ecg": {"role": "physiological", "tokens": 1, "columns": ["rate"]},
        "face": {"role": "behavioural", "tokens": 1, "columns": ["smile", "frown"]},
        "eeg": {"role": "physiological", "main": True, "tokens": 2, "columns": ["a", "b", "c", "d"]},
        "acc": {"role": "behavioural", "tokens": 2, "columns": ["x", "y"]},
    }
    assert token_names(modalities) == (["eeg 1", "eeg 2"], ["face", "x", "y"])
    assert token_names({"EDA": {"role": "physiological"}, "ACC": {"role": "behavioural"}}) == ([], [])


# --- transport --------------------------------------------------------------------------------


def test_plan_is_divided_by_the_product_of_its_marginals() -> None:
    np.testing.assert_allclose(transport._ratio(np.array(ONE)), [[2, 0.4 / 0.7], [0, 1 / 0.7]])
    # Half of the windows had no plan: the same ratios.
    np.testing.assert_allclose(transport._ratio(np.array(ONE) / 2), transport._ratio(np.array(ONE)))
    np.testing.assert_allclose(transport._ratio(np.outer([0.3, 0.7], [0.2, 0.8])), 1)


def test_a_token_without_mass_has_no_ratio() -> None:
    assert transport._ratio(np.array([[0.0, 0.0], [0.5, 0.5]])).tolist() == [
        [pytest.approx(np.nan, nan_ok=True)] * 2,
        [1, 1],
    ]


def test_transport_info(run: Run) -> None:
    cells, table = run.table("cells"), run.table("explanations")
    modalities = run.manifest.dataset.modalities
    assert modalities is not None
    info = transport._build_info(table, cells, "kl", modalities)
    assert (info.rows, info.columns) == (("eda level", "eda slope"), ("ACC 1", "ACC 2", "ACC 3"))
    choice = best_per_fold(cells, "kl")
    mine = table[(table["kind"] == "transport_plan") & (table["configuration"] == table["fold"].map(choice))]
    mean = mine.groupby(["row", "column"])["value"].mean().to_numpy().reshape(2, 3)
    np.testing.assert_allclose(info.ratio, transport._ratio(mean), rtol=1e-6)
    assert transport._build_info(table, cells, "kl", {}).rows == ("physiological 1", "physiological 2")


def test_plan_of_a_chosen_subject(run: Run) -> None:
    modalities = run.manifest.dataset.modalities
    assert modalities is not None
    given = run.table("explanations"), run.table("cells"), "kl", modalities
    info = transport._build_info(*given)
    figure = choose(plot_transport(*given), subject="S4")
    np.testing.assert_allclose(np.array(figure.data[0].customdata), info.by_subject["S4"], atol=0.006)
    np.testing.assert_allclose(np.array(figure.data[0].z), np.log2(info.by_subject["S4"]), atol=0.006)


def test_uniform_plan_is_grey() -> None:
    flat = [[0.25, 0.25], [0.2499, 0.2501]]
    figure = plot_transport(plans(flat, flat), CELLS, "kl", {})
    assert figure.layout.coloraxis.cmax == pytest.approx(np.log2(1.25))
    assert np.abs(np.array(figure.data[0].z)).max() < 0.01
    json.loads(plotly.io.to_json(figure, validate=True))


# --- correlation ------------------------------------------------------------------------------


def test_correlation_info(run: Run) -> None:
    cells, table, predictions = (run.table(name) for name in ("cells", "explanations", "predictions"))
    info = correlation._build_info(table, predictions, cells, "kl", EMOTIONS)
    assert sorted(info.emotions) == sorted(EMOTIONS)
    once = predictions[predictions["configuration"] == 0]
    expected = once[[f"true_{name}" for name in info.emotions]].corr().to_numpy()
    np.testing.assert_allclose(info.reported, expected, atol=1e-9)
    order = [EMOTIONS.index(name) for name in info.emotions]
    found = learnt_matrices(table, cells, "kl", "label_correlation")
    np.testing.assert_array_equal(info.by_subject["S5"], found.matrices["S5"][np.ix_(order, order)])
    assert info.learned is not None
    np.testing.assert_allclose(info.learned, found.mean[np.ix_(order, order)])
    pairs = [abs(info.learned[a, b] - info.reported[a, b]) for a in range(4) for b in range(a)]
    assert info.distance == pytest.approx(np.mean(pairs))


def test_correlated_emotions_are_neighbours() -> None:
    matrix = np.eye(4)
    matrix[0, 2] = matrix[2, 0] = matrix[1, 3] = matrix[3, 1] = 0.9
    order = correlation._order(matrix)
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset({0, 2}), frozenset({1, 3})}


def test_the_learned_matrix_is_the_chosen_subjects(run: Run) -> None:
    given = (run.table("explanations"), run.table("predictions"), run.table("cells"), "kl", EMOTIONS)
    info, figure = correlation._build_info(*given), plot_correlation(*given)
    before = figure.data[0].z
    choose(figure, subject="S6")
    np.testing.assert_allclose(np.array(figure.data[1].z), info.by_subject["S6"], atol=1e-3)
    np.testing.assert_array_equal(figure.data[0].z, before)


def test_without_a_learned_correlation_the_data_stands_alone(run: Run) -> None:
    figure = plot_correlation(empty_explanations(), run.table("predictions"), run.table("cells"), "kl", EMOTIONS)
    assert len(figure.data) == 1
    assert "made before they" in figure.layout.annotations[0].text
    with pytest.raises(InputError, match="no reported distributions"):
        plot_correlation(empty_explanations(), run.table("predictions")[:0], run.table("cells"), "kl", EMOTIONS)


def test_table_written_by_a_search_is_readable() -> None:
    now, scores = datetime(2026, 1, 2, tzinfo=UTC), dict.fromkeys(METRICS, 0.5)
    plan = np.array(ONE, dtype=np.float32)
    records = [
        CellRecord(0, fold, {}, "completed", 3, 1.0, "here", now, now, 2, None, scores, scores, plan=plan)
        for fold in ("S2", "S3")
    ]
    cells = cells_table(rows_of(enumerate(records)))
    found = learnt_matrices(explanations_table(records), cells, "kl", "transport_plan")
    assert (list(found.matrices), found.folds) == (["S2", "S3"], 2)
    np.testing.assert_array_equal(found.matrices["S3"], plan)
