"""Solver of the linear entropic transport problem, and sensitivity of the solution to the cost.

For costs C (B, n, m) in [0, 1] and marginals a (B, n), b (B, m), the transport plan T minimises
⟨C, T⟩ + ε Σ T (log T - 1) subject to T 1 = a and Tᵀ 1 = b. Costs and sources are described in `helo.model.transport`.

POT's batched log-domain Sinkhorn iterations are used for ε >= `WARM` only. For smaller ε they need thousands of
iterations, end at the maximum number without a warning, and their common stopping rule makes the samples of a batch
depend on each other. They therefore make a fixed number of sweeps. Samples that have not converged by then are solved
one by one by damped Newton steps on the semi-dual, with ε halved from stage to stage.
"""

from __future__ import annotations

import torch
from ot.batch import bregman_log_projection_batch
from torch import Tensor

WARM = 0.1
"""Smallest ε of the Sinkhorn iterations, for which a few sweeps suffice with any cost in [0, 1]."""

SWEEPS = 5
"""Number of Sinkhorn sweeps. The Newton steps start near the solution and need not start at it."""

STAGE_STEPS = 12
"""Maximum number of Newton steps at each ε but the last."""

LAST_STEPS = 300
"""Maximum number of Newton steps at the last ε. Two or three are usual; costs full of ties need most."""

NEAR_STEPS = 10
"""Maximum number of Newton steps from the solution of a similar problem, before the solver falls back to larger ε."""


class Sensitivity:
    """Linear map from an upstream gradient G to T ⊙ (G - α - β), the gradient in `helo.model.transport`.

    α and β solve a linear system of n + m unknowns per sample. The larger side is eliminated in closed form, and the
    rest is solved by Cholesky factorisation (Luise et al., "Differential properties of Sinkhorn approximation",
    NeurIPS 2018). α and β are determined up to a constant that cancels in their sum. A ridge fixes the constant, and
    keeps the system regular where a sparse plan consists of unconnected blocks. The ridge is as small as the precision
    allows.

    Parameters
    ----------
    plan : Tensor of shape (B, n, m)
        Solutions of the linear problem.
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
            regularised, _ = _factor(columns, self.plan, self.share, torch.where(failed, 1e-4 * largest, ridge))
            self.factor = torch.where(failed[:, None, None], regularised, self.factor)

    def slope(self, upstream: Tensor, active: Tensor | None = None) -> Tensor:
        """Return T ⊙ (G - α - β).

        Parameters
        ----------
        upstream : Tensor of shape (k, n, m)
            Gradient G.
        active : Tensor of shape (k,), int, optional
            Positions of the samples in the batch. All samples by default.

        Returns
        -------
        Tensor of shape (k, n, m)
            Gradient in the cost, times -ε.
        """
        plan, rows, share, factor = self.plan, self.rows, self.share, self.factor
        if active is not None:
            plan, rows, share, factor = plan[active], rows[active], share[active], factor[active]
        weighted = plan * (upstream.mT if self.wide else upstream)
        row_sums = weighted.sum(dim=2, keepdim=True)
        right_side = weighted.sum(dim=1) - (share * row_sums).sum(dim=1)
        beta = torch.cholesky_solve(right_side.unsqueeze(2), factor).mT
        alpha = (row_sums - (plan * beta).sum(dim=2, keepdim=True)) / rows.unsqueeze(2)
        slope = weighted - plan * (alpha + beta)
        return slope.mT if self.wide else slope


def _factor(columns: Tensor, plan: Tensor, share: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Cholesky factor of diag(columns) - Tᵀ S + ridge, and where the factorisation failed.

    The matrix is positive semidefinite without the ridge.
    """
    system = torch.baddbmm(torch.diag_embed(columns + ridge.unsqueeze(1)), plan.mT, share, alpha=-1)
    factor, info = torch.linalg.cholesky_ex(system)
    return factor, info > 0


