"""Private and undocumented parts of Ray that the search depends on.

No other module of the search reaches into them. Each function says in which versions of Ray the part was read, why the
public API is not enough, and what happens to a search if the part changes. A search keeps working without any of them,
apart from clusters that ask for a token.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import RayError
from ray.tune.logger import TBXLoggerCallback

CLUSTER_FILE: Final = Path("~/ray_bootstrap_config.yaml")
"""Place on the head node where ``ray up`` leaves the cluster file, with the resources of each node type filled in.

Read in Ray 2.60 (`ray.tune.execution.cluster_info`). Ray has no public way to find out how many nodes its autoscaler
may start. If the file moves, the limits of the autoscaler are unknown: twice as many cells as fit are then submitted.
"""

_ENVIRONMENT: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV and JSON files per trial: the ledger has their content
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # no snapshots of Tune: a search resumes from its ledger
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000000",  # `elastic.ConcurrencyLimit` limits the pending cells instead
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_AIR_NEW_OUTPUT": "0",  # the banner of the new output ignores verbose=0
}


def set_environment() -> None:
    """Set the environment variables that configure Ray and Ray Tune for a search.

    Read in Ray 2.60 (`ray.tune.constants` and others). `tune.TuneConfig` and `tune.RunConfig` have no such options. If
    Ray drops a variable, a search may print more, write files that it does not read, or queue fewer cells; its results
    stay the same.
    """
    os.environ.update(_ENVIRONMENT)


def draining_nodes() -> set[str]:
    """Return the ids of the nodes that are about to be removed from the cluster.

    Read in Ray 2.60 (`ray._private.state`). `ray.nodes()` does not tell whether a node is draining. If the part
    changes, no node counts as draining: cells then resume from their last regular checkpoint.
    """
    try:
        return set(ray._private.state.state.get_draining_nodes())
    except (AttributeError, RayError, RuntimeError):
        return set()


def node_of_trial(trial: Any) -> str | None:
    """Return the id of the node that runs the actor of a Tune trial, or None if it is unknown.

    Read in Ray 2.60 (`ray.tune.experiment.Trial`, `ray._private.state.actors`). `ray.util.state` has the same facts
    only where the dashboard runs. If the part changes, each lost node counts as a failed attempt of its cells.
    """
    try:
        actor = trial.temporary_state.ray_actor
        return str(ray._private.state.actors(actor._actor_id.hex())["Address"]["NodeID"])
    except (AttributeError, LookupError, RayError):
        return None


def discard_metric_history(trial: Any) -> None:
    """Discard the statistics that Tune keeps of the metrics of a finished trial.

    Read in Ray 2.60 (`ray.tune.trainable.metadata`). Tune has no option to switch them off. If the part changes, the
    driver needs some kilobytes of memory more for each cell.
    """
    with suppress(AttributeError):
        trial.run_metadata.metric_n_steps.clear()
        trial.run_metadata.metric_analysis.clear()


def enable_token_authentication() -> bool:
    """Let this process use the token stored for this user, and return whether token authentication is enabled.

    ``RAY_AUTH_MODE`` takes precedence if it is set. Read in Ray 2.60 (`ray._private.authentication`). Unlike ``ray
    start``, `ray.init` uses the stored token only for a local cluster or the address ``auto``, not for an explicit
    address. If the part changes, clusters that ask for a token can be joined at an explicit address only with
    ``RAY_AUTH_MODE=token`` in the environment.
    """
    try:
        from ray._private.authentication.authentication_token_setup import (
            maybe_enable_token_auth_if_token_available as enable,
        )
    except ImportError:
        return False
    return bool(enable(warn_if_disabled=False))


def open_tensorboard_writer(logger: TBXLoggerCallback, trial: Any, folder: Path) -> None:
    """Open the TensorBoard writer of a trial in a given folder.

    Read in Ray 2.60 (`ray.tune.logger.tensorboardx`). The public callback always writes into Tune's own folder of a
    trial, which is deleted after a search. If the part changes, searches with ``--log tensorboard`` fail at once.
    """
    logger._trial_writer[trial] = logger._summary_writer_cls(str(folder), flush_secs=30)
    logger._trial_result[trial] = {}
