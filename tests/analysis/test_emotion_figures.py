"""Tests of the figures of emotions: errors, predicted against reported shares, and distributions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from helo.analysis.exhibits import EXHIBITS
from helo.analysis.figures import agreement, choose, emotions, plot_agreement, plot_emotions, predictions
from helo.analysis.figures._style import NARROW, count_columns
from helo.analysis.source import read_source
from helo.errors import InputError
from helo.run.directory import Run


def test_errors_of_everyone_and_of_a_chosen_subject(run: Run) -> None:
    source = read_source(run)
    table, shares = source.emotion_table, source.common_shares
    info = emotions._build_info(table, shares)
    assert info.emotions == tuple(table["emotion"])
    assert info.error.values == tuple(table["error"])
    assert info.skill.low == tuple(table["skill_low"])
    figure = plot_emotions(table, shares)
    own = shares[shares["subject"] == "S4"].set_index("emotion").loc[list(info.emotions)]
    chosen = choose(figure, subject="S4")
    assert chosen.data[1].x == pytest.approx(own["error"].tolist(), abs=1e-4)
    assert chosen.data[2].x == pytest.approx((1 - own["error"] / own["train_mean_error"]).tolist(), abs=1e-3)
    assert [trace.error_x.visible for trace in chosen.data] == [False] * 3
    assert chosen.layout.annotations[0].text == "subject S4"
    with pytest.raises(InputError, match="no predictions"):
        plot_emotions(table[:0], shares[:0])


def test_points_of_a_panel_belong_to_their_subjects(run: Run) -> None:
    source = read_source(run)
    shares, table = source.common_shares, source.emotion_table
    info = agreement._build_info(shares, table)
    assert [panel.emotion for panel in info.panels] == list(table["emotion"])
    figure = plot_agreement(shares, table)
    for place, panel in enumerate(info.panels):
        dashes, dots = figure.data[2 * place : 2 * place + 2]
        for subject, x, trivial, y in zip(info.subjects, dots.x, dashes.y, dots.y, strict=True):
            own = shares[(shares["subject"] == subject) & (shares["emotion"] == panel.emotion)].iloc[0]
            assert (x, trivial, y) == pytest.approx((own["reported"], own["train_mean"], own["predicted"]), abs=1e-5)
            assert panel.ends[0] < min(x, y, trivial) <= max(x, y, trivial) < panel.ends[1]
        assert tuple(dots.meta["subject"]) == info.subjects


def test_the_most_reported_emotions_have_panels(make_run: Callable[..., Run]) -> None:
    run = make_run(emotions=[f"emotion {number}" for number in range(60)])
    source = read_source(run)
    info = agreement._build_info(source.common_shares, source.emotion_table)
    assert (len(info.panels), info.left_out) == (36, 24)
    reported = source.emotion_table.set_index("emotion")["reported"]
    shown = [panel.emotion for panel in info.panels]
    assert reported[shown].min() >= reported.drop(shown).max()
    assert "the 36 of 60 emotions with the largest shares" in str(EXHIBITS["agreement"].plot(source).layout)
    axis = EXHIBITS["emotions"].plot(source).layout
    assert axis.height > 60 * 16  # room for a name in each row
    layout = EXHIBITS["predictions"].plot(source).layout
    assert len(layout.xaxis3.tickvals) == 60  # a single column of panels has room for all names
    assert len(layout.meta[NARROW]["xaxis3.tickvals"]) == 20  # every third name on a narrow page


@pytest.mark.parametrize("columns", [3, 4])
def test_no_panel_is_alone_in_its_row(columns: int) -> None:
    for panels in range(2, predictions.MOST_GROUPS + 1):
        found = count_columns(panels, columns)
        assert found == 1 or panels % found != 1, panels
        assert found in (panels, *range(columns - 1, columns + 3))


def test_means_of_groups_have_intervals_and_train_means(run: Run) -> None:
    source = read_source(run)
    figure = EXHIBITS["predictions"].plot(source)
    trivial = source.emotion_shares.groupby("emotion", sort=False)["train_mean"].mean()
    assert figure.data[1].y == pytest.approx(trivial.tolist(), abs=1e-4)
    for trace in (figure.data[0], figure.data[2]):
        assert np.all(np.array(trace.error_y.array) >= 0)
    of_subject = source.emotion_shares[source.emotion_shares["subject"] == "S4"]
    chosen = choose(figure, subject="S4")
    assert chosen.data[4].y == pytest.approx(of_subject["train_mean"].tolist(), abs=1e-4)
    assert chosen.data[3].error_y.visible is False
