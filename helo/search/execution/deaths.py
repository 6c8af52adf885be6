"""Why a worker process ended while it ran a cell, in words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from helo._machine import memory_limit, oom_kills
from helo._text import format_size
from helo.search.execution import _ray_compat, _tune_compat

_MONITOR: Final = "running low on memory"
"""Words of Ray about a worker that it has ended because the memory of the node is nearly full."""

_ABORTS: Final = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Illegal instruction": "SIGILL",
    "Floating point exception": "SIGFPE",
    "Floating-point exception": "SIGFPE",
}
"""Words of Python about a signal that ends the process, and the name of the signal."""

_SIGNAL: Final = re.compile(r"Fatal Python error: ([A-Z][\w -]+?)\s*$|\*\*\* (SIG[A-Z]+)", re.MULTILINE)


class WorkerDeaths:
    """Explains why workers of a search end. It counts the processes that the system kills for lack of memory."""

    def __init__(self) -> None:
        self._killed = oom_kills()

    def explain(self, trial: Any) -> str:
        """Return why the worker of a trial ended, as the end of a sentence that begins with the worker.

        Parameters
        ----------
        trial : ray.tune.experiment.Trial
            Trial that ended in an error.

        Returns
        -------
        str
        """
        said = _tune_compat.error_of_trial(trial)
        before, self._killed = self._killed, oom_kills()
        return reason_of(said, self._killed - before, _ray_compat.log_folder())


def reason_of(said: str, killed: int, logs: Path) -> str:
    """Return why a worker ended.

    Parameters
    ----------
    said : str
        Text of Ray's error.
    killed : int
        Number of processes that the system has killed for lack of memory since the last worker ended.
    logs : Path
        Folder of Ray's logs on this machine.

    Returns
    -------
    str
    """
    if _MONITOR in said:
        return f"Ray ended it because the memory of its node was nearly full{_limit()}"
    found = re.search(r"^\s*pid: (\d+)", said, re.MULTILINE)
    if found is None:  # not a lost process, but an error in it, such as that of a GPU
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return lines[-1] if lines else "it left no reason"
    if killed > 0:
        return f"the OOM killer of the system ended it{_limit()}"
    files = list(logs.glob(f"worker-*-{found[1]}.err"))
    for file in files:
        signals = _SIGNAL.findall(file.read_text("utf-8", "replace"))
        if signals:
            words, name = signals[-1]
            return f"it was ended by {name or _ABORTS.get(words, words)}"
    if files:  # every other signal leaves a trace there
        return "it was ended by SIGKILL, as by a person, a scheduler or, outside of this control group, the OOM killer"
    return "it was ended on another machine, as by a signal or by the OOM killer there; see the system log of its node"


def _limit() -> str:
    limit = memory_limit()
    return "" if limit is None else f" (limit of memory: {format_size(limit)})"
