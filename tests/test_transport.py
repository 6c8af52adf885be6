"""Plans: marginals, limits in ε, agreement with POT's own solvers, and the gradient."""

from __future__ import annotations

import numpy as np
import ot
import ot.batch
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helo.transport import TOLERANCE, cosine_cost, entropic_plan, transported

EPSILONS = (0.05, 0.1, 0.5, 2.0)


def costs(batch: int = 4, n: int = 5, m: int = 6, seed: int = 0) -> Tensor:
    return torch.rand(batch, n, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tokens(batch: int, count: int, width: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(batch, count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    n=st.integers(1, 6),
    m=st.integers(1, 6),
    epsilon=st.floats(0.05, 10.0),
    seed=st.integers(0, 1000),
)
def test_marginals_are_uniform(batch: int, n: int, m: int, epsilon: float, seed: int) -> None:
    result = entropic_plan(costs(batch, n, m, seed), epsilon)
    plan = result.plan
    assert (plan >= 0).all()
    rows = (plan.sum(dim=2) - 1 / n).abs().sum(dim=1)
    columns = (plan.sum(dim=1) - 1 / m).abs().sum(dim=1)
    torch.testing.assert_close(result.error, rows + columns)
    assert (result.error <= TOLERANCE).all()
    assert not result.unconverged.any()


def test_entropy_rises_with_epsilon() -> None:
    plans = [entropic_plan(costs(), epsilon).plan for epsilon in (0.02, 0.05, 0.1, 0.3, 1.0, 5.0)]
    entropies = torch.stack([-torch.xlogy(plan, plan).sum(dim=(1, 2)) for plan in plans])
    assert (entropies.diff(dim=0) > 0).all()


def test_large_epsilon_gives_the_product_of_the_marginals() -> None:
    plan = entropic_plan(costs(), 1e4).plan
    torch.testing.assert_close(plan, torch.full_like(plan, 1 / 30), atol=1e-5, rtol=0)


def test_small_epsilon_approaches_the_unregularised_optimum() -> None:
    """A matching with a clear winner: 0.1 on a permutation, at least 0.5 elsewhere."""
    cost = 0.5 + 0.5 * costs(1, 4, 4)
    cost[0, torch.arange(4), torch.tensor([2, 0, 3, 1])] = 0.1
    best = ot.emd(np.full(4, 0.25), np.full(4, 0.25), cost[0].numpy())
    distances = [np.abs(entropic_plan(cost, epsilon).plan[0].numpy() - best).max() for epsilon in (0.5, 0.1, 0.02)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-6


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_agrees_with_pots_single_solver(epsilon: float) -> None:
    cost = costs()
    plan = entropic_plan(cost, epsilon).plan.numpy()
    for one, mine in zip(cost.numpy(), plan, strict=True):
        reference = ot.sinkhorn(
            np.full(5, 1 / 5),
            np.full(6, 1 / 6),
            one,
            epsilon,
            method="sinkhorn_log",
            numItermax=5000,
            stopThr=1e-12,
        )
        np.testing.assert_allclose(mine, reference, atol=1e-4)


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_gradient_agrees_with_unrolled_iterations(epsilon: float) -> None:
    cost = costs().requires_grad_()
    upstream = torch.randn(cost.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (mine,) = torch.autograd.grad((entropic_plan(cost, epsilon).plan * upstream).sum(), cost)
    unrolled = ot.batch.solve_batch(
        cost, reg=epsilon, max_iter=2000, tol=1e-12, method="log_sinkhorn", grad="autodiff"
    ).plan
    (reference,) = torch.autograd.grad((unrolled * upstream).sum(), cost)
    torch.testing.assert_close(mine, reference, rtol=0, atol=2e-3 * reference.abs().max().item())


def test_gradient_agrees_with_finite_differences() -> None:
    """At ε = 0.5 POT's stop is far below the differences; they see the plan change by about 1e-4."""
    cost = costs(2, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda cost: entropic_plan(cost, 0.5).plan, (cost,), eps=1e-3, atol=2e-3, rtol=1e-2, nondet_tol=0
    )


def test_gradient_does_not_see_a_constant_in_the_cost() -> None:
    """Adding to a row or a column changes no plan, so such directions have no slope."""
    cost = costs().requires_grad_()
    upstream = torch.randn(cost.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (slope,) = torch.autograd.grad((entropic_plan(cost, 0.2).plan * upstream).sum(), cost)
    scale = slope.abs().max().item()
    torch.testing.assert_close(slope.sum(dim=1), torch.zeros(4, 6).double(), rtol=0, atol=1e-3 * scale)
    torch.testing.assert_close(slope.sum(dim=2), torch.zeros(4, 5).double(), rtol=0, atol=1e-3 * scale)


def test_gradient_is_finite_where_plans_are_sparse() -> None:
    cost = costs(8, 6, 6).float().requires_grad_()
    (slope,) = torch.autograd.grad(entropic_plan(cost, 1e-3).plan.square().sum(), cost)
    assert torch.isfinite(slope).all()


def test_unconverged_plans_are_flagged_and_only_they() -> None:
    easy = torch.zeros(5, 6, dtype=torch.float64)
    result = entropic_plan(torch.stack([costs(1)[0], easy]), 1e-3)
    assert result.unconverged.tolist() == [True, False]
    assert result.error[0] > TOLERANCE


def test_a_plan_that_is_not_a_number_is_unconverged() -> None:
    assert entropic_plan(torch.full((2, 3, 4), torch.nan), 0.1).unconverged.all()


@pytest.mark.parametrize("epsilon", [0.0, -0.1, float("nan")])
def test_epsilon_must_be_positive(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon > 0 must hold, got"):
        entropic_plan(costs(), epsilon)


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_a_plan_does_not_depend_on_the_rest_of_the_batch(epsilon: float) -> None:
    cost = costs(8)
    together = entropic_plan(cost, epsilon).plan
    alone = torch.cat([entropic_plan(one[None], epsilon).plan for one in cost])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-3)


def test_permuted_tokens_permute_the_plan() -> None:
    cost, rows, columns = costs(), torch.randperm(5), torch.randperm(6)
    plan = entropic_plan(cost, 0.1).plan
    torch.testing.assert_close(
        entropic_plan(cost[:, rows][:, :, columns], 0.1).plan, plan[:, rows][:, :, columns], rtol=0, atol=1e-4
    )


def test_cosine_cost_lies_between_same_and_opposite() -> None:
    a = torch.tensor([[[1.0, 0.0]]])
    b = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]])
    torch.testing.assert_close(cosine_cost(a, b), torch.tensor([[[0.0, 0.5, 1.0]]]))
    cost = cosine_cost(tokens(3, 5), tokens(3, 6, seed=1))
    assert cost.shape == (3, 5, 6)
    assert ((cost >= 0) & (cost <= 1)).all()


def test_cosine_cost_does_not_see_lengths() -> None:
    a, b = tokens(3, 5), tokens(3, 6, seed=1)
    torch.testing.assert_close(cosine_cost(7 * a, 0.01 * b), cosine_cost(a, b))


def test_a_token_of_zeros_has_a_finite_cost() -> None:
    cost = cosine_cost(torch.zeros(1, 2, 4), tokens(1, 3).float())
    torch.testing.assert_close(cost, torch.full((1, 2, 3), 0.5))


def test_a_uniform_plan_carries_the_mean() -> None:
    source = tokens(2, 5)
    carried = transported(torch.full((2, 5, 3), 1 / 15, dtype=torch.float64), source)
    torch.testing.assert_close(carried, source.mean(dim=1, keepdim=True).expand(2, 3, 4))


def test_a_permutation_carries_tokens_as_they_are() -> None:
    source, order = tokens(1, 4), torch.tensor([2, 0, 3, 1])
    plan = torch.zeros(1, 4, 4, dtype=torch.float64)
    plan[0, order, torch.arange(4)] = 0.25  # source token order[j] goes to target j
    torch.testing.assert_close(transported(plan, source), source[:, order])


def test_carried_tokens_stay_in_the_range_of_the_source() -> None:
    source = tokens(4, 5)
    carried = transported(entropic_plan(costs(), 0.05).plan, source)
    assert carried.shape == (4, 6, 4)
    assert (carried <= source.amax(dim=1, keepdim=True) + 1e-9).all()
    assert (carried >= source.amin(dim=1, keepdim=True) - 1e-9).all()
