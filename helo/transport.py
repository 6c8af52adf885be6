r"""Entropic optimal transport between two sets of tokens.

For tokens :math:`P \in R^{n \times d}` and :math:`B \in R^{m \times d}` of one sample,

.. math::
    T = \arg\min_{T \ge 0} \langle T, C \rangle + ε \sum_{ij} T_{ij} (\log T_{ij} - 1)
    \quad\text{s.t.}\quad T 1 = 1/n, \; T^\top 1 = 1/m

with the cosine cost :math:`C_{ij} = (1 - \cos(P_i, B_j)) / 2 \in [0, 1]`. The cost is bounded whatever
the tokens, so ε means the same for every sample, layer and data set: small ε gives a sparse matching of
tokens, large ε the product of the marginals. Nothing of the problem is taken from
the batch; only the number of iterations is, so a sample's plan is its own up to the solver's tolerance.

Source: M. Cuturi, "Sinkhorn distances", NeurIPS 2013; solved by POT's batched log-domain Sinkhorn
(`ot.batch.solve_batch`). It stops at its cap without a word; the marginal error is therefore computed here,
and plans over `TOLERANCE` are counted, not hidden.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import ot.batch
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn.functional import normalize

MAX_ITERATIONS = 100
"""Sinkhorn iterations at most. More sharpen plans at ε < 0.01 only, and cost every step of training."""

TOLERANCE = 1e-2
"""A plan whose marginals are off by more than this share of the mass (L1) is unconverged."""

STOP = 1e-4
"""POT stops when the L2 error of the worst sample's row marginals is below this."""


class Transport(NamedTuple):
    """A batch of plans: `plan` (B, n, m), rows sum to 1/n and columns to 1/m; `error` (B,) in L1."""

    plan: Tensor
    error: Tensor

    @property
    def unconverged(self) -> Tensor:
        """Which plans missed their marginals, (B,) bool."""
        return ~(self.error <= TOLERANCE)  # a NaN is unconverged, too


def cosine_cost(source: Tensor, target: Tensor) -> Tensor:
    """Half the cosine distance between tokens: (B, n, d), (B, m, d) → (B, n, m) in [0, 1]."""
    cosine = normalize(source, dim=-1) @ normalize(target, dim=-1).transpose(1, 2)
    return ((1 - cosine) / 2).clamp(0, 1)


def entropic_plan(cost: Tensor, epsilon: float) -> Transport:
    """Solve the problem above for a batch of costs (B, n, m) with uniform marginals.

    `epsilon` is the entropic weight, > 0; `ValueError` otherwise. The plan is differentiable in the cost.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon > 0 must hold, got {epsilon}")
    plan: Tensor = _EntropicPlan.apply(cost, epsilon)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        rows = (plan.sum(dim=2) - 1 / plan.shape[1]).abs().sum(dim=1)
        columns = (plan.sum(dim=1) - 1 / plan.shape[2]).abs().sum(dim=1)
    return Transport(plan, rows + columns)


class _EntropicPlan(torch.autograd.Function):
    r"""POT's plan, with the gradient of the solution rather than of the iterations.

    Of POT's own gradients, unrolling costs as much again as the solution at each step of training,
    ``last_step`` is off by 20 % at ε = 0.1, and ``envelope`` has none for the plan. At the solution
    :math:`T = \exp((f_i + g_j - C_{ij}) / ε)` with both marginals fixed, so for an upstream gradient G,

    .. math::
        \partial L / \partial C = -(T \odot (G - α 1^\top - 1 β^\top)) / ε

    where α, β make rows and columns of the bracket sum to 0: a linear system of n + m unknowns per sample,
    of which the n are eliminated by hand (Luise et al., "Differential properties of Sinkhorn
    approximation", NeurIPS 2018).
    """

    @staticmethod
    def forward(context: FunctionCtx, cost: Tensor, epsilon: float) -> Tensor:
        plan: Tensor = ot.batch.solve_batch(
            cost, reg=epsilon, max_iter=MAX_ITERATIONS, tol=STOP, method="log_sinkhorn", grad="detach"
        ).plan
        context.save_for_backward(plan)
        context.epsilon = epsilon  # type: ignore[attr-defined]
        return plan

    @staticmethod
    def backward(context: Any, upstream: Tensor) -> tuple[Tensor, None]:
        (plan,) = context.saved_tensors
        weighted = plan * upstream
        tiny = torch.finfo(plan.dtype).tiny
        rows, columns = plan.sum(dim=2).clamp_min(tiny), plan.sum(dim=1)
        share = plan / rows.unsqueeze(-1)
        # α and β are known up to a constant that cancels in α + β; the small ridge fixes it, and keeps the
        # system regular when a sparse plan falls into blocks that have nothing to do with each other.
        ridge = 1e-6 * torch.eye(plan.shape[2], dtype=plan.dtype, device=plan.device)
        system = torch.diag_embed(columns) - plan.transpose(1, 2) @ share + ridge
        right = weighted.sum(dim=1) - (share * weighted.sum(dim=2, keepdim=True)).sum(dim=1)
        beta = torch.linalg.solve(system, right)
        alpha = (weighted.sum(dim=2) - (plan * beta.unsqueeze(1)).sum(dim=2)) / rows
        gradient = weighted - plan * (alpha.unsqueeze(-1) + beta.unsqueeze(1))
        return -gradient / context.epsilon, None


def transported(plan: Tensor, source: Tensor) -> Tensor:
    """Source tokens carried to the targets: each target's mean of the source under the plan.

    (B, n, m), (B, n, d) → (B, m, d). The plan is [source × target], so it is transposed; each column is
    divided by its mass, so the result stays in the range of the source.
    """
    mass = plan.sum(dim=1).clamp_min(torch.finfo(plan.dtype).tiny)
    return (plan.transpose(1, 2) @ source) / mass.unsqueeze(-1)
