"""Ray's loggers of trials, such as TensorBoard and MLflow, writing into the run directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ray.tune.logger import LoggerCallback, TBXLoggerCallback

from helo.errors import describe_error
from helo.names import CellLogger
from helo.search.execution import _tune_compat
from helo.search.execution.cells import cell_name
from helo.search.execution.trials import NotSaved, cell_of_trial


class _TensorBoardLogger(TBXLoggerCallback):
    """Ray's TensorBoard logger with one folder per cell in the run directory."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def log_trial_start(self, trial: Any) -> None:
        _tune_compat.open_tensorboard_writer(self, trial, self.folder / cell_name(cell_of_trial(trial.config)))


class _OptionalLogger(NotSaved, LoggerCallback):
    """Logger that stops logging at its first error, instead of ending the search.

    Parameters
    ----------
    name : str
        Name from `helo.names.CellLogger`.
    make : callable
        Function that makes the logger.
    print_line : callable
        Function that prints the error.
    """

    def __init__(self, name: str, make: Callable[[], LoggerCallback], print_line: Callable[[str], None]) -> None:
        self._name, self._print = name, print_line
        self._logger: LoggerCallback | None = None
        self._call(lambda: setattr(self, "_logger", make()))

    def _call(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:
            self._logger = None
            self._print(f"--log {self._name} has stopped, the search goes on ({describe_error(error)})")

    def setup(self, *arguments: Any, **info: Any) -> None:
        if (logger := self._logger) is not None:
            self._call(lambda: logger.setup(*arguments, **info))

    def log_trial_start(self, trial: Any) -> None:
        if (logger := self._logger) is not None:
            self._call(lambda: logger.log_trial_start(trial))

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        if (logger := self._logger) is not None:
            self._call(lambda: logger.log_trial_result(iteration, trial, result))

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        if (logger := self._logger) is not None:
            self._call(lambda: logger.log_trial_end(trial, failed))

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        if (logger := self._logger) is not None:
            self._call(lambda: logger.on_experiment_end(trials, **info))


def make_loggers(
    names: Sequence[str], folder: Path | None, run: str, print_line: Callable[[str], None]
) -> list[LoggerCallback]:
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
    print_line : callable
        Function that prints why a logger has stopped.

    Returns
    -------
    list of ray.tune.logger.LoggerCallback
        One logger per name. A logger that fails stops logging, and the search goes on.
    """
    makers: dict[str, Callable[[], LoggerCallback]] = {}
    if CellLogger.TENSORBOARD in names and folder is not None:
        makers[CellLogger.TENSORBOARD] = partial(_TensorBoardLogger, folder / CellLogger.TENSORBOARD)
    if CellLogger.MLFLOW in names:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # MLflow's own 7 take five minutes
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if folder is not None and not uri:
            uri = f"sqlite:///{(folder / 'mlflow.db').resolve()}"
        from ray.air.integrations.mlflow import MLflowLoggerCallback  # imports MLflow, which takes a second

        makers[CellLogger.MLFLOW] = partial(MLflowLoggerCallback, tracking_uri=uri, experiment_name=run)
    return [_OptionalLogger(name, make, print_line) for name, make in makers.items()]
