"""Files of a fitted model.

``weights.safetensors`` holds weights and scaling as plain numbers, and ``model.json`` schema, configurations, training
data and versions. Reading them cannot run code.

Format 2 has one or more configurations, each with M members. The names of its tensors start with the number of the
configuration, and their first dimension is the member. Format 1, of version 0.1.0, has one configuration with one
member, whose tensors have neither.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from helo.configuration import Configuration
from helo.data.directory import parse_schema
from helo.data.schema import Schema
from helo.errors import InputError, StorageError
from helo.evaluation.scaling import Scaling
from helo.model.network import HeLo
from helo.names import FeatureEncoding, FileName, Normalisation, enum_values
from helo.storage import Folder, LocalFolder, names_in, open_folder
from helo.training.fitted_members import FittedMembers

FORMAT = 2
"""Format number of ``model.json`` that this version writes. It reads all formats up to this one."""

OUT_OF_FOLD = "out_of_fold"
"""Key of the out-of-fold scores in ``model.json``: metric → mean over subjects."""

_CHECKSUM = "weights_sha256"
"""Key of the SHA-256 digest of the file of weights in ``model.json``. Earlier models lack it."""

_MEAN, _STD = "scaling.mean", "scaling.std"
_EARLIER = {"feature_encoding": FeatureEncoding.LINEAR, "subject_offset": 0.0, "linear_share": 0.0}
"""Values of later hyperparameters that give the models which were fitted before there were these."""


class SavedModel(NamedTuple):
    """Content of the files of a model, in the order of the fields of `helo.training.fitted.FittedModel`.

    Attributes
    ----------
    schema : Schema
        Modalities and emotions.
    ensemble : tuple of FittedMembers
        Members of each configuration.
    subjects : tuple of str
        Subjects that the model was fitted to.
    facts : mapping
        Other plain values of ``model.json``.
    """

    schema: Schema
    ensemble: tuple[FittedMembers, ...]
    subjects: tuple[str, ...]
    facts: Mapping[str, Any]


def write_model(model: SavedModel, place: Folder | os.PathLike[str] | str) -> None:
    """Write a model to a new or empty folder, completely or not at all.

    Parameters
    ----------
    model : SavedModel
        Content to write.
    place : Folder, path-like or str
        Folder or URI.
    """
    content = {
        "format": FORMAT,
        "schema": model.schema.as_dict(),
        "ensemble": [{"configuration": one.configuration.as_params(), "weight": one.weight} for one in model.ensemble],
        "normalise": model.ensemble[0].scalings[0].normalise,
        "subjects": list(model.subjects),
        **model.facts,
    }
    tensors = {
        f"{number}.{name}": tensor
        for number, one in enumerate(model.ensemble)
        for name, tensor in _tensors(one).items()
    }
    weights = save(tensors)
    content[_CHECKSUM] = hashlib.sha256(weights).hexdigest()
    with open_folder(place).filled(last=FileName.MODEL_DESCRIPTION) as staging:
        (staging / FileName.WEIGHTS).write_bytes(weights)
        LocalFolder(staging).write_json(FileName.MODEL_DESCRIPTION, content)


def read_model(place: Folder | os.PathLike[str] | str) -> SavedModel:
    """Read a model.

    Parameters
    ----------
    place : Folder, path-like or str
        Folder or URI of the model.

    Returns
    -------
    SavedModel
        Its content.

    Raises
    ------
    InputError
        If a file is missing or invalid.
    """
    folder = open_folder(place)
    if FileName.MODEL_DESCRIPTION not in names_in(
        folder, f"no such model (a folder with {FileName.MODEL_DESCRIPTION} and {FileName.WEIGHTS}, such as RUN/model)"
    ):
        inside = folder / FileName.MODEL
        hint = f" (did you mean {inside}?)" if inside.exists(FileName.MODEL_DESCRIPTION) else ""
        raise InputError(f"{folder}: has no {FileName.MODEL_DESCRIPTION}{hint}")
    content = _content(folder)
    try:
        schema = parse_schema(_mapping(content, "schema"), folder.name)
        ensemble = _configurations(content)
        normalise = content.get("normalise")
        if normalise not in enum_values(Normalisation):
            raise InputError(f"normalise must be {' or '.join(enum_values(Normalisation))}, got {normalise!r}")
        subjects = content.get("subjects")
        if not isinstance(subjects, list):
            raise InputError(f"subjects must be a list, got {subjects!r}")
        if OUT_OF_FOLD in content and not _are_scores(content[OUT_OF_FOLD]):
            raise InputError(f"{OUT_OF_FOLD} must be an object of numbers, got {content[OUT_OF_FOLD]!r}")
    except (InputError, TypeError) as error:
        raise InputError(f"{folder.where(FileName.MODEL_DESCRIPTION)}: {error}") from None
    try:
        tensors = _read_tensors(folder, content, len(ensemble))
        members = tuple(
            _members(schema, configuration, normalise, weight, own)
            for (configuration, weight), own in zip(ensemble, tensors, strict=True)
        )
    except InputError as error:
        raise InputError(f"{folder.where(FileName.WEIGHTS)}: {error}") from None
    attributes = ("format", "schema", "ensemble", "configuration", "normalise", "subjects", _CHECKSUM)
    facts = {name: value for name, value in content.items() if name not in attributes}
    return SavedModel(schema, members, tuple(map(str, subjects)), facts)


def _tensors(members: FittedMembers) -> dict[str, Tensor]:
    """Return weights and scaling of the members of one configuration."""
    tensors = {name: value.contiguous() for name, value in members.network.state_dict().items()}
    means = [torch.tensor(one.mean) for one in members.scalings if one.mean is not None]
    stds = [torch.tensor(one.std) for one in members.scalings if one.std is not None]
    return tensors | ({_MEAN: torch.stack(means), _STD: torch.stack(stds)} if means else {})


def _content(folder: Folder) -> dict[str, Any]:
    """Return the content of ``model.json``."""
    content = folder.read_json(FileName.MODEL_DESCRIPTION)
    if not isinstance(content, dict) or content.get("format") not in range(1, FORMAT + 1):
        raise InputError(
            f"{folder.where(FileName.MODEL_DESCRIPTION)}: format must be a number from 1 to {FORMAT}, "
            f"got {content.get('format') if isinstance(content, dict) else None!r}"
        )
    return content


def _configurations(content: Mapping[str, Any]) -> list[tuple[Configuration, float]]:
    """Return the configurations of a model and their weights."""
    if content["format"] == 1:
        return [(Configuration.from_params(_EARLIER | _mapping(content, "configuration")), 1.0)]
    entries = content.get("ensemble")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"ensemble must be a list of configurations, got {entries!r}")
    found = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise InputError(f"ensemble must be a list of objects, got {entry!r}")
        weight = entry.get("weight")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise InputError(f"weight must be a number above 0, got {weight!r}")
        found.append((Configuration.from_params(_EARLIER | _mapping(entry, "configuration")), float(weight)))
    return found


def _are_scores(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(score, int | float) for score in value.values())


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return an object of ``model.json``."""
    value = content.get(key)
    if not isinstance(value, dict):
        raise InputError(f"{key} must be an object, got {value!r}")
    return value


