r"""HeLo: emotion distributions from physiological and behavioural signals.

Source: Zheng et al., "HeLo: Heterogeneous Multi-Modal Fusion with Label Correlation for Emotion
Distribution Learning", ACM Multimedia 2025, arXiv 2507.06821. With batch size b, width d and E emotions:

1. *Encoders.* A modality of t tokens with f features each becomes (b, t, d); every token has its own
   affine map, because its features have their own meaning.
2. *Physiological fusion.* The main modality's n tokens query every other physiological modality by
   cross-attention; the results and the query itself are concatenated and projected: P (b, n, d).
3. *Heterogeneity mining.* With B (b, m, d) the behavioural tokens and T the entropic plan between P and B
   (`helo.transport`), :math:`\hat P = T^\top P / T^\top 1` (b, m, d) is what physiology says at each
   behavioural token. A transformer encoder of `attention_depth` layers reads :math:`[\hat P; B]`.
4. *Label correlation learning.* A learned embedding per emotion, L (E, d); its cosine matrix
   R (E, E) is aligned with the correlation of the training labels (`helo.losses.alignment_loss`).
5. *Label-correlation-driven cross-attention.* L queries the fused tokens F. An emotion's logits are
   biased by those of the emotions that go with it, :math:`S' = S + γ \bar R S`, where \bar R is R without its
   diagonal, each row divided by its absolute sum where that exceeds 1, and
   :math:`S = L_q F_k^\top / \sqrt{d}`, with a learned strength γ, 0 at the start.
6. *Head.* One number per emotion and a softmax. Its bias starts at the logarithm of the mean training
   label, so that training starts from the train-mean prediction and has to earn any departure from it.

Where this differs from the authors' release, it follows the paper: the release draws the label embedding
anew in each forward pass, so that nothing learns it; keeps attention dropping on in evaluation; mixes token
and feature axes by a reshape; normalises the correlation over the wrong axis, and takes the label
correlation of a sample instead of the data; thresholds the transport cost by the minimum and maximum of
the batch; and multiplies the plan with the wrong side. Evaluation here is deterministic, and a window's
prediction depends on that window alone, up to the tolerance of the transport solver.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, scaled_dot_product_attention

from helo.configuration import Configuration
from helo.data.dataset import Modality, Schema
from helo.transport import cosine_cost, entropic_plan, transported

LABEL_FLOOR = 1e-4
"""Mean labels are clipped at this before their logarithm becomes the head's first bias."""


class Output(NamedTuple):
    """What a forward pass gives: `log_predicted` (b, E), `correlation` R (E, E), and the transport."""

    log_predicted: Tensor
    correlation: Tensor
    plan: Tensor
    unconverged: Tensor


class TokenEncoder(nn.Module):
    """Features to tokens: (b, t·f) → (b, t, d), with an affine map of its own per token."""

    def __init__(self, modality: Modality, width: int, dropout: float) -> None:
        super().__init__()
        self.tokens, self.features = modality.tokens, modality.token_features
        self.weight = nn.Parameter(torch.empty(self.tokens, self.features, width))
        self.bias = nn.Parameter(torch.empty(self.tokens, width))
        nn.init.normal_(self.weight, std=self.features**-0.5)
        nn.init.normal_(self.bias, std=0.5)  # tells tokens apart when their features are near 0
        self.mix = nn.Sequential(nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width), nn.LayerNorm(width))

    def forward(self, features: Tensor) -> Tensor:
        split = features.view(len(features), self.tokens, self.features)
        mixed: Tensor = self.mix(self._affine(split) + self.bias)
        return mixed

    def _affine(self, split: Tensor) -> Tensor:
        if self.features == 1:  # the einsum would be a batch of outer products: the same, four times slower
            return split * self.weight.squeeze(1)
        return torch.einsum("btf,tfd->btd", split, self.weight)


