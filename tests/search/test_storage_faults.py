"""Object storage that fails while a search or a report uses it."""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from searches import assert_same_tables, command, tables, wait_for
from storage_proxy import StorageProxy

pytestmark = pytest.mark.slow

SPACE = """
configurations: 2
parameters: {width: 8, heads: 2, epochs: 2, dropout: {low: 0.1, high: 0.5}}
"""


def start(module: str, *words: str, cwd: Path, address: str) -> subprocess.Popen[str]:
    """Start a command that reaches the storage at an address."""
    return command(*words, cwd=cwd, module=module, env={"AWS_ENDPOINT_URL_S3": address})


def search(place: str, cwd: Path, address: str) -> subprocess.Popen[str]:
    (cwd / "space.yaml").write_text(SPACE, encoding="utf-8")
    fixed = ("--space", "space.yaml", "--baselines", "ridge", "--inner-folds", "1", "--concurrency", "1")
    return start("helo.search", *fixed, "--out", place, cwd=cwd, address=address)


def has_parts(proxy: StorageProxy) -> Callable[[], bool]:
    """Let a proxy count the finished cells that are written, and return whether there are some."""
    seen: list[str] = []
    refuse = proxy.refuse

    def count(command: str, path: str) -> int | None:
        status = refuse(command, path)
        if command == "PUT" and "/ledger/c" in path and status is None:
            seen.append(path)
        return status

    proxy.refuse = count
    return lambda: len(seen) > 2


def test_a_search_survives_refusals_and_an_outage_and_a_report_says_that_storage_is_away(
    object_storage: str, storage_proxy: StorageProxy, tmp_path: Path
) -> None:
    place, draw = f"{object_storage}/run", random.Random(0)
    storage_proxy.refuse = lambda command, path: 503 if draw.random() < 0.3 else None
    written = has_parts(storage_proxy)
    process = search(place, tmp_path, storage_proxy.address)
    assert wait_for(written, process), process.communicate()
    flaky, storage_proxy.refuse = storage_proxy.refuse, lambda command, path: 503
    back = threading.Timer(60, lambda: setattr(storage_proxy, "refuse", flaky))  # longer than the lease is fresh
    back.start()
    output, errors = process.communicate(timeout=900)
    back.cancel()
    assert process.returncode == 0, errors
    assert storage_proxy.refused > 50
    assert "trying again for" in output, "a long wait is said"
    for line in (f"report: {place}/report.html", f"model: {place}/model"):
        assert line in output
    whole = search("whole", tmp_path, storage_proxy.address)
    assert whole.communicate(timeout=600)[1] == ""
    assert_same_tables(tables(place), tables(tmp_path / "whole"))

    storage_proxy.refuse = flaky
    report = start("helo.analysis", "report", place, cwd=tmp_path, address=storage_proxy.address)
    assert (report.communicate(timeout=600)[1], report.returncode) == ("", 0)
    storage_proxy.refuse = lambda command, path: 503 if ".parquet" in path and command in ("GET", "HEAD") else None
    report = start("helo.analysis", "report", place, cwd=tmp_path, address=storage_proxy.address)
    errors = report.communicate(timeout=600)[1]
    assert report.returncode == 1
    assert errors.count("\n") == 1
    assert f"error: {place}/" in errors
    assert "503" in errors


def test_a_search_whose_storage_is_closed_ends_with_the_command_that_resumes_it(
    object_storage: str, storage_proxy: StorageProxy, tmp_path: Path
) -> None:
    place = f"{object_storage}/run"
    written = has_parts(storage_proxy)
    process = search(place, tmp_path, storage_proxy.address)
    assert wait_for(written, process), process.communicate()
    storage_proxy.refuse = lambda command, path: 403
    errors = process.communicate(timeout=600)[1]
    assert process.returncode == 1
    assert "access is denied; set credentials for bucket 'lab'" in errors
    assert errors.endswith(f"resume with:\n  python -m helo.search --resume {place} --concurrency 1\n")
    assert "Traceback" not in errors
    storage_proxy.refuse = lambda command, path: None
    resumed = start("helo.search", "--resume", place, cwd=tmp_path, address=storage_proxy.address)
    assert (resumed.communicate(timeout=600)[1], resumed.returncode) == ("", 0)
