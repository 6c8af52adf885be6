"""The linear entropic problem: its solution, and how the solution changes with the cost.

For costs C (B, n, m) in [0, 1] and marginals a (B, n), b (B, m): the plan T minimises ⟨C, T⟩ + ε Σ T (log T - 1)
subject to T 1 = a and Tᵀ 1 = b. `helo.model.transport` says what costs there are, and the sources.

POT's batched log-domain Sinkhorn starts at ε = `WARM` or above, where it is right. Below, its convergence takes
thousands of iterations, it stops at its cap without a word, and its common stop makes the samples of a batch depend on
each other. So it makes a fixed number of sweeps, and what is not converged then is finished sample by sample by damped
Newton steps on the semi-dual, with ε halved from stage to stage.
"""

from __future__ import annotations

import torch
from ot.batch import bregman_log_projection_batch
from torch import Tensor

WARM = 0.1
"""The ε at which Sinkhorn iterations start at least: there a few of them are enough for any cost in [0, 1]."""

SWEEPS = 5
"""Sinkhorn iterations at the start. Newton's steps need to be near, not at, the solution."""

STAGE_STEPS = 12
"""Newton steps at most at each ε on the way to the smallest one."""

LAST_STEPS = 300
"""Newton steps at most at the last ε; two or three are usual, costs full of ties take most."""

NEAR_STEPS = 10
"""Newton steps at most from the solution of a similar problem, before the way through larger ε is taken."""


class Sensitivity:
    """T ⊙ (G - α - β) of `helo.model.transport`'s gradient: a linear system of n + m unknowns per sample.

    The larger side is eliminated by hand, and the rest solved by Cholesky (Luise et al., "Differential properties
    of Sinkhorn approximation", NeurIPS 2018). α and β are known up to a constant that cancels in their sum; the
    ridge fixes it, and keeps the system regular where a sparse plan falls into blocks that have nothing to do with
    each other. It is as small as the numbers allow.
    """

    def __init__(self, plan: Tensor) -> None:
        self.wide = plan.shape[1] < plan.shape[2]
        self.plan = plan.mT if self.wide else plan
        rows, columns = self.plan.sum(dim=2), self.plan.sum(dim=1)
        self.rows = rows.clamp_min(torch.finfo(plan.dtype).tiny)
        self.share = self.plan / self.rows.unsqueeze(-1)
        largest = columns.amax(dim=1)
        ridge = (16 * torch.finfo(plan.dtype).eps * largest).clamp_min(torch.finfo(plan.dtype).tiny)
        self.factor, failed = _factor(columns, self.plan, self.share, ridge)
        if failed.any():
            again, _ = _factor(columns, self.plan, self.share, torch.where(failed, 1e-4 * largest, ridge))
            self.factor = torch.where(failed[:, None, None], again, self.factor)

    def slope(self, upstream: Tensor, left: Tensor | None = None) -> Tensor:
        """For all samples, or for those with the numbers `left`."""
        plan, rows, share, factor = self.plan, self.rows, self.share, self.factor
        if left is not None:
            plan, rows, share, factor = plan[left], rows[left], share[left], factor[left]
        weighted = plan * (upstream.mT if self.wide else upstream)
        of_rows = weighted.sum(dim=2, keepdim=True)
        right = weighted.sum(dim=1) - (share * of_rows).sum(dim=1)
        beta = torch.cholesky_solve(right.unsqueeze(2), factor).mT
        alpha = (of_rows - (plan * beta).sum(dim=2, keepdim=True)) / rows.unsqueeze(2)
        found = weighted - plan * (alpha + beta)
        return found.mT if self.wide else found


def _factor(columns: Tensor, plan: Tensor, share: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor]:
    """Cholesky's factor of diag(columns) - Tᵀ S + ridge, positive semidefinite without it, and where it failed."""
    system = torch.baddbmm(torch.diag_embed(columns + ridge.unsqueeze(1)), plan.mT, share, alpha=-1)
    factor, info = torch.linalg.cholesky_ex(system)
    return factor, info > 0


@torch.no_grad()
def solve(cost: Tensor, epsilon: float, a: Tensor, b: Tensor, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The plan (B, n, m), 0 where a marginal is empty, and its dual, to start a similar problem from."""
    if not epsilon > 0:
        raise ValueError(f"epsilon > 0 must hold, got {epsilon}")
    wide = cost.shape[1] < cost.shape[2]  # the side that Newton's systems have is the smaller one
    if wide:
        cost, a, b = cost.mT, b, a
    filled = ((a.sum(dim=1) > 0) & (b.sum(dim=1) > 0)).unsqueeze(1)
    a, b = (torch.where(filled, side, 1 / side.shape[1]) for side in (a, b))
    if start is not None:
        state = _SemiDual(cost, a, b, start.clone(), epsilon)
        state.newton(NEAR_STEPS)
        far = torch.nonzero(~(state.error() <= state.stop)).squeeze(1)
        if len(far):
            fresh = _continued(cost[far], epsilon, a[far], b[far])
            state.plan[far], state.dual[far] = fresh.plan, fresh.dual
    else:
        state = _continued(cost, epsilon, a, b)
    plan = state.plan * filled.unsqueeze(2)
    return (plan.mT if wide else plan), state.dual


def _continued(cost: Tensor, epsilon: float, a: Tensor, b: Tensor) -> _SemiDual:
    """From POT's solution at `WARM` or above down to ε by halves."""
    now = max(epsilon, WARM)
    _, dual = bregman_log_projection_batch(-cost / now, a, b, max_iter=SWEEPS, tol=0.0)["potentials"]
    state = _SemiDual(cost, a, b, dual, now)
    while now > epsilon:
        state.newton(STAGE_STEPS)
        following = max(epsilon, now / 2)
        state = _SemiDual(cost, a, b, state.dual * (now / following), following)
        now = following
    state.newton(LAST_STEPS)
    return state


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
            factor, _ = _factor(columns, plan, share, damping / b.shape[1])
            step = torch.cholesky_solve((b - columns).unsqueeze(2), factor).squeeze(2)
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

    def error(self) -> Tensor:
        """By how much the columns miss their marginal, (B,)."""
        return self._error(self.plan.sum(dim=1), self.b)

    @staticmethod
    def _error(columns: Tensor, b: Tensor) -> Tensor:
        return (columns - b).abs().sum(dim=1)
