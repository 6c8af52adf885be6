"""Selection reads validation scores of completed cells, and nothing else."""

from __future__ import annotations

import pandas as pd

from helo.selection import best_overall, best_per_fold


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


def test_higher_may_be_better() -> None:
    table = TABLE.rename(columns={"val_kl": "val_cosine"})
    assert best_per_fold(table, "cosine") == {"a": 0, "b": 1}
    assert best_overall(table, "cosine", 2) == 0


def test_the_first_among_equals() -> None:
    table = cells((3, "a", 0.1), (1, "a", 0.1), (2, "a", 0.1))
    assert best_per_fold(table, "kl") == {"a": 1}
    assert best_overall(table, "kl", 1) == 1


def test_stopped_and_failed_cells_do_not_count() -> None:
    for status in ("stopped", "failed"):
        table = pd.concat([TABLE, cells((9, "a", 0.0), (9, "b", 0.0), status=status)])
        assert best_per_fold(table, "kl") == {"a": 2, "b": 0}
        assert best_overall(table, "kl", 2) == 1


def test_a_missing_score_does_not_count() -> None:
    table = pd.concat([TABLE, cells((9, "a", float("nan")))])
    assert best_per_fold(table, "kl")["a"] == 2


def test_test_scores_are_not_read() -> None:
    tempting = TABLE.assign(test_kl=[0, 0, 1, 1, 1])
    assert best_per_fold(tempting, "kl") == best_per_fold(TABLE, "kl")
    assert best_overall(tempting, "kl", 2) == best_overall(TABLE, "kl", 2)


def test_nothing_done_yet() -> None:
    assert best_per_fold(TABLE.iloc[:0], "kl") == {}
    assert best_overall(TABLE.iloc[:0], "kl", 2) is None
