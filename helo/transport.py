r"""Entropic optimal transport between two sets of tokens.

For tokens :math:`P \in R^{n \times d}` and :math:`B \in R^{m \times d}` of one sample, with marginals a and b
uniform over the tokens that are present, the plan is

.. math::
    T = \arg\min_{T \ge 0} (1-α) \sum_{ij} C_{ij} T_{ij}
        + \frac{α}{2} \sum_{ijkl} (D^P_{ik} - D^B_{jl})^2 T_{ij} T_{kl} + ε \sum_{ij} T_{ij} (\log T_{ij} - 1)
    \quad\text{s.t.}\quad T 1 = a, \; T^\top 1 = b

with the cosine cost :math:`C_{ij} = (1 - \cos(P_i, B_j)) / 2` between the sets and the same distance
:math:`D^P, D^B` within each:

- ``linear``, α = 0: tokens go where tokens are alike
- ``gromov``, α = 1: where their relations to the other tokens are alike (Gromov–Wasserstein)
- ``fused``, 0 < α < 1: both

All distances lie in [0, 1], and so does the cost that a plan is made from (the slope of the first two terms):
ε means the same for every kind, sample, layer and data set. Small ε gives a sparse matching, large ε the
product of the marginals.

**Solver.** POT's batched log-domain Sinkhorn starts at ε = `WARM` or above, where it is right. Below, its
convergence takes thousands of iterations, it stops at its cap without a word, and its common stop makes the
samples of a batch depend on each other. So it makes a fixed number of sweeps, and what is not converged then
is finished sample by sample by damped Newton steps on the semi-dual, with ε halved from stage to stage.
Nothing of a plan depends on the rest of the batch. What still misses `TOLERANCE` is counted, never hidden.

**Gromov–Wasserstein** is mirror descent: the quadratic term is replaced by its slope at the last plan, and
the linear problem solved with the true ε. (POT's `solve_gromov_batch` has a proximal step for its ``reg``,
which does not act on the solution; its `entropic_gromov_wasserstein` is neither batched nor in the log domain.)
The quadratic term is not convex: the plan is a local optimum, the one that the product of the marginals leads to.

**Gradient.** That of the solution of the linear problem, see `_EntropicPlan`; mirror descent is unrolled.

Sources: M. Cuturi, "Sinkhorn distances", NeurIPS 2013; G. Peyré, M. Cuturi, J. Solomon,
"Gromov-Wasserstein averaging of kernel and distance matrices", ICML 2016; T. Vayer et al., "Fused
Gromov-Wasserstein distance for structured objects", Algorithms 2020; C. Brauer et al., "A Sinkhorn-Newton
method for entropic optimal transport", 2017; R. Flamary et al., "POT", JMLR 2021.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from ot.batch import bregman_log_projection_batch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn.functional import normalize

from helo.names import FUSED, GROMOV, LINEAR

TOLERANCE = 1e-3
"""A plan whose marginals are off by more than this share of the mass (L1) is unconverged."""

WARM = 0.1
"""The ε at which Sinkhorn iterations start at least: there a few of them are enough for any cost in [0, 1]."""

SWEEPS = 5
"""Sinkhorn iterations at the start. Newton's steps need to be near, not at, the solution."""

STAGE_STEPS = 4
"""Newton steps at most at each ε on the way to the smallest one."""

LAST_STEPS = 60
"""Newton steps at most at the last ε; two or three are usual."""

MIRROR_STEPS = 30
"""Steps of mirror descent at most."""

SETTLED = 1e-3
"""A sample whose plan moved by less than this share of the mass (L1) is done before."""


