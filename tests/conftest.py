"""Fixtures that tests in several folders share, and the distribution of test files over two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from storage_proxy import StorageProxy

    from helo.data.dataset import Dataset
    from helo.evaluation.folds import Fold


SEARCHES = (
    ("tests/search/execution/", "tests/search/test_faults.py"),
    (
        "tests/analysis/test_browser.py",
        "tests/cluster/lab/",
        "tests/faults/",
        "tests/search/test_command.py",
        "tests/search/test_failed_cells.py",
        "tests/search/test_privacy.py",
        "tests/search/test_storage_faults.py",
    ),
)
"""Two groups of files with long searches and clusters. Those of one group run one after another.

More than two such tests at a time would wait for each other, since each can use the whole machine.
"""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Start each process with one group of `SEARCHES`, and share all other files between them.

    The names of files decide, because the process that distributes tests does not collect them, and because pytest 9 no
    longer lets pytest-xdist change the node ids that its groups by marks need.
    """
    from xdist.scheduler import LoadScopeScheduling

    class SearchesTogether(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file: str = nodeid.split("::")[0]
            return next((group[0] for group in SEARCHES if file.startswith(group)), file)

        def _assign_work_unit(self, node: Any) -> None:
            for group in reversed(SEARCHES):  # first, because they take longest
                if group[0] in self.workqueue:
                    self.workqueue.move_to_end(group[0], last=False)
            super()._assign_work_unit(node)

    return SearchesTogether(config, log)


# Before torch is imported: its threads on the shared cores of a test machine wait for each other, which
# makes cells of a few windows ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

WESAD = Path(__file__).parents[1].parent / "shared" / "data" / "wesad"
WESAD_SPACE = """
configurations: 3
parameters:
  learning_rate: {low: 5e-4, high: 5e-3, log: true}
  dropout: {low: 0.1, high: 0.5}
  width: 8
  heads: 1
  batch_size: 128
  epochs: 4
"""

WESAD_BASELINES = ("knn", "max_entropy", "ridge")
"""Baselines of the search on WESAD. The forest and mlp take three quarters of the time of all; the demo has them."""

FEW = ("--no-racing", "--inner-folds", "2", "--baselines", ",".join(WESAD_BASELINES))
"""Options of the search on WESAD: few members, and every configuration in every fold."""


@pytest.fixture(scope="session")
def wesad_folder() -> Path:
    """Return the folder with recordings of WESAD, which some machines have beside the repository."""
    if not (WESAD / "windows.csv").is_file():
        pytest.skip(
            "the WESAD data are not on this machine (their licence forbids to distribute them with the project)"
        )
    return WESAD


@pytest.fixture(scope="session")
def wesad_search(wesad_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the README's commands on WESAD with small models, and return the folder of `datasets/wesad` and `runs/wesad`.

    All tests of a search on WESAD share it, because it takes more than a minute. They modify copies only.
    """
    folder = tmp_path_factory.mktemp("wesad")
    (folder / "space.yaml").write_text(WESAD_SPACE, encoding="utf-8")
    for words in (
        ["helo.data", "wesad", str(wesad_folder), "--out", "datasets/wesad"],
        ["helo.search", "--data", "datasets/wesad", "--space", "space.yaml", *FEW, "--out", "runs/wesad"],
    ):
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=folder, check=False)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Return a few windows of four simulated subjects, for cells whose scores do not matter."""
    from helo.data.simulated import simulate

    return simulate(subjects=4, clips=3, windows=4)


@pytest.fixture(scope="session")
def fold(dataset: Dataset) -> Fold:
    """Return the first fold of `dataset`."""
    from helo.evaluation.folds import loso_folds

    return loso_folds(dataset.subject_names, seed=0)[0]


@pytest.fixture(scope="session")
def storage_server() -> Iterator[str]:
    """Start an S3 server on this machine with the bucket ``lab``, and yield its address."""
    import logging

    server = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    served = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    served.start()
    address = "http://{}:{}".format(*served.get_host_and_port())
    client = boto3.client(
        "s3", region_name="us-east-1", endpoint_url=address, aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="lab")
    yield address
    served.stop()


@pytest.fixture
def object_storage(storage_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Return the URI of a folder on object storage for one test, which this process and its children can reach."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)  # settings of a developer for other storage
    for name, value in (
        ("AWS_ENDPOINT_URL_S3", storage_server),
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
    ):
        monkeypatch.setenv(name, value)
    return f"s3://lab/{tmp_path.name}"


@pytest.fixture
def storage_proxy(storage_server: str) -> Iterator[StorageProxy]:
    """Return a proxy of the S3 server, which fails on demand. Tests set ``AWS_ENDPOINT_URL_S3`` to its address."""
    from storage_proxy import StorageProxy

    proxy = StorageProxy(storage_server)
    yield proxy
    proxy.close()


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """Return a function that finds free ports of this machine."""
    import socket

    def find(count: int) -> list[int]:
        probes = [socket.socket() for _ in range(count)]
        try:
            for probe in probes:
                probe.bind(("127.0.0.1", 0))
            return [int(probe.getsockname()[1]) for probe in probes]
        finally:
            for probe in probes:
                probe.close()

    return find
