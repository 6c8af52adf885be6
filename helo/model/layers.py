"""Layers of HeLo for M members, which are models of one shape with weights of their own.

All layers take a batch of token sets (M, b, t, d): b samples of t tokens for each member. Every parameter has the
member as its first dimension, so one call trains or evaluates all members, and no member depends on another.

The argument `present` (M, b, t) bool says which tokens are present; None means all. Absent tokens are masked out of
attention. If all tokens of a sample are absent, attention returns zeros, not NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from helo.data.schema import Modality
from helo.model.basics import Dropout, LayerNorm, Linear
from helo.names import FeatureEncoding

KNOTS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
"""Knots of the piecewise-linear encoding of a scaled feature, in standard deviations from its mean."""


class PiecewiseEncoding(nn.Module):
    """Piecewise-linear encoding of scaled features.

    Between two knots a and b the feature x has the component min(max((x − a) / (b − a), 0), 1) − 1/2. The first
    component has no lower bound, and the last one no upper bound. A linear map of the components is a continuous
    function of x that is linear between knots. Source: Gorishniy et al., "On Embeddings for Numerical Features in
    Tabular Deep Learning", NeurIPS 2022, with the same knots for all features, because features are z-scores.
    """

    def __init__(self) -> None:
        super().__init__()
        knots = torch.tensor(KNOTS)
        start, length = knots[:-1], knots.diff()
        lowest, highest = torch.zeros_like(length), torch.ones_like(length)
        lowest[0], highest[-1] = -torch.inf, torch.inf
        # Constants: they are not saved with the weights.
        for name, values in (("start", start), ("length", length), ("lowest", lowest), ("highest", highest)):
            self.register_buffer(name, values, persistent=False)

    start: Tensor
    length: Tensor
    lowest: Tensor
    highest: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """Encode features (…, f) as components (…, f · c), where c is the number of intervals between knots."""
        position = (features.unsqueeze(-1) - self.start) / self.length
        return position.clamp(self.lowest, self.highest).sub(0.5).flatten(-2)


class TokenEncoder(nn.Module):
    """Encoder of one modality: a map per token, layer normalisation and dropout.

    The map is affine in the features of the token or in their `PiecewiseEncoding`.

    Parameters
    ----------
    members : int
        Number of members M.
    modality : Modality
        Modality of t tokens with f features each.
    width : int
        Token width d.
    dropout : Dropout
        Dropout of the tokens.
    encoding : str
        A `helo.names.FeatureEncoding`.
    """

    def __init__(
        self, members: int, modality: Modality, width: int, dropout: Dropout, encoding: str = FeatureEncoding.LINEAR
    ) -> None:
        super().__init__()
        self.tokens, self.features = modality.tokens, modality.token_features
        self.encoding = PiecewiseEncoding() if encoding == FeatureEncoding.PIECEWISE else None
        inputs = self.features * (1 if self.encoding is None else len(KNOTS) - 1)
        self.weight = nn.Parameter(torch.empty(members, self.tokens, inputs, width))
        self.bias = nn.Parameter(torch.empty(members, self.tokens, width))
        nn.init.normal_(self.weight, std=self.features**-0.5)
        nn.init.normal_(self.bias, std=0.5)  # Distinguishes tokens whose features are near 0.
        self.norm = LayerNorm(members, width)
        self.dropout = dropout

    def forward(self, features: Tensor) -> Tensor:
        """Encode features (M, b, t·f) as tokens (M, b, t, d)."""
        split = features.view(*features.shape[:2], self.tokens, self.features)
        if self.encoding is not None:
            split = self.encoding(split)
        tokens: Tensor = self.dropout(self.norm(self._affine(split)))
        return tokens

    def _affine(self, split: Tensor) -> Tensor:
        bias = self.bias.unsqueeze(1)
        if split.shape[-1] == 1:  # The product below would be a batch of outer products: equal, but slower.
            return torch.addcmul(bias, split, self.weight.squeeze(2).unsqueeze(1))
        # One product (b, f) @ (f, d) per member and token.
        return (split.transpose(1, 2) @ self.weight).transpose(1, 2) + bias


class Attention(nn.Module):
    """Multi-head attention of query tokens to context tokens, without the output projection.

    Parameters
    ----------
    members : int
        Number of members M.
    width : int
        Token width d.
    heads : int
        Number of heads; divides d.
    """

    def __init__(self, members: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(members, width, width)
        self.key_value = Linear(members, width, 2 * width)

    def forward(self, query: Tensor, context: Tensor, present: Tensor | None = None) -> Tensor:
        """Return the concatenated answers of the heads.

        Parameters
        ----------
        query : Tensor of shape (M, b, n, d)
            Query tokens.
        context : Tensor of shape (M, b, m, d)
            Context tokens; the query itself for self-attention.
        present : Tensor of shape (M, b, m), bool, optional
            Context tokens that are present. All by default.

        Returns
        -------
        Tensor of shape (M, b, n, d)
            Answers; 0 for a sample without any context token.
        """
        projected = (self.query(query), *self.key_value(context).chunk(2, dim=-1))
        q, k, v = (tokens.flatten(0, 1).unflatten(-1, (self.heads, -1)).transpose(1, 2) for tokens in projected)
        if present is None:
            return scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(query.shape)
        has_context = present.any(dim=2, keepdim=True)
        mask = (present | ~has_context).flatten(0, 1)[:, None, None]  # The softmax of a fully masked row would be NaN.
        answers = scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).reshape(query.shape)
        return answers * has_context.unsqueeze(3)


class PhysiologicalFusion(nn.Module):
    """Fusion of the main modality with the other physiological modalities.

    The main tokens query every other modality by cross-attention. The answers and the main tokens are concatenated and
    projected. An absent main token still queries the other modalities, as if its features were at their means, but adds
    nothing itself.

    Parameters
    ----------
    members : int
        Number of members M.
    others : int
        Number of other modalities.
    width : int
        Token width d.
    heads : int
        Number of attention heads; divides d.
    dropout : Dropout
        Dropout of the projection.
    """

    def __init__(self, members: int, others: int, width: int, heads: int, dropout: Dropout) -> None:
        super().__init__()
        self.attend = nn.ModuleList(Attention(members, width, heads) for _ in range(others))
        self.project = Linear(members, (1 + others) * width, width)
        self.dropout = dropout
        self.norm = LayerNorm(members, width)

    def forward(
        self, main: Tensor, others: list[Tensor], present: Tensor | None, others_present: list[Tensor | None]
    ) -> Tensor:
        """Return the fused tokens.

        Parameters
        ----------
        main : Tensor of shape (M, b, n, d)
            Tokens of the main modality.
        others : list of Tensor of shape (M, b, m, d)
            Tokens of each other modality; m may differ.
        present : Tensor of shape (M, b, n), bool, optional
            Main tokens that are present; None if all are.
        others_present : list of Tensor of shape (M, b, m), bool, or None
            Present tokens of each other modality.

        Returns
        -------
        Tensor of shape (M, b, n, d)
            Fused tokens.
        """
        answers = [attend(main, *other) for attend, *other in zip(self.attend, others, others_present, strict=True)]
        if present is not None:
            main = main * present.unsqueeze(3)
        fused: Tensor = self.norm(main + self.dropout(self.project(torch.cat([main, *answers], dim=-1))))
        return fused


class EncoderLayer(nn.Module):
    """Pre-norm transformer encoder layer.

    The hidden layer of the feed-forward network is half as wide as the tokens, as in the authors' release (64 for a
    width of 128). Dropout acts on the outputs of the two branches only: random numbers for each attention weight would
    take a considerable part of a training step.

    Parameters
    ----------
    members : int
        Number of members M.
    width : int
        Token width d.
    heads : int
        Number of attention heads; divides d.
    dropout : Dropout
        Dropout of the output of each branch.
    """

    def __init__(self, members: int, width: int, heads: int, dropout: Dropout) -> None:
        super().__init__()
        self.attention_norm, self.forward_norm = LayerNorm(members, width), LayerNorm(members, width)
        self.attention = Attention(members, width, heads)
        self.output = Linear(members, width, width)
        self.feed_forward = nn.Sequential(
            Linear(members, width, width // 2), nn.GELU(), Linear(members, width // 2, width)
        )
        self.dropout = dropout

    def forward(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Return tokens (M, b, t, d) for tokens (M, b, t, d)."""
        query = self.attention_norm(tokens)
        tokens = tokens + self.dropout(self.output(self.attention(query, query, present)))
        encoded: Tensor = tokens + self.dropout(self.feed_forward(self.forward_norm(tokens)))
        return encoded


