"""Model fitted to all subjects: fit, save, load, predict.

The folder of a model holds ``weights.safetensors`` (weights and scaling, as plain numbers) and ``model.json`` (schema,
configuration, training data, versions). Reading them cannot run code.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save

from helo._text import make_printable
from helo.configuration import Configuration
from helo.data.dataset import Dataset, Signals, row_blocks
from helo.data.directory import parse_schema
from helo.data.schema import Schema
from helo.data.unlabelled import read_signals, signals_from_frame
from helo.errors import InputError, shorten
from helo.evaluation.folds import cell_seed
from helo.evaluation.scaling import Scaling
from helo.model.network import HeLo
from helo.names import FileName, Normalisation, enum_values
from helo.settings import TrainingSettings
from helo.storage import Folder, LocalFolder, names_in, open_folder
from helo.training.fitting import Fitting
from helo.training.windows import Windows, forward

FORMAT = 1
"""Format number of ``model.json``; other versions of this program may write other numbers."""

FAR = 50.0
"""Distance from the mean, in standard deviations, at which a feature is likely to be in another unit."""

EVERYONE = "all subjects"
"""Name that replaces a fold's name in the seed of the final fit."""

_MEAN, _STD = "scaling.mean", "scaling.std"


@dataclass(frozen=True)
class FittedModel:
    """HeLo with its weights and everything else that its predictions depend on.

    Parameters
    ----------
    schema : Schema
        Modalities and emotions.
    configuration : Configuration
        Hyperparameters.
    scaling : Scaling
        Scaling of the features.
    network : HeLo
        Model with its weights.
    subjects : tuple of str
        Training subjects. A score on them does not estimate the score on other people.
    facts : mapping
        Epochs, seed and dataset of the fit, and other plain values for ``model.json``.
    """

    schema: Schema
    configuration: Configuration
    scaling: Scaling = field(repr=False)
    network: HeLo = field(repr=False)
    subjects: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def emotions(self) -> tuple[str, ...]:
        """Emotions, in the order of the columns of a prediction."""
        return tuple(self.schema.emotions)

    def __repr__(self) -> str:
        rows = [("FittedModel", self.schema.name), *((f"  {name}:", text) for name, text in self._description())]
        return "\n".join(
            fill(make_printable(f"{name} {text}"), 100, subsequent_indent="    ", max_lines=4, placeholder=" …")
            for name, text in rows
        )

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows, with inline styles and escaped text."""
        style = "text-align: left; vertical-align: top; padding: 2px 12px 2px 0"
        rows = "".join(
            f'<tr><th style="{style}">{name}</th><td style="{style}">{escape(make_printable(text))}</td></tr>'
            for name, text in self._description()
        )
        title = escape(make_printable(self.schema.name))
        return f'<div><b>FittedModel {title}</b><table style="border-collapse: collapse">{rows}</table></div>'

    def _description(self) -> list[tuple[str, str]]:
        """Return the rows of a short description: name and text."""
        params = (f"{name}={value}" for name, value in self.configuration.as_params().items())
        return [
            ("modalities", shorten([modality.name for modality in self.schema.modalities], most=8)),
            ("emotions", shorten(self.emotions, most=8)),
            ("fitted to", f"{len(self.subjects)} subjects, {self.facts.get('epochs', 'unknown')} epochs"),
            ("scaling", self.scaling.normalise),
            ("hyperparameters", ", ".join(params)),
        ]

    def predict(self, windows: Signals | pd.DataFrame | Path | str) -> NDArray[np.float64]:
        """Predict the emotion distributions of windows.

        With ``subject`` scaling, the windows of each subject are scaled by their own statistics, so they should cover a
        whole recording.

        Parameters
        ----------
        windows : Signals, DataFrame, Path or str
            Windows, with or without labels: a dataset directory, a Parquet or CSV file, or their content.

        Returns
        -------
        ndarray of shape (N, E)
            Predicted distributions.

        Raises
        ------
        InputError
            If columns are missing or invalid, or if a prediction is not finite.
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
        windows = Windows([part] * self.network.members, torch.device("cpu"))
        predicted: NDArray[np.float64] = np.mean(forward(self.network, windows).predicted, axis=0)
        not_finite = ~np.isfinite(predicted).all(axis=1)
        if not_finite.any():
            row = int(np.argmax(not_finite))
            raise InputError(
                f"{signals.schema.name}: {int(not_finite.sum())} windows are too far from the training windows of the "
                f"model, the first is row {row} (subject {signals.subjects[row]})"
            )
        return predicted

    def far_windows(self, signals: Signals) -> dict[str, int]:
        """Count the windows in which each feature is at least `FAR` standard deviations from the mean.

        Parameters
        ----------
        signals : Signals
            Windows to predict.

        Returns
        -------
        dict
            Feature → number of windows. Features without such windows are left out.
        """
        part = self.scaling.part(signals, signals.subject_names)
        counts = np.zeros(len(self.schema.features), dtype=np.intp)
        for block in row_blocks(len(part), len(counts)):
            counts += (np.abs(part.take(block)) >= FAR).sum(axis=0)
        return {name: int(count) for name, count in zip(self.schema.features, counts, strict=True) if count}

    def save(self, place: Folder | os.PathLike[str] | str) -> None:
        """Write the model to a new or empty folder, completely or not at all.

        Parameters
        ----------
        place : Folder, path-like or str
            Folder or URI.
        """
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

    No validation subjects remain, so the number of epochs comes from the folds. With 0 epochs the model predicts the
    mean label for all signals.

    Parameters
    ----------
    dataset : Dataset
        Windows of all subjects.
    configuration : Configuration
        Hyperparameters.
    epochs : int
        Number of epochs that was best in the folds.
    settings : TrainingSettings
        Settings that all cells share.

    Returns
    -------
    FittedModel
        The model, on the CPU.

    Raises
    ------
    DivergedError
        If the training loss is no longer finite.
    """
    torch.set_num_threads(settings.threads)
    scaling = Scaling.fit(dataset, dataset.subject_names, settings.normalise)
    everyone = scaling.part(dataset, dataset.subject_names)
    seed = cell_seed(settings.seed, EVERYONE)
    fitting = Fitting(dataset.schema, [everyone], configuration, [seed], engine=settings.engine)
    for _ in range(epochs):
        fitting.run_epoch()
    facts = {
        "epochs": epochs,
        "seed": settings.seed,
        "dataset": {"name": dataset.schema.name, "digest": dataset.digest, "windows": len(dataset)},
    }
    network = fitting.averaged.cpu().eval()
    return FittedModel(dataset.schema, configuration, scaling, network, dataset.subject_names, facts)


def load_model(place: Folder | os.PathLike[str] | str) -> FittedModel:
    """Read a model.

    Parameters
    ----------
    place : Folder, path-like or str
        Folder or URI of the model, such as ``RUN/model``.

    Returns
    -------
    FittedModel
        The model, on the CPU.

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
    attributes = ("format", "schema", "configuration", "normalise", "subjects")
    facts = {name: value for name, value in content.items() if name not in attributes}
    return FittedModel(schema, configuration, scaling, network, tuple(map(str, subjects)), facts)


