"""Private and undocumented parts of Ray that the search depends on.

Only this module and `_tune_compat` reach into them. Each function says in which versions of Ray the part was read, why
the public API is not enough, and what happens to a search if the part changes. A search keeps working without any of
them, apart from clusters that ask for a token.
"""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._private import ray_constants
from ray._private.node import Node
from ray.exceptions import RayError
from ray.tune.execution import class_cache

from helo.errors import SearchError

CLUSTER_FILE: Final = Path("~/ray_bootstrap_config.yaml")
"""Place on the head node where ``ray up`` leaves the cluster file, with the resources of each node type filled in.

Read in Ray 2.60 (`ray.tune.execution.cluster_info`). Ray has no public way to find out how many nodes its autoscaler
may start. If the file moves, the limits of the autoscaler are unknown: twice as many cells as fit are then submitted.
"""

NEEDED: Final = frozenset({"gcs_server", "raylet"})
"""Processes of Ray without which no worker starts."""

_ENVIRONMENT: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_prestart_worker_first_driver": "0",  # `ray.init` would wait for workers, for ever if none can start
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


def prepare_shutdown() -> None:
    """Import what `ray.shutdown` imports, which would fail if no more files can be opened by then.

    Read in Ray 2.60 (`ray._private.worker`). Workers, which do not call `ray.shutdown`, need not import it.
    """
    import ray.dag.compiled_dag_node  # noqa: F401


def temporary_place() -> Path:
    """Return the folder in which Ray makes the folder of its sessions unless it is given another one.

    Read in Ray 2.60 (`ray._common.utils`). `ray.init` takes a folder, but does not tell the one that it chooses. If
    the part moves, searches fail at once.
    """
    return Path(get_default_ray_temp_dir()).parent


def log_folder() -> Path:
    """Return the folder of the logs of the node that this process is connected to.

    Read in Ray 2.60 (`ray._private.worker`). Ray has no public way to find it. If the part changes, a search that
    waits for its first worker does not notice that no worker can start.
    """
    try:
        return Path(ray._private.worker._global_node.get_logs_dir_path())
    except AttributeError:
        return Path(os.devnull)


def actor_variables() -> dict[str, str]:
    """Return the environment variables that Ray Tune sets for its actors.

    Read in Ray 2.60 (`ray.tune.execution.class_cache`). A worker serves only tasks and actors of the same environment.
    If the part changes, a search starts one worker more than it needs.
    """
    passed = {name: os.environ[name] for name in class_cache.ENV_VARS_TO_PROPAGATE if name in os.environ}
    return {**class_cache.DEFAULT_ENV_VARS, **passed}


@contextmanager
def secrets_kept_from_actors() -> Iterator[None]:
    """Let Ray Tune pass no environment variable to its actors but those of `set_environment`.

    Read in Ray 2.60 (`ray.tune.execution.class_cache`). Tune passes the keys of object storage, among others, and Ray
    writes what is passed to the logs of each node, which every user may read. Tune has no option for this. A search
    gives the keys to its workers in memory, see `helo.storage.remote`. If the part moves, searches fail at once.
    """
    passed = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = passed & _ENVIRONMENT.keys()
    try:
        yield
    finally:
        class_cache.ENV_VARS_TO_PROPAGATE = passed


def dead_processes() -> list[str]:
    """Return the names of those processes of Ray on this machine that have ended, such as ``"raylet"``.

    Read in Ray 2.60 (`ray._private.node`). If the part changes, a search without Ray ends late and without a word.
    """
    try:
        return [str(name) for name, _ in ray._private.worker._global_node.dead_processes()]
    except AttributeError:
        return []


def require_alive() -> None:
    """Raise `SearchError` if a process of Ray on this machine has ended without which no cell can run."""
    if ended := sorted(NEEDED.intersection(dead_processes())):
        raise SearchError(f"Ray has ended on this machine: its process {ended[0]} was killed or has crashed")


class StartingNode:
    """Node of Ray that is starting."""

    def __init__(self) -> None:
        self.node: Any = None

    def logs(self) -> Path | None:
        """Return the folder of its logs, or None if it has none."""
        try:
            return Path(self.node.get_logs_dir_path())
        except AttributeError:
            return None


@contextmanager
def asking_for_token(file: Path) -> Iterator[None]:
    """Let a cluster that this process starts, and its clients, ask for the token in a file, which is made.

    Without that, Ray uses a token that it keeps in the home directory, readable by every user, or none if the
    environment says so. Read in Ray 2.60 (`ray._private.authentication`). `ray.init` has no option for it, and reads
    the environment once only. If the part moves, searches fail at once.
    """
    with open(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as opened:
        opened.write(secrets.token_hex(32))
    given = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(file), "RAY_AUTH_TOKEN": None}
    former = {name: os.environ.get(name) for name in given}
    try:
        _set_authentication(given)
        yield
    finally:
        _set_authentication(former)


def _set_authentication(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    ray._raylet.Config.initialize("")
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


def is_private() -> bool:
    """Return whether the cluster that this process has started serves this machine alone and asks for a token.

    Read in Ray 2.60 (`ray._private.node`, `ray._raylet`). If the part moves, searches fail at once.
    """
    address = ray._private.worker._global_node.node_ip_address
    has_token = ray._raylet.get_authentication_mode() == ray._raylet.AuthenticationMode.TOKEN
    return ip_address(address).is_loopback and bool(has_token)


@contextmanager
def prepared_start() -> Iterator[StartingNode]:
    """Let `ray.init` start a node for this machine alone, wherever it is installed; end one that does not start.

    Read in Ray 2.60 (`ray._private.services`, `ray._private.node`, `ray._private.worker`). Ray writes the command of a
    worker by the rules of Windows, and reads it by those of a POSIX shell: quotes and backslashes in a path are lost.
    Processes of a node that has not started in time go on. On Linux a node listens to the network; on other systems,
    where Ray forms no clusters, to this machine alone. SIGTERM would end this process without a word while the node
    starts. If a process of the node ends, Ray prints its log. If the parts change, a search fails in such a path, a
    second attempt is slower, `is_private` tells that the node listens to the network, and faults print more.
    """
    started, start, write_command = StartingNode(), Node.__init__, subprocess.list2cmdline
    forms_clusters = ray_constants.ENABLE_RAY_CLUSTER

    @wraps(start)
    def start_or_end(node: Any, *arguments: Any, **options: Any) -> None:
        started.node = node
        try:
            start(node, *arguments, **options)
        except BaseException:
            with suppress(Exception):
                node.kill_all_processes(check_alive=False, allow_graceful=False)
            raise

    set_handler, listen = ray._private.utils.set_sigterm_handler, ray._private.worker.listen_error_messages
    Node.__init__, subprocess.list2cmdline = start_or_end, lambda seq: shlex.join(map(str, seq))
    ray._private.utils.set_sigterm_handler = lambda handler: None
    ray._private.worker.listen_error_messages = lambda worker, stopped: None
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield started
    finally:
        Node.__init__, subprocess.list2cmdline = start, write_command
        ray._private.utils.set_sigterm_handler, ray._private.worker.listen_error_messages = set_handler, listen
        ray_constants.ENABLE_RAY_CLUSTER = forms_clusters


def draining_nodes() -> set[str]:
    """Return the ids of the nodes that are about to be removed from the cluster.

    Read in Ray 2.60 (`ray._private.state`). `ray.nodes()` does not tell whether a node is draining. If the part
    changes, no node counts as draining: cells then resume from their last regular checkpoint.
    """
    try:
        return set(ray._private.state.state.get_draining_nodes())
    except (AttributeError, RayError, RuntimeError):
        return set()


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