class LabelAttention(nn.Module):
    """Single-head attention of emotions to the fused tokens, in which correlated emotions share their logits.

    There is one head, as in the authors' release: the correlation relates whole emotions, not parts of embeddings.

    Parameters
    ----------
    members : int
        Number of members M.
    width : int
        Token width d.
    correlated : bool
        Whether the logits of correlated emotions are added to those of each emotion.
    """

    def __init__(self, members: int, width: int, correlated: bool) -> None:
        super().__init__()
        self.query = Linear(members, width, width)
        # A bias of the keys, equal for all tokens, would not change the softmax.
        self.key = Linear(members, width, width, bias=False)
        self.value = Linear(members, width, width)
        self.output = Linear(members, width, width)
        self.strength = nn.Parameter(torch.zeros(members)) if correlated else None

    def forward(self, labels: Tensor, tokens: Tensor, correlation: Tensor, present: Tensor | None = None) -> Tensor:
        """Return the answers to the emotions.

        Parameters
        ----------
        labels : Tensor of shape (M, E, d)
            Label embeddings.
        tokens : Tensor of shape (M, b, t, d)
            Fused tokens.
        correlation : Tensor of shape (M, E, E)
            Label correlation R.
        present : Tensor of shape (M, b, t), bool, optional
            Tokens that are present. All by default.

        Returns
        -------
        Tensor of shape (M, b, E, d)
            Answers; 0 for a sample without any token.
        """
        query = self.query(labels) / labels.shape[-1] ** 0.5
        if self.strength is not None:
            off_diagonal = correlation - torch.diag_embed(torch.diagonal(correlation, dim1=1, dim2=2))
            related = off_diagonal / off_diagonal.abs().sum(dim=-1, keepdim=True).clamp_min(1.0)
            # S + γ R S = (q + γ R q) kᵀ: mixing the E queries once is cheaper than mixing the logits of each window.
            query = query + self.strength[:, None, None] * (related @ query)
        # q (F Wᵀ)ᵀ = (q W) Fᵀ and A (F Vᵀ) = (A F) Vᵀ: projecting E queries and answers is cheaper than all tokens.
        samples = tokens.shape[1]
        logits = tokens.flatten(1, 2) @ (query @ self.key.weight).mT
        scores = logits.view(*tokens.shape[:3], -1).flatten(0, 1).mT
        has_tokens = None
        if present is not None:
            has_tokens = present.any(dim=2)[:, :, None, None]
            mask = (present.unsqueeze(2) | ~has_tokens).flatten(0, 1)
            scores = scores.masked_fill(~mask, -torch.inf)
        mean_tokens = (scores.softmax(dim=-1) @ tokens.flatten(0, 1)).unflatten(0, (-1, samples))
        answers: Tensor = self.output(self.value(mean_tokens))
        return answers if has_tokens is None else answers * has_tokens


