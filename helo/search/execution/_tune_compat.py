"""Private and undocumented parts of Ray Tune that the search depends on, as `_ray_compat` has them for Ray itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import RayError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.logger import TBXLoggerCallback
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.utils.object_cache import _ObjectCache

from helo.search.execution import _ray_compat

FORGOTTEN_AT_ONCE: Final = 100
"""Number of ended trials from which Tune is made to forget them: together, so that it costs little."""


def node_of_trial(trial: Any) -> str | None:
    """Return the id of the node that runs the actor of a Tune trial, or None if it is unknown.

    On a private cluster, which has one node, nobody is asked: a GCS server that has been killed would not answer.

    Read in Ray 2.60 (`ray.tune.experiment.Trial`, `ray._private.state.actors`). `ray.util.state` has the same facts
    only where the dashboard runs. If the part changes, each lost node counts as a failed attempt of its cells.
    """
    try:
        if _ray_compat.is_private():
            return None
        actor = trial.temporary_state.ray_actor
        return str(ray._private.state.actors(actor._actor_id.hex())["Address"]["NodeID"])
    except (AttributeError, LookupError, RayError):
        return None


def error_of_trial(trial: Any) -> str:
    """Return the text of the last error of a Tune trial.

    Read in Ray 2.60 (`ray.tune.experiment.Trial`). Tune passes the error to no callback. If the part changes, reasons
    of failed cells do not say why their workers ended.
    """
    try:
        return Path(trial.error_file).read_text("utf-8", "replace")  # `get_error` reads where Tune copies it later
    except (AttributeError, OSError, TypeError):
        return ""


def open_tensorboard_writer(logger: TBXLoggerCallback, trial: Any, folder: Path) -> None:
    """Open the TensorBoard writer of a trial in a given folder.

    Read in Ray 2.60 (`ray.tune.logger.tensorboardx`). The public callback always writes into Tune's own folder of a
    trial, which is deleted after a search. If the part changes, searches with ``--log tensorboard`` fail at once.
    """
    logger._trial_writer[trial] = logger._summary_writer_cls(str(folder), flush_secs=30)
    logger._trial_result[trial] = {}


class _IdleActors(_ObjectCache):
    """Idle actors, which wait for their next cell.

    Tune keeps one of them at most while no cell is pending. When the cells of the next generation come, all others
    would start anew.

    Parameters
    ----------
    idle_s : float
        Seconds after which an idle actor is ended, unless it is the last one. The autoscaler can then remove its node.
    """

    def __init__(self, idle_s: float) -> None:
        super().__init__(may_keep_one=True)
        self._idle_s = idle_s
        self._idle_since: dict[Any, float] = {}

    def cache_object(self, key: Any, obj: Any) -> bool:
        """Add an actor whose cell has ended. Return True: it is kept until `flush_cached_objects` ends it."""
        self._cached_objects[key].append(obj)
        self._num_cached_objects += 1
        self._idle_since[obj] = time.monotonic()
        return True

    def pop_cached_object(self, key: Any) -> Any:
        """Remove and return the actor that has been idle for the shortest time, so that the others can end."""
        if not self.has_cached_object(key):
            return None
        self._num_cached_objects -= 1
        actor = self._cached_objects[key].pop()
        del self._idle_since[actor]
        return actor

    def flush_cached_objects(self, force_all: bool = False) -> Iterator[Any]:
        """Remove and yield the actors to end: those that hold what a pending cell needs, and those idle for long."""
        now = time.monotonic()
        for key, actors in self._cached_objects.items():
            pending = 0 if force_all else self._max_num_objects[key]
            others_wait = any(count for other, count in self._max_num_objects.items() if other != key)
            while len(actors) > pending:
                may_stay = not (force_all or others_wait)
                is_last = self._num_cached_objects == 1
                if may_stay and (is_last or now - self._idle_since[actors[0]] < self._idle_s):
                    break
                self._num_cached_objects -= 1
                actor = actors.pop(0)
                del self._idle_since[actor]
                yield actor


@contextmanager
def keep_actors(idle_s: float) -> Iterator[None]:
    """Keep actors that are starting or idle while the actors of other trials become free.

    Read in Ray 2.60 (`ray.tune.execution.tune_controller`, `ray.tune.utils.object_cache`). Tune gives a free actor to
    the next pending trial, and ends the actor that is starting for it. An actor takes seconds to start, because it
    imports torch. If cells are shorter than that, no second actor ever starts, and the search has the throughput of
    one. Where no trial is pending, as at the end of a generation, Tune also ends all idle actors but one. It has no
    options for this. An actor that still waits for CPUs is given up as before. Tune would wait for a Ray that has
    ended, which then ends this process. If the parts change, short cells run on fewer actors.

    Parameters
    ----------
    idle_s : float
        Seconds after which idle actors end.
    """
    try:
        reuse, start = TuneController._maybe_reuse_cached_actor, TuneController.__init__
        clean = TuneController._cleanup_trials
    except AttributeError:
        yield
        return

    @wraps(start)
    def start_with_cache(controller: Any, *arguments: Any, **options: Any) -> None:
        start(controller, *arguments, **options)
        controller._actor_cache = _IdleActors(idle_s)

    @wraps(reuse)
    def reuse_unless_starting(controller: Any, trial: Any) -> bool:
        with suppress(AttributeError, LookupError):
            if controller._trial_to_actor[trial] in controller._actor_manager._live_actors_to_ray_actors_resources:
                return False  # it has its CPUs, so it will be ready soon
        return bool(reuse(controller, trial))

    @wraps(clean)
    def clean_if_alive(controller: Any) -> None:
        if not _ray_compat.NEEDED.intersection(_ray_compat.dead_processes()):
            clean(controller)

    TuneController.__init__, TuneController._maybe_reuse_cached_actor = start_with_cache, reuse_unless_starting
    TuneController._cleanup_trials = clean_if_alive
    try:
        yield
    finally:
        TuneController.__init__, TuneController._maybe_reuse_cached_actor = start, reuse
        TuneController._cleanup_trials = clean


class SilentProgress(TrialProgressCallback):
    """Callback in place of the one that Tune adds by itself, which prints nothing here and keeps every trial.

    Read in Ray 2.60 (`ray.tune.utils.callback`). If the part changes, the same as for `forget_finished_trials` holds.
    """

    def on_trial_result(self, *arguments: Any, **info: Any) -> None:
        """Do nothing."""

    def on_trial_error(self, *arguments: Any, **info: Any) -> None:
        """Do nothing."""

    def on_trial_complete(self, *arguments: Any, **info: Any) -> None:
        """Do nothing."""


@contextmanager
def forget_finished_trials() -> Iterator[None]:
    """Let Tune forget trials that have ended, apart from the last one.

    Read in Ray 2.60 (`ray.tune.execution.tune_controller`). Tune keeps each trial until its run ends, some 40 KB in the
    driver, and looks through all of them for each cell. It has no option for this. If the parts change, the driver of a
    search with 100,000 cells needs 4 GB more, and its cells take twice as long to schedule.
    """
    try:
        end_step = TuneController.on_step_end
    except AttributeError:
        yield
        return

    @wraps(end_step)
    def end_step_and_forget(controller: Any) -> None:
        end_step(controller)
        with suppress(AttributeError):
            _forget(controller)

    TuneController.on_step_end = end_step_and_forget
    try:
        yield
    finally:
        TuneController.on_step_end = end_step


def _forget(controller: Any) -> None:
    """Remove each trial that has ended, and whose actor serves another one, from the collections of Tune."""
    kinds = (controller._stopped_trials, controller._failed_trials)
    in_use = (controller._trial_to_actor, controller._live_trials, controller._staged_trials)
    ended = {trial for kind in kinds for trial in kind if not any(trial in some for some in in_use)}
    if len(ended) < FORGOTTEN_AT_ONCE:
        return
    last = controller._trials[-1]
    ended.discard(last)
    controller._trials[:] = [trial for trial in controller._trials if trial not in ended]
    for kind in (*kinds, controller._trials_to_cache):
        kind.difference_update(ended)
    for trial in ended:
        controller._cached_trial_decisions.pop(trial.trial_id, None)
