r"""Entropic optimal transport between two sets of tokens.

For the tokens :math:`P \in R^{n \times d}` and :math:`B \in R^{m \times d}` of one sample, and marginals a and b that
are uniform over the tokens present, the transport plan is

.. math::
    T = \arg\min_{T \ge 0} \frac{1}{1+α} \Big[ (1-α) \sum_{ij} C_{ij} T_{ij}
        + α \sum_{ijkl} (D^P_{ik} - D^B_{jl})^2 T_{ij} T_{kl} \Big] + ε \sum_{ij} T_{ij} (\log T_{ij} - 1)
    \quad\text{s.t.}\quad T 1 = a, \; T^\top 1 = b

with the cosine cost :math:`C_{ij} = (1 - \cos(P_i, B_j)) / 2` between the sets, and the same distance
:math:`D^P, D^B` within each set:

- ``linear``, α = 0: matches tokens that point in similar directions
- ``gromov``, α = 1: matches tokens with similar distances to the other tokens of their set (Gromov–Wasserstein)
- ``fused``, 0 < α < 1: combines both terms

All distances lie in [0, 1]. The division by 1 + α keeps the slope of the bracket in [0, 1] too, so ε has the same
meaning for every kind, sample, layer and data set. A small ε gives a sparse matching, a large ε the product of the
marginals. α is defined as by Vayer et al. and in POT. POT's ε does not include the division: it is (1 + α) times the
ε of this module, hence twice for ``gromov``.

**Solver.** POT's batched Sinkhorn iterations, then Newton steps; see `helo.model.sinkhorn`. A plan does not depend on
the other samples of its batch. A plan whose error exceeds `TOLERANCE` counts as unconverged.

**Gromov–Wasserstein** is solved by mirror descent: each step replaces the quadratic term by its slope at the last plan
and solves the linear problem with the true ε. (POT's `solve_gromov_batch` uses ``reg`` for a proximal step, which does
not regularise the solution; its `entropic_gromov_wasserstein` is neither batched nor in the log domain.) Slow
sequences of steps are extrapolated; see `_fixed_point`. The quadratic term is not convex: the result is the stationary
point reached from the product of the marginals. If that product is stationary itself, for example because all tokens
are equally far from each other, it is the result.

**Gradient.** That of the solution, not of the iterations; see `_EntropicPlan` and `_GromovPlan`.

Sources: M. Cuturi, "Sinkhorn distances", NeurIPS 2013; G. Peyré, M. Cuturi, J. Solomon,
"Gromov-Wasserstein averaging of kernel and distance matrices", ICML 2016; T. Vayer et al., "Fused
Gromov-Wasserstein distance for structured objects", Algorithms 2020; C. Brauer et al., "A Sinkhorn-Newton
method for entropic optimal transport", 2017; R. Flamary et al., "POT", JMLR 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn.functional import normalize

from helo.model.sinkhorn import Sensitivity, solve
from helo.names import TransportKind

TOLERANCE = 1e-3
"""Largest error of a converged plan, in L1, as a share of the mass."""

MIRROR_STEPS = 90
"""Maximum number of mirror-descent steps."""

MIRROR_TOLERANCE = 5e-4
"""Estimated L1 distance to the fixed point, as a share of the mass, at which mirror descent stops for a sample."""

SMALLEST_STEP = 1e-6
"""Length of a mirror-descent step, as a share of the mass, below which its direction is rounding noise."""

GRADIENT_TOLERANCE = 0.1
"""Largest relative distance of an adjoint to its limit with which it is used."""

EXTRAPOLATION = 20.0
"""Number of steps taken at once where each step is longer than the one before."""


@dataclass(frozen=True)
class TransportSettings:
    """Objective of a transport problem; see this module's docstring.

    Attributes
    ----------
    epsilon : float
        Weight ε > 0 of the entropic regularisation.
    kind : str
        One of ``linear``, ``gromov`` and ``fused``.
    alpha : float
        Weight α in [0, 1] of the quadratic term. Only ``fused`` uses it.

    Raises
    ------
    ValueError
        If `kind` is unknown or `alpha` is not in [0, 1].
    """

    epsilon: float
    kind: str = TransportKind.LINEAR
    alpha: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in (TransportKind.LINEAR, TransportKind.GROMOV, TransportKind.FUSED):
            raise ValueError(
                f"kind must be {TransportKind.LINEAR}, {TransportKind.GROMOV} or {TransportKind.FUSED}, "
                f"got {self.kind!r}"
            )
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"0 <= alpha <= 1 must hold, got {self.alpha}")


class Transport(NamedTuple):
    """Transport plans of a batch.

    Attributes
    ----------
    plan : Tensor of shape (B, n, m)
        Plans; rows sum to the marginal a and columns to the marginal b.
    error : Tensor of shape (B,)
        L1 error of each plan: that of its marginals or, for ``gromov`` and ``fused``, the estimated distance to the
        fixed point of mirror descent if that is larger.
    """

    plan: Tensor
    error: Tensor

    @property
    def unconverged(self) -> Tensor:
        """Whether each plan misses `TOLERANCE`, (B,) bool."""
        return ~(self.error <= TOLERANCE)  # A NaN counts as unconverged.


def cosine_cost(source: Tensor, target: Tensor) -> Tensor:
    """Return half the cosine distance between tokens.

    Parameters
    ----------
    source, target : Tensor of shape (B, n, d) and (B, m, d)
        Tokens.

    Returns
    -------
    Tensor of shape (B, n, m)
        Costs in [0, 1]: 0 for the same direction, 1 for opposite directions.
    """
    cosine = normalize(source, dim=-1) @ normalize(target, dim=-1).transpose(1, 2)
    return ((1 - cosine) / 2).clamp(0, 1)


def transport(
    source: Tensor,
    target: Tensor,
    settings: TransportSettings,
    source_present: Tensor | None = None,
    target_present: Tensor | None = None,
) -> Transport:
    """Return the transport plans between source and target tokens.

    The plans are differentiable in the tokens.

    Parameters
    ----------
    source : Tensor of shape (B, n, d)
        Source tokens.
    target : Tensor of shape (B, m, d)
        Target tokens.
    settings : TransportSettings
        Objective of the problem.
    source_present : Tensor of shape (B, n), bool, optional
        Source tokens that are present; the others have no mass. All by default.
    target_present : Tensor of shape (B, m), bool, optional
        Target tokens that are present. All by default.

    Returns
    -------
    Transport
        Plans and their errors. A sample without any source token or any target token has a plan of zeros.

    Raises
    ------
    ValueError
        If `settings.epsilon` is not positive.
    """
    epsilon, kind = settings.epsilon, settings.kind
    marginals = _marginal(source[..., 0], source_present), _marginal(target[..., 0], target_present)
    if kind == TransportKind.LINEAR:
        return entropic_plan(cosine_cost(source, target), epsilon, *marginals)
    cost = cosine_cost(source, target) if kind == TransportKind.FUSED else None
    geometries = cosine_cost(source, source), cosine_cost(target, target)
    return gromov_plan(*geometries, epsilon, *marginals, cost, settings.alpha)


def _marginal(like: Tensor, present: Tensor | None) -> Tensor:
    """Return weights that are uniform over the tokens present and 0 elsewhere."""
    weight = torch.ones_like(like) if present is None else present.to(like.dtype)
    return weight / weight.sum(dim=1, keepdim=True).clamp_min(1)


def entropic_plan(cost: Tensor, epsilon: float, a: Tensor | None = None, b: Tensor | None = None) -> Transport:
    """Solve the linear problem for a batch of costs.

    `cost` (B, n, m) lies in [0, 1]. `a` (B, n) and `b` (B, m) are the marginals, uniform by default. A plan is 0 where
    a marginal sums to 0. The plans are differentiable in the cost. Raise `ValueError` if `epsilon` is not positive.
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
    """Solve the problem with its quadratic term.

    `source` (B, n, n) and `target` (B, m, m) are distances within each set, `a` (B, n) and `b` (B, m) the marginals.
    `cost` (B, n, m) holds the costs between the sets; without it α is 1. All distances and costs lie in [0, 1]. The
    plans are differentiable in them. Raise `ValueError` if `epsilon` is not positive.
    """
    if cost is None:
        cost, alpha = torch.zeros_like(a.unsqueeze(2) * b.unsqueeze(1)), 1.0
    objective = _Objective(epsilon, 2 * alpha / (1 + alpha))
    plan, error = _GromovPlan.apply(source, target, cost, objective, a, b)  # type: ignore[no-untyped-call]
    return Transport(plan, error)


