"""Numbers as readers see them. An unknown number (NaN) is a dash."""

from __future__ import annotations

import math

from helo.analysis.statistics.signed_rank import ALPHA, smallest_p


def format_score(value: float) -> str:
    """Format a score with four decimals, or with three from 1 on.

    >>> format_score(0.03871), format_score(3.4841), format_score(float("nan"))
    ('0.0387', '3.484', '–')
    """
    if math.isnan(value):
        return "–"
    return f"{value:.4f}" if abs(value) < 1 else f"{value:.3f}"


def format_difference(value: float) -> str:
    """Format a difference of scores with its sign.

    >>> format_difference(0.00123), format_difference(-0.02), format_difference(0.0), format_difference(float("nan"))
    ('+0.0012', '-0.0200', '0.0000', '–')

    A difference that rounds to 0 keeps its magnitude, because a test may still find it significant.

    >>> format_difference(-1e-9)
    '-1e-09'
    """
    if math.isnan(value):
        return "–"
    if value == 0:
        return "0.0000"
    return f"{value:+.4f}" if round(value, 4) else f"{value:+.0e}"


def format_percent(value: float) -> str:
    """Format a skill in percent with its sign.

    >>> format_percent(0.0839), format_percent(-0.02), format_percent(0.0), format_percent(float("nan"))
    ('+8.4 %', '-2.0 %', '0.0 %', '–')
    """
    if math.isnan(value):
        return "–"
    rounded = round(100 * value, 1)
    return f"{rounded:+.1f} %" if rounded else "0.0 %"


def format_p(p: float) -> str:
    """Format a p value with three decimals. A value below the significance level never rounds up to it.

    >>> format_p(0.0312), format_p(0.0498), format_p(0.00002), format_p(float("nan"))
    ('0.031', '< 0.05', '< 0.001', '–')
    """
    if math.isnan(p):
        return "–"
    if p < 0.001:
        return "< 0.001"
    return f"< {ALPHA}" if p < ALPHA and round(p, 3) == ALPHA else f"{p:.3f}"


def p_equals(p: float) -> str:
    """Format a p value as part of a sentence.

    >>> p_equals(0.0312), p_equals(0.00002)
    ('p = 0.031', 'p < 0.001')
    """
    shown = format_p(p)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


def format_effect(effect: float) -> str:
    """Format an effect size with its sign.

    >>> format_effect(0.783), format_effect(-1), format_effect(0.0), format_effect(float("nan"))
    ('+0.78', '-1.00', '0.00', '–')
    """
    if math.isnan(effect):
        return "–"
    return f"{effect:+.2f}" if round(effect, 2) else "0.00"


def count(number: int, noun: str) -> str:
    """Return a number with its noun in the singular or plural.

    >>> count(1, "subject"), count(2, "subject")
    ('1 subject', '2 subjects')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def power_note(subjects: int, tests: int) -> str:
    """Return the end of a sentence that says where no corrected p value can reach the significance level.

    >>> power_note(15, 6)
    ''
    >>> power_note(7, 6)
    '; with 7 subjects and 6 comparisons, no corrected p can be below 0.05'
    """
    if tests * smallest_p(subjects) < ALPHA:
        return ""
    return f"; with {count(subjects, 'subject')} and {count(tests, 'comparison')}, no corrected p can be below {ALPHA}"
