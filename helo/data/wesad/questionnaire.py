"""Reader of ``SX_quest.csv``, which holds the answers of a subject and the times of the conditions."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helo._paths import regular_file
from helo.data.wesad.items import CONDITIONS, ITEMS, TSST_ITEMS
from helo.errors import InputError, did_you_mean

# An unanswered item counts as 1, "not at all". The only case in the data is the item Nervous of S5 after the first
# meditation. After the second meditation, S5 answered 1.
_ANSWERS: Final = {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "Nan": 1}


@dataclass(frozen=True)
class Report:
    """Answers of a subject after one condition.

    Attributes
    ----------
    condition
        Name of the condition.
    start_s, end_s
        Start and end of the condition, in seconds on the clock of the questionnaire.
    answers
        Item → answer from 1 to 5.
    """

    condition: str
    start_s: int
    end_s: int
    answers: dict[str, int]


@dataclass(frozen=True)
class Questionnaire:
    """Five reports of a subject.

    Attributes
    ----------
    subject
        Name of the subject, such as ``S2``.
    reports
        Reports in the order in which the subject went through the conditions.
    """

    subject: str
    reports: tuple[Report, ...]


def read_quest(path: Path) -> Questionnaire:
    """Read an official ``SX_quest.csv``.

    Row k of ``# PANAS`` belongs to the k-th condition of ``# ORDER``. It has 24 answers from 1 to 5, and 26 after the
    TSST. Times have the form minutes.seconds without trailing zeros: ``50.3`` is 50 min 30 s.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Questionnaire
        The five reports.

    Raises
    ------
    InputError
        If the file cannot be read, or a row is missing or malformed. The message names the file and the line.
    """
    try:
        # Spreadsheet programs write a byte order mark, which utf-8-sig removes.
        text = regular_file(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a UTF-8 text file ({error})") from None
    return parse_quest(text, str(path))


def parse_quest(text: str, where: str) -> Questionnaire:
    """Parse the text of a questionnaire.

    Parameters
    ----------
    text
        Content of a file as described in `read_quest`.
    where
        Name of the file, for messages.

    Returns
    -------
    Questionnaire
        The five reports.

    Raises
    ------
    InputError
        If a row is missing or malformed.
    """
    try:
        return _questionnaire(_rows(text))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def require_subject(quest: Questionnaire, subject: str, where: str) -> None:
    """Raise `InputError` unless a questionnaire belongs to `subject`; `where` names its file."""
    if quest.subject != subject:
        raise InputError(f"{where}: must be the questionnaire of {subject}, but is that of {quest.subject}")


class _Row(NamedTuple):
    """A row, with its line number from 1."""

    line: int
    cells: list[str]


def _rows(text: str) -> dict[str, list[_Row]]:
    """Return the rows by their first cell, without trailing empty cells."""
    rows: dict[str, list[_Row]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        head, *cells = (cell.strip() for cell in line.split(";"))
        if head.startswith("#"):
            while cells and not cells[-1]:
                cells.pop()
            rows.setdefault(head.strip("#: "), []).append(_Row(number, cells))
    return rows


def _questionnaire(rows: dict[str, list[_Row]]) -> Questionnaire:
    """Build the questionnaire from its rows."""
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
    """Return the only row with a key; raise `InputError` if there is none or several."""
    found = rows.get(key, [])
    if len(found) != 1:
        raise InputError(f"needs exactly one line '# {key};...' (cells separated by ';'), got {len(found)}")
    return found[0]


def _times(row: _Row, name: str) -> list[int]:
    """Return the times of the five conditions in seconds."""
    if len(row.cells) < len(CONDITIONS):
        raise InputError(f"line {row.line}: {name} must hold {len(CONDITIONS)} times, got {len(row.cells)}")
    return [_seconds(cell, f"line {row.line}: {name}") for cell in row.cells[: len(CONDITIONS)]]


def _seconds(text: str, where: str = "time") -> int:
    """Return the seconds of a time of the form minutes.seconds without trailing zeros.

    A spreadsheet has removed the trailing zeros, so the digits after the dot start a two-digit number: ``50.3`` is
    neither 50 min 3 s nor 50.3 min.

    >>> [_seconds(text) for text in ("50.3", "50.03", "7.08", "2", "60.2")]
    [3030, 3003, 428, 120, 3620]
    """
    match = re.fullmatch(r"([0-9]{1,4})(?:\.([0-9]{1,2}))?", text)
    seconds = int((match[2] or "").ljust(2, "0")) if match else 0
    if not match or seconds >= 60:
        raise InputError(f"{where} must be minutes.seconds, up to 59 s (50.3 is 50 min 30 s), got {text!r}")
    return 60 * int(match[1]) + seconds


def _answers(row: _Row, condition: str) -> dict[str, int]:
    """Return the answers of a row by item."""
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
    """Allowed differences between the times of a recording and of its questionnaire.

    Attributes
    ----------
    what
        Subject and verb of the message, such as "the label begins".
    after_start, before_end
        Minimum and maximum time of the recording after START and before END, in seconds.
    """

    what: str
    after_start: tuple[int, int]
    before_end: tuple[int, int]


def check_times(quest: Questionnaire, spans: Mapping[str, tuple[float, float]], allowed: Allowance, where: str) -> None:
    """Compare the times of the conditions in a recording with those of the questionnaire.

    The clocks of recording and questionnaire differ by an offset START − first, which is constant for a subject. It is
    estimated by the median over conditions, which tolerates two wrong conditions. START and END are rounded to seconds,
    so a difference of 1 s beyond `allowed` is accepted on each side.

    Parameters
    ----------
    quest
        The questionnaire.
    spans
        Condition → its first and last second in the recording. Conditions may be missing.
    allowed
        Allowed differences.
    where
        Name of the file, for messages.

    Raises
    ------
    InputError
        If a condition begins or ends at a different time.
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
    """Return a range as text."""
    return f"{low} to {high}" if low < high else str(low)


def distribution(report: Report, items: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the emotion distribution of a report.

    Parameters
    ----------
    report
        The report, with answers r_i.
    items
        Items that make up the distribution.

    Returns
    -------
    ndarray
        Shares r_i / Σ_j r_j (E,) in the order of `items`.
    """
    answers = np.array([report.answers[item] for item in items], dtype=np.float64)
    shares: NDArray[np.float64] = answers / answers.sum()
    return shares