class Classifier(nn.Module):
    """Linear classifier with weights of its own for each emotion.

    The weights start at 0, so the first logits are the prior.

    Parameters
    ----------
    prior : Tensor of shape (M, E)
        First values of the biases.
    width : int
        Token width d.
    dropout : Dropout
        Dropout of the input.
    """

    def __init__(self, prior: Tensor, width: int, dropout: Dropout) -> None:
        super().__init__()
        self.norm = LayerNorm(len(prior), width)
        self.dropout = dropout
        self.weight = nn.Parameter(torch.zeros(*prior.shape, width))
        self.prior = nn.Parameter(prior)

    def forward(self, answers: Tensor) -> Tensor:
        """Return the logits (M, b, E) of answers (M, b, E, d), or of one answer (M, b, 1, d) for all emotions."""
        inputs: Tensor = self.dropout(self.norm(answers))
        return (inputs * self.weight.unsqueeze(1)).sum(dim=-1) + self.prior.unsqueeze(1)


class LinearModel(nn.Module):
    """Linear models from features to logits. Their weights are set, not trained.

    Parameters
    ----------
    members, features, emotions : int
        Numbers M, F and E.
    """

    def __init__(self, members: int, features: int, emotions: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(members, features, emotions), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(members, emotions), requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits (M, b, E) of features (M, b, F) without NaN."""
        logits: Tensor = features @ self.weight + self.bias.unsqueeze(1)
        return logits


def mean_token(tokens: Tensor, present: Tensor | None = None) -> Tensor:
    """Return the mean of the present tokens.

    Parameters
    ----------
    tokens : Tensor of shape (M, b, t, d)
        Tokens.
    present : Tensor of shape (M, b, t), bool, optional
        Tokens that are present. All by default.

    Returns
    -------
    Tensor of shape (M, b, d)
        Mean tokens; 0 for a sample without any token.
    """
    if present is None:
        return tokens.mean(dim=2)
    weight = present.to(tokens.dtype)
    return (weight.unsqueeze(2) @ tokens).squeeze(2) / weight.sum(dim=2, keepdim=True).clamp_min(1)
