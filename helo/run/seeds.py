"""Directory of a search that runs with several seeds: ``seeds.json``, and a run directory for each seed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from helo import __version__
from helo.errors import InputError, StorageError, as_input_error
from helo.names import FileName
from helo.run.directory import Run
from helo.storage import Folder, open_folder, require_new_folder

MAX_SEED: Final = 2**63 - 1
"""Largest seed."""


def parse_seeds(text: str, option: str) -> tuple[int, ...]:
    """Return seeds from a text in which commas separate them.

    Parameters
    ----------
    text : str
        The text, such as ``"0,1,2"``.
    option : str
        Name of the option, for messages.

    Returns
    -------
    tuple of int
        At least two different seeds.

    Raises
    ------
    InputError
        If the text has other words, too few seeds, or a seed twice.

    Examples
    --------
    >>> parse_seeds("0, 1,2", "--seeds")
    (0, 1, 2)
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdecimal() and len(word) < 20 and int(word) <= MAX_SEED for word in words):
        raise InputError(f"{option} must be whole numbers from 0, separated by commas, such as 0,1,2; got {text!r}")
    seeds = tuple(map(int, words))
    if len(set(seeds)) < len(seeds):
        raise InputError(f"{option} names a seed twice, got {text!r}")
    if len(seeds) < 2:
        raise InputError(f"{option} needs two or more seeds, got {text!r}; use --seed for one")
    return seeds


class SeedRuns:
    """Directory with a run for each of several seeds.

    Parameters
    ----------
    place : Folder or path or str
        The directory.
    seeds : sequence of int
        Seeds, in the order in which their searches run.

    Attributes
    ----------
    folder : Folder
        The directory.
    seeds : tuple of int
        Seeds, in the order in which their searches run.
    """

    def __init__(self, place: Folder | os.PathLike[str] | str, seeds: Sequence[int]) -> None:
        self.folder = open_folder(place)
        self.seeds = tuple(seeds)

    @classmethod
    def create(cls, place: Folder | os.PathLike[str] | str, seeds: Sequence[int], command: str) -> SeedRuns:
        """Create the directory, without runs.

        Raises
        ------
        InputError
            If it already exists or cannot be written.
        """
        folder = open_folder(place)
        require_new_folder(folder)
        with as_input_error(folder, "cannot be written"):
            folder.write_json(FileName.SEEDS, {"seeds": list(seeds), "command": command, "helo": __version__})
        return cls(folder, seeds)

    @classmethod
    def open(cls, place: Folder | os.PathLike[str] | str) -> SeedRuns:
        """Open an existing directory.

        Raises
        ------
        InputError
            If it has no valid ``seeds.json``.
        """
        folder = open_folder(place)
        document = folder.read_json(FileName.SEEDS)
        seeds = document.get("seeds") if isinstance(document, dict) else None
        if (
            not isinstance(seeds, list)
            or len(seeds) < 2
            or any(type(seed) is not int or not 0 <= seed <= MAX_SEED for seed in seeds)
            or len(set(seeds)) < len(seeds)
        ):
            raise InputError(f"{folder.where(FileName.SEEDS)}: seeds must be a list of two or more different seeds")
        return cls(folder, seeds)

    @property
    def name(self) -> str:
        """Name of the directory."""
        return self.folder.name

    def place(self, seed: int) -> Folder:
        """Return the run directory of a seed. It need not exist yet."""
        return self.folder / f"seed-{seed}"

    def started(self) -> dict[int, Run]:
        """Return the existing runs by seed."""
        places = {seed: self.place(seed) for seed in self.seeds}
        return {seed: Run.open(str(place)) for seed, place in places.items() if place.exists(FileName.MANIFEST)}

    def delete_if_empty(self) -> None:
        """Delete the directory if no run has started in it."""
        if self.started():
            return
        self.folder.delete(FileName.SEEDS)
        if self.folder.here is not None:
            with suppress(OSError):  # it has other files
                self.folder.here.rmdir()


def has_seeds(place: Folder | os.PathLike[str] | str) -> bool:
    """Return whether a place is the directory of a search with several seeds.

    Raises
    ------
    InputError
        If the place cannot be read.
    """
    folder = open_folder(place)
    try:
        return folder.exists(FileName.SEEDS)
    except StorageError:
        raise
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error})") from None


def expand_seeds(places: Iterable[str]) -> list[str]:
    """Return places in which each directory of several seeds is replaced by its existing runs."""
    found: list[str] = []
    for place in places:
        found += [str(run.folder) for run in SeedRuns.open(place).started().values()] if has_seeds(place) else [place]
    return found
