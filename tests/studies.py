r"""Made-up studies of several shapes, each with a known best possible score.

`helo.data.simulate` makes data of one shape. The studies here differ in what is small: the number of subjects, the
number of windows, the number of labels, or the kinds of signals. They imitate these properties of recordings:

- The *state* of a subject is a point z in the valence-arousal plane. It consists of the state that a clip aims at, the
  subject's own reaction to the clip, and a slow fluctuation over the windows of the clip.
- A *feature* is :math:`x = u (o_s + g_s (\tanh(b \cdot z) + ε))`. The unit u differs between features. The offset
  :math:`o_s` of a subject is larger than the effect of the state, and the gain :math:`g_s` differs between subjects.
  Offsets and noise ε are correlated between features. Some features are skewed, and some do not depend on z.
- A *label* is drawn from a distribution with the known mean :math:`p(z)`: a class, a mixture of emotions, or the shares
  of a window's samples in the quadrants of the plane. A mixture contains a response style of the subject, which nobody
  can learn from other subjects.

For labels d with the conditional mean :math:`E[d \mid z]`, every prediction p satisfies
:math:`E[KL(d ‖ p)] \ge E[KL(d ‖ E[d \mid z])]`. The conditional mean is stored as `Dataset.best_possible`. A method
that knows features instead of z cannot score better, except by chance.

``STUDIES["classes"].make(seed=0)`` returns a dataset. Equal arguments give equal data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtr, softmax

from helo.data import Dataset
from helo.data.schema import Modality, Schema
from helo.data.simulated import CIRCUMPLEX
from helo.names import Role

PHYSIOLOGICAL, BEHAVIOURAL = Role.PHYSIOLOGICAL, Role.BEHAVIOURAL

REACTION: Final = 0.5
"""Standard deviation of a subject's own reaction to a clip. The states of the clips have norm 1."""

FLUCTUATION: Final = 0.3
"""Standard deviation of the state over the windows of a clip."""

MEMORY: Final = 0.8
"""Correlation of the fluctuation in consecutive windows."""

OFFSET: Final = 1.5
"""Standard deviation of a subject's offset. The effect of the state on a feature lies between -1 and 1."""

GAIN: Final = 0.3
"""Standard deviation of the logarithm of a subject's gain."""

NOISE: Final = 0.8
"""Standard deviation of the noise of a window."""

FACTORS: Final = 3
"""Number of factors that correlate the offsets, and the noise, of different features."""

COMMON: Final = 0.5
"""Share of the variance of offsets and noise that is due to these factors."""

USELESS: Final = 5
"""Every so many features, one does not depend on the state."""

SKEWED: Final = 4
"""Every so many features, one has a skewed distribution."""

BIAS: Final = 0.4
"""Standard deviation of the constant terms of the labels. It makes some emotions more frequent than others."""

SAMPLES: Final = 20
"""Number of annotated samples of a window whose shares in the quadrants are its label."""

QUADRANTS: Final = ("high_positive", "low_positive", "low_negative", "high_negative")
"""Quadrants of arousal (high, low) and valence (positive, negative)."""


class LabelKind(StrEnum):
    """Kinds of labels.

    - ``class``: one class per subject and clip, as a one-hot row
    - ``mixture``: one emotion distribution per subject and clip
    - ``shares``: shares of the samples of each window in the quadrants
    """

    CLASS = "class"
    MIXTURE = "mixture"
    SHARES = "shares"


@dataclass(frozen=True)
class Signal:
    """A modality: `tokens` tokens with `width` features each."""

    name: str
    role: Role
    tokens: int
    width: int = 1


