"""Settings that all cells of a search share, from the request of a user to the training of a cell."""

from __future__ import annotations

from dataclasses import dataclass

from helo.names import Normalisation, Precision


@dataclass(frozen=True)
class Engine:
    """Device and precision of training.

    Results of different engines differ in their last digits, so all cells of a search use the same one.

    Attributes
    ----------
    device : str
        ``"cpu"`` or ``"cuda"``.
    precision : str
        A `helo.names.Precision`. Under ``"mixed"`` the products of tokens are computed in bfloat16. Transport, label
        correlation, losses and weights stay in float32.
    compiled : bool
        Whether training steps go through `torch.compile`. The cells of a node share its cache on disk. Each shape
        (width, depth, tokens) is compiled once.
    """

    device: str = "cpu"
    precision: str = Precision.FULL
    compiled: bool = False


CPU = Engine()
"""Full precision on the CPU, without compilation."""


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a training besides its hyperparameters. They are the same for all cells of a search.

    Attributes
    ----------
    seed : int
        Seed of a search. Each fold derives its own, see `helo.evaluation.folds.cell_seed`.
    normalise : str
        A `helo.names.Normalisation`: the source of the statistics that scale features.
    objective : str
        Metric on the inner validation subjects by which cells are stopped and configurations are selected.
    engine : Engine
        Device and arithmetic.
    threads : int
        CPU threads of a cell.
    """

    seed: int = 0
    normalise: str = Normalisation.TRAIN
    objective: str = "kl"
    engine: Engine = CPU
    threads: int = 1
