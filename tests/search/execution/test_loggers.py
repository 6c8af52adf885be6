"""Loggers of cells, which a search can do without."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from helo.names import CellLogger
from helo.search.execution.loggers import make_loggers
from helo.search.planning.queue import BaselineCell


class _Content:
    """Content of the configuration of a trial, as the search submits it."""

    content = BaselineCell("ridge", 0)


def test_a_logger_that_fails_is_silent_afterwards(tmp_path: Path) -> None:
    """The folder of the events cannot be made, because a file has its name."""
    (tmp_path / "tensorboard").touch()
    messages: list[str] = []
    (logger,) = make_loggers([CellLogger.TENSORBOARD], tmp_path, "run", messages.append)
    trial = SimpleNamespace(config={"cell": _Content()}, trial_id="0")
    logger.setup()
    for _ in range(2):
        logger.log_trial_start(trial)
        logger.log_trial_result(1, trial, {"val_kl": 0.1, "training_iteration": 1})
        logger.log_trial_end(trial)
    logger.on_experiment_end([])
    assert len(messages) == 1
    assert messages[0].startswith("--log tensorboard has stopped, the search goes on (")
    assert messages[0].endswith("Not a directory)")
