"""What tests in several folders share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from helo.data.dataset import Dataset
    from helo.evaluation.folds import Fold


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One process runs the files with searches, one after the other: each takes the machine as if it were its own.

    The other process runs all the rest, slow tests that need one core among it. Told apart by their text: the process
    that hands tests out does not collect them, and pytest-xdist's groups by marks need node ids that pytest 9 no
    longer lets it change.
    """
    from xdist.scheduler import LoadScopeScheduling

    class SearchesTogether(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return SEARCHES if has_searches(file) else file

    return SearchesTogether(config, log)


SEARCHES = "searches"


@cache
def has_searches(file: str) -> bool:
    text = (Path(__file__).parents[1] / file).read_text(encoding="utf-8")
    return "mark.slow" in text and any(word in text for word in ("helo.search", "wesad_search", "import ray"))


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


@pytest.fixture(scope="session")
def wesad_folder() -> Path:
    """The real recordings of WESAD, which lie beside the repository on some machines only."""
    if not (WESAD / "windows.csv").is_file():
        pytest.skip("the WESAD data are not here (they may not be passed on, so the project has none)")
    return WESAD


@pytest.fixture(scope="session")
def wesad_search(wesad_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The README's path on the real recordings, up to the report, of small models: `datasets/wesad` and `runs/wesad`.

    One for all tests that look at a search of real people: it takes a minute and more. They change copies.
    """
    folder = tmp_path_factory.mktemp("wesad")
    (folder / "space.yaml").write_text(WESAD_SPACE, encoding="utf-8")
    for words in (
        ["helo.data", "wesad", str(wesad_folder), "--out", "datasets/wesad"],
        ["helo.search", "--data", "datasets/wesad", "--space", "space.yaml", "--no-racing", "--out", "runs/wesad"],
    ):
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=folder, check=False)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """A few windows of four simulated subjects: enough for cells whose scores do not matter."""
    from helo.data.simulated import simulate

    return simulate(subjects=4, clips=3, windows=4)


@pytest.fixture(scope="session")
def fold(dataset: Dataset) -> Fold:
    """The first of its folds."""
    from helo.evaluation.folds import loso_folds

    return loso_folds(dataset.subject_names, seed=0)[0]


@pytest.fixture(scope="session")
def storage_server() -> Iterator[str]:
    """A server on this machine that speaks S3, with the bucket ``lab``; its address."""
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
    """A place of this test's own on object storage; this process and those that it starts can reach it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)  # whatever a developer has set for a storage that is not this one
    for name, value in (
        ("AWS_ENDPOINT_URL_S3", storage_server),
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
    ):
        monkeypatch.setenv(name, value)
    return f"s3://lab/{tmp_path.name}"


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """Gives ports of this machine that nothing listens at."""
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