class CrossAttention(nn.Module):
    """One modality's tokens ask another's: (b, n, d), (b, m, d) → (b, n, d)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        asked = (self.query(query), *self.key_value(context).chunk(2, dim=-1))
        heads = (tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2) for tokens in asked)
        answers: Tensor = self.output(scaled_dot_product_attention(*heads).transpose(1, 2).flatten(-2))
        return answers


class PhysiologicalFusion(nn.Module):
    """Step 2: the main modality queries each other one; all results are concatenated and projected."""

    def __init__(self, others: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attend = nn.ModuleList(CrossAttention(width, heads) for _ in range(others))
        self.project = nn.Linear((1 + others) * width, width)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, main: Tensor, others: list[Tensor]) -> Tensor:
        asked = [attend(main, other) for attend, other in zip(self.attend, others, strict=True)]
        fused: Tensor = self.norm(main + self.dropout(self.project(torch.cat([main, *asked], dim=-1))))
        return fused


class LabelAttention(nn.Module):
    """Step 5: emotions ask the fused tokens, and correlated emotions look at the same ones.

    It has one head, as in the release: the bias says how whole emotions go together, not parts of them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.strength = nn.Parameter(torch.zeros(()))

    def forward(self, labels: Tensor, tokens: Tensor, correlation: Tensor) -> Tensor:
        """(E, d) labels, (b, t, d) tokens, (E, E) correlation → (b, E, d)."""
        off_diagonal = correlation - torch.diag(torch.diagonal(correlation))
        related = off_diagonal / off_diagonal.abs().sum(dim=-1, keepdim=True).clamp_min(1.0)
        query = self.query(labels) / labels.shape[-1] ** 0.5
        # S + γ R S = (q + γ R q) kᵀ: biasing the E queries once is cheaper than each window's logits.
        scores = (query + self.strength * (related @ query)) @ self.key(tokens).transpose(1, 2)
        answers: Tensor = self.output(scores.softmax(dim=-1) @ self.value(tokens))
        return answers


def encoder_layer(width: int, heads: int, dropout: float) -> nn.TransformerEncoderLayer:
    """A transformer encoder layer that drops what its two branches add, and nothing inside them.

    Drawing random numbers for each attention weight would take a sixth of a training step.
    """
    layer = nn.TransformerEncoderLayer(
        width, heads, 2 * width, dropout, activation="gelu", batch_first=True, norm_first=True
    )
    layer.self_attn.dropout = 0.0
    layer.dropout = nn.Dropout(0.0)
    return layer


class HeLo(nn.Module):
    """The model of this module's docstring, for the modalities and emotions that a schema declares."""

    def __init__(self, schema: Schema, configuration: Configuration, mean_label: Tensor) -> None:
        super().__init__()
        width, heads, dropout = configuration.width, configuration.heads, configuration.dropout
        self.epsilon = configuration.ot_entropy
        self.slices = schema.slices
        self.physiological = [modality.name for modality in schema.physiological]
        self.behavioural = [modality.name for modality in schema.behavioural]
        # A list in the order of `slices`: a ModuleDict refuses names such as "wrist.acc" or "keys".
        self.encoders = nn.ModuleList(TokenEncoder(modality, width, dropout) for modality in schema.modalities)
        self.fusion = PhysiologicalFusion(len(self.physiological) - 1, width, heads, dropout)
        self.origin = nn.Parameter(torch.zeros(2, width))  # tells transported tokens from behavioural ones
        nn.init.normal_(self.origin, std=0.02)
        self.layers = nn.ModuleList(encoder_layer(width, heads, dropout) for _ in range(configuration.attention_depth))
        self.norm = nn.LayerNorm(width)
        self.labels = nn.Parameter(torch.randn(len(schema.emotions), width) * width**-0.5)
        self.label_attention = LabelAttention(width)
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, 1)
        )
        self.prior = nn.Parameter(mean_label.clamp_min(LABEL_FLOOR).log())
        for parameter in self.head[-1].parameters():
            nn.init.zeros_(parameter)

    def correlation(self) -> Tensor:
        """R: the cosine matrix of the label embeddings, (E, E)."""
        directions = normalize(self.labels, dim=-1)
        return directions @ directions.T

    def forward(self, features: Tensor) -> Output:
        """Predict for windows (b, F), columns as in `Schema.features`."""
        tokens = {
            name: encoder(features[:, where])
            for (name, where), encoder in zip(self.slices.items(), self.encoders, strict=True)
        }
        main, *others = (tokens[name] for name in self.physiological)
        physiological = self.fusion(main, others)
        behavioural = torch.cat([tokens[name] for name in self.behavioural], dim=1)

        transport = entropic_plan(cosine_cost(physiological, behavioural), self.epsilon)
        carried = transported(transport.plan, physiological)
        fused = torch.cat([carried + self.origin[0], behavioural + self.origin[1]], dim=1)
        for layer in self.layers:
            fused = layer(fused)
        fused = self.norm(fused)

        correlation = self.correlation()
        answers = self.label_attention(self.labels, fused, correlation)
        logits = self.head(self.labels + answers).squeeze(-1) + self.prior
        return Output(logits.log_softmax(dim=-1), correlation, transport.plan, transport.unconverged)
