"""The search: spaces, planning, and execution on Ray (``python -m helo.search``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helo.search.planning.space import Space

__all__ = ["Space"]


def __getattr__(name: str) -> Any:
    # Imported on first use: every command and every worker imports this package, and most need no space.
    if name == "Space":
        from helo.search.planning.space import Space

        return Space
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
