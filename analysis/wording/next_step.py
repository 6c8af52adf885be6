"""The command that a user most likely needs next, after the result of a run."""

from __future__ import annotations

import shlex

from helo.names import IN_MEMORY
from helo.run.directory import Run


def next_step(run: Run, complete: bool | None, awaits_model: bool = False) -> tuple[str, str]:
    """Return the next step for a run, in words and as a command to copy.

    Parameters
    ----------
    run : helo.run.directory.Run
        The run.
    complete : bool or None
        Whether its search has ended, or None if that is unknown.
    awaits_model : bool
        Whether resuming would only fit the model, see `helo.analysis.source.Source.awaits_model`.

    Returns
    -------
    tuple of str
        Words that introduce the command, and the command.
    """
    folder = str(run.folder)
    if complete and run.has_model:
        model = shlex.quote(str(run.model))
        return "predict new data with", f"python -m helo.predict {model} DATASET --out predictions.parquet"
    if complete and not awaits_model:
        return "look at it in a browser with", f"python -m helo.analysis dashboard {shlex.quote(folder)}"
    words = "resume with" if complete is False else "if the search has ended early, resume with"
    if complete:
        words = "the model is not fitted yet; resume with"
    if run.manifest.data == IN_MEMORY:
        return f"{words}, in Python", f"helo.run_search(dataset, resume={folder!r})"
    return words, f"python -m helo.search --resume {shlex.quote(folder)}"
