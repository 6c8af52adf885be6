"""The Ray cluster of a search: connect to it, share data on it, run a function on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray

from helo.data.dataset import Dataset
from helo.errors import InputError
from helo.search.execution import _ray_compat
from helo.search.execution.local_ray import started_ray
from helo.search.execution.signals import kept_handlers


class SharedDataset:
    """Dataset in Ray's object store.

    Each node holds one copy, and all cells on the node read it in place.

    Parameters
    ----------
    dataset : Dataset
        Dataset to store.

    Attributes
    ----------
    reference : ray.ObjectRef
        Reference to the stored dataset.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.reference = ray.put(dataset)

    def get(self) -> Dataset:
        """Return the dataset. Its arrays are read-only views of the object store."""
        dataset: Dataset = ray.get(self.reference)
        return dataset


class NoResultError(Exception):
    """A worker of the cluster has not returned a result in time."""


def run_on_worker(
    function: Callable[..., Any], *arguments: Any, cpus: int, gpus: float, patience_s: float | None = None
) -> Any:
    """Run a function once on a worker of the cluster.

    Parameters
    ----------
    function : callable
        Function to run.
    *arguments
        Arguments of the function. A `SharedDataset` arrives as a `Dataset`.
    cpus : int
        Number of CPUs that the function needs.
    gpus : float
        Number of GPUs that the function needs.
    patience_s : float, optional
        Maximum time in seconds until the result is there, which includes the start of a machine. By default, there is
        no limit.

    Returns
    -------
    object
        Result of the function.

    Raises
    ------
    NoResultError
        If there is no result in that time. The function is cancelled.
    """
    given = [argument.reference if isinstance(argument, SharedDataset) else argument for argument in arguments]
    result = ray.remote(function).options(num_cpus=cpus, num_gpus=gpus).remote(*given)
    if not ray.wait([result], timeout=patience_s)[0]:
        ray.cancel(result)  # or the autoscaler would go on to ask for a machine
        raise NoResultError
    return ray.get(result)


def ray_is_running() -> bool:
    """Return whether this process is already connected to a Ray cluster."""
    return bool(ray.is_initialized())


@contextmanager
def ray_cluster(
    address: str | None, cpus: int = 1, gpus: float = 0, print_line: Callable[[str], None] = lambda line: None
) -> Iterator[None]:
    """Connect this process to a Ray cluster while the context is open.

    If this process is connected to a cluster already, as a notebook may be, that cluster is used and left running.

    Parameters
    ----------
    address : str or None
        Address of the cluster. None starts a cluster on this machine and stops it at the end.
    cpus : int
        Number of CPUs of a cluster on this machine: those of all cells that run at the same time.
    gpus : float
        Number of GPUs of a cluster on this machine.
    print_line : callable
        Function that gets a line if a cluster on this machine takes long to start.

    Raises
    ------
    SearchError
        If a cluster on this machine does not start.
    InputError
        If no cluster answers at the address, or if this process is connected to a different one.
    """
    _ray_compat.set_environment()
    _ray_compat.prepare_shutdown()
    with _ray_compat.secrets_kept_from_actors():
        if ray_is_running():
            current = ray.get_runtime_context().gcs_address
            if address not in (None, "auto", current):
                raise InputError(
                    f"address {address}: this process uses the Ray cluster at {current} already; call ray.shutdown() "
                    "first"
                )
            yield
            return
        quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
        start = started_ray(cpus, gpus, print_line, **quiet) if address is None else _joined_ray(address, **quiet)
        with start:
            yield


@contextmanager
def _joined_ray(address: str, **options: Any) -> Iterator[None]:
    with kept_handlers() as restore_handlers:
        try:
            _connect(address, **options)
        except ConnectionError as error:
            raise InputError(f"address {address}: no Ray cluster answers ({error})") from None
        try:
            restore_handlers()
            yield
        finally:
            ray.shutdown()


def _connect(address: str, **options: Any) -> None:
    """Connect to a Ray cluster, with this user's token if the cluster asks for one.

    The first attempt leaves token authentication to Ray. Only if it fails is the stored token enabled, because the
    nodes of a cluster without tokens could not answer a process that uses one.
    """
    try:
        ray.init(address=address, **options)
    except ConnectionError:
        if not _ray_compat.enable_token_authentication():
            raise
        ray.init(address=address, **options)
