"""Rules of the architecture: who may import whom, how long modules are, and which module a test file mirrors."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_LINES = 400
"""Lines of a module, exclusive."""


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    """The name that a file of the checkout is imported by."""
    inside = path.relative_to(ROOT).with_suffix("")
    parts = inside.parts[:-1] if inside.name == "__init__" else inside.parts
    return ".".join(parts if parts[0] == "helo" else ("helo", *parts))


def imported(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, whether for types only or not."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            module = node.module or ""
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


def importers(package: str, *folders: str) -> set[str]:
    """Files that import a package or anything in it."""
    return {
        str(path.relative_to(ROOT))
        for path in modules(*folders)
        if any(name == package or name.startswith(f"{package}.") for name in imported(path))
    }


def test_there_is_something_to_look_at() -> None:
    assert len(modules("helo")) > 10
    assert len(modules("analysis")) > 5
    assert "helo.search.driver.run_remaining_cells" in imported(ROOT / "helo" / "search" / "session.py")


@pytest.mark.parametrize("package", ["helo.search", "helo.training", "helo.model", "torch", "ray", "ot"])
def test_analysis_reads_tables_only(package: str) -> None:
    allowed = {"analysis/result.py"} if package == "helo.training" else set()  # which loads the fitted model
    assert importers(package, "analysis") == allowed


def test_one_file_of_analysis_imports_optuna() -> None:
    assert importers("optuna", "analysis") == {"analysis/statistics/importance.py"}


def test_who_imports_ray() -> None:
    """Only the execution of a search imports Ray, and two modules of the cluster, which use Ray's own rules."""
    found = importers("ray", "helo", "analysis")
    assert {path for path in found if not path.startswith("helo/search/execution/")} == {
        "helo/cluster/launching.py",
        "helo/cluster/schema.py",
    }


RAY_INTERNALS = {"_private", "_actor_id", "temporary_state", "run_metadata", "_trial_writer", "_summary_writer_cls"}
"""Attributes of Ray's objects that are private or undocumented."""


def reaches_into_ray(path: Path) -> bool:
    """Return whether a file imports private modules of Ray, or uses undocumented attributes or variables of Ray."""
    names = imported(path)
    if any(name.startswith("ray.autoscaler") or (name.startswith("ray.") and "._" in name) for name in names):
        return True
    if not any(name == "ray" or name.startswith("ray.") for name in names):
        return False
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return bool(attributes & RAY_INTERNALS) or any(text.startswith(("RAY_", "TUNE_")) for text in texts)


def test_two_files_reach_into_private_parts_of_ray() -> None:
    """Besides those of the cluster."""
    assert {str(path.relative_to(ROOT)) for path in modules("helo", "analysis") if reaches_into_ray(path)} == {
        "helo/cluster/launching.py",
        "helo/cluster/schema.py",
        "helo/search/execution/_ray_compat.py",
        "helo/search/execution/_tune_compat.py",
    }


@pytest.mark.parametrize("package", ["ray", "torch", "ot", "helo.storage"])
def test_planning_is_pure(package: str) -> None:
    """Planning needs neither Ray nor torch, and reads and writes no run directory."""
    assert importers(package, "helo/search/planning") == set()


def test_one_file_imports_botocore() -> None:
    assert importers("botocore", "helo", "analysis") == {"helo/cluster/ec2.py"}


def test_one_file_imports_ot() -> None:
    assert importers("ot", "helo", "analysis") == {"helo/model/sinkhorn.py"}


LAYERS = [
    {"helo.__version__"},  # the package itself imports nothing, so everything may read its version
    {
        "helo.names",
        "helo.errors",
        "helo._text",
        "helo._cli",
        "helo._csv",
        "helo._deadline",
        "helo._machine",
        "helo._paths",
        "helo._processes",
        "helo._yaml",
        "helo.metrics",
        "helo.configuration",
        "helo.settings",
    },
    {"helo.storage", "helo.cluster", "helo.search_spaces"},
    {"helo.data", "helo.run"},
    {"helo.evaluation", "helo.model"},
    {"helo.training"},
    {"helo.predict", "helo.regressor", "helo.search.planning"},
    {"helo.search.sizing"},
    {"helo.search.setup", "helo.search.execution"},
    {"helo.analysis.statistics"},
    {"helo.analysis.wording", "helo.analysis.ledger_tables", "helo.analysis.run_settings"},
    {"helo.analysis.source", "helo.analysis.figures"},
    {"helo.analysis.description", "helo.analysis.exhibits"},
    {"helo.analysis.paper", "helo.analysis.web"},
    {"helo.analysis.comparison", "helo.analysis.report", "helo.analysis.export", "helo.analysis.terminal"},
    {"helo.analysis.comparison_text", "helo.analysis.result", "helo.analysis.dashboard"},
    {"helo.analysis"},
    {"helo.search"},
    {"helo"},
]
"""Layers of the package. A module imports from its own row and from rows above it."""


