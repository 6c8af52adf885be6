"""How much of a search is finished, and which subjects and rows its tables lack."""

from __future__ import annotations

from helo.analysis.statistics.cell_counts import CellCounts
from helo.analysis.statistics.common_subjects import CommonSubjects
from helo.analysis.wording.numbers import count
from helo.names import Estimate, Status


def describe_cells(counts: CellCounts) -> str:
    """Say how many cells are finished, of how many.

    Parameters
    ----------
    counts : CellCounts
        The cells of a search.

    Returns
    -------
    str
        The beginning of a sentence, without a full stop.

    Examples
    --------
    >>> describe_cells(CellCounts(120, 60, 15, 1, dropped=44, waiting=0, racing=True, ended=True))
    '76 of 120 cells finished (15 stopped, 1 failed), 44 dropped by racing; the search has ended'
    >>> describe_cells(CellCounts(120, 60, 16, 0, dropped=0, waiting=44, racing=True, ended=False))
    '76 of at most 120 cells finished (16 stopped)'
    """
    parts = [f"{number} {status}" for status, number in _special(counts).items() if number]
    of_these = f" ({', '.join(parts)})" if parts else ""
    if not counts.ended:
        return f"{_finished(counts)} finished{of_these}"
    total = f"{counts.finished} of {counts.planned}" if counts.dropped else f"{counts.finished}"
    dropped = f", {counts.dropped} dropped by racing" if counts.dropped else ""
    return f"{total} cells finished{of_these}{dropped}; the search has ended"


def _special(counts: CellCounts) -> dict[str, int]:
    return {Status.STOPPED: counts.stopped, Status.FAILED: counts.failed}


def _finished(counts: CellCounts) -> str:
    return f"{counts.finished} of {'at most ' if counts.racing else ''}{count(counts.most, 'cell')}"


def is_incomplete(subjects: int, folds: int, counts: CellCounts) -> bool:
    """Return whether the search has not ended, as far as that is known; see `incomplete_note`."""
    return counts.ended is False or (counts.ended is None and subjects < folds)


def incomplete_note(subjects: int, folds: int, counts: CellCounts) -> list[str]:
    """Say that results are not those of the whole run: the first sentence of every result.

    Parameters
    ----------
    subjects : int
        Number of subjects that are compared.
    folds : int
        Number of folds of the run.
    counts : CellCounts
        The cells of the search.

    Returns
    -------
    list of str
        One item, or none for a search that has ended with all subjects.

    Examples
    --------
    >>> running = CellCounts(120, 60, 0, 0, dropped=0, waiting=60, racing=False, ended=False)
    >>> incomplete_note(12, 15, running)
    ['INCOMPLETE: 12 of 15 subjects, 60 of 120 cells.']
    >>> incomplete_note(14, 15, running._replace(waiting=0, ended=True))
    ['Only 14 of 15 subjects have the scores to compare.']
    """
    if is_incomplete(subjects, folds, counts):
        return [f"INCOMPLETE: {subjects} of {count(folds, 'subject')}, {_finished(counts)}."]
    return [f"Only {subjects} of {count(folds, 'subject')} have the scores to compare."] if subjects < folds else []


def coverage_notes(common: CommonSubjects, searched: int, folds: int, nested: bool = False) -> list[str]:
    """Say which subjects and rows are left out of all tables, figures and tests, and why.

    Parameters
    ----------
    common : CommonSubjects
        Subjects and rows that are compared.
    searched : int
        Number of folds with a completed cell.
    folds : int
        Number of folds of the run.
    nested : bool
        Whether no configuration is in all folds by design, which `method_notes` explains.

    Returns
    -------
    list of str
        Sentences; none if nothing is left out.
    """
    notes = []
    if searched < folds:
        verb = "has" if searched == 1 else "have"
        notes.append(f"Only {searched} of the {folds} folds {verb} a completed cell; the others are left out.")
    if common.limiting:
        lacking = ", ".join(f"{name} ({count(number, 'subject')})" for name, number in common.limiting.items())
        notes.append(
            f"These rows lack subjects that others have: {lacking}. Tables, figures and tests compare the"
            f" {count(len(common.subjects), 'subject')} that all rows have."
        )
    if searched and not nested and Estimate.SINGLE_CONFIGURATION not in common.rows:
        notes.append(
            f"No configuration has scores in all {folds} folds, so there is no {Estimate.SINGLE_CONFIGURATION}."
        )
    explained = (Estimate.PER_FOLD_SELECTION, Estimate.SINGLE_CONFIGURATION, Estimate.ORACLE)
    left_out = [f"{name} ({number})" for name, number in common.left_out.items() if name not in explained]
    if left_out:
        notes.append(
            "Left out of tables, figures and tests, because they have scores of too few of the"
            f" {count(len(common.subjects), 'subject')}: {', '.join(left_out)}."
        )
    return notes
