r"""Entropic optimal transport between two sets of tokens.

For tokens :math:`P \in R^{n \times d}` and :math:`B \in R^{m \times d}` of one sample, with marginals a and b
uniform over the tokens that are present, the plan is

.. math::
    T = \arg\min_{T \ge 0} \frac{1}{1+α} \Big[ (1-α) \sum_{ij} C_{ij} T_{ij}
        + α \sum_{ijkl} (D^P_{ik} - D^B_{jl})^2 T_{ij} T_{kl} \Big] + ε \sum_{ij} T_{ij} (\log T_{ij} - 1)
    \quad\text{s.t.}\quad T 1 = a, \; T^\top 1 = b

with the cosine cost :math:`C_{ij} = (1 - \cos(P_i, B_j)) / 2` between the sets and the same distance
:math:`D^P, D^B` within each:

- ``linear``, α = 0: tokens go where tokens are alike
- ``gromov``, α = 1: where their relations to the other tokens are alike (Gromov–Wasserstein)
- ``fused``, 0 < α < 1: both

All distances lie in [0, 1], and divided by 1 + α so does the cost that a plan is made from, the slope of the bracket:
ε means the same for every kind, sample, layer and data set. Small ε gives a sparse matching, large ε the product of
the marginals. α is that of Vayer et al. and POT, whose ε is without the division: (1 + α) times ours, so twice
for ``gromov``.

**Solver.** POT's batched Sinkhorn and Newton steps, see `helo.model.sinkhorn`. A plan does not depend on the rest of
the batch. Plans that miss `TOLERANCE` are counted as unconverged.

**Gromov–Wasserstein** is mirror descent: the quadratic term is replaced by its slope at the last plan, and
the linear problem solved with the true ε. (POT's `solve_gromov_batch` has a proximal step for its ``reg``,
which does not act on the solution; its `entropic_gromov_wasserstein` is neither batched nor in the log domain.)
The steps are extrapolated where they are slow, see `_fixed_point`. The quadratic term is not convex: the plan is the
stationary point that the product of the marginals leads to. Where that is one itself, as for tokens all equally
far from each other, it stays.

**Gradient.** That of the solution, see `_EntropicPlan` and `_GromovPlan`, not of the iterations.

Sources: M. Cuturi, "Sinkhorn distances", NeurIPS 2013; G. Peyré, M. Cuturi, J. Solomon,
"Gromov-Wasserstein averaging of kernel and distance matrices", ICML 2016; T. Vayer et al., "Fused
Gromov-Wasserstein distance for structured objects", Algorithms 2020; C. Brauer et al., "A Sinkhorn-Newton
method for entropic optimal transport", 2017; R. Flamary et al., "POT", JMLR 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn.functional import normalize

from helo.model.sinkhorn import Sensitivity, solve
from helo.names import TransportKind

TOLERANCE = 1e-3
"""A plan whose marginals are off by more than this share of the mass (L1) is unconverged."""

MIRROR_STEPS = 90
"""Steps of mirror descent at most."""

SETTLED = 5e-4
"""A sample whose plan is nearer than this share of the mass (L1) to where mirror descent leads is done before."""

NOISE = 1e-6
"""Steps of mirror descent below this say nothing of a direction."""

UNSTABLE = 0.1
"""A gradient that is further than this from its limit, as a share of itself, is not used."""

LEAP = 20.0
"""How many steps are taken at once where each is longer than the one before."""


class Transport(NamedTuple):
    """A batch of plans: `plan` (B, n, m), rows sum to a and columns to b; `error` (B,) in L1.

    `error` is the larger of the marginal error and, for ``gromov`` and ``fused``, of the distance to where mirror
    descent leads, as its last steps let expect it.
    """

    plan: Tensor
    error: Tensor

    @property
    def unconverged(self) -> Tensor:
        """Which plans are not solutions, (B,) bool."""
        return ~(self.error <= TOLERANCE)  # a NaN is unconverged, too


def cosine_cost(source: Tensor, target: Tensor) -> Tensor:
    """Half the cosine distance between tokens: (B, n, d), (B, m, d) → (B, n, m) in [0, 1]."""
    cosine = normalize(source, dim=-1) @ normalize(target, dim=-1).transpose(1, 2)
    return ((1 - cosine) / 2).clamp(0, 1)


def transport(
    source: Tensor,
    target: Tensor,
    epsilon: float,
    kind: str = TransportKind.LINEAR,
    alpha: float = 0.5,
    source_present: Tensor | None = None,
    target_present: Tensor | None = None,
) -> Transport:
    """The plan of this module's docstring between tokens (B, n, d) and (B, m, d).

    `alpha` is used by ``fused`` only. `source_present` (B, n) and `target_present` (B, m) bool: a token that is
    absent has no mass; a sample without a token on either side has a plan of zeros. `ValueError` for another
    `kind`, and unless `epsilon` > 0 and 0 <= `alpha` <= 1 hold.
    """
    if kind not in (TransportKind.LINEAR, TransportKind.GROMOV, TransportKind.FUSED):
        raise ValueError(
            f"kind must be {TransportKind.LINEAR}, {TransportKind.GROMOV} or {TransportKind.FUSED}, got {kind!r}"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"0 <= alpha <= 1 must hold, got {alpha}")
    marginals = (
        _marginal(source[..., 0], source_present),
        _marginal(target[..., 0], target_present),
    )
    if kind == TransportKind.LINEAR:
        return entropic_plan(cosine_cost(source, target), epsilon, *marginals)
    cost = cosine_cost(source, target) if kind == TransportKind.FUSED else None
    geometries = cosine_cost(source, source), cosine_cost(target, target)
    return gromov_plan(*geometries, epsilon, *marginals, cost, alpha)


def _marginal(like: Tensor, present: Tensor | None) -> Tensor:
    """Uniform over the tokens that are present, 0 elsewhere; all 0 where none is."""
    weight = torch.ones_like(like) if present is None else present.to(like.dtype)
    return weight / weight.sum(dim=1, keepdim=True).clamp_min(1)


def entropic_plan(cost: Tensor, epsilon: float, a: Tensor | None = None, b: Tensor | None = None) -> Transport:
    """Solve the linear problem for a batch of costs (B, n, m) in [0, 1].

    `a` (B, n) and `b` (B, m) are the marginals, uniform by default; where either sums to 0 the plan is 0.
    `epsilon` is the entropic weight, > 0; `ValueError` otherwise. The plan is differentiable in the cost.
    """
    a = _marginal(cost[:, :, 0], None) if a is None else a
    b = _marginal(cost[:, 0, :], None) if b is None else b
    plan: Tensor = _EntropicPlan.apply(cost, epsilon, a, b)  # type: ignore[no-untyped-call]
    return Transport(plan, _marginal_error(plan.detach(), a, b))


def gromov_plan(
    source: Tensor,
    target: Tensor,
    epsilon: float,
    a: Tensor,
    b: Tensor,
    cost: Tensor | None = None,
    alpha: float = 1.0,
) -> Transport:
    """Solve the problem with its quadratic term, from distances within each set (B, n, n) and (B, m, m).

    `cost` (B, n, m) are the distances between them; without it α is 1. The plan is differentiable in all three.
    """
    if cost is None:
        cost, alpha = torch.zeros_like(a.unsqueeze(2) * b.unsqueeze(1)), 1.0
    weight = 2 * alpha / (1 + alpha)
    plan, error = _GromovPlan.apply(source, target, cost, epsilon, weight, a, b)  # type: ignore[no-untyped-call]
    return Transport(plan, error)


class _GromovPlan(torch.autograd.Function):
    r"""A fixed point of :math:`T \mapsto` the plan of the linear problem with the cost

    .. math::
        (1-w) C + w L(T), \quad L(T) = D^{P2} a 1^\top + 1 (D^{B2} b)^\top - 2 D^P T D^B

    that is, of the slope of the objective without its entropy, with w = 2α / (1+α). The gradient is that of the fixed
    point: for an upstream gradient G, λ = G + Jᵀ λ with J the derivative of the map, found by the same iteration.
    """

    @staticmethod
    def forward(
        context: Any, source: Tensor, target: Tensor, cost: Tensor, epsilon: float, weight: float, a: Tensor, b: Tensor
    ) -> tuple[Tensor, Tensor]:
        fixed = (1 - weight) * cost + weight * (
            source.square() @ a.unsqueeze(2) + (target.square() @ b.unsqueeze(2)).transpose(1, 2)
        )
        known: Tensor | None = None  # the duals of the step before, from which the next ones are near

        def step(plan: Tensor, left: Tensor) -> Tensor:
            nonlocal known
            linear = fixed[left] - 2 * weight * source[left] @ plan @ target[left]
            answer, dual = solve(linear, epsilon, a[left], b[left], None if known is None else known[left])
            if known is None:
                known = dual
            else:
                known[left] = dual
            return answer

        # Without the linear term nothing tells tokens apart at the product of the marginals.
        plan, moved = _fixed_point(step, a.unsqueeze(2) * b.unsqueeze(1), near_saddle=weight == 1)
        error = torch.maximum(moved, _marginal_error(plan, a, b))
        context.save_for_backward(source, target, plan, a, b)
        context.settings = epsilon, weight
        context.mark_non_differentiable(error)
        return plan, error

    @staticmethod
    def backward(context: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        source, target, plan, a, b = context.saved_tensors
        epsilon, weight = context.settings
        sensitivity = Sensitivity(plan)

        def step(adjoint: Tensor, left: Tensor) -> Tensor:
            slope = sensitivity.slope(adjoint, left)
            again: Tensor = upstream[left] + source[left] @ (2 * weight / epsilon * slope) @ target[left]
            return again

        adjoint, away = _fixed_point(step, upstream)
        # At a plan that is no solution the sum has no limit; the slope of the last step is what is left.
        adjoint = torch.where((away <= UNSTABLE)[:, None, None], adjoint, upstream)
        slope = -sensitivity.slope(adjoint) / epsilon  # of the loss in the linear cost
        of_source = 2 * weight * (source * slope.sum(dim=2, keepdim=True) * a.unsqueeze(1) - slope @ target @ plan.mT)
        of_target = 2 * weight * (target * slope.sum(dim=1).unsqueeze(2) * b.unsqueeze(1) - (source @ plan).mT @ slope)
        return of_source, of_target, (1 - weight) * slope, None, None, None, None


def _fixed_point(
    step: Callable[[Tensor, Tensor], Tensor], start: Tensor, near_saddle: bool = False
) -> tuple[Tensor, Tensor]:
    """x = step(x) for each sample by itself, and how far off it is at most: (B, n, m), (B,) in L1.

    `step` takes the samples that are left, and their numbers. What is left of an error shrinks by about the same
    ratio ρ in each step, so after every two steps the rest of the way, ρ / (1 - ρ) of the last step, is taken at once
    (Aitken's extrapolation), and a step of length r says that the solution is r / (1 - ρ) away. With ρ >= 1 the
    iteration leaves a saddle: it has not settled, however small its steps are. Where the start may be near one,
    the first step is exaggerated: what is stable comes back.
    """
    found, error = start.clone(), torch.full_like(start[:, 0, 0], torch.inf)
    left = torch.arange(len(start), device=start.device)
    at, before = start, None
    scale = start.abs().sum(dim=(1, 2)).clamp_min(torch.finfo(start.dtype).tiny)
    for number in range(MIRROR_STEPS):
        answer = step(at, left)
        moved = answer - at
        length = moved.abs().sum(dim=(1, 2)) / scale[left]
        found[left] = answer
        if before is None:
            error[left] = torch.where(length <= NOISE, length, torch.inf)
            ratio = torch.zeros_like(length)
        else:
            ratio = (moved * before).sum(dim=(1, 2)) / before.square().sum(dim=(1, 2)).clamp_min(
                torch.finfo(start.dtype).tiny
            )
            away = length / (1 - ratio).clamp_min(torch.finfo(start.dtype).eps)
            error[left] = torch.where((ratio < 1) | (length <= NOISE), away.where(length > NOISE, length), torch.inf)
        going = ~(error[left] <= SETTLED)
        if number and number % 3 == 0:  # after two plain steps
            leap = torch.where(ratio < 1, ratio.clamp(0, 0.98) / (1 - ratio.clamp(0, 0.98)), LEAP)
            at, before = answer + leap[:, None, None] * moved, None
        elif number == 0 and near_saddle:
            at, before = answer + LEAP * moved, None
        else:
            at, before = answer, moved
        if not going.any():
            break
        if not going.all():
            left, at = left[going], at[going]
            before = None if before is None else before[going]
    return found, error


def _marginal_error(plan: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """In L1 over rows and columns; 0 where a marginal is empty: (B,)."""
    filled = ((a.sum(dim=1) > 0) & (b.sum(dim=1) > 0)).to(plan.dtype)
    rows = (plan.sum(dim=2) - a).abs().sum(dim=1)
    columns = (plan.sum(dim=1) - b).abs().sum(dim=1)
    return (rows + columns) * filled


class _EntropicPlan(torch.autograd.Function):
    r"""The plan of the linear problem, with the gradient of the solution rather than of the iterations.

    At the solution :math:`T = \exp((f_i + g_j - C_{ij}) / ε)` with both marginals fixed, so for an upstream
    gradient G,

    .. math::
        \partial L / \partial C = -(T \odot (G - α 1^\top - 1 β^\top)) / ε

    where α, β make rows and columns of the bracket sum to 0: see `helo.model.sinkhorn.Sensitivity`. Unrolling
    would cost as much again as the solution, in memory, too.
    """

    @staticmethod
    def forward(context: FunctionCtx, cost: Tensor, epsilon: float, a: Tensor, b: Tensor) -> Tensor:
        plan, _ = solve(cost, epsilon, a, b)
        context.save_for_backward(plan)
        context.epsilon = epsilon  # type: ignore[attr-defined]
        return plan

    @staticmethod
    def backward(context: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (plan,) = context.saved_tensors
        return -Sensitivity(plan).slope(upstream) / context.epsilon, None, None, None


def transported(plan: Tensor, source: Tensor) -> Tensor:
    """Source tokens carried to the targets: each target's mean of the source under the plan.

    (B, n, m), (B, n, d) → (B, m, d). The plan is [source × target], so it is transposed; each column is
    divided by its mass, so the result stays in the range of the source; a target without mass gets 0.
    """
    mass = plan.sum(dim=1)
    return (plan.mT @ source) / torch.where(mass > 0, mass, 1).unsqueeze(-1)
