"""Emotion distributions from ratings, scales with two poles and classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from helo.data.labels import (
    Answers,
    Bounds,
    Labels,
    dimensions,
    distributions_of_classes,
    distributions_of_ratings,
    parse_bounds,
)
from helo.errors import InputError

COLUMNS = {"joy": "q1", "fear": "q2"}


def at(row: int) -> str:
    return f"row {row}"


def of_ratings(ratings: list[list[float]], **answers: Any) -> Labels:
    return distributions_of_ratings(np.array(ratings, float), COLUMNS, Answers(**answers), at)


def test_the_low_end_of_a_scale_is_a_share_of_zero() -> None:
    labels = of_ratings([[1, 9], [5, 5], [2, 4]], scale=Bounds(1, 9))
    np.testing.assert_allclose(labels.shares, np.array([[0, 1], [0.5, 0.5], [0.25, 0.75]]))
    assert labels.notes == ("a rating of 1 is a share of 0; each row is divided by its sum",)


def test_a_scale_below_zero() -> None:
    np.testing.assert_allclose(of_ratings([[-3, 1]], scale=Bounds(-4, 4)).shares[0], [1 / 6, 5 / 6])


def test_ratings_from_one_on_get_a_note() -> None:
    assert of_ratings([[1, 4], [5, 2]]).notes[1] == (
        "the smallest rating is 1, so no share can be 0; if 1 means 'not at all', add --scale 1:5"
    )
    assert len(of_ratings([[1, 0.5], [5, 2]]).notes) == 1
    assert len(of_ratings([[0, 4], [5, 2]]).notes) == 1


def test_rows_without_a_rating_are_counted_and_left_out_on_request() -> None:
    ratings = [[1.0, 2.0], [np.nan, 1.0], [0.0, 0.0], [3.0, 1.0]]
    with pytest.raises(
        InputError, match=r"row 1, column 'q1': must have a label, is empty \(1 of 4 rows lack a rating"
    ):
        of_ratings(ratings)
    labels = of_ratings(ratings, drop_unrated=True)
    assert labels.rated.tolist() == [True, False, False, True]
    assert labels.notes[0] == "left out of 4 rows: 1 that lack a rating, 1 in which every emotion is absent"
    np.testing.assert_allclose(labels.shares[[0, 3]], [[1 / 3, 2 / 3], [0.75, 0.25]])


def test_scales_with_two_poles() -> None:
    labels = distributions_of_ratings(
        np.array([[1, 9], [5, 3]], float), {"valence": "v", "arousal": "a"}, Answers(poles=Bounds(1, 9)), at
    )
    assert labels.emotions == ("valence_low", "valence_high", "arousal_low", "arousal_high")
    np.testing.assert_allclose(labels.shares, [[0.5, 0, 0, 0.5], [0.25, 0.25, 0.375, 0.125]])
    assert not dimensions(labels.emotions)


def test_dimensions_that_are_taken_for_emotions_are_warned_of() -> None:
    labels = distributions_of_ratings(np.array([[3.0, 5.0]]), {"Valence": "v", "Arousal": "a"}, Answers(), at)
    assert labels.notes[-1].startswith("warning: Valence, Arousal: scales with two ends are no parts of a whole")


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({}, "row 0, column 'q1': must not be negative, got -4; for scales with two opposite ends, add --poles"),
        ({"scale": Bounds(1, 9)}, "row 0, column 'q1': must be within --scale 1:9, got -4"),
        ({"poles": Bounds(-3, 3)}, "row 0, column 'q1': must be within --poles -3:3, got -4"),
    ],
)
def test_ratings_out_of_range(answers: dict, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        of_ratings([[-4, 2]], **answers)


@pytest.mark.parametrize("text", ["", "1", "1:1", "a:b", "1:2:3", "nan:3", "1:inf"])
def test_bounds_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="--poles must be LOW:HIGH, such as 1:9"):
        parse_bounds(text, "--poles")


def test_classes_are_sorted_by_number_and_whole_numbers_have_no_point() -> None:
    labels = distributions_of_classes(["10.0", "2", "2.0", " 10"], "label", Answers(), at)
    assert labels.emotions == ("2", "10")
    np.testing.assert_array_equal(labels.shares, [[0, 1], [1, 0], [1, 0], [0, 1]])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["sad", None, "joy"], "row 1, column 'label': must have a class, is empty (1 of 3 rows lack a class"),
        (["Sad", "joy", "sad"], "column 'label': classes 'Sad' and 'sad' differ in spaces or case only"),
        (
            [str(n / 7) for n in range(60)],
            "column 'label': must hold at most 50 classes, got 60 different values, such",
        ),
    ],
)
def test_classes_that_are_refused(cells: list[str | None], message: str) -> None:
    with pytest.raises(InputError) as caught:
        distributions_of_classes(cells, "label", Answers(), at)
    assert message in str(caught.value)
