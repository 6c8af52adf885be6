"""Export of the finished configurations as an Optuna study on disk, for ``optuna-dashboard`` and Optuna itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial

from helo.names import FileName
from helo.run.directory import Run
from helo.search.planning.space import Space


def write_study(run: Run, space: Space, studies: Mapping[str, Sequence[FrozenTrial]]) -> None:
    """Write ``study.log`` of a run atomically.

    The file is a view like the tables: the search never reads it. Values are inner validation losses (a similarity is
    negated). Steps are folds in the order in which the search ran them.

    Parameters
    ----------
    run : Run
        Run directory.
    space : Space
        Search space.
    studies : mapping of str to sequence of FrozenTrial
        Name of a study → its trials, see `helo.search.planning.planner.Planner.studies`.
    """
    with run.folder.new_file(FileName.STUDY) as temporary:
        # Optuna's other lock is a symbolic link, which exFAT and many network file systems do not have.
        storage = JournalStorage(JournalFileBackend(str(temporary), JournalFileOpenLock(str(temporary))))
        for name, trials in studies.items():
            study = optuna.create_study(study_name=name, storage=storage, direction="minimize")
            study.set_user_attr("loss", f"mean inner validation {space.objective} (a similarity is negated)")
            study.add_trials(trials)