class _Objective(NamedTuple):
    """Entropic weight ε, and weight w = 2α / (1+α) of the quadratic term's slope."""

    epsilon: float
    weight: float


class _GromovPlan(torch.autograd.Function):
    r"""Fixed point of mirror descent.

    The plan T solves the linear problem with the cost

    .. math::
        (1-w) C + w L(T), \quad L(T) = D^{P2} a 1^\top + 1 (D^{B2} b)^\top - 2 D^P T D^B

    that is, with the slope of the objective without its entropy, where w = 2α / (1+α). The gradient is that of the
    fixed point: for an upstream gradient G, the adjoint is λ = G + Jᵀ λ with J the derivative of a step, and is found
    by the same iteration.
    """

    @staticmethod
    def forward(
        context: Any, source: Tensor, target: Tensor, cost: Tensor, objective: _Objective, a: Tensor, b: Tensor
    ) -> tuple[Tensor, Tensor]:
        epsilon, weight = objective
        constant = (1 - weight) * cost + weight * (
            source.square() @ a.unsqueeze(2) + (target.square() @ b.unsqueeze(2)).transpose(1, 2)
        )
        duals: Tensor | None = None  # Each step starts at the duals of the step before, which are close.

        def step(plan: Tensor, active: Tensor) -> Tensor:
            nonlocal duals
            linear = constant[active] - 2 * weight * source[active] @ plan @ target[active]
            start = None if duals is None else duals[active]
            solution, dual = solve(linear, epsilon, a[active], b[active], start)
            if duals is None:
                duals = dual
            else:
                duals[active] = dual
            return solution

        # Without a linear term, the product of the marginals may be a saddle: it treats all tokens alike.
        plan, distance = _fixed_point(step, a.unsqueeze(2) * b.unsqueeze(1), near_saddle=weight == 1)
        error = torch.maximum(distance, _marginal_error(plan, a, b))
        context.save_for_backward(source, target, plan, a, b)
        context.objective = objective
        context.mark_non_differentiable(error)
        return plan, error

    @staticmethod
    def backward(context: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        source, target, plan, a, b = context.saved_tensors
        epsilon, weight = context.objective
        sensitivity = Sensitivity(plan)

        def step(adjoint: Tensor, active: Tensor) -> Tensor:
            slope = sensitivity.slope(adjoint, active)
            following: Tensor = upstream[active] + source[active] @ (2 * weight / epsilon * slope) @ target[active]
            return following

        adjoint, distance = _fixed_point(step, upstream)
        # At an unconverged plan the adjoint may have no limit; the gradient of the last step alone stays finite.
        adjoint = torch.where((distance <= GRADIENT_TOLERANCE)[:, None, None], adjoint, upstream)
        slope = -sensitivity.slope(adjoint) / epsilon  # Gradient of the loss in the linear cost.
        of_source = 2 * weight * (source * slope.sum(dim=2, keepdim=True) * a.unsqueeze(1) - slope @ target @ plan.mT)
        of_target = 2 * weight * (target * slope.sum(dim=1).unsqueeze(2) * b.unsqueeze(1) - (source @ plan).mT @ slope)
        return of_source, of_target, (1 - weight) * slope, None, None, None


def _fixed_point(
    step: Callable[[Tensor, Tensor], Tensor], start: Tensor, near_saddle: bool = False
) -> tuple[Tensor, Tensor]:
    """Solve x = step(x) for each sample by itself.

    `step` takes the values of the active samples, and their positions in the batch.

    The error shrinks by about the same ratio ρ in each step. After every two plain steps, the remaining distance,
    ρ / (1 - ρ) times the last step, is therefore covered at once (Aitken's extrapolation), and a step of length r
    means that the solution is r / (1 - ρ) away. With ρ >= 1 the iteration is leaving a saddle: it has not converged,
    however short its steps are. With `near_saddle` the first step is extended as well, to leave a saddle at the
    start; a stable start is reached again.

    Returns the solutions (B, n, m), and estimates (B,) of their L1 distances to the fixed points.
    """
    solution, error = start.clone(), torch.full_like(start[:, 0, 0], torch.inf)
    active = torch.arange(len(start), device=start.device)
    current, previous_move = start, None
    tiny, eps = torch.finfo(start.dtype).tiny, torch.finfo(start.dtype).eps
    scale = start.abs().sum(dim=(1, 2)).clamp_min(tiny)
    for number in range(MIRROR_STEPS):
        following = step(current, active)
        move = following - current
        length = move.abs().sum(dim=(1, 2)) / scale[active]
        solution[active] = following
        if previous_move is None:
            error[active] = torch.where(length <= SMALLEST_STEP, length, torch.inf)
            ratio = torch.zeros_like(length)
        else:
            ratio = (move * previous_move).sum(dim=(1, 2)) / previous_move.square().sum(dim=(1, 2)).clamp_min(tiny)
            distance = length / (1 - ratio).clamp_min(eps)
            error[active] = torch.where(
                (ratio < 1) | (length <= SMALLEST_STEP), distance.where(length > SMALLEST_STEP, length), torch.inf
            )
        unfinished = ~(error[active] <= MIRROR_TOLERANCE)
        if number and number % 3 == 0:  # After two plain steps.
            factor = torch.where(ratio < 1, ratio.clamp(0, 0.98) / (1 - ratio.clamp(0, 0.98)), EXTRAPOLATION)
            current, previous_move = following + factor[:, None, None] * move, None
        elif number == 0 and near_saddle:
            current, previous_move = following + EXTRAPOLATION * move, None
        else:
            current, previous_move = following, move
        if not unfinished.any():
            break
        if not unfinished.all():
            active, current = active[unfinished], current[unfinished]
            previous_move = None if previous_move is None else previous_move[unfinished]
    return solution, error


def _marginal_error(plan: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the L1 error (B,) over rows and columns, 0 where a marginal is empty."""
    filled = ((a.sum(dim=1) > 0) & (b.sum(dim=1) > 0)).to(plan.dtype)
    rows = (plan.sum(dim=2) - a).abs().sum(dim=1)
    columns = (plan.sum(dim=1) - b).abs().sum(dim=1)
    return (rows + columns) * filled


class _EntropicPlan(torch.autograd.Function):
    r"""Plan of the linear problem, with the gradient of the solution rather than of the iterations.

    The solution is :math:`T = \exp((f_i + g_j - C_{ij}) / ε)` with both marginals fixed. Hence, for an upstream
    gradient G,

    .. math::
        \partial L / \partial C = -(T \odot (G - α 1^\top - 1 β^\top)) / ε

    where α and β make the rows and columns of the bracket sum to 0; see `helo.model.sinkhorn.Sensitivity`. Unrolling
    the iterations would double the time, and need memory for each of them.
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
    """Return the mean source token of each target under a plan.

    Each column of the plan is divided by its mass, so the result stays in the range of the source.

    Parameters
    ----------
    plan : Tensor of shape (B, n, m)
        Transport plans, source × target.
    source : Tensor of shape (B, n, d)
        Source tokens.

    Returns
    -------
    Tensor of shape (B, m, d)
        Carried tokens; 0 for a target without mass.
    """
    mass = plan.sum(dim=1)
    return (plan.mT @ source) / torch.where(mass > 0, mass, 1).unsqueeze(-1)
