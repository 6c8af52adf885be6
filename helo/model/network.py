r"""HeLo: emotion distributions from physiological and behavioural signals.

**Problem.** For a window of signals x, predict the distribution p over E emotions that a person reported, d.
Trained on windows of some people so as to minimise, over the parameters,

.. math::
    \frac{1}{N} \sum_i KL(d_i \,\|\, p(x_i)) + λ \, \frac{1}{E (E - 1)} \sum_{e \ne f} (R_{ef} - R^*_{ef})^2

with R the learned and R* the data's label correlation, λ = `alignment_weight` (`helo.model.losses`).

**Model.** Source: Zheng et al., "HeLo: Heterogeneous Multi-Modal Fusion with Label Correlation for Emotion
Distribution Learning", ACM Multimedia 2025, arXiv 2507.06821. With batch size b, width d and E emotions:

1. *Encoders.* A modality of t tokens with f features each becomes (b, t, d); every token has its own
   affine map, because its features have their own meaning.
2. *Physiological fusion.* The main modality's n tokens query every other physiological modality by
   cross-attention; the results and the query itself are concatenated and projected: P (b, n, d).
3. *Heterogeneity mining.* With B (b, m, d) the behavioural tokens and T the entropic plan between P and B
   (`helo.model.transport`: `transport`, `ot_entropy`, `ot_alpha`), :math:`\hat P = T^\top P / T^\top 1` (b, m, d) is
   what physiology says at each behavioural token. A transformer encoder of `attention_depth` layers reads
   :math:`[\hat P; B]`.
4. *Label correlation learning.* A learned embedding per emotion, L (E, d); its cosine matrix R (E, E) is
   aligned with the correlation of the training labels.
5. *Label-correlation-driven cross-attention.* L queries the fused tokens F. An emotion's logits are
   biased by those of the emotions that go with it, :math:`S' = S + γ \bar R S`, where \bar R is R without its
   diagonal, each row divided by its absolute sum where that exceeds 1, and
   :math:`S = L_q F_k^\top / \sqrt{d}`, with a learned strength γ, 0 at the start.
6. *Classifier.* One number per emotion, by weights of its own, and a softmax. Its bias starts at the logarithm of
   the mean training label and its weights at 0, so that training starts from the train-mean prediction and has to
   earn any departure from it.

**Ablations.** Each of these leaves a part out, for a table of what it is worth:

- ``transport: none``: step 3 reads :math:`[P; B]`
- ``label_attention: plain``: step 5 without the bias; ``none``: no steps 4 and 5, and the classifier reads the mean of
  the fused tokens
- ``alignment_weight: 0``: nothing ties R to the data
- ``modalities: physiological``: step 3 reads P; ``behavioural``: B

**Missing signals.** A token whose features are all NaN is absent: masked out of attention and transport. In a
token of which some features are NaN, those stand at the training mean, 0. Without the whole main modality, its
tokens ask with what they know of themselves (their biases) and stand for the answers of the others. A window without
behavioural tokens is carried by the product of the marginals (\hat P is the mean of P); one without physiological
tokens has B alone. If nothing is left of what the configuration reads, all such windows get the same prediction: that
of the label embeddings (or, without label attention, of the prior), which is learnt only if training had such windows.

**Where this differs from the authors' release**, it follows the paper. The release draws the label embedding
anew in each forward pass, so that nothing learns it and alignment trains nothing; keeps attention dropping on in
evaluation, so that its scores are random; mixes token and feature axes by a reshape where a transpose was meant;
normalises the correlation over the wrong axis, and takes the label correlation of a sample instead of the data;
thresholds the transport cost by the minimum and maximum of the batch; and multiplies the plan [physiological ×
behavioural] with the physiological tokens without transposing it. Evaluation here is deterministic, and a window's
prediction depends on that window alone. Own choices: the release encodes each modality by one map from all of its
features to all of its tokens (87 % of its parameters are the video's); here a token reads its own features. Dropout
acts on encoded tokens, on what each branch adds and before the classifier, not on attention weights.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from helo.configuration import Configuration
from helo.data.schema import Schema
from helo.model.layers import Classifier, EncoderLayer, LabelAttention, PhysiologicalFusion, TokenEncoder, mean_token
from helo.model.transport import Transport, TransportSettings, transport, transported
from helo.names import LabelAttentionKind, ModalitySelection, Role, TransportKind

LABEL_FLOOR = 1e-4
"""Mean labels are clipped at this before their logarithm becomes the classifier's first bias."""


class Output(NamedTuple):
    """What a forward pass gives.

    - `log_predicted` (b, E)
    - `correlation`: R (E, E); None without label embeddings
    - `transport`: the plan (b, n, m) and its error; None without transport
    """

    log_predicted: Tensor
    correlation: Tensor | None
    transport: Transport | None

    @property
    def unconverged(self) -> Tensor:
        """How many plans of the batch are not solutions: a scalar."""
        if self.transport is None:
            return torch.zeros((), device=self.log_predicted.device)
        return self.transport.unconverged.sum()


class Tokens(NamedTuple):
    """Tokens (b, t, d) and which of them are present (b, t); None says all."""

    values: Tensor
    present: Tensor | None