def layer_of(name: str) -> int:
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        for number, layer in enumerate(LAYERS):
            if ".".join(parts[:end]) in layer:
                return number
    raise AssertionError(f"{name} is in no layer")


@pytest.mark.parametrize("path", modules("helo", "analysis"), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    name = name_of(path)
    ours = {found for found in imported(path) if found.startswith("helo.")}
    assert {found for found in ours if layer_of(found) > layer_of(name)} == set()


def test_the_table_of_layers_is_that_of_the_documentation() -> None:
    text = (ROOT / "helo" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \| (`.*`) \|$", text, flags=re.MULTILINE)
    assert [set(re.findall(r"`([^`]+)`", row)) for row in rows] == LAYERS


PACKAGES = {name_of(path) for path in modules("helo", "analysis", "search_spaces") if path.stem == "__init__"}


def room_of(name: str) -> str:
    """The package that a module lies in. Where a package has packages, each of its loose modules is a room."""
    parts = name.split(".")
    package = next(".".join(parts[:end]) for end in range(len(parts), 0, -1) if ".".join(parts[:end]) in PACKAGES)
    has_packages = any(other.startswith(f"{package}.") for other in PACKAGES)
    return ".".join(parts[: package.count(".") + 2]) if has_packages else package


def test_no_circle_over_all_packages() -> None:
    """Entry points (``__main__`` and the package itself) stand above the rest and are left out."""
    graph: dict[str, set[str]] = {}
    for path in modules("helo", "analysis"):
        if path.stem == "__main__" or name_of(path) == "helo":
            continue
        room = room_of(name_of(path))
        ours = {room_of(found) for found in imported(path) if found.startswith("helo.")}
        graph.setdefault(room, set()).update(ours - {room})
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError


def test_layers_meet_where_a_search_ends() -> None:
    """The session makes tables and report of what was searched; the package's own functions return what they read."""
    assert importers("helo.analysis", "helo") == {"helo/__init__.py", "helo/search/session.py"}


def test_nothing_below_the_search_knows_it() -> None:
    above = {path for path in importers("helo.search", "helo") if not path.startswith("helo/search/")}
    assert above == {"helo/__init__.py"}


def test_the_package_itself_imports_nothing() -> None:
    """Every command and every worker imports it first."""
    code = "import sys; before = set(sys.modules); import helo; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert {name for name in done.stdout.split() if name.split(".")[0] not in sys.stdlib_module_names} == {"helo"}


@pytest.mark.parametrize("package", ["cloudpickle", "dill", "shelve", "marshal"])
def test_nothing_is_read_that_could_run_code(package: str) -> None:
    assert importers(package, "helo", "analysis") == set()


def test_one_file_imports_pickle() -> None:
    """WESAD is published as pickles; the one reader of them reaches no function that a file names."""
    assert importers("pickle", "helo", "analysis") == {"helo/data/wesad/pickles.py"}


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("helo.search.planning.queue", {"ray", "torch", "ot", "helo.storage"}),
        ("helo.training.cell", {"ray", "optuna"}),
        ("helo.run.directory", {"ray", "optuna", "torch"}),
        ("helo.data", {"ray", "optuna", "torch"}),
        ("helo.data.wesad", {"ray", "optuna", "torch", "pandas", "neurokit2", "matplotlib"}),
        ("helo.data.e4", {"ray", "optuna", "torch", "pandas", "neurokit2", "matplotlib"}),
        ("helo.data.dmer", {"ray", "optuna", "torch", "scipy"}),
        ("helo.data.table", {"ray", "optuna", "torch", "pandas"}),
        ("helo.data.terminal", {"ray", "optuna", "torch", "pandas"}),
        ("helo.cluster.check", {"ray", "optuna", "torch", "botocore", "jsonschema", "pandas"}),
        ("helo.cluster.spot", {"ray", "torch", "botocore", "pandas", "yaml"}),
        ("helo.predict", {"ray", "optuna", "torch", "pandas"}),
        ("helo.analysis.report", {"ray", "optuna", "torch", "helo.search", "helo.training.cell"}),
    ],
)
def test_what_comes_along_with_an_import(module: str, never: set[str]) -> None:
    code = f"import sys; import {module}; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(done.stdout.split()) & never == set()


