"""Texts and numbers for LaTeX. Names in the data may hold anything, so every text is escaped."""

from __future__ import annotations

from typing import Final

from helo._text import make_printable

_ESCAPED: Final = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    '"': "''",
    "×": r"$\times$",
    "–": "--",
    "ε": r"$\varepsilon$",
    "λ": r"$\lambda$",
    "α": r"$\alpha$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
}

_LAST_LETTER: Final = "\u017f"
"""Last letter that pdfLaTeX knows without further packages (Latin Extended-A). Others are replaced by ``?``."""

LONGEST: Final = 12
"""Letters of a name after which a line of a table may break. Longer ones would stick out of their column."""


def escape_latex(text: object, longest: int | None = None) -> str:
    r"""Escape a text for LaTeX's text mode. Lines may break after ``_`` and ``/``.

    Parameters
    ----------
    text : object
        Text.
    longest : int, optional
        Letters in a row after which a line may break too.

    Returns
    -------
    str

    Examples
    --------
    >>> escape_latex("50 % & \\input{x}")
    '50 \\% \\& \\textbackslash{}input\\{x\\}'
    >>> escape_latex("per_fold_selection")
    'per\\_\\allowbreak{}fold\\_\\allowbreak{}selection'
    >>> escape_latex("抗 naïve")
    '? naïve'
    """
    found, run = [], 0
    for letter in make_printable(text):
        run = run + 1 if letter.isalnum() else 0
        found.append(_ESCAPED.get(letter, letter if letter <= _LAST_LETTER else "?"))
        if letter in "_/" or run == longest:
            found.append(r"\allowbreak{}")
            run = 0
    return "".join(found)


def format_tex(shown: str) -> str:
    r"""Return a formatted number for LaTeX's text mode.

    Examples
    --------
    >>> format_tex("-2.0 %"), format_tex("–"), format_tex("0.0387"), format_tex("inf")
    ('$-$2.0\\,\\%', '--', '0.0387', '$\\infty$')
    """
    shown = shown.replace("-", "$-$").replace("–", "--").replace("+", "$+$").replace(" %", r"\,\%")
    return shown.replace("inf", r"$\infty$")