@torch.no_grad()
def solve(cost: Tensor, epsilon: float, a: Tensor, b: Tensor, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Solve the linear problem for a batch of costs.

    Parameters
    ----------
    cost : Tensor of shape (B, n, m)
        Costs in [0, 1].
    epsilon : float
        Weight ε > 0 of the entropic regularisation.
    a : Tensor of shape (B, n)
        Marginals of the rows.
    b : Tensor of shape (B, m)
        Marginals of the columns.
    start : Tensor of shape (B, min(n, m)), optional
        Duals of the solution of a similar problem.

    Returns
    -------
    plan : Tensor of shape (B, n, m)
        Transport plans; 0 where a marginal is empty.
    dual : Tensor of shape (B, min(n, m))
        Duals of the smaller side, from which a similar problem can start.

    Raises
    ------
    ValueError
        If `epsilon` is not positive.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon > 0 must hold, got {epsilon}")
    wide = cost.shape[1] < cost.shape[2]  # The Newton systems have the size of the smaller side.
    if wide:
        cost, a, b = cost.mT, b, a
    filled = ((a.sum(dim=1) > 0) & (b.sum(dim=1) > 0)).unsqueeze(1)
    a, b = (torch.where(filled, side, 1 / side.shape[1]) for side in (a, b))
    if start is not None:
        state = _SemiDual(cost, a, b, start.clone(), epsilon)
        state.newton(NEAR_STEPS)
        unsolved = torch.nonzero(~(state.error() <= state.stop)).squeeze(1)
        if len(unsolved):
            fresh = _anneal(cost[unsolved], epsilon, a[unsolved], b[unsolved])
            state.plan[unsolved], state.dual[unsolved] = fresh.plan, fresh.dual
    else:
        state = _anneal(cost, epsilon, a, b)
    plan = state.plan * filled.unsqueeze(2)
    return (plan.mT if wide else plan), state.dual


def _anneal(cost: Tensor, epsilon: float, a: Tensor, b: Tensor) -> _SemiDual:
    """Solve with POT at `WARM` or above, then halve the entropic weight down to `epsilon`."""
    current = max(epsilon, WARM)
    _, dual = bregman_log_projection_batch(-cost / current, a, b, max_iter=SWEEPS, tol=0.0)["potentials"]
    state = _SemiDual(cost, a, b, dual, current)
    while current > epsilon:
        state.newton(STAGE_STEPS)
        following = max(epsilon, current / 2)
        state = _SemiDual(cost, a, b, state.dual * (current / following), following)
        current = following
    state.newton(LAST_STEPS)
    return state


class _SemiDual:
    r"""Semi-dual of the linear problem, maximised for each sample by itself.

    With the dual γ = g / ε of the columns, the row marginals hold by construction:
    :math:`T_{ij} = a_i S_{ij}`, with S the softmax of :math:`γ_j - C_{ij} / ε` over j. The objective
    :math:`F(γ) = \sum_j b_j γ_j - \sum_i a_i \log\sum_j \exp(γ_j - C_{ij} / ε)` is concave. Its
    gradient is :math:`b - T^\top 1`, its Hessian :math:`-(diag(T^\top 1) - T^\top S)`. Levenberg's damping decreases
    after a step that improves the objective or the error. Other steps are rejected, and the damping increases.
    """

    def __init__(self, cost: Tensor, a: Tensor, b: Tensor, dual: Tensor, epsilon: float) -> None:
        self.scaled, self.a, self.b, self.dual = cost / epsilon, a, b, dual
        # Near the precision, and far below TOLERANCE, because the gradient is that of an exact solution.
        self.stop = 1e-4 if cost.dtype == torch.float32 else 1e-10
        self.share, self.value = self._at(self.scaled, a, b, dual)
        self.plan = a.unsqueeze(2) * self.share

    @staticmethod
    def _at(scaled: Tensor, a: Tensor, b: Tensor, dual: Tensor) -> tuple[Tensor, Tensor]:
        """Return the softmax S (B, n, m) and the objective F (B,) at a dual."""
        logits = dual.unsqueeze(1) - scaled
        total = logits.logsumexp(dim=2, keepdim=True)
        objective = (b * torch.where(b > 0, dual, 0)).sum(dim=1) - (a * total.squeeze(2)).sum(dim=1)
        return (logits - total).exp_(), objective

    def newton(self, steps: int) -> None:
        """Take up to `steps` Newton steps for each sample that has not converged."""
        columns = self.plan.sum(dim=1)
        active = torch.nonzero(self._error(columns, self.b) > self.stop).squeeze(1)
        if not len(active):
            return
        scaled, a, b = self.scaled[active], self.a[active], self.b[active]
        dual, share, plan, value = self.dual[active], self.share[active], self.plan[active], self.value[active]
        columns = columns[active]
        error = self._error(columns, b)
        damping = torch.full_like(value, 1e-3)
        for _ in range(steps):
            factor, _ = _factor(columns, plan, share, damping / b.shape[1])
            step = torch.cholesky_solve((b - columns).unsqueeze(2), factor).squeeze(2)
            trial_dual = dual + step.nan_to_num(0.0, 0.0, 0.0)
            new_share, new_value = self._at(scaled, a, b, trial_dual)
            new_plan = a.unsqueeze(2) * new_share
            new_columns = new_plan.sum(dim=1)
            new_error = self._error(new_columns, b)
            improved = (new_value > value) | (new_error < error)
            taken = improved.unsqueeze(1)
            dual, columns = torch.where(taken, trial_dual, dual), torch.where(taken, new_columns, columns)
            taken = taken.unsqueeze(2)
            share, plan = torch.where(taken, new_share, share), torch.where(taken, new_plan, plan)
            value, error = torch.where(improved, new_value, value), torch.where(improved, new_error, error)
            damping = torch.where(improved, damping * 0.2, damping * 8).clamp(1e-6, 1e4)
            unfinished = error > self.stop
            self.dual[active], self.share[active], self.plan[active], self.value[active] = dual, share, plan, value
            if not unfinished.any():
                return
            if not unfinished.all():
                keep = torch.nonzero(unfinished).squeeze(1)
                active, scaled, a, b, dual, share, plan, value, columns, error, damping = (
                    tensor[keep] for tensor in (active, scaled, a, b, dual, share, plan, value, columns, error, damping)
                )

    def error(self) -> Tensor:
        """Return the L1 error (B,) of the column marginals."""
        return self._error(self.plan.sum(dim=1), self.b)

    @staticmethod
    def _error(columns: Tensor, b: Tensor) -> Tensor:
        return (columns - b).abs().sum(dim=1)
