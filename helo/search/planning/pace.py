"""Pace of a search: how far it runs ahead of its results."""

from __future__ import annotations

import math
from dataclasses import dataclass

from helo.names import SearchProtocol
from helo.search.planning.racing import Looks
from helo.search.planning.space import Space

MIN_LOOKAHEAD, LOOKAHEAD = 4, 24
"""Minimum and maximum number of generations under way at a time, with many workers."""

LAG_WIDTHS = 6
"""Maximum lag, in configurations whose first block of cells occupies all workers."""

MAX_WITHOUT_RUNGS = 1 / 16
"""Share of the configurations whose cells may start before their folds have rungs."""

MAX_WITHOUT_RESULTS = 1 / 4
"""Share of the configurations that TPE may draw before it has results."""


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
        """Return a pace that keeps many workers busy and runs little ahead of the results.

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
        # A larger lag leaves the first cells of a fold without rungs.
        lag = min(LAG_WIDTHS * width, max(width, round(MAX_WITHOUT_RUNGS * space.configurations)))
        # A larger lookahead leaves the first draws of TPE without results.
        without_results = (
            space.configurations if space.sampler == "random" else MAX_WITHOUT_RESULTS * space.configurations
        )
        lookahead = max(MIN_LOOKAHEAD, min(LOOKAHEAD, int(without_results / generation)))
        return cls(generation, lag, lookahead)

    def as_dict(self) -> dict[str, int]:
        """Return the pace with the keys of a manifest."""
        return {"generation": self.generation, "lag": self.lag, "ahead": self.lookahead}
