"""Everything that is settled before a search starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from helo._deadline import Deadline
from helo.configuration import single_role_note
from helo.data.dataset import Dataset
from helo.evaluation.folds import Fold, loso_folds
from helo.names import Delivery, SearchProtocol
from helo.run.ledger import PACK
from helo.search.planning.pace import Pace
from helo.search.planning.space import Space
from helo.search.planning.space_for_data import space_for_roles
from helo.search.sizing.resources import Resources
from helo.settings import TrainingSettings
from helo.storage import Folder

CHECKPOINT_INTERVAL_S: Final = 30.0
"""Default seconds between two checkpoints of a cell."""


@dataclass(frozen=True)
class SearchSetup:
    """Checked inputs and settings of a search.

    Attributes
    ----------
    dataset : Dataset
        The data that are searched on.
    space : Space
        The search space, adapted to the roles of the data's modalities.
    out : Folder
        The run directory.
    training : TrainingSettings
        Settings of every cell. The objective is that of the space, and the threads are the CPUs of a cell. The device
        of the engine stays ``"cpu"`` here: it is chosen where a cell runs.
    resources : Resources
        The resources that the user requests. Open values (None) are settled when the machine or cluster is known.
    inner_folds : int or None
        Number K of inner splits of a fold, and of members of a cell. None means the default for the number of
        subjects, see `helo.evaluation.folds.loso_folds`.
    protocol : str
        A `helo.names.SearchProtocol`.
    racing : bool
        Whether configurations and cells that cannot win are stopped early.
    baselines : tuple of str
        Names from `helo.names.FITTED_BASELINES`.
    pace : Pace or None
        Lookahead of the search; None derives it from the concurrency.
    address : str or None
        Address of a Ray cluster; None starts Ray on this machine.
    gpus : int
        Number of GPUs of this machine.
    data, command : str
        Location of the data and the command, as the user gave them, for the manifest.
    deadline : Deadline or None
        Time at which the search ends, finished or not.
    loggers : tuple of str
        Values of `helo.names.CellLogger`.
    checkpoint_every : float
        Seconds between two checkpoints of a cell.
    pack : int
        Number of finished cells that become one file of the ledger.
    export_predictions : bool
        Whether the test predictions of all cells are written, besides those of the selected configurations.
    deliver : str
        A `helo.names.Delivery`: the model that is fitted with all subjects.
    retry_failed : bool
        Whether a search that is resumed runs all failed cells again.
    allow_version_change : bool
        Whether cells also run on nodes whose packages have other versions than those of the driver.

    Raises
    ------
    ValueError
        If `training` disagrees with `space` or `resources`, or if `space` is not adapted to the data.
    """

    dataset: Dataset
    space: Space
    out: Folder
    training: TrainingSettings
    resources: Resources
    inner_folds: int | None = None
    protocol: str = SearchProtocol.SHARED
    racing: bool = True
    baselines: tuple[str, ...] = ()
    pace: Pace | None = None
    address: str | None = None
    gpus: int = 0
    data: str = ""
    command: str = ""
    deadline: Deadline | None = None
    loggers: tuple[str, ...] = ()
    checkpoint_every: float = CHECKPOINT_INTERVAL_S
    pack: int = PACK
    export_predictions: bool = False
    deliver: str = Delivery.RECOMMENDED
    retry_failed: bool = False
    allow_version_change: bool = False

    def __post_init__(self) -> None:
        if self.training.objective != self.space.objective:
            raise ValueError(
                f"training.objective must be that of the space ({self.space.objective}), got {self.training.objective}"
            )
        if self.training.threads != self.resources.cpus_per_cell:
            raise ValueError(
                f"training.threads must be the CPUs of a cell ({self.resources.cpus_per_cell}), "
                f"got {self.training.threads}"
            )
        if space_for_roles(self.space, self.dataset.schema.roles) != self.space:
            raise ValueError("space must be adapted to the roles of the data's modalities, see space_for_roles")

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what the search leaves out: because of the roles of the modalities, or of too few models."""
        note = single_role_note(self.dataset.schema.roles)
        return (*([] if note is None else [note]), *self.space.left_out)

    @cached_property
    def folds(self) -> tuple[Fold, ...]:
        """Folds of the search."""
        return loso_folds(self.dataset.subject_names, self.seed, self.inner_folds)

    @property
    def seed(self) -> int:
        """Seed of folds, draws and training."""
        return self.training.seed

    @property
    def nested(self) -> bool:
        """Whether every fold has its own study."""
        return self.protocol == SearchProtocol.NESTED

    def training_on(self, device: str) -> TrainingSettings:
        """Return the training settings with their engine on a device, ``"cpu"`` or ``"cuda"``."""
        return replace(self.training, engine=replace(self.training.engine, device=device))
