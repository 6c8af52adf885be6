"""The finished configurations as an Optuna study on disk, for ``optuna-dashboard`` and Optuna itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from helo.names import FileName
from helo.run.directory import Run
from helo.search.planning.space import Space


def write_study(run: Run, space: Space, studies: Mapping[str, Sequence[FrozenTrial]]) -> None:
    """Write ``study.log``, whole or not at all.

    A view like the tables: the search never reads it. Values are inner validation losses (a similarity is
    negated), steps are folds in the order in which the search saw them.
    """
    with run.folder.new_file(FileName.STUDY) as hidden:
        hidden.unlink(missing_ok=True)
        storage = JournalStorage(JournalFileBackend(str(hidden)))
        for name, trials in studies.items():
            study = optuna.create_study(study_name=name, storage=storage, direction="minimize")
            study.set_user_attr("loss", f"mean inner validation {space.objective} (a similarity is negated)")
            study.add_trials(trials)
