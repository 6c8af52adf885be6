"""All that is settled before a search starts."""

from __future__ import annotations

from dataclasses import dataclass

from helo.data.dataset import Dataset
from helo.names import Normalisation, SearchProtocol
from helo.run.ledger import PACK
from helo.search.planning.pace import Pace
from helo.search.planning.space import Space
from helo.search.sizing.resources import Resources
from helo.settings import CPU, Engine, TrainingSettings
from helo.storage import Folder


@dataclass(frozen=True)
class SearchPlan:
    """Everything that decides what a search computes, and on what it runs.

    - `resources`: a wish; what it leaves open is settled when the machine or cluster is known
    - `baselines`: names from `helo.names.FITTED_BASELINES`
    - `engine`: how cells are computed; the device is the machine's affair
    - `pace`: None for the one that fits the concurrency
    - `gpus`: of this machine
    - `data`, `command`: as the user gave them, for the manifest
    - `deadline`: Unix time at which the search ends, finished or not
    - `loggers`: names from `helo.names.LOGS`
    - `checkpoint_every`: seconds between two states of a cell in the making
    - `pack`: finished cells that become one file of the ledger
    - `export_predictions`: also write the predictions of all cells, not of the selected ones only
    """

    dataset: Dataset
    space: Space
    out: Folder
    seed: int
    resources: Resources
    normalise: str = Normalisation.TRAIN
    protocol: str = SearchProtocol.SHARED
    racing: bool = True
    baselines: tuple[str, ...] = ()
    engine: Engine = CPU
    pace: Pace | None = None
    address: str | None = None
    gpus: int = 0
    data: str = ""
    command: str = ""
    deadline: float | None = None
    loggers: tuple[str, ...] = ()
    checkpoint_every: float = 30.0
    pack: int = PACK
    export_predictions: bool = False

    @property
    def training(self) -> TrainingSettings:
        """Settings of every cell."""
        return TrainingSettings(
            self.seed, self.normalise, self.space.objective, self.engine, self.resources.cpus_per_cell
        )
