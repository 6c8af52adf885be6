"""Selection of configurations from validation scores."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from helo.run.selection import best_overall, best_per_fold, medoid, recommended


def cells(*rows: tuple[int, str, float], status: str = "completed", metric: str = "kl") -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["configuration", "fold", "val_" + metric])
    return table.assign(status=status)


TABLE = cells((0, "a", 0.3), (0, "b", 0.1), (1, "a", 0.1), (1, "b", 0.2), (2, "a", 0.05))


def test_best_per_fold() -> None:
    assert best_per_fold(TABLE, "kl") == {"a": 2, "b": 0}


def test_best_overall_needs_all_folds() -> None:
    assert best_overall(TABLE, "kl", 2) == 1
    assert best_overall(TABLE, "kl", 3) is None
    assert best_overall(TABLE, "kl", 1) == 2


def test_metrics_of_which_higher_is_better() -> None:
    table = TABLE.rename(columns={"val_kl": "val_cosine"})
    assert best_per_fold(table, "cosine") == {"a": 0, "b": 1}
    assert best_overall(table, "cosine", 2) == 0


def test_ties_go_to_the_lowest_configuration() -> None:
    table = cells((3, "a", 0.1), (1, "a", 0.1), (2, "a", 0.1))
    assert best_per_fold(table, "kl") == {"a": 1}
    assert best_overall(table, "kl", 1) == 1


def test_failed_cells_do_not_count() -> None:
    table = pd.concat([TABLE, cells((9, "a", 0.0), (9, "b", 0.0), status="failed")])
    assert best_per_fold(table, "kl") == {"a": 2, "b": 0}
    assert best_overall(table, "kl", 2) == 1


def test_a_stopped_cell_is_never_selected_in_its_fold() -> None:
    table = pd.concat([TABLE, cells((9, "a", 0.0), (9, "b", 0.0), (9, "c", 0.0), status="stopped")])
    assert best_per_fold(table, "kl") == {"a": 2, "b": 0}


def test_in_a_mean_a_stopped_cell_counts_with_its_score_before_the_stop() -> None:
    stopped = cells((9, "b", 0.15), status="stopped")
    assert best_overall(pd.concat([TABLE, cells((9, "a", 0.1)), stopped]), "kl", 2) == 9
    assert best_overall(pd.concat([TABLE, cells((9, "a", 0.2)), stopped]), "kl", 2) == 1
    assert best_overall(stopped.assign(fold="a"), "kl", 1) == 9
    higher = pd.concat([TABLE, cells((9, "a", 0.3), (9, "b", 0.3), status="stopped")])
    assert best_overall(higher.rename(columns={"val_kl": "val_cosine"}), "cosine", 2) == 9


def test_a_missing_score_does_not_count() -> None:
    table = pd.concat([TABLE, cells((9, "a", float("nan")))])
    assert best_per_fold(table, "kl")["a"] == 2


def test_test_scores_are_not_read() -> None:
    tempting = TABLE.assign(test_kl=[0, 0, 1, 1, 1])
    assert best_per_fold(tempting, "kl") == best_per_fold(TABLE, "kl")
    assert best_overall(tempting, "kl", 2) == best_overall(TABLE, "kl", 2)


def test_without_cells_nothing_is_selected() -> None:
    assert best_per_fold(TABLE.iloc[:0], "kl") == {}
    assert best_overall(TABLE.iloc[:0], "kl", 2) is None
    assert medoid(TABLE.iloc[:0], "kl") is None


def nested(*choices: Mapping[str, object], spare: bool = True) -> pd.DataFrame:
    """Return the cells of one fold per choice: one with its hyperparameters, and with `spare` a worse one."""
    rows = []
    for number, params in enumerate(choices):
        common = {"fold": f"S{number}", "status": "completed"}
        rows.append({**common, "configuration": 10 + number, "val_kl": 0.1} | params)
        if spare:
            worse = dict.fromkeys(params, 7.0)
            rows.append({**common, "configuration": 50 + number, "val_kl": 0.2} | worse)
    return pd.DataFrame(rows)


def test_the_medoid_is_the_central_choice() -> None:
    rates = [{"param_rate": rate} for rate in (1e-1, 1e-4, 1e-2, 2e-4, 9.0)]
    assert medoid(nested(*rates), "kl") == 12
    assert medoid(nested(*rates[:3]), "kl") == 12


def test_the_medoid_is_one_of_the_choices_of_completed_cells() -> None:
    table = nested({"param_rate": 1.0}, {"param_rate": 2.0}, {"param_rate": 3.0})
    assert medoid(table, "kl") == 11
    tempting = table[table["configuration"] == 11].assign(configuration=99, val_kl=0.0)
    for status in ("stopped", "failed"):
        assert medoid(pd.concat([table, tempting.assign(status=status)]), "kl") == 11
    assert medoid(pd.concat([table, tempting]), "kl") == 99


@pytest.mark.parametrize("change", [np.log, np.sqrt, lambda rate: 1000 * rate])
def test_the_medoid_does_not_depend_on_units_and_logarithms(change: object) -> None:
    def table(values: np.ndarray) -> pd.DataFrame:
        return nested(*({"param_rate": rate, "param_size": size} for rate, size in values), spare=False)

    assert callable(change)
    for rates in np.random.default_rng(0).uniform(1, 100, size=(10, 9, 2)):
        assert medoid(table(change(rates)), "kl") == medoid(table(rates), "kl")


def test_categories_are_equal_or_different() -> None:
    words = [{"param_fusion": word, "param_on": word == "gate"} for word in ("mean", "concat", "concat", "gate")]
    assert medoid(nested(*words, spare=False), "kl") == 11


def test_numbers_and_categories_both_count() -> None:
    choices = [
        {"param_rate": 1.0, "param_fusion": "mean"},
        {"param_rate": 2.0, "param_fusion": "gate"},
        {"param_rate": 3.0, "param_fusion": "mean"},
        {"param_rate": 4.0, "param_fusion": "mean"},
    ]
    assert medoid(nested(*choices), "kl") == 12  # 2.0 is as central, but no other choice has its category


def test_the_medoid_reads_neither_test_scores_nor_the_order_of_rows() -> None:
    rates = np.random.default_rng(1).uniform(1, 100, size=7)
    table = nested(*({"param_rate": rate} for rate in rates))
    expected = medoid(table, "kl")
    assert expected == 10 + int(np.argsort(rates)[3])
    assert medoid(table.assign(test_kl=np.arange(len(table))), "kl") == expected
    assert medoid(table.sample(frac=1, random_state=0), "kl") == expected


def test_the_medoid_of_one_fold_is_its_choice() -> None:
    assert medoid(nested({"param_rate": 3.0}), "kl") == 10


def test_the_recommended_configuration_depends_on_the_protocol() -> None:
    table = pd.DataFrame(
        {
            "configuration": [0, 0, 0, 1, 1, 1],
            "fold": ["A", "B", "C"] * 2,
            "status": ["completed", "completed", "stopped", "completed", "completed", "failed"],
            "val_kl": [0.1, 0.2, 0.1, 0.3, 0.3, np.nan],
            "param_width": [8, 8, 8, 16, 16, 16],
        }
    )
    assert recommended(table, "kl", folds=3, nested=False) == 0
    assert recommended(table, "kl", folds=4, nested=False) is None
    assert recommended(table[3:], "kl", folds=2, nested=True) == 1
    assert recommended(table[:0], "kl", folds=3, nested=True) is None
