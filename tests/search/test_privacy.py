"""What a search shows to others: keys in files that it leaves, sockets, permissions."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest
from searches import wait_for

pytestmark = pytest.mark.slow

SPACE = """
configurations: {}
parameters: {{width: 8, heads: 2, epochs: 2, dropout: {{low: 0.1, high: 0.5}}}}
"""
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTED00000001",
    "AWS_SECRET_ACCESS_KEY": "planted0secret0key0000000000000000000002",
    "AWS_SESSION_TOKEN": "planted0session0token000000000000000003",
    "AWS_SECURITY_TOKEN": "planted0security0token0000000000000004",
    "MLFLOW_TRACKING_URI": "http://ann:planted0password05@127.0.0.1:9/mlflow",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere/planted0credentials06.json",
}
PLANTED = ("PLANTED0000", "planted0")
"""Texts of which every planted secret contains one."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A short temporary folder, because that of pytest is too long for sockets."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        yield Path(folder)


def start(place: Path, *words: str, configurations: int = 1, **variables: str) -> subprocess.Popen[str]:
    """Start a search whose home, temporary folder and run lie in a folder."""
    for name in ("home", "t"):
        (place / name).mkdir(exist_ok=True)
    (place / "space.yaml").write_text(SPACE.format(configurations), encoding="utf-8")
    fixed = ("--space", "space.yaml", "--baselines", "ridge", "--inner-folds", "1", "--concurrency", "1")
    return subprocess.Popen(
        [sys.executable, "-m", "helo.search", *fixed, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=place,
        umask=0o022,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY_AUTH"))},
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "HOME": str(place / "home"),
            "TMPDIR": str(place / "t"),
            **variables,
        },
    )


def files_with_secrets(place: Path) -> list[str]:
    """Return the files below a folder whose name or content has a planted secret."""
    found = []
    for path in place.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if any(secret in str(path) or secret.encode() in content for secret in PLANTED):
            found.append(str(path))
    return found


def left_in(folder: Path) -> list[str]:
    """Return the names in a temporary folder, without that of the cache of torch."""
    return [name for name in os.listdir(folder) if not name.startswith("torchinductor_")]


def has_part(place: Path) -> bool:
    return any(place.glob("run/ledger/c*.parquet"))


def test_keys_in_the_environment_are_in_no_file(place: Path) -> None:
    """Neither while the search runs nor afterwards; and nothing is left in the temporary folder and in the home."""
    process = start(place, "--out", "run", "--log", "mlflow", configurations=3, **SECRETS)
    assert wait_for(lambda: has_part(place), process), process.communicate()
    assert list(place.glob("t/helo-ray-*/s/session_*/logs/*")), "the logs of Ray are elsewhere"
    assert files_with_secrets(place) == []
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert files_with_secrets(place) == []
    assert not any(secret in text for secret in PLANTED for text in (output, errors)), (output, errors)
    assert left_in(place / "t") == []
    assert not (place / "home" / ".ray").exists()


def test_a_uri_with_keys_is_refused_without_a_word_of_them(place: Path) -> None:
    for uri in (
        "s3://planted01:planted02@lab/run",
        "s3://lab/run?access_key=planted01&secret_key=planted02",
        "s3://lab/run?endpoint_override=planted01:planted02@host",
    ):
        process = start(place, "--out", uri)
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 2
        assert "s3://" in errors
        assert "planted0" not in output + errors
        assert files_with_secrets(place) == []


def test_a_running_search_listens_to_this_machine_alone_and_asks_for_a_token(place: Path) -> None:
    process = start(place, "--out", "run", configurations=200, RAY_AUTH_MODE="disabled")
    try:
        assert wait_for(lambda: has_part(place), process), process.communicate()
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        sockets = [
            (one.name(), socket.laddr)
            for one in family
            for socket in one.net_connections("inet")
            if socket.status == psutil.CONN_LISTEN or (not socket.raddr and socket.laddr)
        ]
        assert len(sockets) > 3
        addresses = {name: ip_address(at.ip) for name, at in sockets}
        mapped = {name: getattr(at, "ipv4_mapped", None) or at for name, at in addresses.items()}
        assert all(at.is_loopback for at in mapped.values()), sockets
        (private,) = place.glob("t/helo-ray-*")
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        (token,) = private.glob("s/token")
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        (port,) = private.glob("s/session_2*/gcs_server_port_*")
        joined = subprocess.run(
            [sys.executable, "-c", f"from ray._raylet import GcsClient; GcsClient('127.0.0.1:{port.read_text()}')"],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env={**os.environ, "HOME": str(place / "t"), "RAY_AUTH_MODE": "disabled"},
        )
        assert joined.returncode != 0
        assert "InvalidAuthToken" in joined.stderr
    finally:
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=300)[1]
    assert process.returncode == 130, errors
    assert left_in(place / "t") == []


def test_what_a_killed_search_has_left_is_deleted_by_the_next(place: Path) -> None:
    process = start(place, "--out", "run", configurations=200)
    assert wait_for(lambda: has_part(place), process), process.communicate()
    process.kill()
    process.communicate(timeout=300)
    assert len(list(place.glob("t/helo-*"))) > 1
    process = start(place, "--out", "second")
    errors = process.communicate(timeout=600)[1]
    assert process.returncode == 0, errors
    assert left_in(place / "t") == []
