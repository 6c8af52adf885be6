"""Model fitted with all subjects: fit, save, load, predict."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from textwrap import fill
from typing import Any, Literal, overload

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from helo._text import make_printable
from helo.configuration import Configuration
from helo.data.dataset import Dataset, Signals, row_blocks
from helo.data.schema import Schema
from helo.data.unlabelled import read_signals, signals_from_frame
from helo.errors import InputError, shorten
from helo.evaluation.folds import INNER_FOLDS, Split, inner_splits
from helo.metrics import mean_scores
from helo.names import Normalisation
from helo.settings import TrainingSettings
from helo.storage import Folder
from helo.training.feature_ranges import KEY, doubted_units, feature_ranges
from helo.training.fitted_members import FittedMembers, fit_members
from helo.training.model_files import OUT_OF_FOLD, SavedModel, read_model, write_model

FAR = 50.0
"""Distance from the mean, in standard deviations, at which a feature is likely to be in another unit."""


@dataclass(frozen=True)
class FittedModel:
    """Members of HeLo with their weights and everything else that their mean prediction depends on.

    Parameters
    ----------
    schema : Schema
        Modalities and emotions.
    ensemble : tuple of FittedMembers
        Members of one configuration or of several. Their scaling is of the same kind.
    subjects : tuple of str
        Subjects that the model was fitted to. Each of them was seen by all members but one, so scores on them do not
        estimate scores on other people.
    facts : mapping
        Out-of-fold scores, seed and dataset of the fit, and other plain values for ``model.json``.
    """

    schema: Schema
    ensemble: tuple[FittedMembers, ...] = field(repr=False)
    subjects: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def emotions(self) -> tuple[str, ...]:
        """Emotions, in the order of the columns of a prediction."""
        return tuple(self.schema.emotions)

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """Hyperparameters of each part of the ensemble."""
        return tuple(one.configuration for one in self.ensemble)

    @property
    def members(self) -> int:
        """Number of members of all configurations together."""
        return sum(one.members for one in self.ensemble)

    @property
    def normalise(self) -> str:
        """Kind of scaling of the features, a `helo.names.Normalisation`."""
        return self.ensemble[0].scalings[0].normalise

    @property
    def out_of_fold(self) -> dict[str, float] | None:
        """Metric → mean over the subjects of the fit, each predicted by members that have not seen the subject.

        None if all members have seen all subjects.
        """
        return self.facts.get(OUT_OF_FOLD)

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
        epochs = self.facts.get("epochs", ", ".join(str(one.epochs) for one in self.configurations))
        rows = [
            ("modalities", shorten([modality.name for modality in self.schema.modalities], most=8)),
            ("emotions", shorten(self.emotions, most=8)),
            ("fitted to", f"{len(self.subjects)} subjects, {epochs} epochs"),
            ("members", str(self.members)),
        ]
        if self.out_of_fold:
            scores = ", ".join(f"{metric} {score:.4g}" for metric, score in self.out_of_fold.items())
            rows.append(("out-of-fold scores", scores))
        rows.append(("scaling", self.normalise))
        for one in self.ensemble:
            params = ", ".join(f"{name}={value}" for name, value in one.configuration.as_params().items())
            weight = f" (weight {one.weight:.3g})" if len(self.ensemble) > 1 else ""
            rows.append((f"hyperparameters{weight}", params))
        return rows

    @overload
    def predict(
        self, windows: Signals | pd.DataFrame | Path | str, *, return_disagreement: Literal[False] = False
    ) -> NDArray[np.float64]: ...

    @overload
    def predict(
        self, windows: Signals | pd.DataFrame | Path | str, *, return_disagreement: Literal[True]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...

    def predict(
        self, windows: Signals | pd.DataFrame | Path | str, *, return_disagreement: bool = False
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Predict the emotion distributions of windows: the mean over members.

        With ``subject`` scaling, the windows of each subject are scaled by their own statistics, so they should cover a
        whole recording.

        Parameters
        ----------
        windows : Signals, DataFrame, Path or str
            Windows, with or without labels: a dataset directory, a Parquet or CSV file, or their content.
        return_disagreement : bool
            Whether the disagreement of the members is returned, too.

        Returns
        -------
        predicted : ndarray of shape (N, E)
            Predicted distributions.
        disagreement : ndarray of shape (N,)
            Mean total variation between the prediction of a member and the mean prediction, from 0 to 1. NaN if there
            is a single member. Only if `return_disagreement` is true.

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
        by_member = np.concatenate([one.predict(signals) for one in self.ensemble])
        weights = np.concatenate([np.full(one.members, one.weight / one.members) for one in self.ensemble])
        predicted: NDArray[np.float64] = np.average(by_member, axis=0, weights=weights)
        not_finite = ~np.isfinite(predicted).all(axis=1)
        if not_finite.any():
            row = int(np.argmax(not_finite))
            raise InputError(
                f"{signals.schema.name}: {int(not_finite.sum())} windows are too far from the training windows of the "
                f"model, the first is row {row} (subject {signals.subjects[row]})"
            )
        if not return_disagreement:
            return predicted
        if len(by_member) == 1:
            return predicted, np.full(len(predicted), np.nan)
        variation = np.abs(by_member - predicted).sum(axis=2) / 2
        return predicted, np.average(variation, axis=0, weights=weights)

    def far_windows(self, signals: Signals) -> dict[str, int]:
        """Count the windows in which each feature is at least `FAR` standard deviations from the mean.

        A window counts if this holds for the training subjects of every member.

        Parameters
        ----------
        signals : Signals
            Windows to predict.

        Returns
        -------
        dict
            Feature → number of windows. Features without such windows are left out.
        """
        parts = [scaling.part(signals, signals.subject_names) for scaling in self.ensemble[0].scalings]
        counts = np.zeros(len(self.schema.features), dtype=np.intp)
        for block in row_blocks(len(signals), len(counts)):
            is_far = np.logical_and.reduce([np.abs(part.take(block)) >= FAR for part in parts])
            counts += is_far.sum(axis=0)
        return {name: int(count) for name, count in zip(self.schema.features, counts, strict=True) if count}

    def doubted_units(self, signals: Signals) -> dict[str, str]:
        """Find features that seem to be in another unit than those of the fit.

        Under ``subject`` scaling there are none, because a prediction does not depend on the unit then. Models of
        earlier versions know nothing of units.

        Parameters
        ----------
        signals : Signals
            Windows to predict.

        Returns
        -------
        dict
            Feature → reason; see `helo.training.feature_ranges.doubted_units`.
        """
        if self.normalise == Normalisation.SUBJECT:
            return {}
        return doubted_units(signals, self.facts.get(KEY, {}))

    def save(self, place: Folder | os.PathLike[str] | str) -> None:
        """Write the model to a new or empty folder, completely or not at all.

        Parameters
        ----------
        place : Folder, path-like or str
            Folder or URI.
        """
        write_model(SavedModel(self.schema, self.ensemble, self.subjects, self.facts), place)


def fit_model(
    dataset: Dataset,
    configurations: Configuration | Mapping[Configuration, float],
    settings: TrainingSettings,
    inner_folds: int | None = None,
) -> FittedModel:
    """Fit members of one configuration, or of several, with all subjects.

    The subjects are divided into K groups. Each member of a configuration trains without one of them, for all epochs of
    the configuration. The predictions for the left-out subjects give the out-of-fold scores of the model. With K = 1 a
    single member is fitted to all subjects, and there are no such scores.

    Parameters
    ----------
    dataset : Dataset
        Windows of all subjects.
    configurations : Configuration or mapping
        Hyperparameters, or hyperparameters → weight in the mean prediction.
    settings : TrainingSettings
        Settings that all cells share.
    inner_folds : int, optional
        Number K of groups. The default is that of a search, or the number of subjects if that is smaller.

    Returns
    -------
    FittedModel
        The model, on the CPU.

    Raises
    ------
    DivergedError
        If a training loss or a prediction is no longer finite.
    InputError
        If there are fewer subjects than groups.
    """
    torch.set_num_threads(settings.threads)
    count = min(INNER_FOLDS, len(dataset.subject_names)) if inner_folds is None else inner_folds
    splits = member_splits(dataset.subject_names, count, settings.seed)
    weights = {configurations: 1.0} if isinstance(configurations, Configuration) else dict(configurations)
    fits = [fit_members(dataset, splits, configuration, settings) for configuration in weights]
    facts: dict[str, Any] = {
        "seed": settings.seed,
        "dataset": {"name": dataset.schema.name, "digest": dataset.digest, "windows": len(dataset)},
        KEY: feature_ranges(dataset),
    }
    predictions = [fit.out_of_fold for fit in fits if fit.out_of_fold is not None]
    if predictions:
        mean = np.average(predictions, axis=0, weights=list(weights.values()))
        facts[OUT_OF_FOLD] = mean_scores(dataset.labels, mean, dataset.subjects)
        facts["left_out"] = [list(split.validation) for split in splits]
    ensemble = tuple(replace(fit.members, weight=weight) for fit, weight in zip(fits, weights.values(), strict=True))
    return FittedModel(dataset.schema, ensemble, dataset.subject_names, facts)


def member_splits(subjects: tuple[str, ...], count: int, seed: int) -> tuple[Split, ...]:
    """Return the inner splits of a model that is fitted with all subjects.

    Parameters
    ----------
    subjects : tuple of str
        All subjects.
    count : int
        Number of splits.
    seed : int
        Seed of the order in which the subjects are divided.

    Returns
    -------
    tuple of Split
        The splits. With a count of 1 there is none, because a single member is fitted to all subjects.

    Raises
    ------
    InputError
        If there are fewer subjects than splits.
    """
    if not 1 <= count <= len(subjects):
        raise InputError(f"1 <= inner folds <= {len(subjects)} (subjects) must hold, got {count}")
    if count == 1:
        return ()
    order = np.random.default_rng(seed).permutation(len(subjects))
    return inner_splits([subjects[number] for number in order], count)


def load_model(place: Folder | os.PathLike[str] | str) -> FittedModel:
    """Read a model of this version or of an earlier one.

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
    return FittedModel(*read_model(place))
