"""The facts of a run: data set, search space, settings, resources and versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from helo._text import format_duration
from helo.analysis.source import Source
from helo.analysis.statistics.ablation import variant_of
from helo.analysis.wording import describe_variants
from helo.configuration import DEFAULTS, acting, single_role_note
from helo.errors import InputError, shorten
from helo.names import FOLD_ENSEMBLES, Column, FileName, Precision, Prefix, Status
from helo.run.manifest import Manifest
from helo.run.manifest_records import DatasetRecord, MachineRecord, ResourcesRecord
from helo.run.selection import recommended
from helo.run.versions import spell_nodes, spell_versions


def describe_run(source: Source) -> list[tuple[str, str]]:
    """Return the facts of a run for a report. Unknown facts are left out.

    Parameters
    ----------
    source : Source
        Tables and manifest of the run.

    Returns
    -------
    list of tuple of str
        Label and text of each fact.
    """
    manifest, circumstances = source.manifest, source.manifest.circumstances
    facts = [
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
        ("Racing", _racing(manifest)),
        *_cells(source),
        ("Recommended configuration", _recommended(source)),
        ("Fitted model", _model(source)),
        ("Resources", _pairs(circumstances.resources)),
        ("Machine", _pairs(circumstances.machine)),
        ("Versions", _listed(circumstances.versions)),
        ("Versions changed", spell_versions(manifest.changed_versions)),
        ("Versions of nodes", spell_nodes(manifest.other_versions)),
    ]
    return [(label, str(value)) for label, value in facts if value not in (None, "")]


def _dataset(dataset: DatasetRecord) -> str:
    parts = []
    if dataset.name is not None:
        parts.append(dataset.name)
    if dataset.subjects is not None:
        parts.append(f"{dataset.subjects} subjects")
    if dataset.windows is not None:
        parts.append(f"{dataset.windows} windows")
    for label, words in (("emotions", dataset.emotions), ("modalities", dataset.modalities)):
        if words:
            parts.append(f"{len(words)} {label} ({shorten(words, most=24)})")
    note = single_role_note(entry.get("role") for entry in (dataset.modalities or {}).values())
    if note is not None:
        parts.append(note)
    if dataset.missing:
        parts.append(f"missing signals: {dataset.missing}")
    if dataset.digest:
        parts.append(f"digest {dataset.digest[:16]}")
    return "; ".join(parts)


def _space(space: Mapping[str, Any]) -> str:
    parts = [str(space["name"])] if "name" in space else []
    parts += [f"{key} {space[key]}" for key in ("objective", "sampler", "configurations") if key in space]
    parts += space.get("left_out", ())
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
    facts = [("Cells", f"{len(cells)} finished: {', '.join(words)}")]
    reasons = cells.loc[cells[Column.STATUS] == Status.FAILED, Column.REASON].dropna().value_counts()
    if len(reasons):
        counted = [f"{reason} ({count})" for reason, count in reasons.items()]
        facts.append(("Why cells failed", shorten(counted)))
    if len(cells):
        elapsed = (cells[Column.FINISHED].max() - cells[Column.STARTED].min()).total_seconds()
        used = format_duration(float(cells[Column.SECONDS].sum()))
        facts.append(("Time", f"{format_duration(elapsed)} from first start to last end; {used} summed over cells"))
    return facts


def _racing(manifest: Manifest) -> str | None:
    if manifest.racing is None:
        return None
    return "on" if manifest.racing else "off"


def _recommended(source: Source) -> str:
    """Return the configuration to deploy, with its searched values."""
    nested = source.nested
    try:
        cells = source.cells
        number = recommended(cells, source.objective, source.folds, nested)
    except InputError:
        return ""
    if number is None:
        return ""
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
    text = f"number {number}"
    if values:
        text += ": " + ", ".join(values)
    if nested:
        text += " (the medoid of the folds' choices)"
    return text


def _model(source: Source) -> str | None:
    """Return the file and the purpose of the fitted model."""
    if not source.run.has_model:
        return None
    return (
        f"{source.run.model}: {_fitted(source)}, fitted to all subjects, for python -m helo.predict;"
        " the estimates state its expected scores on new subjects"
    )


def _fitted(source: Source) -> str:
    """Return what was fitted."""
    description = source.run.model.read_json(FileName.MODEL_DESCRIPTION)
    if FOLD_ENSEMBLES not in description:
        return "the recommended configuration"
    return f"the mean of the ensembles of all folds ({len(description['ensemble'])} configurations)"


def _engine(manifest: Manifest) -> str | None:
    """Return the settings of the engine that differ from the defaults."""
    settings = []
    if manifest.precision == Precision.MIXED:
        settings.append("mixed precision")
    if manifest.compiled:
        settings.append("compiled")
    return ", ".join(settings) or None


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _pairs(record: ResourcesRecord | MachineRecord | None) -> str:
    return "" if record is None else _listed(asdict(record))


def _listed(values: Mapping[str, Any] | None) -> str:
    return "; ".join(f"{key} {value}" for key, value in (values or {}).items() if value is not None)