def _weights(folder: Folder, schema: Schema, configuration: Configuration, normalise: str) -> tuple[Scaling, HeLo]:
    """Read the weights and the scaling of a model."""
    try:
        tensors = load(folder.read(FileName.WEIGHTS))
    except FileNotFoundError:
        raise InputError("is missing") from None
    except (OSError, SafetensorError) as error:
        raise InputError(f"is not a readable file of weights ({error})") from None
    mean, std = (tensors.pop(name, None) for name in (_MEAN, _STD))
    expected_shape = (len(schema.features),) if normalise == Normalisation.TRAIN else None
    for name, tensor in ((_MEAN, mean), (_STD, std)):
        if (None if tensor is None else tuple(tensor.shape)) != expected_shape:
            raise InputError(f"{name} does not fit {FileName.MODEL_DESCRIPTION}")
    must_be_finite = list(tensors.values())
    if mean is not None:
        must_be_finite.append(mean)
    if not all(bool(tensor.isfinite().all()) for tensor in must_be_finite):
        raise InputError("its weights must be finite numbers")
    # The deviation of a constant feature is infinite, and that of an always missing feature is NaN.
    if std is not None and not bool((std.isnan() | (std > 0)).all()):
        raise InputError(f"{_STD} must be above 0")
    with torch.random.fork_rng(devices=[]):
        uniform = torch.full((1, len(schema.emotions)), 1 / len(schema.emotions))
        network = HeLo(schema, configuration, uniform).eval()
    with contextlib.suppress(RuntimeError):
        network.load_state_dict(tensors)
        scaling = Scaling(normalise, *(None if tensor is None else tensor.numpy() for tensor in (mean, std)))
        return scaling, network
    raise InputError(f"its weights are not those of the schema and configuration in {FileName.MODEL_DESCRIPTION}")


def _content(folder: Folder) -> dict[str, Any]:
    """Return the content of ``model.json``."""
    content = folder.read_json(FileName.MODEL_DESCRIPTION)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(
            f"{folder.where(FileName.MODEL_DESCRIPTION)}: is not a model of this version (format {FORMAT})"
        )
    return content


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return an object of ``model.json``."""
    value = content.get(key)
    if not isinstance(value, dict):
        raise InputError(f"{key} must be an object, got {value!r}")
    return value