class Transport(NamedTuple):
    """A batch of plans: `plan` (B, n, m), rows sum to a and columns to b; `error` (B,) in L1.

    `error` is the larger of the marginal error and, for ``gromov`` and ``fused``, of what the last step of
    mirror descent moved.
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
    source: Tensor, target: Tensor, epsilon: float, kind: str = LINEAR, alpha: float = 0.5,
    source_present: Tensor | None = None, target_present: Tensor | None = None,
) -> Transport:  # fmt: skip
    """The plan of this module's docstring between tokens (B, n, d) and (B, m, d).

    `alpha` is used by ``fused`` only. `source_present` (B, n) and `target_present` (B, m) bool: a token that is
    absent has no mass; a sample without a token on either side has a plan of zeros. `ValueError` for another
    `kind`, and unless `epsilon` > 0 and 0 <= `alpha` <= 1 hold.
    """
    if kind not in (LINEAR, GROMOV, FUSED):
        raise ValueError(f"kind must be {LINEAR}, {GROMOV} or {FUSED}, got {kind!r}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"0 <= alpha <= 1 must hold, got {alpha}")
    marginals = (
        _marginal(source[..., 0], source_present),
        _marginal(target[..., 0], target_present),
    )
    if kind == LINEAR:
        return entropic_plan(cosine_cost(source, target), epsilon, *marginals)
    cost = cosine_cost(source, target) if kind == FUSED else None
    geometries = cosine_cost(source, source), cosine_cost(target, target)
    return gromov_plan(*geometries, epsilon, *marginals, cost, alpha if kind == FUSED else 1.0)


def _marginal(like: Tensor, present: Tensor | None) -> Tensor:
    """Uniform over the tokens that are present, 0 elsewhere; all 0 where none is."""
    weight = torch.ones_like(like) if present is None else present.to(like.dtype)
    return weight / weight.sum(dim=1, keepdim=True).clamp_min(1)


def entropic_plan(cost: Tensor, epsilon: float, a: Tensor | None = None, b: Tensor | None = None) -> Transport:
    """Solve the linear problem for a batch of costs (B, n, m) in [0, 1].

    `a` (B, n) and `b` (B, m) are the marginals, uniform by default; where either sums to 0 the plan is 0.
    `epsilon` is the entropic weight, > 0; `ValueError` otherwise. The plan is differentiable in the cost.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon > 0 must hold, got {epsilon}")
    a = _marginal(cost[:, :, 0], None) if a is None else a
    b = _marginal(cost[:, 0, :], None) if b is None else b
    plan: Tensor = _EntropicPlan.apply(cost, epsilon, a, b)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        filled = ((a.sum(dim=1) > 0) & (b.sum(dim=1) > 0)).to(plan.dtype)
        rows = (plan.sum(dim=2) - a).abs().sum(dim=1)
        columns = (plan.sum(dim=1) - b).abs().sum(dim=1)
    return Transport(plan, (rows + columns) * filled)


def gromov_plan(
    source: Tensor, target: Tensor, epsilon: float, a: Tensor, b: Tensor,
    cost: Tensor | None = None, alpha: float = 1.0,
) -> Transport:  # fmt: skip
    r"""Solve the problem with its quadratic term, from distances within each set (B, n, n) and (B, m, m).

    `cost` (B, n, m) is weighted by 1 - α; without it α is 1. Mirror descent starts from the product of the
    marginals. Its cost is the slope :math:`L_{ij} = \sum_{kl} (D^P_{ik} - D^B_{jl})^2 T_{kl}`, expanded as
    :math:`D^{P2} a 1^\top + 1 (D^{B2} b)^\top - 2 D^P T D^B`.
    """
    plan = a.unsqueeze(2) * b.unsqueeze(1)
    error = torch.full_like(a[:, 0], torch.inf)
    fixed = (source.square() @ a.unsqueeze(2)) + (target.square() @ b.unsqueeze(2)).transpose(1, 2)
    left = torch.arange(len(plan), device=plan.device)
    for _ in range(MIRROR_STEPS):
        slope = (fixed[left] - 2 * source[left] @ plan[left] @ target[left]).clamp(0, 1)
        linear = slope if cost is None else (1 - alpha) * cost[left] + alpha * slope
        step = entropic_plan(linear, epsilon, a[left], b[left])
        with torch.no_grad():
            moved = (step.plan - plan[left]).abs().sum(dim=(1, 2))
            error = error.index_put((left,), torch.maximum(step.error, moved))
        plan = plan.index_put((left,), step.plan)
        left = left[~(moved <= SETTLED)]
        if not len(left):
            break
    return Transport(plan, error)


