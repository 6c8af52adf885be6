"""``SX_quest.csv``: what a subject answered after each condition, and when the condition was."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helo.data.wesad.items import CONDITIONS, ITEMS, TSST_ITEMS
from helo.errors import InputError, did_you_mean

# Whoever leaves an item out has not claimed to feel it, and 1 means "not at all". The one case in the data is
# S5's Nervous after the first meditation; after the second, S5 answered 1.
_ANSWERS: Final = {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "Nan": 1}


@dataclass(frozen=True)
class Report:
    """What a subject answered after one condition; times in seconds on the questionnaire's clock."""

    condition: str
    start_s: int
    end_s: int
    answers: dict[str, int]


@dataclass(frozen=True)
class Questionnaire:
    """A subject's five reports, in the order in which that subject went through the conditions."""

    subject: str
    reports: tuple[Report, ...]


def read_quest(path: Path) -> Questionnaire:
    """Read an official ``SX_quest.csv``; raise `InputError` for whatever in it cannot be right.

    Row k of ``# PANAS`` belongs to the k-th condition of ``# ORDER``. Answers are 1 to 5, 24 of them, and
    26 after the TSST. Times are minutes.seconds with trailing zeros lost: ``50.3`` is 50 min 30 s.
    """
    try:
        # Spreadsheet programs put a byte order mark in front; utf-8-sig takes it off.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a UTF-8 text file ({error})") from None
    return parse_quest(text, str(path))


def parse_quest(text: str, where: str) -> Questionnaire:
    """The questionnaire that `text` holds; `where` names it in errors. See `read_quest`."""
    try:
        return _questionnaire(_rows(text))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def require_subject(quest: Questionnaire, subject: str, where: str) -> None:
    """Raise `InputError` if a questionnaire is someone else's."""
    if quest.subject != subject:
        raise InputError(f"{where}: must be the questionnaire of {subject}, is that of {quest.subject}")


class _Row(NamedTuple):
    line: int
    cells: list[str]