class HeLo(nn.Module):
    """The model of this module's docstring, for the modalities and emotions that a schema declares."""

    def __init__(self, schema: Schema, configuration: Configuration, mean_label: Tensor) -> None:
        super().__init__()
        width, heads, share = configuration.width, configuration.heads, configuration.dropout
        self.configuration = configuration
        self.slices = schema.slices
        reads = (
            {Role.PHYSIOLOGICAL, Role.BEHAVIOURAL}
            if configuration.modalities == ModalitySelection.BOTH
            else {configuration.modalities}
        )
        self.physiological = [m.name for m in schema.physiological if Role.PHYSIOLOGICAL in reads]
        self.behavioural = [m.name for m in schema.behavioural if Role.BEHAVIOURAL in reads]
        # A list: a ModuleDict refuses names such as "wrist.acc" or "keys".
        read = [modality for modality in schema.modalities if modality.role in reads]
        self.names = [modality.name for modality in read]
        self.encoders = nn.ModuleList(TokenEncoder(modality, width, share) for modality in read)
        if self.physiological:
            self.fusion = PhysiologicalFusion(len(self.physiological) - 1, width, heads, share)
        if self.physiological and self.behavioural:
            self.origin = nn.Parameter(torch.zeros(2, width))  # tells physiological tokens from behavioural ones
            nn.init.normal_(self.origin, std=0.02)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, share) for _ in range(configuration.attention_depth))
        self.norm = nn.LayerNorm(width)
        if configuration.label_attention != TransportKind.NONE:
            self.labels = nn.Parameter(torch.randn(len(schema.emotions), width) * width**-0.5)
            self.label_attention = LabelAttention(width, configuration.label_attention == LabelAttentionKind.CORRELATED)
        self.classifier = Classifier(mean_label.clamp_min(LABEL_FLOOR).log(), width, share)

    def correlation(self) -> Tensor:
        """R: the cosine matrix of the label embeddings, (E, E), in full precision."""
        with torch.autocast(self.labels.device.type, enabled=False):
            directions = normalize(self.labels, dim=-1)
            return directions @ directions.T

    def forward(self, features: Tensor, complete: bool | None = None) -> Output:
        """Predict for windows (b, F), columns as in `Schema.features`, NaN where a signal is missing.

        `complete` says that no signal is; None looks, for which a GPU has to wait.
        """
        fused, plan = self._fuse(self._tokens(features, complete))
        values = fused.values
        for layer in self.layers:
            values = layer(values, fused.present)
        values = self.norm(values)
        if self.configuration.label_attention == TransportKind.NONE:
            logits = self.classifier(mean_token(values, fused.present).unsqueeze(1))
            return Output(_exact(logits).log_softmax(dim=-1), None, plan)
        correlation = self.correlation()
        answers = self.label_attention(self.labels, values, correlation, fused.present)
        logits = self.classifier(self.labels + answers)
        return Output(_exact(logits).log_softmax(dim=-1), correlation, plan)

    def _tokens(self, features: Tensor, complete: bool | None) -> dict[str, Tokens]:
        """Step 1, and what is there of each modality."""
        missing = features if complete else features.isnan()
        incomplete = not complete and bool(missing.any())
        if incomplete:
            features = torch.where(missing, 0, features)
        tokens = {}
        for name, encoder in zip(self.names, self.encoders, strict=True):
            values = encoder(features[:, self.slices[name]])
            present = None
            if incomplete:
                gaps = missing[:, self.slices[name]]
                present = ~gaps.reshape(len(gaps), values.shape[1], -1).all(dim=2)
            tokens[name] = Tokens(values, present)
        return tokens

    def _fuse(self, tokens: dict[str, Tokens]) -> tuple[Tokens, Transport | None]:
        """Steps 2 and 3, up to the transformer."""
        physiological = self._physiological(tokens) if self.physiological else None
        behavioural = _joined([tokens[name] for name in self.behavioural]) if self.behavioural else None
        if physiological is None or behavioural is None:
            alone = physiological or behavioural
            assert alone is not None
            return alone, None
        plan = None
        carried = physiological
        if self.configuration.transport != TransportKind.NONE:
            plan, carried = self._carry(physiological, behavioural)
        return _joined(
            [
                Tokens(carried.values + self.origin[0], carried.present),
                Tokens(behavioural.values + self.origin[1], behavioural.present),
            ]
        ), plan

    def _physiological(self, tokens: dict[str, Tokens]) -> Tokens:
        main, *others = (tokens[name] for name in self.physiological)
        fused = self.fusion(
            main.values, [other.values for other in others], main.present, [other.present for other in others]
        )
        if main.present is None:
            return Tokens(fused, None)
        # Without any main token the others speak by what all of them were answered.
        some = main.present.any(dim=1, keepdim=True)
        answered = torch.zeros_like(some)
        for other in others:
            if other.present is not None:
                answered = answered | other.present.any(dim=1, keepdim=True)
        return Tokens(fused, main.present | (~some & answered))

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # its loops end where the data say
    def _carry(self, physiological: Tokens, behavioural: Tokens) -> tuple[Transport, Tokens]:
        source, there = physiological
        target, wanted = behavioural
        carried = None
        if there is not None and wanted is not None:
            some = wanted.any(dim=1, keepdim=True)
            wanted = wanted | ~some
            target = target * some.unsqueeze(2)  # without behavioural tokens all costs are the same
            carried = wanted & there.any(dim=1, keepdim=True)
        configuration = self.configuration
        with torch.autocast(source.device.type, enabled=False):  # ε = 1e-3 needs the digits
            source, target = _exact(source), _exact(target)
            settings = TransportSettings(configuration.ot_entropy, configuration.transport, configuration.ot_alpha)
            plan = transport(source, target, settings, there, wanted)
            values = transported(plan.plan, source)
        return plan, Tokens(values, carried)


def _exact(values: Tensor) -> Tensor:
    """Out of mixed precision: float32 at least."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def _joined(parts: list[Tokens]) -> Tokens:
    """Tokens one after the other."""
    present = [part.present for part in parts if part.present is not None]
    values = torch.cat([part.values for part in parts], dim=1)
    return Tokens(values, torch.cat(present, dim=1) if present else None)
