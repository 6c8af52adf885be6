"""The facts of a run: what was searched, on what data, how long, with which versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from helo.analysis.source import Source
from helo.analysis.statistics.ablation import variant_of
from helo.analysis.wording import describe_variants

from helo._text import format_duration
from helo.configuration import DEFAULTS, acting
from helo.errors import InputError, shorten
from helo.names import Column, Precision, Prefix, Status
from helo.run.manifest import DatasetRecord, MachineRecord, Manifest, ResourcesRecord
from helo.run.selection import recommended


def describe_run(source: Source) -> list[tuple[str, str]]:
    """Label and text of every fact the manifest and the cells know; unknown ones are left out."""
    manifest, circumstances = source.manifest, source.manifest.circumstances
    found = [
        ("Run", source.run.folder.name),
        ("Started", manifest.started),
        ("Data set", _dataset(source.dataset)),
        ("Search space", _space(source.space)),
        ("Parameters", _parameters(source.parameters)),
        ("Variants", "; ".join(f"{name}: {what}" for name, what in describe_variants(source.variants).items())),
        ("Engine", _engine(manifest)),
        ("Seed", manifest.seed),
        ("Protocol", manifest.protocol),
        ("Normalisation", manifest.normalise),
        ("Racing", None if manifest.racing is None else "on" if manifest.racing else "off"),
        *_cells(source),
        ("Recommended configuration", _recommended(source)),
        ("Fitted model", _model(source)),
        ("Resources", _pairs(circumstances.resources)),
        ("Machine", _pairs(circumstances.machine)),
        ("Versions", _versions(circumstances.versions)),
    ]
    return [(label, str(value)) for label, value in found if value not in (None, "")]


def _dataset(dataset: DatasetRecord) -> str:
    parts = [] if dataset.name is None else [dataset.name]
    parts += [] if dataset.subjects is None else [f"{dataset.subjects} subjects"]
    parts += [] if dataset.windows is None else [f"{dataset.windows} windows"]
    for label, words in (("emotions", dataset.emotions), ("modalities", dataset.modalities)):
        if words:
            parts.append(f"{len(words)} {label} ({shorten(words, most=24)})")
    if dataset.missing:
        parts.append(f"missing signals: {dataset.missing}")
    if dataset.digest:
        parts.append(f"digest {dataset.digest[:16]}")
    return "; ".join(parts)


def _space(space: Mapping[str, Any]) -> str:
    parts = [str(space["name"])] if "name" in space else []
    parts += [f"{key} {space[key]}" for key in ("objective", "sampler", "configurations") if key in space]
    return "; ".join(parts)


def _parameters(parameters: Mapping[str, Any]) -> str:
    parts = []
    for name, definition in parameters.items():
        if not isinstance(definition, Mapping):
            continue
        if definition.get("choices"):
            parts.append(f"{name}: one of {shorten(definition['choices'], most=12)}")
        elif definition.get("low") is not None:
            scale = " (logarithmic)" if definition.get("log") else ""
            parts.append(f"{name}: {definition['low']} to {definition.get('high')}{scale}")
        elif "value" in definition:
            parts.append(f"{name}: {definition['value']} (fixed)")
    return "; ".join(parts)


def _cells(source: Source) -> list[tuple[str, str]]:
    try:
        cells = source.cells
    except InputError as error:
        return [("Cells", str(error))]
    counts = cells[Column.STATUS].value_counts()
    words = [f"{counts.get(status, 0)} {status}" for status in (Status.COMPLETED, Status.STOPPED, Status.FAILED)]
    found = [("Cells", f"{len(cells)} finished: {', '.join(words)}")]
    reasons = cells.loc[cells[Column.STATUS] == Status.FAILED, Column.REASON].dropna().value_counts()
    if len(reasons):
        named = [f"{reason} ({count})" for reason, count in reasons.items()]
        found.append(("Why cells failed", shorten(named)))
    if len(cells):
        elapsed = (cells[Column.FINISHED].max() - cells[Column.STARTED].min()).total_seconds()
        used = format_duration(float(cells[Column.SECONDS].sum()))
        found.append(("Time", f"{format_duration(elapsed)} from first start to last end; {used} summed over cells"))
    return found


def _recommended(source: Source) -> str:
    """The configuration to deploy, with its searched values."""
    nested = source.nested
    try:
        cells = source.cells
        found = recommended(cells, source.objective, source.folds, nested)
    except InputError:
        return ""
    if found is None:
        return ""
    number = found.configuration
    row = cells[cells[Column.CONFIGURATION] == number].iloc[0]
    if source.variants:
        return f"variant {variant_of(row.to_dict(), source.variants)!r}"
    parameters = source.parameters
    searched = [name for name, entry in parameters.items() if isinstance(entry, Mapping) and "value" not in entry]
    params = {
        name.removeprefix(Prefix.PARAM): value for name, value in row.items() if str(name).startswith(Prefix.PARAM)
    }
    acts = acting(params) if set(DEFAULTS) <= set(params) else params
    values = [f"{name} {_value(params[name])}" for name in searched if name in acts]
    return ": ".join([f"number {number}", *([", ".join(values)] if values else [])]) + (
        " (the medoid of the folds' choices)" if nested else ""
    )


def _model(source: Source) -> str | None:
    """What there is to predict with, and what it is worth."""
    if not source.run.has_model:
        return None
    return (
        f"{source.run.model}: the recommended configuration, fitted to all subjects, for python -m helo.predict; what"
        " it is worth on new people is what the estimates say"
    )


def _engine(manifest: Manifest) -> str | None:
    """Only where it is not the usual one."""
    words = ["mixed precision"] if manifest.precision == Precision.MIXED else []
    return ", ".join(words + (["compiled"] if manifest.compiled else [])) or None


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _pairs(record: ResourcesRecord | MachineRecord | None) -> str:
    return "" if record is None else _versions(asdict(record))


def _versions(versions: Mapping[str, Any] | None) -> str:
    return "; ".join(f"{key} {value}" for key, value in (versions or {}).items() if value is not None)
