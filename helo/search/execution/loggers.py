"""Ray's loggers of trials, such as TensorBoard and MLflow, writing into the run directory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.logger import LoggerCallback, TBXLoggerCallback

from helo.names import CellLogger
from helo.search.execution import _ray_compat
from helo.search.execution.cells import cell_name
from helo.search.execution.trials import cell_of_trial


class _TensorBoardLogger(TBXLoggerCallback):
    """Ray's TensorBoard logger with one folder per cell in the run directory."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def log_trial_start(self, trial: Any) -> None:
        _ray_compat.open_tensorboard_writer(self, trial, self.folder / cell_name(cell_of_trial(trial.config)))


def make_loggers(names: Sequence[str], folder: Path | None, run: str) -> list[LoggerCallback]:
    """Make Ray's loggers for a run.

    Parameters
    ----------
    names : sequence of str
        Names from `helo.names.CellLogger`.
    folder : pathlib.Path or None
        Folder of the run on this machine. None if the run lies on object storage: then TensorBoard is left out, and
        MLflow logs to the server in ``MLFLOW_TRACKING_URI``.
    run : str
        Name of the run, which MLflow uses as the name of the experiment.

    Returns
    -------
    list of ray.tune.logger.LoggerCallback
        One logger per name.
    """
    loggers: list[LoggerCallback] = []
    if CellLogger.TENSORBOARD in names and folder is not None:
        loggers.append(_TensorBoardLogger(folder / CellLogger.TENSORBOARD))
    if CellLogger.MLFLOW in names:
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if folder is not None and not uri:
            uri = f"sqlite:///{(folder / 'mlflow.db').resolve()}"
        loggers.append(MLflowLoggerCallback(tracking_uri=uri, experiment_name=run))
    return loggers
