"""The parts that HeLo is made of, each for a batch of token sets (b, t, d).

`present` (b, t) bool says which tokens are there; None says that all are. What is absent is masked out of
attention: it neither asks nor answers. A sample of which nothing is present gets zeros, not NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention

from helo.data.schema import Modality


class Dropout(nn.Module):
    """`torch.nn.Dropout`, at a fifth of its time on a CPU, where torch draws a number of its own for each element.

    Sixteen random bits say whether an element is kept: the share is exact to 1/65536, and the factor that keeps the
    expectation is that of the share so rounded.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.dropped = round(share * 65536)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.dropped:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return dropout(x, self.share)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)  # four draws in each
        kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= self.dropped - 32768
        return x * (kept * (65536 / (65536 - self.dropped))).to(x.dtype)


class TokenEncoder(nn.Module):
    """Features to tokens: (b, t·f) → (b, t, d), with an affine map of its own per token, normalised."""

    def __init__(self, modality: Modality, width: int, dropout: float) -> None:
        super().__init__()
        self.tokens, self.features = modality.tokens, modality.token_features
        self.weight = nn.Parameter(torch.empty(self.tokens, self.features, width))
        self.bias = nn.Parameter(torch.empty(self.tokens, width))
        nn.init.normal_(self.weight, std=self.features**-0.5)
        nn.init.normal_(self.bias, std=0.5)  # tells tokens apart when their features are near 0
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        split = features.view(len(features), self.tokens, self.features)
        tokens: Tensor = self.dropout(self.norm(self._affine(split)))
        return tokens

    def _affine(self, split: Tensor) -> Tensor:
        if self.features == 1:  # the product below would be a batch of outer products: the same, slower
            return torch.addcmul(self.bias, split, self.weight.squeeze(1))
        # (t, b, f) @ (t, f, d): one product per token, as its features have their own meaning
        return torch.baddbmm(self.bias.unsqueeze(1), split.transpose(0, 1), self.weight).transpose(0, 1)


class Attention(nn.Module):
    """Tokens ask a context: (b, n, d), (b, m, d) → (b, n, d). With the same tokens on both sides: self-attention.

    Its answers are those of the heads side by side: whoever asks projects them.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)

    def forward(self, query: Tensor, context: Tensor, present: Tensor | None = None) -> Tensor:
        """`present` (b, m) is that of the context."""
        asked = (self.query(query), *self.key_value(context).chunk(2, dim=-1))
        q, k, v = (tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2) for tokens in asked)
        if present is None:
            return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
        some = present.any(dim=1, keepdim=True)  # a row without any would be a softmax over nothing
        mask = (present | ~some)[:, None, None, :]
        return scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(-2) * some.unsqueeze(2)


class PhysiologicalFusion(nn.Module):
    """The main modality queries each other one; all results are concatenated and projected.

    A main token that is absent still asks, with the mean of its features, but says nothing itself.
    """

    def __init__(self, others: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attend = nn.ModuleList(Attention(width, heads) for _ in range(others))
        self.project = nn.Linear((1 + others) * width, width)
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(
        self, main: Tensor, others: list[Tensor], present: Tensor | None, others_present: list[Tensor | None]
    ) -> Tensor:
        asked = [attend(main, *other) for attend, *other in zip(self.attend, others, others_present, strict=True)]
        if present is not None:
            main = main * present.unsqueeze(2)
        fused: Tensor = self.norm(main + self.dropout(self.project(torch.cat([main, *asked], dim=-1))))
        return fused


class EncoderLayer(nn.Module):
    """A transformer encoder layer, normalised first, with a feed-forward half as wide as the tokens.

    The release's is 64 for a width of 128. Dropout acts on what the two branches add and on nothing inside
    them: random numbers for each attention weight would be a good part of a training step.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.output = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, width))
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        asked = self.attention_norm(tokens)
        tokens = tokens + self.dropout(self.output(self.attention(asked, asked, present)))
        read: Tensor = tokens + self.dropout(self.feed_forward(self.forward_norm(tokens)))
        return read


class LabelAttention(nn.Module):
    """Emotions ask the fused tokens, and correlated emotions look at the same ones.

    It has one head, as in the release: the bias says how whole emotions go together, not parts of them.
    """

    def __init__(self, width: int, correlated: bool) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)  # the same for all tokens, a bias would change no softmax
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.strength = nn.Parameter(torch.zeros(())) if correlated else None

    def forward(self, labels: Tensor, tokens: Tensor, correlation: Tensor, present: Tensor | None = None) -> Tensor:
        """(E, d) labels, (b, t, d) tokens, (E, E) correlation → (b, E, d)."""
        query = self.query(labels) / labels.shape[-1] ** 0.5
        if self.strength is not None:
            off_diagonal = correlation - torch.diag(torch.diagonal(correlation))
            related = off_diagonal / off_diagonal.abs().sum(dim=-1, keepdim=True).clamp_min(1.0)
            # S + γ R S = (q + γ R q) kᵀ: biasing the E queries once is cheaper than each window's logits.
            query = query + self.strength * (related @ query)
        # q (F Wᵀ)ᵀ = (q W) Fᵀ and A (F Vᵀ) = (A F) Vᵀ: projecting E queries and answers, not all tokens.
        scores = (query @ self.key.weight) @ tokens.transpose(1, 2)
        if present is None:
            answers: Tensor = self.output(self.value(scores.softmax(dim=-1) @ tokens))
            return answers
        some = present.any(dim=1)[:, None, None]
        scores = scores.masked_fill(~(present.unsqueeze(1) | ~some), -torch.inf)
        answers = self.output(self.value(scores.softmax(dim=-1) @ tokens))
        return answers * some


class Classifier(nn.Module):
    """A number for each emotion: (b, E, d), or (b, 1, d) for all of them, → (b, E).

    Every emotion has weights of its own, 0 at the start: the prior is all that it says then.
    """

    def __init__(self, prior: Tensor, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)
        self.weight = nn.Parameter(torch.zeros(len(prior), width))
        self.prior = nn.Parameter(prior)

    def forward(self, answers: Tensor) -> Tensor:
        logits: Tensor = (self.dropout(self.norm(answers)) * self.weight).sum(dim=-1) + self.prior
        return logits


def mean_token(tokens: Tensor, present: Tensor | None = None) -> Tensor:
    """The mean of the tokens that are present: (b, t, d) → (b, d)."""
    if present is None:
        return tokens.mean(dim=1)
    weight = present.to(tokens.dtype)
    return (weight.unsqueeze(1) @ tokens).squeeze(1) / weight.sum(dim=1, keepdim=True).clamp_min(1)
