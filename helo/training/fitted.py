"""A configuration fitted to all subjects: saved, loaded, and asked for predictions on new windows.

A model's folder holds ``weights.safetensors`` (weights and scaling, as plain numbers) and ``model.json`` (schema,
configuration, what it was fitted to, versions). Neither can run code when it is read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save

from helo.configuration import Configuration
from helo.data.dataset import Dataset, Signals, row_blocks
from helo.data.directory import parse_schema
from helo.data.schema import Schema
from helo.data.unlabelled import read_signals, signals_from_frame
from helo.errors import InputError
from helo.evaluation.folds import cell_seed
from helo.evaluation.scaling import Scaling
from helo.model.network import HeLo
from helo.names import FileName, Normalisation, enum_values
from helo.settings import TrainingSettings
from helo.storage import Folder, LocalFolder, names_in, open_folder
from helo.training.fitting import Fitting, Windows, forward

FORMAT = 1
"""Of ``model.json``; another number is of another version of this program."""

FAR = 50.0
"""Standard deviations from the mean that no signal has which is in the unit of those that a model was fitted to."""

EVERYONE = "all subjects"
"""Stands in the place of a fold's name where the seed of a fit is made."""

_MEAN, _STD = "scaling.mean", "scaling.std"


@dataclass(frozen=True)
class FittedModel:
    """HeLo with its weights, and all that its predictions depend on.

    - `subjects`: the people it was fitted to; a score on them says nothing of others
    - `facts`: how it was made, as plain values
    """

    schema: Schema
    configuration: Configuration
    scaling: Scaling = field(repr=False)
    network: HeLo = field(repr=False)
    subjects: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def emotions(self) -> tuple[str, ...]:
        """The emotions, in the order of the columns of a prediction."""
        return tuple(self.schema.emotions)

    def predict(self, windows: Signals | pd.DataFrame | Path | str) -> NDArray[np.float64]:
        """Emotion distributions (N, E) of windows: a dataset directory, a Parquet or CSV file, or what was read of one.

        Labels are not needed. With ``subject`` scaling each subject's windows are scaled by themselves, so that there
        should be a recording's worth of them. Raises `InputError` where columns are missing or wrong.
        """
        if isinstance(windows, Signals):
            signals = windows
        elif isinstance(windows, pd.DataFrame):
            signals = signals_from_frame(windows, self.schema)
        else:
            signals = read_signals(windows, self.schema)
        if signals.schema.slices != self.schema.slices or signals.schema.features != self.schema.features:
            raise InputError(f"{signals.schema.name}: its features are not those of the model's schema")
        part = self.scaling.part(signals, signals.subject_names)
        predicted = forward(self.network, Windows(part, torch.device("cpu")).chunks()).predicted
        lost = ~np.isfinite(predicted).all(axis=1)
        if lost.any():
            row = int(np.argmax(lost))
            raise InputError(
                f"{int(lost.sum())} windows are too far from those that the model knows, the first is row {row} "
                f"(subject {signals.subjects[row]})"
            )
        return predicted

    def far_windows(self, signals: Signals) -> dict[str, int]:
        """Features that lie `FAR` standard deviations from the mean or more, and in how many windows."""
        part = self.scaling.part(signals, signals.subject_names)
        counts = np.zeros(len(self.schema.features), dtype=np.intp)
        for block in row_blocks(len(part), len(counts)):
            counts += (np.abs(part.take(block)) >= FAR).sum(axis=0)
        return {name: int(count) for name, count in zip(self.schema.features, counts, strict=True) if count}

    def save(self, place: Folder | os.PathLike[str] | str) -> None:
        """Write the model, whole or not at all, where nothing is yet."""
        content = {
            "format": FORMAT,
            "schema": self.schema.as_dict(),
            "configuration": self.configuration.as_params(),
            "normalise": self.scaling.normalise,
            "subjects": list(self.subjects),
            **self.facts,
        }
        weights = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        if self.scaling.mean is not None and self.scaling.std is not None:
            weights |= {_MEAN: torch.tensor(self.scaling.mean), _STD: torch.tensor(self.scaling.std)}
        with open_folder(place).filled(last=FileName.MODEL_DESCRIPTION) as staging:
            (staging / FileName.WEIGHTS).write_bytes(save(weights))
            LocalFolder(staging).write_json(FileName.MODEL_DESCRIPTION, content)


