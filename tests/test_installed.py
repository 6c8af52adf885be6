"""The installed package: what a wheel holds, and that a user's own modules are never imported in place of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import helo
from helo.data import simulate, write_dataset

ROOT = Path(__file__).parents[1]
HOSTILE = ("analysis", "search_spaces", "tests", "helo_analysis")
"""Names that a user's modules may well have, and that folders of the checkout have or had."""

PACKAGES = {"helo": "helo", "analysis": "helo/analysis", "search_spaces": "helo/search_spaces"}
"""Folders of the checkout, and where a wheel has them."""


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with modules that write a file `imported-NAME` and fail when they are imported."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in HOSTILE:
        text = f"open({str(folder / f'imported-{name}')!r}, 'w').close()\nraise ImportError('a module of the user')\n"
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


def run(python: Path | str, folder: Path, *words: str) -> str:
    """Run a command in a folder, without the checkout on the path, and return its output."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(python), *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not list(folder.glob("imported-*"))
    return done.stdout


def test_the_hostile_modules_would_be_noticed(hostile: Path) -> None:
    with pytest.raises(AssertionError, match="a module of the user"):
        run(sys.executable, hostile, "-c", "import analysis")
    assert [path.name for path in hostile.glob("imported-*")] == ["imported-analysis"]


@pytest.mark.parametrize(
    "words",
    [
        ("-c", "import helo.analysis.report, helo.search_spaces, helo.search.session"),
        ("-m", "helo.analysis", "--help"),
        ("-m", "helo.search", "--help"),
    ],
    ids=" ".join,
)
def test_the_running_install_imports_nothing_of_a_user(hostile: Path, words: tuple[str, ...]) -> None:
    run(sys.executable, hostile, *words)


def test_the_checkout_has_the_short_name_too() -> None:
    assert run(sys.executable, ROOT, "-m", "analysis", "--help").startswith("usage: helo-analysis")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """The wheel of the files under version control, as they are now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("the checkout is not under version control")
    source = tmp_path / "source"
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():  # not where it is deleted and the deletion not committed yet
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    # An isolated build downloads setuptools, which is not necessary where it is recent enough.
    isolation = ["--no-build-isolation"] if int(version("setuptools").split(".")[0]) >= 77 else []
    run(sys.executable, source, "-m", "pip", "wheel", "-q", "--no-deps", *isolation, "-w", str(tmp_path), ".")
    (built,) = tmp_path.glob("*.whl")
    return built


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """The programs of a fresh environment that has the wheel, and shares all else with the running environment."""
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=False, symlinks=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    # Paths of a .pth file are not searched for further .pth files: an editable install stays behind.
    shared = [entry for entry in sys.path if Path(entry).name == "site-packages"]
    (packages / "shared.pth").write_text("\n".join(shared) + "\n", encoding="utf-8")
    python = environment / "bin" / "python"
    run(python, tmp_path, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--ignore-installed", str(wheel))
    return environment / "bin"


@pytest.mark.slow
def test_a_wheel_beside_modules_of_the_same_names(wheel: Path, installed: Path, hostile: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {"helo", f"helo_search-{helo.__version__}.dist-info"}
    data = {
        f"{package}/{path.relative_to(ROOT / folder)}"
        for folder, package in PACKAGES.items()
        for pattern in ("*.py", "*.yaml", "*.css", "*.js", "py.typed")
        for path in (ROOT / folder).rglob(pattern)
    }
    assert {"helo/py.typed", "helo/analysis/py.typed", "helo/search_spaces/demo.yaml"} <= data
    assert data <= names

    python = installed / "python"
    place = run(python, hostile, "-c", "import helo, helo.analysis; print(helo.__file__, helo.analysis.__file__)")
    assert all(word.startswith(str(installed.parent)) for word in place.split())
    write_dataset(simulate(subjects=3, clips=2, windows=4, emotions=3), hostile / "data")
    search = ("--data", "data", "--configurations", "1", "--baselines", "none", "--out", "run")
    assert "report.html" in run(python, hostile, "-m", "helo.search", *search)
    assert "report.html" in run(installed / "helo-analysis", hostile, "report", "run")
    assert "report.html" in run(python, hostile, "-m", "helo.analysis", "report", "run")
    run(installed / "helo-predict", hostile, "run/model", "data", "--out", "predicted.csv")
    assert (hostile / "predicted.csv").is_file()
