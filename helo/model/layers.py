"""Layers of HeLo, each for a batch of token sets (b, t, d).

The argument `present` (b, t) bool says which tokens are present; None means all. Absent tokens are masked out of
attention. If all tokens of a sample are absent, attention returns zeros, not NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention

from helo.data.schema import Modality


class Dropout(nn.Module):
    """Dropout that takes a fifth of the time of `torch.nn.Dropout` on a CPU.

    On a CPU, sixteen random bits decide whether an element is kept. The share is rounded to a multiple of 1/65536, and
    the factor that keeps the expectation belongs to the rounded share. Elsewhere, torch's own dropout is used.

    Parameters
    ----------
    share : float
        Share of the elements that are dropped in training.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.dropped = round(share * 65536)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input with some elements dropped, in training, and unchanged otherwise."""
        if not self.training or not self.dropped:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return dropout(x, self.share)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)  # Four draws per word.
        kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= self.dropped - 32768
        return x * (kept * (65536 / (65536 - self.dropped))).to(x.dtype)


class TokenEncoder(nn.Module):
    """Encoder of one modality: an affine map per token, layer normalisation and dropout.

    Parameters
    ----------
    modality : Modality
        Modality of t tokens with f features each.
    width : int
        Token width d.
    dropout : float
        Share of the token elements that are dropped in training.
    """

    def __init__(self, modality: Modality, width: int, dropout: float) -> None:
        super().__init__()
        self.tokens, self.features = modality.tokens, modality.token_features
        self.weight = nn.Parameter(torch.empty(self.tokens, self.features, width))
        self.bias = nn.Parameter(torch.empty(self.tokens, width))
        nn.init.normal_(self.weight, std=self.features**-0.5)
        nn.init.normal_(self.bias, std=0.5)  # Distinguishes tokens whose features are near 0.
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Encode features (b, t·f) as tokens (b, t, d)."""
        split = features.view(len(features), self.tokens, self.features)
        tokens: Tensor = self.dropout(self.norm(self._affine(split)))
        return tokens

    def _affine(self, split: Tensor) -> Tensor:
        if self.features == 1:  # The product below would be a batch of outer products: equal, but slower.
            return torch.addcmul(self.bias, split, self.weight.squeeze(1))
        # One product (b, f) @ (f, d) per token.
        return torch.baddbmm(self.bias.unsqueeze(1), split.transpose(0, 1), self.weight).transpose(0, 1)


class Attention(nn.Module):
    """Multi-head attention of query tokens to context tokens, without the output projection.

    Parameters
    ----------
    width : int
        Token width d.
    heads : int
        Number of heads; divides d.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)

    def forward(self, query: Tensor, context: Tensor, present: Tensor | None = None) -> Tensor:
        """Return the concatenated answers of the heads.

        Parameters
        ----------
        query : Tensor of shape (b, n, d)
            Query tokens.
        context : Tensor of shape (b, m, d)
            Context tokens; the query itself for self-attention.
        present : Tensor of shape (b, m), bool, optional
            Context tokens that are present. All by default.

        Returns
        -------
        Tensor of shape (b, n, d)
            Answers; 0 for a sample without any context token.
        """
        projected = (self.query(query), *self.key_value(context).chunk(2, dim=-1))
        q, k, v = (tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2) for tokens in projected)
        if present is None:
            return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
        has_context = present.any(dim=1, keepdim=True)
        mask = (present | ~has_context)[:, None, None, :]  # The softmax of a fully masked row would be NaN.
        return scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(-2) * has_context.unsqueeze(2)


class PhysiologicalFusion(nn.Module):
    """Fusion of the main modality with the other physiological modalities.

    The main tokens query every other modality by cross-attention. The answers and the main tokens are concatenated and
    projected. An absent main token still queries the other modalities, as if its features were at their means, but adds
    nothing itself.

    Parameters
    ----------
    others : int
        Number of other modalities.
    width : int
        Token width d.
    heads : int
        Number of attention heads; divides d.
    dropout : float
        Share of the projection's elements that are dropped in training.
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
        """Return the fused tokens.

        Parameters
        ----------
        main : Tensor of shape (b, n, d)
            Tokens of the main modality.
        others : list of Tensor of shape (b, m, d)
            Tokens of each other modality; m may differ.
        present : Tensor of shape (b, n), bool, optional
            Main tokens that are present; None if all are.
        others_present : list of Tensor of shape (b, m), bool, or None
            Present tokens of each other modality.

        Returns
        -------
        Tensor of shape (b, n, d)
            Fused tokens.
        """
        answers = [attend(main, *other) for attend, *other in zip(self.attend, others, others_present, strict=True)]
        if present is not None:
            main = main * present.unsqueeze(2)
        fused: Tensor = self.norm(main + self.dropout(self.project(torch.cat([main, *answers], dim=-1))))
        return fused