def _rows(text: str) -> dict[str, list[_Row]]:
    """Rows by their first word, without the empty cells that fill them up."""
    rows: dict[str, list[_Row]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        head, *cells = (cell.strip() for cell in line.split(";"))
        if head.startswith("#"):
            while cells and not cells[-1]:
                cells.pop()
            rows.setdefault(head.strip("#: "), []).append(_Row(number, cells))
    return rows


def _questionnaire(rows: dict[str, list[_Row]]) -> Questionnaire:
    order, start, end, subject = (_only(rows, key) for key in ("ORDER", "START", "END", "Subj"))
    conditions = order.cells[: len(CONDITIONS)]
    if sorted(conditions) != sorted(CONDITIONS):
        unknown = next((name for name in conditions if name not in CONDITIONS), "")
        raise InputError(
            f"line {order.line}: ORDER must begin with {', '.join(CONDITIONS)}, in any order, got "
            f"{', '.join(conditions) or 'nothing'}{did_you_mean(unknown, CONDITIONS)}"
        )
    panas = rows.get("PANAS", [])
    if len(panas) != len(CONDITIONS):
        raise InputError(f"needs {len(CONDITIONS)} lines '# PANAS;...', one per condition, got {len(panas)}")
    if not subject.cells:
        raise InputError(f"line {subject.line}: Subj must name the subject, as in '# Subj;S2'")
    times = [_times(row, name) for row, name in ((start, "START"), (end, "END"))]
    reports = []
    for condition, start_s, end_s, row in zip(conditions, *times, panas, strict=True):
        if end_s <= start_s:
            raise InputError(f"line {end.line}: {condition} must end after {start_s} s, got {end_s} s")
        reports.append(Report(condition, start_s, end_s, _answers(row, condition)))
    return Questionnaire(subject.cells[0], tuple(reports))


def _only(rows: dict[str, list[_Row]], key: str) -> _Row:
    found = rows.get(key, [])
    if len(found) != 1:
        raise InputError(f"needs exactly one line '# {key};...' (cells parted by ';'), got {len(found)}")
    return found[0]


def _times(row: _Row, name: str) -> list[int]:
    if len(row.cells) < len(CONDITIONS):
        raise InputError(f"line {row.line}: {name} must hold {len(CONDITIONS)} times, got {len(row.cells)}")
    return [_seconds(cell, f"line {row.line}: {name}") for cell in row.cells[: len(CONDITIONS)]]


def _seconds(text: str, where: str = "time") -> int:
    """Seconds of a time written as minutes.seconds whose trailing zeros a spreadsheet has dropped.

    The digits after the dot are the left part of a two-digit number. Read as a float, ``50.3`` would be
    50 min 3 s or 50.3 minutes; both are wrong.

    >>> [_seconds(text) for text in ("50.3", "50.03", "7.08", "2", "60.2")]
    [3030, 3003, 428, 120, 3620]
    """
    match = re.fullmatch(r"([0-9]{1,4})(?:\.([0-9]{1,2}))?", text)
    seconds = int((match[2] or "").ljust(2, "0")) if match else 0
    if not match or seconds >= 60:
        raise InputError(f"{where} must be minutes.seconds, up to 59 s (50.3 is 50 min 30 s), got {text!r}")
    return 60 * int(match[1]) + seconds


def _answers(row: _Row, condition: str) -> dict[str, int]:
    items = TSST_ITEMS if condition == "TSST" else ITEMS
    if len(row.cells) != len(items):
        raise InputError(
            f"line {row.line}: PANAS after {condition} must hold {len(items)} answers ({len(ITEMS)}, but "
            f"{len(TSST_ITEMS)} after TSST), got {len(row.cells)}"
        )
    for item, cell in zip(items, row.cells, strict=True):
        if cell not in _ANSWERS:
            raise InputError(f"line {row.line}: {item} after {condition} must be 1 to 5 or Nan, got {cell!r}")
    return {item: _ANSWERS[cell] for item, cell in zip(items, row.cells, strict=True)}


class Allowance(NamedTuple):
    """Seconds that what was recorded of a condition may begin after START, and end before END."""

    what: str
    after_start: tuple[int, int]
    before_end: tuple[int, int]


def check_times(quest: Questionnaire, spans: Mapping[str, tuple[float, float]], allowed: Allowance, where: str) -> None:
    """Raise `InputError` unless each condition was recorded when the questionnaire says.

    `spans` maps conditions to their (first, last) second of the recording; a subject need not have all.
    Recording and questionnaire have clocks of their own: START − first is the same offset c for all of a
    subject's conditions. The median over conditions finds c in spite of two wrong ones. START and END are
    whole seconds, so 1 s more than `allowed` passes on each side.
    """
    reports = [report for report in quest.reports if report.condition in spans]
    offset = statistics.median(report.start_s - spans[report.condition][0] for report in reports)
    for report in reports:
        first, last = spans[report.condition]
        after, before = first + offset - report.start_s, report.end_s - last - offset
        (a, b), (c, d) = allowed.after_start, allowed.before_end
        if not (a - 1 <= after <= b + 1 and c - 1 <= before <= d + 1):
            raise InputError(
                f"{where}: subject {quest.subject}, {report.condition}: {allowed.what} {round(after)} s after "
                f"START (right: {_span(a, b)}) and end {round(before)} s before END (right: {_span(c, d)}); "
                "check ORDER, START and END"
            )


def _span(low: int, high: int) -> str:
    return f"{low} to {high}" if low < high else str(low)


def distribution(report: Report, items: tuple[str, ...]) -> NDArray[np.float64]:
    """The emotion distribution of a report: each item's share r_i / Σ_j r_j of the answers to `items`."""
    answers = np.array([report.answers[item] for item in items], dtype=np.float64)
    shares: NDArray[np.float64] = answers / answers.sum()
    return shares