@pytest.mark.parametrize("path", modules("helo", "analysis"), ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < MAX_LINES


TESTS_OF_NO_SINGLE_MODULE = {
    "analysis/test_emotion_figures.py": "the figures of emotions, which share their tables",
    "analysis/test_answer_figures.py": "the figure of the answer, values beyond an axis, descriptions of all figures",
    "analysis/test_browser.py": "report and dashboard in a real browser",
    "analysis/test_cost.py": "the schedule of cells and both figures of it",
    "analysis/test_heatmap.py": "the module lies in analysis/figures; the test needs the fixtures of analysis",
    "analysis/test_no_skill.py": "the verdict through the whole path from scores to words",
    "analysis/test_partial_runs.py": "every output of an incomplete run, from the terminal to the export",
    "analysis/test_readme.py": "the README of analysis and its examples",
    "analysis/test_search_figures.py": "five figures of a search on the same fixture",
    "cluster/lab/test_aws.py": "the cluster file for AWS, on a simulated EC2",
    "cluster/lab/test_local.py": "the cluster file for the lab, on hosts of this machine",
    "cluster/lab/test_slurm.py": "the batch script, on a real Slurm",
    "cluster/test_folder.py": "the files of the folder cluster at the top level",
    "cluster/test_gcp_schema.py": "the cluster file for Google Cloud, by the description of Google's API",
    "cluster/test_malformed.py": "the check as a whole, on malformed files",
    "data/test_readme.py": "the document helo/data/README.md",
    "faults/test_schedules.py": "random faults of machines, processes, files and storage, through whole searches",
    "model/test_knobs.py": "hyperparameters, through a whole cell",
    "model/test_single_role.py": "data whose modalities all have one role, in a model and a cell",
    "search/test_command.py": "the command as its users run it",
    "search/test_failed_cells.py": "faults of the machine and of cells, from the worker to the resumed search",
    "search/test_faults.py": "faults of machines and processes, through whole searches",
    "search/test_leakage.py": "planted leaks, through whole searches",
    "search/test_privacy.py": "files, sockets and permissions of a whole search",
    "search/sizing/test_shares.py": "shares of a GPU as Ray places them",
    "search/test_storage_faults.py": "object storage that fails, through whole searches and reports",
    "search/test_one_kind.py": "data whose modalities all have one role, through a whole search",
    "search/test_memory.py": "memory of several worker processes",
    "storage/test_lease_pauses.py": "leases whose holders are paused",
    "storage/test_folders.py": "local and remote folders keep the same rules",
    "test_architecture.py": "all modules",
    "test_cli_errors.py": "all commands",
    "test_docstrings.py": "the public API",
    "test_help.py": "all commands",
    "test_locale.py": "all commands",
    "test_hostile_inputs.py": "all parsers and commands",
    "test_installed.py": "the package as it is installed",
    "test_readme.py": "all documents",
    "test_studies.py": "the generator of made-up studies in tests/studies.py",
    "test_environments.py": "the way from a table to predictions, on limited machines",
}
"""Test files that mirror no module, with what they test instead."""


def mirrored(test: Path) -> list[Path]:
    """Return the modules and packages that a test file may mirror."""
    inside = test.relative_to(ROOT / "tests")
    base = ROOT / inside.parent if inside.parts[0] == "analysis" else ROOT / "helo" / inside.parent
    name = inside.stem.removeprefix("test_")
    return [base / f"{name}.py", base / f"_{name}.py", base / f"__{name}__.py", base / name]


def test_every_test_file_mirrors_a_module_or_says_why_not() -> None:
    loose = {
        str(path.relative_to(ROOT / "tests"))
        for path in (ROOT / "tests").rglob("test_*.py")
        if not any(module.exists() for module in mirrored(path))
    }
    assert loose == set(TESTS_OF_NO_SINGLE_MODULE)
