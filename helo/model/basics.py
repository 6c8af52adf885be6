"""Basic layers for M members: affine map, layer normalisation and dropout.

The first dimension of every parameter and of every input is the member. The members have separate weights and random
numbers, so no member depends on another.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import dropout, layer_norm


class Streams:
    """Random numbers of dropout: one generator per member, or the global generator of torch for all.

    With generators, a member draws the same numbers whether it is trained alone or beside others.

    Attributes
    ----------
    generators : sequence of Generator, optional
        One generator per member. None uses torch's own.
    """

    def __init__(self) -> None:
        self.generators: Sequence[Generator] | None = None


class Linear(nn.Module):
    """Affine map of the last dimension, with weights per member, initialised like `torch.nn.Linear`.

    Parameters
    ----------
    members : int
        Number of members M.
    inputs, outputs : int
        Sizes of the last dimension.
    bias : bool
        Whether a bias is added.
    """

    def __init__(self, members: int, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, outputs).uniform_(-bound, bound)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Return (M, …, outputs) for (M, …, inputs)."""
        rows = x.flatten(1, -2)
        if self.bias is None:
            mapped = rows @ self.weight.mT
        else:
            mapped = torch.baddbmm(self.bias.unsqueeze(1), rows, self.weight.mT)
        return mapped.view(*x.shape[:-1], -1)


class LayerNorm(nn.Module):
    """Layer normalisation of the last dimension, with scale and shift per member.

    Parameters
    ----------
    members : int
        Number of members M.
    width : int
        Size of the last dimension.
    """

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, width))
        self.bias = nn.Parameter(torch.zeros(members, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return (M, b, t, d) for (M, b, t, d)."""
        scale, shift = self.weight[:, None, None], self.bias[:, None, None]
        return torch.addcmul(shift, layer_norm(x, x.shape[-1:]), scale)


class Dropout(nn.Module):
    """Dropout that takes a fifth of the time of `torch.nn.Dropout` on a CPU.

    Sixteen random bits decide whether an element is kept. The share is rounded to a multiple of 1/65536, and the
    factor that keeps the expectation belongs to the rounded share. Compiled code uses torch's own dropout.

    Parameters
    ----------
    share : float
        Share of the elements that are dropped in training.
    streams : Streams
        Random numbers of the members.
    """

    def __init__(self, share: float, streams: Streams) -> None:
        super().__init__()
        self.share, self.streams = share, streams
        self.dropped = round(share * 65536)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input with some elements dropped, in training, and unchanged otherwise."""
        if not self.training or not self.dropped:
            return x
        if torch.compiler.is_compiling():
            return dropout(x, self.share)
        elements = x[0].numel()
        words = torch.empty(len(x), -(-elements // 4), dtype=torch.int64, device=x.device)  # Four draws per word.
        if self.streams.generators is None:
            words.random_(-(2**63), None)
        else:
            for row, generator in zip(words, self.streams.generators, strict=True):
                row.random_(-(2**63), None, generator=generator)
        kept = words.view(torch.int16)[:, :elements].view(x.shape) >= self.dropped - 32768
        return x * (kept * (65536 / (65536 - self.dropped))).to(x.dtype)
