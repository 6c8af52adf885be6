r"""Simulated subjects whose best possible score is known, for demos and tests without files.

The generator imitates three properties of real recordings. A clip puts a subject in an affective state z, a point in
the valence-arousal plane. Subjects react to the same clip in slightly different ways. The state determines

- the *features*: :math:`x = g_s \odot (B z) + o_s + \text{noise}`, with gains g and offsets o of subject s, so that
  feature levels are not comparable between subjects;
- the *report*, one per subject and clip: :math:`d = (1 - η) \, p(z) + η \, q_s`, where
  :math:`p(z) = \mathrm{softmax}(A z)` is common to all subjects and the response style
  :math:`q_s \sim \mathrm{Dirichlet}(β \bar p)` is individual.

Emotions lie on a circle in the valence-arousal plane (J. A. Russell, "A circumplex model of affect", 1980), so
neighbouring emotions are correlated.

A model can learn z of an unseen subject from the features, but not q_s. Under KL divergence, the best prediction is the
conditional mean :math:`E[d \mid z] = (1 - η) \, p(z) + η \, \bar p`. It is stored as `best_possible`. No model without
access to the test labels scores better than this prediction, except by chance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from helo.data.dataset import Dataset
from helo.data.schema import Modality, Schema
from helo.errors import InputError, did_you_mean
from helo.names import ModalitySelection, Role, enum_values

CIRCUMPLEX = ("joy", "enthusiasm", "tension", "fear", "sadness", "fatigue", "calm", "contentment")
"""Emotions in their order around the circle."""

SIGNALS = (
    # name, role, number of tokens, number of features per token
    ("ecg", Role.PHYSIOLOGICAL, 4, 2),
    ("eda", Role.PHYSIOLOGICAL, 3, 1),
    ("resp", Role.PHYSIOLOGICAL, 3, 1),
    ("motion", Role.BEHAVIOURAL, 6, 1),
)
STYLE_WEIGHT = 0.3  # η: weight of the response style in a report
STYLE_CONCENTRATION = (
    8.0  # β: concentration of the Dirichlet distribution of styles; higher values give more similar styles
)
SHARPNESS = 1.3  # norm of each row of A; higher values take p(z) further from the uniform distribution
REACTIVITY = 0.35  # standard deviation of the individual deviation of z from the state of the clip
OFFSET = 1.0  # standard deviation of the feature offsets of a subject
NOISE = 0.6  # standard deviation of the feature noise of a window


def simulate(
    subjects: int = 8,
    clips: int = 6,
    windows: int = 10,
    emotions: int = 6,
    seed: int = 0,
    modalities: str = ModalitySelection.BOTH,
) -> Dataset:
    """Simulate a dataset of `subjects` × `clips` × `windows` windows.

    Parameters
    ----------
    subjects
        Number of subjects, at least 2.
    clips
        Number of clips that each subject watches, at least 1.
    windows
        Number of windows per subject and clip, at least 1.
    emotions
        Number of emotions, from 2 to 8.
    seed
        Seed of the random generator, at least 0. Equal arguments give equal data.
    modalities
        Role of the modalities of the dataset: ``"physiological"``, ``"behavioural"``, or ``"both"``. A single role
        leaves out the feature columns of the other one. The other columns stay the same.

    Returns
    -------
    Dataset
        N = `subjects` · `clips` · `windows` windows with features (N, F) without a unit, labels (N, `emotions`) and
        `best_possible` (N, `emotions`). F is 20 with both roles, 14 physiological or 6 behavioural. Groups are the
        clips.

    Raises
    ------
    InputError
        If an argument is out of range.

    Examples
    --------
    >>> dataset = simulate(subjects=3, clips=2, windows=4)
    >>> dataset.features.shape, dataset.labels.shape, dataset.subject_names
    ((24, 20), (24, 6), ('P01', 'P02', 'P03'))
    """
    minima = {
        "subjects": (subjects, 2),
        "clips": (clips, 1),
        "windows": (windows, 1),
        "emotions": (emotions, 2),
        "seed": (seed, 0),
    }
    for name, (value, minimum) in minima.items():
        if value < minimum:
            raise InputError(f"simulated: {name} must be at least {minimum}, got {value}")
    if emotions > len(CIRCUMPLEX):
        raise InputError(f"simulated: emotions must be at most {len(CIRCUMPLEX)}, got {emotions}")
    selections = enum_values(ModalitySelection)
    if modalities not in selections:
        raise InputError(
            f"simulated: modalities must be one of {', '.join(selections)}, got {modalities!r}"
            f"{did_you_mean(modalities, selections)}"
        )
    generator = np.random.default_rng(seed)
    signals = tuple(
        Modality(name, role, tuple(f"{name}_{i}" for i in range(tokens * width)), tokens, main=name == "ecg")
        for name, role, tokens, width in SIGNALS
    )
    roles = [modality.role for modality in signals for _ in modality.columns]
    width = len(roles)  # number of features of both roles, so that the draws do not depend on `modalities`
    selected = [position for position, role in enumerate(roles) if modalities in (role, ModalitySelection.BOTH)]
    names = CIRCUMPLEX[:emotions]
    schema = Schema(
        name="simulated",
        modalities=tuple(one for one in signals if modalities in (one.role, ModalitySelection.BOTH)),
        emotions={name: f"label_{name}" for name in names},
        source=f"helo.data.simulate(subjects={subjects}, clips={clips}, windows={windows}, "
        f"emotions={emotions}, seed={seed}"
        + ("" if modalities == ModalitySelection.BOTH else f", modalities={str(modalities)!r}")
        + ")",
        licence="CC0-1.0",
        notes="Made up. best_possible is the conditional mean of the report given the true state.",
        best_possible={name: f"best_{name}" for name in names},
    )

    angle = 2 * np.pi * np.arange(emotions) / emotions
    loadings = SHARPNESS * np.stack([np.cos(angle), np.sin(angle)], axis=1)  # A, (E, 2)
    mixing = generator.normal(size=(width, 2))  # B, (F, 2)
    clip_angle = 2 * np.pi * (np.arange(clips) + generator.uniform()) / clips
    clip_state = np.stack([np.cos(clip_angle), np.sin(clip_angle)], axis=1)  # (C, 2)

    state = clip_state + REACTIVITY * generator.normal(size=(subjects, clips, 2))  # z, (S, C, 2)
    common = _softmax(state @ loadings.T)  # p(z), (S, C, E)
    typical = np.full(emotions, 1 / emotions)  # p̄: the clips are spread evenly around the circle
    style = generator.dirichlet(STYLE_CONCENTRATION * typical, size=subjects)  # q_s, (S, E)
    report = (1 - STYLE_WEIGHT) * common + STYLE_WEIGHT * style[:, None, :]
    best = (1 - STYLE_WEIGHT) * common + STYLE_WEIGHT * typical

    gain = np.exp(0.3 * generator.normal(size=(subjects, 1, 1, width)))
    offset = OFFSET * generator.normal(size=(subjects, 1, 1, width))
    noise = NOISE * generator.normal(size=(subjects, clips, windows, width))
    features = gain * (state @ mixing.T)[:, :, None, :] + offset + noise

    digits = max(2, len(str(subjects)))
    names_of_subjects = np.array([f"P{number + 1:0{digits}d}" for number in range(subjects)])
    clip = np.array([f"clip {number + 1}" for number in range(clips)])
    return Dataset(
        schema=schema,
        subjects=np.repeat(names_of_subjects, clips * windows),
        groups=np.tile(np.repeat(clip, windows), subjects),
        features=features.reshape(-1, width)[:, selected].astype(np.float32),
        labels=np.repeat(report.reshape(-1, emotions), windows, axis=0),
        best_possible=np.repeat(best.reshape(-1, emotions), windows, axis=0),
    )


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax over the last axis."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    result: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return result