def fit_model(
    dataset: Dataset,
    configuration: Configuration,
    epochs: int,
    settings: TrainingSettings,
) -> FittedModel:
    """Fit a configuration to all subjects for a number of epochs.

    Nobody is left to say when to stop, so the folds say it: `epochs` is what was best there. With 0 epochs the model
    predicts the mean label whatever the signals, as the folds found nothing better.
    """
    torch.set_num_threads(settings.threads)
    scaling = Scaling.fit(dataset, dataset.subject_names, settings.normalise)
    everyone = scaling.part(dataset, dataset.subject_names)
    fitting = Fitting(dataset.schema, everyone, configuration, cell_seed(settings.seed, EVERYONE), settings.engine)
    for _ in range(epochs):
        fitting.run_epoch()
    facts = {
        "epochs": epochs,
        "seed": settings.seed,
        "dataset": {"name": dataset.schema.name, "digest": dataset.digest, "windows": len(dataset)},
    }
    network = fitting.model.cpu().eval()
    return FittedModel(dataset.schema, configuration, scaling, network, dataset.subject_names, facts)


def load_model(place: Folder | os.PathLike[str] | str) -> FittedModel:
    """Read a model from its folder or URI; raise `InputError` for what is missing or wrong in it."""
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
        configuration = Configuration.from_params(_mapping(content, "configuration"))
        if content.get("normalise") not in enum_values(Normalisation):
            raise InputError(
                f"normalise must be {' or '.join(enum_values(Normalisation))}, got {content.get('normalise')!r}"
            )
        subjects = content.get("subjects")
        if not isinstance(subjects, list):
            raise InputError(f"subjects must be a list, got {subjects!r}")
    except (InputError, TypeError) as error:
        raise InputError(f"{folder.where(FileName.MODEL_DESCRIPTION)}: {error}") from None
    try:
        scaling, network = _weights(folder, schema, configuration, content["normalise"])
    except InputError as error:
        raise InputError(f"{folder.where(FileName.WEIGHTS)}: {error}") from None
    known = ("format", "schema", "configuration", "normalise", "subjects")
    facts = {name: value for name, value in content.items() if name not in known}
    return FittedModel(schema, configuration, scaling, network, tuple(map(str, subjects)), facts)


def _weights(folder: Folder, schema: Schema, configuration: Configuration, normalise: str) -> tuple[Scaling, HeLo]:
    try:
        tensors = load(folder.read(FileName.WEIGHTS))
    except FileNotFoundError:
        raise InputError("is missing") from None
    except (OSError, SafetensorError) as error:
        raise InputError(f"is not a readable file of weights ({error})") from None
    mean, std = (tensors.pop(name, None) for name in (_MEAN, _STD))
    wanted = (len(schema.features),) if normalise == Normalisation.TRAIN else None
    for name, found in ((_MEAN, mean), (_STD, std)):
        if (None if found is None else tuple(found.shape)) != wanted:
            raise InputError(f"{name} does not fit {FileName.MODEL_DESCRIPTION}")
    numbers = [*tensors.values(), *([] if mean is None else [mean])]
    if not all(bool(tensor.isfinite().all()) for tensor in numbers):
        raise InputError("its weights must be finite numbers")
    # The deviation of a feature that never varied is infinite, and that of one that was never there is missing.
    if std is not None and not bool((std.isnan() | (std > 0)).all()):
        raise InputError(f"{_STD} must be above 0")
    with torch.random.fork_rng(devices=[]):
        even = torch.full((len(schema.emotions),), 1 / len(schema.emotions))
        network = HeLo(schema, configuration, even).eval()
    with contextlib.suppress(RuntimeError):
        network.load_state_dict(tensors)
        scaling = Scaling(normalise, *(None if found is None else found.numpy() for found in (mean, std)))
        return scaling, network
    raise InputError(f"its weights are not those of the schema and configuration in {FileName.MODEL_DESCRIPTION}")


def _content(folder: Folder) -> dict[str, Any]:
    content = folder.read_json(FileName.MODEL_DESCRIPTION)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(
            f"{folder.where(FileName.MODEL_DESCRIPTION)}: is not a model of this version (format {FORMAT})"
        )
    return content


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = content.get(key)
    if not isinstance(found, dict):
        raise InputError(f"{key} must be an object, got {found!r}")
    return found
