"""Pace of a search: how far it runs ahead of its results."""

from __future__ import annotations

import math
from dataclasses import dataclass

from helo.names import SearchProtocol
from helo.search.planning.racing import Looks
from helo.search.planning.space import Space

LOOKAHEAD = 24
"""Maximum number of generations under way at a time."""


@dataclass(frozen=True)
class Pace:
    """Size and overlap of the generations of a race.

    Attributes
    ----------
    generation : int
        Configurations per generation.
    lag : int
        Minimum difference of configuration numbers between a cell and the cells of its fold that decide its rungs.
    lookahead : int
        Generations under way at a time. Manifests call it ``ahead``.
    """

    generation: int = 2
    lag: int = 1
    lookahead: int = 2

    @classmethod
    def for_search(cls, space: Space, folds: int, concurrency: int, protocol: str, racing: bool) -> Pace:
        """Return the smallest pace that keeps the workers busy.

        With a smaller pace, each draw and each look is based on more results. At low concurrency the pace does not
        depend on `concurrency`, so the cells of the search do not depend on it either.

        Parameters
        ----------
        space : Space
            Search space.
        folds : int
            Number of folds.
        concurrency : int
            Cells that run at a time.
        protocol : str
            A `helo.names.SearchProtocol`.
        racing : bool
            Whether configurations are dropped at looks.

        Returns
        -------
        Pace
        """
        if protocol == SearchProtocol.NESTED:
            cells_per_configuration = folds
        else:
            looks = Looks.for_folds(folds).folds if racing else ()
            cells_per_configuration = looks[0] if looks else folds
        # Configurations whose first block of cells occupies all workers.
        width = math.ceil(concurrency / cells_per_configuration)
        smallest = max(2, min(8, space.configurations // 8))
        if width == 1:
            return cls(generation=smallest, lag=1)
        # While the last cells of a generation run, other workers begin the next ones: late blocks have few cells, and
        # long ones. All generations begin with the same folds, in which at most `lag` cells run at a time. The measured
        # values are in cluster/README.md.
        generation = max(smallest, 2 * width)
        # A larger lag gives the first cells of a fold no rungs, a larger lookahead the first draws of TPE no results.
        lag = min(6 * width, max(width, space.configurations // 16))
        most = LOOKAHEAD if space.sampler == "random" else space.configurations // (4 * generation)
        return cls(generation, lag, lookahead=max(4, min(LOOKAHEAD, most)))

    def as_dict(self) -> dict[str, int]:
        """Return the pace with the keys of a manifest."""
        return {"generation": self.generation, "lag": self.lag, "ahead": self.lookahead}