@dataclass(frozen=True)
class Study:
    """A made-up study with a known best possible score.

    Attributes
    ----------
    name : str
        Name of the dataset.
    subjects, clips, windows : int
        Number of subjects, of clips per subject, and of windows per clip.
    signals : tuple of Signal
        Modalities. The first one is the main one.
    emotions : tuple of str
        Names of the emotions, in their order around the circle of the valence-arousal plane.
    labels : LabelKind
        Kind of the labels.
    sharpness : float
        Dependence of the labels on the state; with 0 they do not depend on it.
    style : float
        Share of a mixture that is the response style of the subject.
    concentration : float
        Concentration of the Dirichlet distributions of mixtures and response styles. Higher values give less noise.
    """

    name: str
    subjects: int
    clips: int
    windows: int
    signals: tuple[Signal, ...]
    emotions: tuple[str, ...]
    labels: LabelKind
    sharpness: float
    style: float = 0.0
    concentration: float = 10.0

    def make(self, seed: int = 0) -> Dataset:
        """Return the dataset of a seed, with clips as groups and with `best_possible`.

        Parameters
        ----------
        seed : int
            Seed of the random generator.

        Returns
        -------
        Dataset
            `subjects` × `clips` × `windows` windows, ordered by subject, clip and time.
        """
        rng = np.random.default_rng([seed, *self.name.encode()])
        state = self._states(rng)
        features = self._features(rng, state)
        labels, best = self._labels(rng, state)
        names = [f"P{number + 1:0{len(str(self.subjects))}d}" for number in range(self.subjects)]
        clips = [f"clip {number + 1}" for number in range(self.clips)]
        return Dataset(
            schema=self.schema(seed),
            subjects=np.repeat(names, self.clips * self.windows),
            features=features.reshape(-1, features.shape[-1]).astype(np.float32),
            labels=labels.reshape(-1, len(self.emotions)),
            groups=np.tile(np.repeat(clips, self.windows), self.subjects),
            best_possible=best.reshape(-1, len(self.emotions)),
        )

    def schema(self, seed: int) -> Schema:
        """Return the meaning of the columns."""
        modalities = tuple(
            Modality(
                signal.name,
                signal.role,
                tuple(f"{signal.name}_{number}" for number in range(signal.tokens * signal.width)),
                signal.tokens,
                main=place == 0,
            )
            for place, signal in enumerate(self.signals)
        )
        return Schema(
            name=f"made-up {self.name}",
            modalities=modalities,
            emotions={emotion: f"label_{emotion}" for emotion in self.emotions},
            source=f"tests/studies.py, seed {seed}",
            licence="CC0-1.0",
            notes="Made up. best_possible is the conditional mean of the label given the true state.",
            best_possible={emotion: f"best_{emotion}" for emotion in self.emotions},
        )

    def _states(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return the states (subjects, clips, windows, 2)."""
        angle = 2 * np.pi * (np.arange(self.clips) + rng.uniform()) / self.clips
        aim = np.stack([np.cos(angle), np.sin(angle)], axis=1)[:, None, :]  # (clips, 1, 2)
        reaction = REACTION * rng.normal(size=(self.subjects, self.clips, 1, 2))
        # An autoregressive process of order 1 that starts in its stationary distribution.
        steps = rng.normal(size=(self.subjects, self.clips, self.windows, 2))
        steps[:, :, 1:] *= np.sqrt(1 - MEMORY**2)
        fluctuation = FLUCTUATION * lfilter([1.0], [1.0, -MEMORY], steps, axis=2)
        states: NDArray[np.float64] = aim + reaction + fluctuation
        return states

    def _features(self, rng: np.random.Generator, state: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the features (subjects, clips, windows, features)."""
        count = sum(signal.tokens * signal.width for signal in self.signals)
        number = np.arange(count)
        angle = 2 * np.pi * rng.uniform(size=count)
        strength = np.where(number % USELESS == USELESS - 1, 0.0, rng.uniform(0.5, 1.5, size=count))
        effect = np.tanh(state @ (strength * np.stack([np.cos(angle), np.sin(angle)])))
        gain = np.exp(GAIN * rng.normal(size=(self.subjects, 1, 1, count)))
        offset = OFFSET * _correlated(rng, (self.subjects, 1, 1), count)
        noise = NOISE * _correlated(rng, state.shape[:-1], count)
        values = offset + gain * (effect + noise)
        values = np.where(number % SKEWED == SKEWED - 1, np.exp(0.5 * values), values)
        unit = 10 ** rng.uniform(-1, 2, size=count)
        level = 10 * rng.uniform(size=count)
        features: NDArray[np.float64] = unit * (level + values)
        return features

    def _labels(
        self, rng: np.random.Generator, state: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return labels and their conditional means, both (subjects, clips, windows, emotions)."""
        if self.labels == LabelKind.SHARES:
            arousal, valence = np.moveaxis(ndtr(self.sharpness * state + BIAS * rng.normal(size=2)), -1, 0)
            means = np.stack(
                [arousal * valence, (1 - arousal) * valence, (1 - arousal) * (1 - valence), arousal * (1 - valence)],
                axis=-1,
            )
            return rng.multinomial(SAMPLES, means) / SAMPLES, means
        count = len(self.emotions)
        angle = 2 * np.pi * np.arange(count) / count
        bias = BIAS * rng.normal(size=count)
        logits = self.sharpness * state.mean(axis=2) @ np.stack([np.cos(angle), np.sin(angle)]) + bias
        common = softmax(logits, axis=-1)  # p(z), (subjects, clips, emotions)
        if self.labels == LabelKind.CLASS:
            means, labels = common, rng.multinomial(1, common).astype(np.float64)
        else:
            typical = softmax(bias)
            own = rng.dirichlet(self.concentration * typical, size=(self.subjects, 1))
            report = rng.standard_gamma(self.concentration * common)  # a Dirichlet distribution once it sums to 1
            report /= report.sum(axis=-1, keepdims=True)
            labels = (1 - self.style) * report + self.style * own
            means = (1 - self.style) * common + self.style * typical
        return _repeat(labels, self.windows), _repeat(means, self.windows)


def _repeat(values: NDArray[np.float64], windows: int) -> NDArray[np.float64]:
    """Return rows per clip (subjects, clips, emotions) as rows per window (subjects, clips, windows, emotions)."""
    return np.repeat(values[:, :, None, :], windows, axis=2)


def _correlated(rng: np.random.Generator, shape: tuple[int, ...], count: int) -> NDArray[np.float64]:
    """Return normal numbers (*shape, count) with variance 1 that are correlated along the last axis."""
    loadings = rng.normal(size=(FACTORS, count))
    loadings /= np.linalg.norm(loadings, axis=0)
    common = rng.normal(size=(*shape, FACTORS)) @ loadings
    numbers: NDArray[np.float64] = np.sqrt(COMMON) * common + np.sqrt(1 - COMMON) * rng.normal(size=(*shape, count))
    return numbers


BODY: Final = (
    Signal("ecg", PHYSIOLOGICAL, 4, 2),
    Signal("eda", PHYSIOLOGICAL, 3),
    Signal("resp", PHYSIOLOGICAL, 3),
)
"""Physiological signals with 14 features."""

_STUDIES: Final = (
    Study(
        name="classes",
        subjects=26,
        clips=6,
        windows=2,
        signals=(*BODY, Signal("motion", BEHAVIOURAL, 6)),
        emotions=("joy", "fear", "sadness", "calm"),
        labels=LabelKind.CLASS,
        sharpness=3.0,
    ),
    Study(
        name="mixtures",
        subjects=100,
        clips=5,
        windows=5,
        signals=(*BODY, Signal("face", BEHAVIOURAL, 8), Signal("voice", BEHAVIOURAL, 3, 2)),
        emotions=CIRCUMPLEX,
        labels=LabelKind.MIXTURE,
        sharpness=1.5,
        style=0.2,
    ),
    Study(
        name="quadrants",
        subjects=12,
        clips=5,
        windows=10,
        signals=(*BODY, Signal("face", BEHAVIOURAL, 8)),
        emotions=QUADRANTS,
        labels=LabelKind.SHARES,
        sharpness=1.0,
    ),
    Study(
        name="physiology",
        subjects=10,
        clips=7,
        windows=3,
        signals=(*BODY, Signal("temp", PHYSIOLOGICAL, 2)),
        emotions=("joy", "tension", "fear", "sadness", "calm"),
        labels=LabelKind.MIXTURE,
        sharpness=1.5,
        style=0.1,
    ),
)

STUDIES: Final[Mapping[str, Study]] = MappingProxyType({study.name: study for study in _STUDIES})
"""The studies by name."""