class _EntropicPlan(torch.autograd.Function):
    r"""The plan of the linear problem, with the gradient of the solution rather than of the iterations.

    At the solution :math:`T = \exp((f_i + g_j - C_{ij}) / ε)` with both marginals fixed, so for an upstream
    gradient G,

    .. math::
        \partial L / \partial C = -(T \odot (G - α 1^\top - 1 β^\top)) / ε

    where α, β make rows and columns of the bracket sum to 0: a linear system of n + m unknowns per sample,
    of which the larger side is eliminated by hand (Luise et al., "Differential properties of Sinkhorn
    approximation", NeurIPS 2018). Unrolling would cost as much again as the solution, in memory, too.
    """

    @staticmethod
    def forward(context: FunctionCtx, cost: Tensor, epsilon: float, a: Tensor, b: Tensor) -> Tensor:
        wide = cost.shape[1] < cost.shape[2]  # the side that Newton's systems have is the smaller one
        plan = _solve(cost.transpose(1, 2), epsilon, b, a).transpose(1, 2) if wide else _solve(cost, epsilon, a, b)
        context.save_for_backward(plan)
        context.epsilon = epsilon  # type: ignore[attr-defined]
        return plan

    @staticmethod
    def backward(context: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (plan,) = context.saved_tensors
        wide = plan.shape[1] < plan.shape[2]
        gradient = _slope(plan.transpose(1, 2), upstream.transpose(1, 2)).transpose(1, 2) if wide else None
        gradient = _slope(plan, upstream) if gradient is None else gradient
        return -gradient / context.epsilon, None, None, None


def _slope(plan: Tensor, upstream: Tensor) -> Tensor:
    """T ⊙ (G - α - β) of `_EntropicPlan`, by a system of the size of the columns."""
    weighted = plan * upstream
    tiny = torch.finfo(plan.dtype).tiny
    rows, columns = plan.sum(dim=2).clamp_min(tiny), plan.sum(dim=1)
    share = plan / rows.unsqueeze(-1)
    right = weighted.sum(dim=1) - (share * weighted.sum(dim=2, keepdim=True)).sum(dim=1)
    # α and β are known up to a constant that cancels in α + β; the small ridge fixes it, and keeps the system
    # regular when a sparse plan falls into blocks that have nothing to do with each other.
    beta = _solve_system(columns, plan, share, right, torch.full_like(columns[:, 0], 1e-6))
    alpha = (weighted.sum(dim=2) - (plan * beta.unsqueeze(1)).sum(dim=2)) / rows
    return weighted - plan * (alpha.unsqueeze(-1) + beta.unsqueeze(1))


def _solve_system(columns: Tensor, plan: Tensor, share: Tensor, right: Tensor, ridge: Tensor) -> Tensor:
    """x of (diag(columns) - Tᵀ S + ridge) x = right: (B, m). The matrix is positive semidefinite."""
    system = torch.baddbmm(torch.diag_embed(columns + ridge.unsqueeze(1)), plan.transpose(1, 2), share, alpha=-1)
    factor, _ = torch.linalg.cholesky_ex(system)
    return torch.cholesky_solve(right.unsqueeze(2), factor).squeeze(2)


@torch.no_grad()
def _solve(cost: Tensor, epsilon: float, a: Tensor, b: Tensor) -> Tensor:
    """The plan (B, n, m), best where m <= n; 0 where a marginal is empty."""
    empty = (a.sum(dim=1) == 0) | (b.sum(dim=1) == 0)
    if empty.any():
        spare = torch.ones_like(a) / a.shape[1], torch.ones_like(b) / b.shape[1]
        a, b = (torch.where(empty.unsqueeze(1), s, x) for s, x in zip(spare, (a, b), strict=True))
    now = max(epsilon, WARM)
    _, dual = bregman_log_projection_batch(-cost / now, a, b, max_iter=SWEEPS, tol=0.0)["potentials"]
    state = _SemiDual(cost, a, b, dual, now)
    while now > epsilon:
        state.newton(STAGE_STEPS)
        following = max(epsilon, now / 2)
        state = _SemiDual(cost, a, b, state.dual * (now / following), following)
        now = following
    state.newton(LAST_STEPS)
    return torch.where(empty[:, None, None], 0, state.plan) if empty.any() else state.plan


class _SemiDual:
    r"""The semi-dual of the linear problem, climbed sample by sample.

    With the dual γ = g / ε of the columns, the rows hold by construction:
    :math:`T_{ij} = a_i S_{ij}`, S the softmax of :math:`γ_j - C_{ij} / ε` over j. The objective
    :math:`F(γ) = \sum_j b_j γ_j - \sum_i a_i \log\sum_j \exp(γ_j - C_{ij} / ε)` is concave, its slope
    :math:`b - T^\top 1`, its Hessian :math:`-(diag(T^\top 1) - T^\top S)`. Levenberg's damping goes down after a
    step that climbs and up after one that does not, which is then not taken.
    """

    def __init__(self, cost: Tensor, a: Tensor, b: Tensor, dual: Tensor, epsilon: float) -> None:
        self.scaled, self.a, self.b, self.dual = cost / epsilon, a, b, dual
        # As exact as the numbers allow, and far below TOLERANCE: the gradient takes the plan for the solution.
        self.stop = 1e-4 if cost.dtype == torch.float32 else 1e-10
        self.share, self.value = self._at(self.scaled, a, b, dual)
        self.plan = a.unsqueeze(2) * self.share

    @staticmethod
    def _at(scaled: Tensor, a: Tensor, b: Tensor, dual: Tensor) -> tuple[Tensor, Tensor]:
        """S (B, n, m) and F (B,)."""
        logits = dual.unsqueeze(1) - scaled
        total = logits.logsumexp(dim=2, keepdim=True)
        climbed = (b * torch.where(b > 0, dual, 0)).sum(dim=1) - (a * total.squeeze(2)).sum(dim=1)
        return (logits - total).exp_(), climbed

    def newton(self, steps: int) -> None:
        """Up to so many steps for each sample that is not done."""
        columns = self.plan.sum(dim=1)
        left = torch.nonzero(self._error(columns, self.b) > self.stop).squeeze(1)
        if not len(left):
            return
        scaled, a, b = self.scaled[left], self.a[left], self.b[left]
        dual, share, plan, value = self.dual[left], self.share[left], self.plan[left], self.value[left]
        columns = columns[left]
        error = self._error(columns, b)
        damping = torch.full_like(value, 1e-3)
        for _ in range(steps):
            step = _solve_system(columns, plan, share, b - columns, damping / b.shape[1])
            tried = dual + step.nan_to_num(0.0, 0.0, 0.0)
            new_share, new_value = self._at(scaled, a, b, tried)
            new_plan = a.unsqueeze(2) * new_share
            new_columns = new_plan.sum(dim=1)
            new_error = self._error(new_columns, b)
            better = (new_value > value) | (new_error < error)
            pick = better.unsqueeze(1)
            dual, columns = torch.where(pick, tried, dual), torch.where(pick, new_columns, columns)
            pick = pick.unsqueeze(2)
            share, plan = torch.where(pick, new_share, share), torch.where(pick, new_plan, plan)
            value, error = torch.where(better, new_value, value), torch.where(better, new_error, error)
            damping = torch.where(better, damping * 0.2, damping * 8).clamp(1e-6, 1e4)
            going = error > self.stop
            self.dual[left], self.share[left], self.plan[left], self.value[left] = dual, share, plan, value
            if not going.any():
                return
            if not going.all():
                keep = torch.nonzero(going).squeeze(1)
                left, scaled, a, b, dual, share, plan, value, columns, error, damping = (
                    tensor[keep] for tensor in (left, scaled, a, b, dual, share, plan, value, columns, error, damping)
                )

    @staticmethod
    def _error(columns: Tensor, b: Tensor) -> Tensor:
        return (columns - b).abs().sum(dim=1)


def transported(plan: Tensor, source: Tensor) -> Tensor:
    """Source tokens carried to the targets: each target's mean of the source under the plan.

    (B, n, m), (B, n, d) → (B, m, d). The plan is [source × target], so it is transposed; each column is
    divided by its mass, so the result stays in the range of the source; a target without mass gets 0.
    """
    mass = plan.sum(dim=1).clamp_min(torch.finfo(plan.dtype).tiny)
    return (plan.transpose(1, 2) @ source) / mass.unsqueeze(-1)
