"""Short descriptions of windows in memory: plain text for a terminal, an HTML table for a notebook."""

from __future__ import annotations

from html import escape
from typing import Final, NamedTuple

from helo._text import make_printable
from helo.data.schema import Schema
from helo.errors import shorten

_MAX_MODALITIES: Final = 12
_MAX_EMOTIONS: Final = 8
_MAX_CHARACTERS: Final = 100  # of a line of text

_CELL: Final = "text-align: left; padding: 2px 12px 2px 0"


class Summary(NamedTuple):
    """What a summary shows; `missing` counts the windows without a modality, `emotions` is empty without labels."""

    kind: str
    schema: Schema
    subjects: int
    windows: int
    missing: dict[str, int]
    emotions: tuple[str, ...]


def summary_text(summary: Summary) -> str:
    """Return a title line, a line per modality and, for a dataset, a line of emotions.

    A line has at most 100 characters, and modalities after the twelfth are counted only.
    """
    lines = [_title(summary)]
    lines += [f"  {name}: {', '.join(cells)}" for name, *cells in _rows(summary)]
    emotions = _emotions(summary)
    if emotions:
        lines.append(f"  emotions: {emotions}")
    printed = [make_printable(line) for line in lines]
    return "\n".join(line if len(line) <= _MAX_CHARACTERS else f"{line[: _MAX_CHARACTERS - 1]}…" for line in printed)


def summary_html(summary: Summary) -> str:
    """Return the same summary as an HTML table with inline styles; every text from the data is escaped."""
    head = "".join(f'<th style="{_CELL}">{word}</th>' for word in ("modality", "role", "tokens", "missing"))
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{_html(cell)}</td>' for cell in cells) + "</tr>"
        for cells in _rows(summary)
    )
    emotions = _emotions(summary)
    foot = f"<div>emotions: {_html(emotions)}</div>" if emotions else ""
    return (
        f"<div><div><b>{_html(_title(summary))}</b></div>"
        f'<table style="border-collapse: collapse"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f"{foot}</div>"
    )


def _html(text: str) -> str:
    return escape(make_printable(text))


def _title(summary: Summary) -> str:
    subjects = summary.subjects
    return (
        f"{summary.kind} {summary.schema.name!r}: {subjects} subject{'' if subjects == 1 else 's'}, "
        f"{summary.windows:,} windows, {len(summary.schema.features):,} features"
    )


def _rows(summary: Summary) -> list[tuple[str, ...]]:
    """Return name, role, tokens and missing share of each modality that is shown."""
    modalities = summary.schema.modalities
    rows: list[tuple[str, ...]] = [
        (
            modality.name,
            "physiological, main" if modality.main else str(modality.role),
            f"{modality.tokens} × {modality.token_features}",
            _missing_share(summary.missing.get(modality.name, 0), summary.windows),
        )
        for modality in modalities[:_MAX_MODALITIES]
    ]
    if len(modalities) > _MAX_MODALITIES:
        rows.append((f"and {len(modalities) - _MAX_MODALITIES} more", "", "", ""))
    return rows


def _missing_share(count: int, windows: int) -> str:
    if not count:
        return "none missing"
    share = 100 * count / windows
    return f"missing in {'< 0.1' if share < 0.1 else f'{share:.1f}'} % of windows"


def _emotions(summary: Summary) -> str:
    """Return the emotions of a dataset, or an empty string for windows without labels."""
    return shorten(summary.emotions, most=_MAX_EMOTIONS)
