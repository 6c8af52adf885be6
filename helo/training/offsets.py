r"""Offsets of the logits of each training subject.

Two people who feel the same report it differently: one reports a little of every emotion, the other only one. A model
that is trained on few people can learn such habits from features that identify a person, and nothing of it holds for a
new person. In training the logits of the windows of a subject s therefore have the offset

.. math::
    u_s = \log \frac{a_s \bar d_s + (1 - a_s) \bar d}{\bar d}, \qquad a_s = a \, (1 - 1 / n_s)

with the mean label :math:`\bar d_s` of the subject's windows, the mean label :math:`\bar d` of all training windows,
the number n_s of different labels of the subject, and a = `subject_offset`. The network has to explain only how the
windows of a subject differ from each other. Predictions have no offset: it is 0 for a subject whose mean label is
:math:`\bar d`.

A mean of few labels says little about a person, so a_s grows with their number. A subject with a single label has no
offset: it would explain the label, and the network would learn nothing from the subject.

This is the fixed-effects form of a mixed-effects model, in which a random intercept absorbs differences between
subjects. Compare: Simchoni and Rosset, "Using random effects to account for high-cardinality categorical features and
repeated measures in deep neural networks", NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from helo.evaluation.scaling import Part
from helo.model.network import LABEL_FLOOR


class SubjectOffsets:
    """Offsets of the logits of the training windows of M members.

    Parameters
    ----------
    trains : sequence of Part
        Training windows of each member.
    strength : float
        Strength a of the offsets; with 0 there are none.
    device : torch.device
        Device of the offsets.
    """

    def __init__(self, trains: Sequence[Part], strength: float, device: torch.device) -> None:
        self.acts = strength > 0
        if not self.acts:
            return
        numbers = [np.unique(train.subjects, return_inverse=True)[1] for train in trains]
        emotions = trains[0].labels.shape[1]
        offsets = np.zeros((len(trains), 1 + max(int(one.max()) for one in numbers), emotions), np.float32)
        subjects = np.zeros((len(trains), max(map(len, trains))), np.int32)
        for member, (train, number) in enumerate(zip(trains, numbers, strict=True)):
            subjects[member, : len(number)] = number
            labels = train.labels
            mean = np.maximum(labels.mean(axis=0), LABEL_FLOOR)
            for subject in range(number.max() + 1):
                own = labels[number == subject]
                share = strength * (1 - 1 / len(np.unique(own, axis=0)))
                offsets[member, subject] = np.log((share * own.mean(axis=0) + (1 - share) * mean) / mean)
        self._offsets = torch.from_numpy(offsets).to(device)
        self._subjects = torch.from_numpy(subjects).to(device)
        self._members = torch.arange(len(trains), device=device).unsqueeze(1)

    def added(self, log_predicted: Tensor, positions: Tensor) -> Tensor:
        """Return the log-distributions (M, b, E) with the offsets of the windows at positions (M, b) added."""
        if not self.acts:
            return log_predicted
        offsets = self._offsets[self._members, self._subjects[self._members, positions].long()]
        # The logarithm of a softmax differs from its logits by a constant, which a second softmax removes.
        return (log_predicted + offsets).log_softmax(dim=-1)