class EncoderLayer(nn.Module):
    """Pre-norm transformer encoder layer.

    The hidden layer of the feed-forward network is half as wide as the tokens, as in the authors' release (64 for a
    width of 128). Dropout acts on the outputs of the two branches only: random numbers for each attention weight would
    take a considerable part of a training step.

    Parameters
    ----------
    width : int
        Token width d.
    heads : int
        Number of attention heads; divides d.
    dropout : float
        Share of each branch's output that is dropped in training.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.output = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, width))
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Return tokens (b, t, d) for tokens (b, t, d)."""
        query = self.attention_norm(tokens)
        tokens = tokens + self.dropout(self.output(self.attention(query, query, present)))
        encoded: Tensor = tokens + self.dropout(self.feed_forward(self.forward_norm(tokens)))
        return encoded


class LabelAttention(nn.Module):
    """Single-head attention of emotions to the fused tokens, in which correlated emotions share their logits.

    There is one head, as in the authors' release: the correlation relates whole emotions, not parts of embeddings.

    Parameters
    ----------
    width : int
        Token width d.
    correlated : bool
        Whether the logits of correlated emotions are added to those of each emotion.
    """

    def __init__(self, width: int, correlated: bool) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)  # A bias, equal for all tokens, would not change the softmax.
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.strength = nn.Parameter(torch.zeros(())) if correlated else None

    def forward(self, labels: Tensor, tokens: Tensor, correlation: Tensor, present: Tensor | None = None) -> Tensor:
        """Return the answers to the emotions.

        Parameters
        ----------
        labels : Tensor of shape (E, d)
            Label embeddings.
        tokens : Tensor of shape (b, t, d)
            Fused tokens.
        correlation : Tensor of shape (E, E)
            Label correlation R.
        present : Tensor of shape (b, t), bool, optional
            Tokens that are present. All by default.

        Returns
        -------
        Tensor of shape (b, E, d)
            Answers; 0 for a sample without any token.
        """
        query = self.query(labels) / labels.shape[-1] ** 0.5
        if self.strength is not None:
            off_diagonal = correlation - torch.diag(torch.diagonal(correlation))
            related = off_diagonal / off_diagonal.abs().sum(dim=-1, keepdim=True).clamp_min(1.0)
            # S + γ R S = (q + γ R q) kᵀ: mixing the E queries once is cheaper than mixing the logits of each window.
            query = query + self.strength * (related @ query)
        # q (F Wᵀ)ᵀ = (q W) Fᵀ and A (F Vᵀ) = (A F) Vᵀ: projecting E queries and answers is cheaper than all tokens.
        scores = (query @ self.key.weight) @ tokens.transpose(1, 2)
        if present is None:
            answers: Tensor = self.output(self.value(scores.softmax(dim=-1) @ tokens))
            return answers
        has_tokens = present.any(dim=1)[:, None, None]
        scores = scores.masked_fill(~(present.unsqueeze(1) | ~has_tokens), -torch.inf)
        answers = self.output(self.value(scores.softmax(dim=-1) @ tokens))
        return answers * has_tokens


class Classifier(nn.Module):
    """Linear classifier with weights of its own for each emotion.

    The weights start at 0, so the first logits are the prior.

    Parameters
    ----------
    prior : Tensor of shape (E,)
        First values of the biases.
    width : int
        Token width d.
    dropout : float
        Share of the input elements that are dropped in training.
    """

    def __init__(self, prior: Tensor, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)
        self.weight = nn.Parameter(torch.zeros(len(prior), width))
        self.prior = nn.Parameter(prior)

    def forward(self, answers: Tensor) -> Tensor:
        """Return the logits (b, E) of answers (b, E, d), or of one answer (b, 1, d) for all emotions."""
        logits: Tensor = (self.dropout(self.norm(answers)) * self.weight).sum(dim=-1) + self.prior
        return logits


def mean_token(tokens: Tensor, present: Tensor | None = None) -> Tensor:
    """Return the mean of the present tokens.

    Parameters
    ----------
    tokens : Tensor of shape (b, t, d)
        Tokens.
    present : Tensor of shape (b, t), bool, optional
        Tokens that are present. All by default.

    Returns
    -------
    Tensor of shape (b, d)
        Mean tokens; 0 for a sample without any token.
    """
    if present is None:
        return tokens.mean(dim=1)
    weight = present.to(tokens.dtype)
    return (weight.unsqueeze(1) @ tokens).squeeze(1) / weight.sum(dim=1, keepdim=True).clamp_min(1)
