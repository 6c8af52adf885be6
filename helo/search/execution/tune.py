"""The cells of a search on Ray Tune."""

from __future__ import annotations

import logging
import signal
import threading

from ray import tune

from helo.cluster.filling import NO_GPU
from helo.evaluation.folds import Fold
from helo.run.versions import package_versions
from helo.search.execution import _tune_compat
from helo.search.execution.cells import CellSettings
from helo.search.execution.connection import SharedDataset
from helo.search.execution.elastic import ConcurrencyLimit, cluster_machines
from helo.search.execution.recorder import CellRecorder, DeadlineStopper, Reporting
from helo.search.execution.trials import CellTrainable, QueueSearcher, VersionCheck, cell_of_trial
from helo.search.planning.queue import Queue
from helo.storage.scratch import scratch_folder

IDLE_ACTOR_S = 60.0
"""Seconds that an actor waits for its next cell before it ends. To start one takes about 5 s."""

LEAST = 1e-4
"""Smallest amount of a resource that Ray knows."""


def run_cells(
    queue: Queue,
    dataset: SharedDataset,
    folds: tuple[Fold, ...],
    settings: CellSettings,
    reporting: Reporting,
    concurrency: int | None = None,
    may_differ: bool = False,
) -> bool:
    """Run the cells of a search on the Ray cluster that this process is connected to.

    Parameters
    ----------
    queue : Queue
        Cells of the search.
    dataset : SharedDataset
        Data of all subjects.
    folds : tuple of Fold
        All folds of the search.
    settings : CellSettings
        Settings that all cells share.
    reporting : Reporting
        Receivers of finished cells: ledger, progress, loggers.
    concurrency : int or None
        Number of cells at the same time. None runs as many as fit on the cluster while it grows and shrinks.
    may_differ : bool
        Whether cells also run on nodes whose versions of packages differ from those of this process.

    Returns
    -------
    bool
        Whether all cells have finished. False if the deadline came first.

    Raises
    ------
    OSError
        If the ledger cannot be written.
    InputError
        If `reporting.other_versions` refuses a node.
    SearchError
        If Ray has ended on this machine.
    """
    threads = settings.training.threads
    searcher = QueueSearcher(queue, settings.deadline, ConcurrencyLimit(concurrency, threads, settings.gpus))
    versions = VersionCheck(package_versions(), may_differ)
    marked = {NO_GPU: LEAST} if cluster_machines().leaves_gpus_alone(threads, settings.gpus) else {}
    trainable = tune.with_resources(
        tune.with_parameters(CellTrainable, dataset=dataset, folds=folds, settings=settings, versions=versions),
        lambda config: tune.PlacementGroupFactory(
            [{"CPU": threads, "GPU": settings.gpu_share(cell_of_trial(config)), **marked}]
        ),
    )
    recorder = CellRecorder(searcher, folds, settings, reporting)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it reports cells as errors that are tried again
    handler = signal.getsignal(signal.SIGINT)
    try:
        with (
            scratch_folder("tune") as scratch,
            _tune_compat.keep_actors(IDLE_ACTOR_S),
            _tune_compat.forget_finished_trials(),
        ):
            tuner = tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    num_samples=-1,
                    reuse_actors=True,
                    trial_name_creator=lambda trial: trial.trial_id,
                    trial_dirname_creator=lambda trial: trial.trial_id,
                ),
                run_config=tune.RunConfig(
                    name="search",
                    stop=DeadlineStopper(recorder),
                    storage_path=str(scratch.path),  # required by Tune; its files are not used
                    verbose=0,
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    callbacks=[recorder, _tune_compat.SilentProgress(), *reporting.loggers],
                    progress_reporter=tune.CLIReporter(),  # silent here; the one for notebooks clears the cell's output
                ),
            )
            tuner.fit()
    except Exception:
        if recorder.error is not None:
            raise recorder.error from None
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)  # Tune leaves a handler that ignores the first Ctrl-C
    return queue.finished