def _read_tensors(folder: Folder, content: Mapping[str, Any], configurations: int) -> list[dict[str, Tensor]]:
    """Return the tensors of each configuration, with the member as their first dimension."""
    try:
        weights = folder.read(FileName.WEIGHTS)
        digest = hashlib.sha256(weights).hexdigest()
        if content.get(_CHECKSUM, digest) != digest:
            raise InputError(f"is damaged or of another model: its SHA-256 is not that in {FileName.MODEL_DESCRIPTION}")
        tensors = load(weights)
    except FileNotFoundError:
        raise InputError("is missing") from None
    except StorageError:
        raise
    except (OSError, SafetensorError) as error:
        raise InputError(f"is not a readable file of weights ({error})") from None
    for name, tensor in tensors.items():
        if tensor.dtype not in (torch.float32, torch.float64):  # others lack operations that follow
            raise InputError(
                f"{name} must hold numbers of 32 or 64 bits, got {str(tensor.dtype).removeprefix('torch.')}"
            )
    if content["format"] == 1:
        return [{name: tensor.unsqueeze(0) for name, tensor in tensors.items()}]
    by_number: dict[str, dict[str, Tensor]] = {str(number): {} for number in range(configurations)}
    for name, tensor in tensors.items():
        number, _, rest = name.partition(".")
        if number not in by_number or not tensor.ndim:
            raise InputError(f"has an unknown tensor {name!r}")
        by_number[number][rest] = tensor
    return list(by_number.values())


def _members(
    schema: Schema, configuration: Configuration, normalise: str, weight: float, tensors: dict[str, Tensor]
) -> FittedMembers:
    """Return the members of one configuration."""
    mean, std = (tensors.pop(name, None) for name in (_MEAN, _STD))
    if not tensors:
        raise InputError(f"has no weights of a configuration in {FileName.MODEL_DESCRIPTION}")
    members = len(next(iter(tensors.values())))
    expected_shape = (members, len(schema.features)) if normalise == Normalisation.TRAIN else None
    for name, tensor in ((_MEAN, mean), (_STD, std)):
        if (None if tensor is None else tuple(tensor.shape)) != expected_shape:
            raise InputError(f"{name} does not fit {FileName.MODEL_DESCRIPTION}")
    if not all(bool(tensor.isfinite().all()) for tensor in (*tensors.values(), *([] if mean is None else [mean]))):
        raise InputError("its weights must be finite numbers")
    # The deviation of a constant feature is infinite, and that of an always missing feature is NaN.
    if std is not None and not bool((std.isnan() | (std > 0)).all()):
        raise InputError(f"{_STD} must be above 0")
    with contextlib.suppress(RuntimeError):
        network = _network(schema, configuration, members)
        network.load_state_dict(tensors)
        return FittedMembers(configuration, network, _scalings(normalise, mean, std), weight)
    raise InputError(f"its weights are not those of the schema and configuration in {FileName.MODEL_DESCRIPTION}")


def _network(schema: Schema, configuration: Configuration, members: int) -> HeLo:
    """Return a network with arbitrary weights."""
    with torch.random.fork_rng(devices=[]):
        return HeLo(schema, configuration, torch.full((members, len(schema.emotions)), 1 / len(schema.emotions))).eval()


def _scalings(normalise: str, mean: Tensor | None, std: Tensor | None) -> tuple[Scaling, ...]:
    if mean is None or std is None:
        return (Scaling(normalise),)
    return tuple(Scaling(normalise, *pair) for pair in zip(mean.numpy(), std.numpy(), strict=True))
