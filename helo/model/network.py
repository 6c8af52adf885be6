r"""HeLo: emotion distributions from physiological and behavioural signals.

**Problem.** For a window of signals x, predict the distribution p over E emotions that a person reported, d.
Training minimises, over the parameters and the windows of the training subjects,

.. math::
    \frac{1}{N} \sum_i KL(d_i \,\|\, p(x_i)) + λ \, \frac{1}{E (E - 1)} \sum_{e \ne f} (R_{ef} - R^*_{ef})^2

with R the learned label correlation, R* that of the training labels and λ = `alignment_weight` (`helo.model.losses`).

**Model.** Source: Zheng et al., "HeLo: Heterogeneous Multi-Modal Fusion with Label Correlation for Emotion
Distribution Learning", ACM Multimedia 2025, arXiv 2507.06821. With batch size b, width d and E emotions:

1. *Encoders.* A modality of t tokens with f features each becomes (b, t, d). Every token has its own map,
   because its features have their own meaning. The map is affine in a piecewise-linear encoding of the features
   (`feature_encoding`, see `helo.model.layers.PiecewiseEncoding`).
2. *Physiological fusion.* The main modality's n tokens query every other physiological modality by
   cross-attention. The results and the query itself are concatenated and projected to P (b, n, d).
3. *Heterogeneity mining.* Let B (b, m, d) be the behavioural tokens and T the entropic transport plan between P and B
   (`helo.model.transport`; hyperparameters `transport`, `ot_entropy`, `ot_alpha`). Then
   :math:`\hat P = T^\top P / T^\top 1` (b, m, d) is the mean physiological token of each behavioural token. A
   transformer encoder of `attention_depth` layers reads :math:`[\hat P; B]`.
4. *Label correlation learning.* Each emotion has a learned embedding, L (E, d). The cosine matrix R (E, E) of the
   embeddings is aligned with the correlation of the training labels.
5. *Label-correlation-driven cross-attention.* L queries the fused tokens F with the logits
   :math:`S = L_q F_k^\top / \sqrt{d}`. The logits of correlated emotions are added to those of each emotion:
   :math:`S' = S + γ \bar R S`. Here \bar R is R without its diagonal, with each row divided by its absolute sum where
   that exceeds 1, and γ is a learned strength that starts at 0.
6. *Classifier.* One logit per emotion, by weights of its own, and a softmax. The biases start at the logarithm of
   the mean training label and the weights at 0, so training starts from the train-mean prediction.
7. *Linear model.* A prediction is the softmax of (1 − s) log p + s log q with s = `linear_share`, the network's
   distribution p and that of a maximum-entropy model q, which is linear in the features. q is fitted to the same
   windows as the network, and independently of it (`helo.training.linear`): training ends as it would without q.

**Ablations.** Each of these settings leaves out one part of the model:

- ``transport: none``: step 3 reads :math:`[P; B]`
- ``label_attention: plain``: step 5 does not add the logits of correlated emotions
- ``label_attention: none``: without steps 4 and 5; the classifier reads the mean of the fused tokens
- ``alignment_weight: 0``: R is not aligned with the data
- ``feature_encoding: linear``: step 1 is affine in the features themselves
- ``linear_share: 0``: without step 7
- ``subject_offset: 0``: training does not know the mean labels of its subjects (`helo.training.offsets`)
- ``modalities: physiological``: step 3 reads P alone
- ``modalities: behavioural``: step 3 reads B alone

**Missing signals.** A token whose features are all NaN is absent: it is masked out of attention and transport. Where
only some features of a token are NaN, they are replaced by the training mean, 0. If the whole main modality is absent,
its tokens query with their biases alone and carry the answers of the other modalities. If all behavioural tokens of a
window are absent, its plan is the product of the marginals, so \hat P is the mean of P. If all physiological tokens are
absent, the encoder reads B alone. If all tokens that the configuration reads are absent, the prediction is that of the
label embeddings (without label attention, of the classifier's biases). It is trained only if such windows occur in
training.

**Differences from the authors' release.** Where the two differ, this module follows the paper. The release

- draws the label embedding anew in each forward pass, so neither the embedding nor the alignment is trained
- keeps attention dropout on in evaluation, so its scores are random
- mixes token and feature axes by a reshape instead of a transpose
- normalises the correlation over the wrong axis, and uses the label correlation of a sample instead of the data
- thresholds the transport cost by the minimum and maximum of the batch
- multiplies the plan [physiological × behavioural] with the physiological tokens without transposing the plan

Evaluation in this module is deterministic, and the prediction for a window depends on that window alone. Five choices
are this project's own. The features are encoded piecewise linearly. In training the logits have an offset per subject.
A linear model has a share in each prediction, because few subjects determine a linear model better than a network. A
token reads its own features, whereas the release encodes each modality by one map from all
features to all tokens (87 % of its parameters belong to the video). Dropout acts on encoded tokens, on the output of
each branch and before the classifier, but not on attention weights.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from helo.configuration import Configuration
from helo.data.schema import Schema
from helo.model.basics import Dropout, LayerNorm, Streams
from helo.model.layers import (
    Classifier,
    EncoderLayer,
    LabelAttention,
    LinearModel,
    PhysiologicalFusion,
    TokenEncoder,
    mean_token,
)
from helo.model.transport import Transport, TransportSettings, transport, transported
from helo.names import LabelAttentionKind, ModalitySelection, Role, TransportKind

LABEL_FLOOR = 1e-4
"""Smallest mean label whose logarithm becomes a first bias of the classifier; smaller labels are clipped."""


class Output(NamedTuple):
    """Output of a forward pass.

    Attributes
    ----------
    log_predicted : Tensor of shape (M, b, E)
        Logarithms of the distributions that each member predicts; in training mode, those of its network alone.
    correlation : Tensor of shape (M, E, E), optional
        Learned label correlation R of each member; None without label embeddings.
    transport : Transport, optional
        Transport plans (M · b, n, m) and their errors, member by member; None without transport.
    """

    log_predicted: Tensor
    correlation: Tensor | None
    transport: Transport | None

    @property
    def unconverged(self) -> Tensor:
        """Whether the transport plan of each window is unconverged, (M, b) bool; False without transport."""
        shape = self.log_predicted.shape[:2]
        if self.transport is None:
            return torch.zeros(shape, dtype=torch.bool, device=self.log_predicted.device)
        return self.transport.unconverged.view(shape)


class Tokens(NamedTuple):
    """Tokens of a batch.

    Attributes
    ----------
    values : Tensor of shape (M, b, t, d)
        Tokens.
    present : Tensor of shape (M, b, t), bool, optional
        Whether each token is present; None if all are.
    """

    values: Tensor
    present: Tensor | None


class HeLo(nn.Module):
    """Models of one configuration for the modalities and emotions of a schema; see this module's docstring.

    The models, called members, have separate weights. They differ in their first weights and in their training data.

    Parameters
    ----------
    schema : Schema
        Modalities and emotions.
    configuration : Configuration
        Hyperparameters.
    mean_label : Tensor of shape (M, E)
        Mean training label of each of the M members, its first prediction.
    """

    def __init__(self, schema: Schema, configuration: Configuration, mean_label: Tensor) -> None:
        super().__init__()
        members, emotions = mean_label.shape
        width, heads = configuration.width, configuration.heads
        self.configuration, self.members = configuration, members
        self.slices = schema.slices
        self.streams = Streams()
        dropout = Dropout(configuration.dropout, self.streams)
        roles = (
            {Role.PHYSIOLOGICAL, Role.BEHAVIOURAL}
            if configuration.modalities == ModalitySelection.BOTH
            else {configuration.modalities}
        )
        self.physiological = [m.name for m in schema.physiological if Role.PHYSIOLOGICAL in roles]
        self.behavioural = [m.name for m in schema.behavioural if Role.BEHAVIOURAL in roles]
        modalities = [modality for modality in schema.modalities if modality.role in roles]
        self.names = [modality.name for modality in modalities]
        # Not a ModuleDict, which refuses names such as "wrist.acc" or "keys".
        encoding = configuration.feature_encoding
        self.encoders = nn.ModuleList(
            TokenEncoder(members, modality, width, dropout, encoding) for modality in modalities
        )
        if self.physiological:
            self.fusion = PhysiologicalFusion(members, len(self.physiological) - 1, width, heads, dropout)
        if self.physiological and self.behavioural:
            self.origin = nn.Parameter(torch.zeros(members, 2, width))  # Distinguishes the two roles.
            nn.init.normal_(self.origin, std=0.02)
        depth = configuration.attention_depth
        self.layers = nn.ModuleList(EncoderLayer(members, width, heads, dropout) for _ in range(depth))
        self.norm = LayerNorm(members, width)
        if configuration.label_attention != LabelAttentionKind.NONE:
            self.labels = nn.Parameter(torch.randn(members, emotions, width) * width**-0.5)
            is_correlated = configuration.label_attention == LabelAttentionKind.CORRELATED
            self.label_attention = LabelAttention(members, width, is_correlated)
        if configuration.linear_share > 0:
            self.linear = LinearModel(members, sum(len(modality.columns) for modality in modalities), emotions)
        self.classifier = Classifier(mean_label.clamp_min(LABEL_FLOOR).log(), width, dropout)

    def correlation(self) -> Tensor:
        """Return R (M, E, E), the cosine matrix of the label embeddings of each member, in full precision."""
        with torch.autocast(self.labels.device.type, enabled=False):
            directions = normalize(self.labels, dim=-1)
            return directions @ directions.mT

    def forward(self, features: Tensor, complete: bool | None = None) -> Output:
        """Predict the emotion distributions of windows.

        Parameters
        ----------
        features : Tensor of shape (M, b, F)
            Scaled features of b windows for each member, in the order of `Schema.features`; NaN where a signal is
            missing.
        complete : bool, optional
            Whether no signal is missing. If None, the features are searched for NaN, which makes a GPU synchronise.

        Returns
        -------
        Output
            Predicted distributions, label correlation and transport plans.
        """
        fused, plan = self._fuse(self._tokens(features, complete))
        values = fused.values
        for layer in self.layers:
            values = layer(values, fused.present)
        values = self.norm(values)
        if self.configuration.label_attention == LabelAttentionKind.NONE:
            logits = self.classifier(mean_token(values, fused.present).unsqueeze(2))
            return Output(self._predicted(logits, features), None, plan)
        correlation = self.correlation()
        answers = self.label_attention(self.labels, values, correlation, fused.present)
        logits = self.classifier(self.labels.unsqueeze(1) + answers)
        return Output(self._predicted(logits, features), correlation, plan)

    def compiled(self) -> Any:
        """Return a callable that computes what `forward` does, with `torch.compile`. It shares the weights.

        The transport is left out, because its number of iterations depends on the data.
        """
        # Not as a decorator: it imports the compiler, which takes a second, in programs that compile nothing.
        self._carry = torch.compiler.disable(self._carry)  # type: ignore[method-assign, no-untyped-call]
        return torch.compile(self)

    def _predicted(self, logits: Tensor, features: Tensor) -> Tensor:
        """Return the log-distributions (M, b, E) from the logits of the network and, in evaluation, step 7."""
        log_predicted = _exact(logits).log_softmax(dim=-1)
        share = self.configuration.linear_share
        if self.training or share == 0:
            return log_predicted
        with torch.autocast(logits.device.type, enabled=False):
            log_linear = self.linear(self.features_read(features)).log_softmax(dim=-1)
        return torch.lerp(log_predicted, log_linear, share).log_softmax(dim=-1)

    def features_read(self, features: Tensor) -> Tensor:
        """Return the features (…, F) of the modalities that the model reads, with the training mean, 0, for NaN."""
        return torch.cat([features[..., self.slices[name]] for name in self.names], dim=-1).nan_to_num_(nan=0.0)

    def _tokens(self, features: Tensor, complete: bool | None) -> dict[str, Tokens]:
        """Encode each modality (step 1) and find its present tokens."""
        missing = features if complete else features.isnan()
        incomplete = not complete and bool(missing.any())
        if incomplete:
            features = torch.where(missing, 0, features)
        tokens = {}
        for name, encoder in zip(self.names, self.encoders, strict=True):
            values = encoder(features[..., self.slices[name]])
            present = None
            if incomplete:
                present = ~missing[..., self.slices[name]].view(*values.shape[:3], -1).all(dim=3)
            tokens[name] = Tokens(values, present)
        return tokens

    def _fuse(self, tokens: dict[str, Tokens]) -> tuple[Tokens, Transport | None]:
        """Fuse all modalities: step 2, and step 3 up to the transformer."""
        physiological = self._physiological(tokens) if self.physiological else None
        behavioural = _joined([tokens[name] for name in self.behavioural]) if self.behavioural else None
        if physiological is None or behavioural is None:
            single_role = physiological or behavioural
            assert single_role is not None
            return single_role, None
        plan = None
        carried = physiological
        if self.configuration.transport != TransportKind.NONE:
            plan, carried = self._carry(physiological, behavioural)
        return _joined(
            [
                Tokens(carried.values + self.origin[:, None, :1], carried.present),
                Tokens(behavioural.values + self.origin[:, None, 1:], behavioural.present),
            ]
        ), plan

    def _physiological(self, tokens: dict[str, Tokens]) -> Tokens:
        """Fuse the physiological modalities (step 2)."""
        main, *contexts = (tokens[name] for name in self.physiological)
        fused = self.fusion(
            main.values,
            [context.values for context in contexts],
            main.present,
            [context.present for context in contexts],
        )
        if main.present is None:
            return Tokens(fused, None)
        # If the main modality is absent, its tokens are kept where they carry the answer of another modality.
        has_main = main.present.any(dim=2, keepdim=True)
        has_context = torch.zeros_like(has_main)
        for context in contexts:
            if context.present is not None:
                has_context = has_context | context.present.any(dim=2, keepdim=True)
        return Tokens(fused, main.present | (~has_main & has_context))

    def _carry(self, physiological: Tokens, behavioural: Tokens) -> tuple[Transport, Tokens]:
        """Carry the physiological tokens to the behavioural ones by optimal transport (step 3)."""
        members = len(physiological.values)
        # A plan belongs to one sample, so the samples of all members are solved as one batch.
        source, target = physiological.values.flatten(0, 1), behavioural.values.flatten(0, 1)
        source_present, target_present = (
            None if tokens.present is None else tokens.present.flatten(0, 1) for tokens in (physiological, behavioural)
        )
        carried_present = None
        if source_present is not None and target_present is not None:
            has_target = target_present.any(dim=1, keepdim=True)
            target_present = target_present | ~has_target
            target = target * has_target.unsqueeze(2)  # Equal costs if all behavioural tokens are absent.
            carried_present = target_present & source_present.any(dim=1, keepdim=True)
        configuration = self.configuration
        with torch.autocast(source.device.type, enabled=False):  # Half precision is too coarse for ε = 1e-3.
            source, target = _exact(source), _exact(target)
            settings = TransportSettings(configuration.ot_entropy, configuration.transport, configuration.ot_alpha)
            plan = transport(source, target, settings, source_present, target_present)
            values = transported(plan.plan, source)
        if carried_present is not None:
            carried_present = carried_present.view(members, -1, carried_present.shape[1])
        return plan, Tokens(values.view(members, -1, *values.shape[1:]), carried_present)


def _exact(values: Tensor) -> Tensor:
    """Return the values in float32, or in their own precision if that is higher."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def _joined(parts: list[Tokens]) -> Tokens:
    """Concatenate sets of tokens."""
    present = [part.present for part in parts if part.present is not None]
    values = torch.cat([part.values for part in parts], dim=2)
    return Tokens(values, torch.cat(present, dim=2) if present else None)


def join_members(network: HeLo, weights: Sequence[Mapping[str, Tensor]]) -> HeLo:
    """Return one model that has the members of several models of the same configuration.

    Parameters
    ----------
    network : HeLo
        One of the models. The joint model is on its device.
    weights : sequence of mapping
        The `state_dict` of each model, in the order of the members.

    Returns
    -------
    HeLo
        Model with copies of the weights.
    """
    joined = copy.deepcopy(network)
    for name, parameter in joined.named_parameters():
        parameter.data = torch.cat([state[name].detach() for state in weights])
    joined.members = len(joined.classifier.prior)
    return joined
