"""Questionnaires: their traps, on files made here and on the real ones if present."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from helo.data.wesad.items import ITEMS
from helo.data.wesad.questionnaire import Questionnaire, Report, read_quest
from helo.errors import InputError

Lines = Callable[..., list[str]]
Write = Callable[..., Path]

START_S = (120, 485, 870, 1259, 3620)
END_S = (360, 735, 1120, 1500, 3860)


def answers(value: int = 1, **given: object) -> list[str]:
    """A PANAS row of 24 answers, all `value` but for those given by item."""
    return [str(given.get(item, value)) for item in ITEMS]


def tsst_answers(value: int = 1, **given: object) -> list[str]:
    """A PANAS row of 26 answers: Angry and Irritated, 5 each, sit before Sad."""
    row = answers(value, **given)
    return [*row[:-1], "5", "5", row[-1]]


def row(head: str, *cells: str) -> str:
    return f"# {head};{';'.join(cells)}".ljust(12) + ";;;"


@pytest.fixture
def changed(quest_lines: Lines) -> Callable[[str, str], list[str]]:
    """A valid questionnaire with one text replaced by another."""

    def change(old: str, new: str) -> list[str]:
        text = "\n".join(quest_lines())
        assert text.count(old) == 1
        return text.replace(old, new).split("\n")

    return change


def test_quest_takes_each_report_from_the_row_of_its_place_in_order(
    quest_lines: Lines, write_quest: Write, tmp_path: Path
) -> None:
    order = ("Base", "Fun", "Medi 2", "TSST", "Medi 1")
    quest = read_quest(write_quest(tmp_path, quest_lines("S14", order)))
    assert quest.subject == "S14"
    assert tuple(report.condition for report in quest.reports) == order
    assert [report.answers["Happy"] for report in quest.reports] == [1, 2, 3, 4, 5]


def test_quest_finds_sad_after_the_two_items_of_tsst(quest_lines: Lines, write_quest: Write, tmp_path: Path) -> None:
    lines = quest_lines()
    lines[6] = row("PANAS", *tsst_answers(2, Sad=4))
    tsst = read_quest(write_quest(tmp_path, lines)).reports[1]
    assert (tsst.answers["Happy"], tsst.answers["Angry"], tsst.answers["Irritated"]) == (2, 5, 5)
    assert tsst.answers["Sad"] == 4
    assert len(tsst.answers) == 26


def test_quest_restores_zeros_lost_after_the_dot(quest_lines: Lines, write_quest: Write, tmp_path: Path) -> None:
    reports = read_quest(write_quest(tmp_path, quest_lines())).reports
    assert tuple(report.start_s for report in reports) == START_S
    assert tuple(report.end_s for report in reports) == END_S


@pytest.mark.parametrize("head", ["# Subj;S2", "# Subj:;S2", "#Subj ;S2;;;;"])
def test_quest_reads_either_first_line(quest_lines: Lines, write_quest: Write, tmp_path: Path, head: str) -> None:
    assert read_quest(write_quest(tmp_path, [head, *quest_lines()[1:]])).subject == "S2"


def test_quest_reads_windows_line_ends_and_byte_order_mark(
    quest_lines: Lines, write_quest: Write, tmp_path: Path
) -> None:
    path = write_quest(tmp_path, quest_lines())
    plain = read_quest(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_quest(path) == plain


def test_quest_counts_no_answer_as_not_at_all(quest_lines: Lines, write_quest: Write, tmp_path: Path) -> None:
    lines = quest_lines()
    lines[7] = row("PANAS", *answers(3, Nervous="Nan"))
    assert read_quest(write_quest(tmp_path, lines)).reports[2].answers["Nervous"] == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# ORDER", "# ODER", "exactly one line '# ORDER;...'"),
        ("# START", "# STRT", "exactly one line '# START;...'"),
        ("# END", "# START", "exactly one line '# START;...' (cells separated by ';'), got 2"),
        ("# Subj;S2", "# Subj;", "Subj must name the subject"),
        ("Medi 2;sRead", "sRead;fRead", "line 2: ORDER must begin with Base, TSST, Fun, Medi 1, Medi 2"),
        ("Medi 1;Fun", "Medi1;Fun", "(did you mean 'Medi 1'?)"),
        ("Medi 1;Fun", "Fun;Fun", "got Base, TSST, Fun, Fun, Medi 2"),
        (
            "8.05;",
            "8.60;",
            "line 3: START must be minutes.seconds, up to 59 s (50.3 is 50 min 30 s), got '8.60'",
        ),
        ("8.05;", "8.6;", "got '8.6'"),
        ("8.05;", "8,05;", "got '8,05'"),
        ("8.05;", "8.050;", "got '8.050'"),
        ("8.05;", "-8.05;", "got '-8.05'"),
        ("8.05;", ";", "got ''"),
        ("8.05;", f"{'9' * 5000};", "must be minutes.seconds"),
        ("14.3;20.59;60.2;54.42;89.51", "", "line 3: START must hold 5 times, got 2"),
        ("12.15;", "7.15;", "line 4: TSST must end after 485 s, got 435 s"),
        ("12.15;", "8.05;", "TSST must end after 485 s, got 485 s"),
    ],
)
def test_quest_refuses_wrong_lines(
    changed: Callable[[str, str], list[str]], write_quest: Write, tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = write_quest(tmp_path, changed(old, new))
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_quest(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "cells", "message"),
    [
        (0, answers()[:-1], "line 6: PANAS after Base must hold 24 answers (24, but 26 after TSST), got 23"),
        (0, tsst_answers(), "PANAS after Base must hold 24 answers"),
        (1, answers(), "line 7: PANAS after TSST must hold 26 answers"),
        (2, answers(Alert="6"), "line 8: Alert after Medi 1 must be 1 to 5 or Nan, got '6'"),
        (2, answers(Alert="0"), "got '0'"),
        (2, answers(Alert="2.5"), "got '2.5'"),
        (2, answers(Alert=""), "Alert after Medi 1 must be 1 to 5 or Nan, got ''"),
        (2, answers(Alert="²"), "got '²'"),
    ],
)
def test_quest_refuses_wrong_answers(
    quest_lines: Lines, write_quest: Write, tmp_path: Path, place: int, cells: list[str], message: str
) -> None:
    lines = quest_lines()
    lines[5 + place] = row("PANAS", *cells)
    with pytest.raises(InputError, match=re.escape(message)):
        read_quest(write_quest(tmp_path, lines))


@pytest.mark.parametrize("count", [0, 4, 6])
def test_quest_refuses_more_or_fewer_than_five_reports(
    quest_lines: Lines, write_quest: Write, tmp_path: Path, count: int
) -> None:
    lines = [line for line in quest_lines() if "PANAS" not in line] + [row("PANAS", *answers())] * count
    with pytest.raises(InputError, match=f"needs 5 lines '# PANAS;...', one per condition, got {count}"):
        read_quest(write_quest(tmp_path, lines))


def test_quest_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read as a UTF-8 text file"):
        read_quest(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="cannot be read as a UTF-8 text file"):
        read_quest(tmp_path)
    (tmp_path / "latin.csv").write_bytes("# Subj;Jörg".encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read as a UTF-8 text file"):
        read_quest(tmp_path / "latin.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(InputError, match="exactly one line '# ORDER;"):
        read_quest(tmp_path / "empty.csv")


# --- the real ones ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quests(wesad_folder: Path) -> dict[str, Questionnaire]:
    found = [read_quest(path) for path in sorted(wesad_folder.glob("S*/S*_quest.csv"))]
    return {quest.subject: quest for quest in found}


def test_real_reports(quests: dict[str, Questionnaire]) -> None:
    assert len(quests) == 15
    reports: list[Report] = [report for quest in quests.values() for report in quest.reports]
    assert len(reports) == 75
    assert {report.answers["Sad"] for report in reports} == {1}
    assert all("Angry" in report.answers for report in reports if report.condition == "TSST")
    assert [report.condition for report in quests["S14"].reports] == [
        "Base",
        "TSST",
        "Medi 2",
        "Fun",
        "Medi 1",
    ]
    assert sum(quest.reports[2].condition == "Medi 2" for quest in quests.values()) == 1
    unanswered = quests["S5"].reports[2]
    assert (unanswered.condition, unanswered.answers["Nervous"]) == ("Medi 1", 1)
    tsst = quests["S2"].reports[1]
    assert (tsst.condition, tsst.start_s, tsst.end_s) == ("TSST", 39 * 60 + 55, 50 * 60 + 30)


def test_real_reports_follow_each_other_in_time(quests: dict[str, Questionnaire]) -> None:
    for quest in quests.values():
        for before, after in itertools.pairwise(quest.reports):
            assert before.end_s <= after.start_s
