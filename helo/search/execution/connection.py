"""The Ray cluster that a search runs on: joined or started, and what is put and called there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray

from helo.data.dataset import Dataset
from helo.errors import InputError

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV and JSON of every trial: the ledger has it
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # Tune's snapshot is never read: see helo.run.ledger
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000000",  # cells that wait make a cluster grow; `Room` says how many may
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_AIR_NEW_OUTPUT": "0",  # its banner ignores verbose=0
}


class Shared:
    """A dataset in the object store: one copy per node, which all its cells read where it is."""

    def __init__(self, dataset: Dataset) -> None:
        self.reference = ray.put(dataset)

    def get(self) -> Dataset:
        """The dataset; its arrays are read-only views of the store."""
        found: Dataset = ray.get(self.reference)
        return found


def on_cluster(function: Callable[..., Any], *arguments: Any, cpus: int, gpus: float) -> Any:
    """Run a function once on a worker with these resources and return what it returns.

    A `Shared` dataset is handed to it as a dataset.
    """
    given = [argument.reference if isinstance(argument, Shared) else argument for argument in arguments]
    return ray.get(ray.remote(function).options(num_cpus=cpus, num_gpus=gpus).remote(*given))


def ray_runs() -> bool:
    """Whether this process uses a Ray cluster that somebody else has started."""
    return bool(ray.is_initialized())


@contextmanager
def ray_cluster(address: str | None, cpus: int = 1, gpus: float = 0) -> Iterator[None]:
    """A Ray cluster for the length of a search: the one at `address`, or one on this machine.

    `cpus` and `gpus` are what Ray lends out on this machine: as many CPUs as the cells that shall run at a time
    ask for. Where this process runs Ray already, as a notebook may, its cluster is used and left as it is.
    """
    os.environ.update(_ENVIRONMENT)
    if ray_runs():
        here = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", here):
            raise InputError(f"address {address}: this process uses the Ray cluster at {here} already; leave it first")
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    try:
        if address is None:
            ray.init(address="local", num_cpus=cpus, num_gpus=gpus, include_dashboard=False, **quiet)
        else:
            join(address, **quiet)
    except ConnectionError as error:
        raise InputError(f"address {address}: no Ray cluster answers there ({error})") from None
    try:
        yield
    finally:
        ray.shutdown()


def join(address: str, **options: Any) -> None:
    """Connect to a Ray cluster, with this user's token if it asks for one: ``ray start`` does, `ray.init` forgets it.

    Not with the token at once: the nodes of a cluster without one could not answer. Raises `ConnectionError`.
    """
    try:
        ray.init(address=address, **options)
    except ConnectionError:
        try:
            from ray._private.authentication.authentication_token_setup import (
                maybe_enable_token_auth_if_token_available as take_token,
            )
        except ImportError:  # a version of Ray that knows no tokens
            take_token = None
        if take_token is None or not take_token(warn_if_disabled=False):
            raise
        ray.init(address=address, **options)
