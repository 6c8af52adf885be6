"""Searches with several seeds, one after another: each is an ordinary search with a run directory of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from helo.errors import InputError
from helo.search.setup.inputs import read_inputs
from helo.search.setup.request import Request

if TYPE_CHECKING:
    from helo.run.directory import Run
    from helo.run.seeds import SeedRuns
    from helo.search.setup.search_setup import SearchSetup


class SeedSearch(NamedTuple):
    """Search of one seed: its setup, and its run if it has started before."""

    seed: int
    setup: SearchSetup
    run: Run | None


@dataclass
class SeedSearches:
    """Searches of several seeds.

    Attributes
    ----------
    runs : SeedRuns
        Directory of the runs.
    first : tuple of (SearchSetup, Run or None)
        Setup of the first search, and its run if it has started before. Searches that have not started take all
        settings but the seed from it.
    request : Request
        Request of the user.
    command : str
        Command of the user, for the manifests.
    started : float
        Time in seconds, see `helo._deadline.seconds_since_boot`, at which the time budget of all searches
        together starts.
    """

    runs: SeedRuns
    first: tuple[SearchSetup, Run | None]
    request: Request
    command: str
    started: float

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, in the order of their searches."""
        return self.runs.seeds

    @cached_property
    def _old(self) -> dict[int, Run]:
        """Runs that had started before, by seed."""
        return self.runs.started()

    @property
    def finished(self) -> int:
        """Number of searches that had ended with a model before."""
        return sum(run.has_model for run in self._old.values())

    @contextmanager
    def directory(self) -> Iterator[None]:
        """Create the directory of the runs if it is new. Delete it again if the first search cannot start."""
        from helo.run.seeds import SeedRuns

        if self._old:
            yield
            return
        SeedRuns.create(self.runs.folder, self.seeds, self.command)
        try:
            yield
        finally:
            self.runs.delete_if_empty()

    def left(self) -> Iterator[SeedSearch]:
        """Yield the searches that have no model or have cells to run again, each when it is its turn."""
        for seed in self.seeds:
            run = self._old.get(seed)
            if run is None:
                yield SeedSearch(seed, _with_seed(self.first[0], seed, self.runs), None)
            elif not run.has_model or run.has_cells_to_run(bool(self.request.retry_failed)):
                setup, run = read_inputs(replace(self.request, resume=str(run.folder)), self.command, self.started)
                yield SeedSearch(seed, setup, run)


def _with_seed(setup: SearchSetup, seed: int, runs: SeedRuns) -> SearchSetup:
    return replace(setup, out=runs.place(seed), training=replace(setup.training, seed=seed))


def read_searches(
    request: Request, seeds: str | None, command: str, started: float, other_problems: Sequence[str] = ()
) -> SeedSearches | None:
    """Check a request and read its inputs if it is one for several seeds.

    Parameters
    ----------
    request : Request
        Values that the user has given. With `resume`, the seeds are those of that directory.
    seeds : str or None
        Seeds of new searches, separated by commas.
    command : str
        Command of the user, for the manifests.
    started : float
        Time in seconds, see `helo._deadline.seconds_since_boot`, at which the time budget starts.
    other_problems : sequence of str
        Messages about problems that the caller has found.

    Returns
    -------
    SeedSearches or None
        None if the request is for one seed.

    Raises
    ------
    InputError
        If the request has problems, if an input is invalid, or if no search of a directory has started.
    """
    from helo.run.seeds import SeedRuns, has_seeds, parse_seeds

    if other_problems:
        return None  # the caller reports them with those of the request
    if seeds is not None:
        numbers = parse_seeds(seeds, "--seeds")
        setup, run = read_inputs(replace(request, seed=numbers[0]), command, started)
        runs = SeedRuns(setup.out, numbers)
        return SeedSearches(runs, (_with_seed(setup, numbers[0], runs), run), request, command, started)
    if request.resume is None or not has_seeds(request.resume):
        return None
    runs = SeedRuns.open(request.resume)
    for old in runs.started().values():
        first = read_inputs(replace(request, resume=str(old.folder)), command, started)
        return SeedSearches(runs, first, request, command, started)
    raise InputError(f"{runs.folder}: none of its searches has started; run the command again with another --out")
