"""Tests of transport plans: marginals, limits in ε, agreement with POT's solvers, gradients and absent tokens."""

from __future__ import annotations

import numpy as np
import ot
import ot.batch
import ot.gromov
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helo.model.transport import (
    TOLERANCE,
    Transport,
    TransportSettings,
    cosine_cost,
    entropic_plan,
    transport,
    transported,
)

EPSILONS = (1e-3, 3e-3, 1e-2, 0.03, 0.1, 1.0, 10.0)
SAFE = (0.05, 0.1, 0.5, 2.0)
"""Values of ε with which POT's solvers converge too."""

KINDS = ("linear", "gromov", "fused")


def costs(batch: int = 4, n: int = 5, m: int = 6, seed: int = 0) -> Tensor:
    return torch.rand(batch, n, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tokens(batch: int, count: int, width: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(batch, count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair(batch: int = 4, n: int = 5, m: int = 6, width: int = 4) -> tuple[Tensor, Tensor]:
    return tokens(batch, n, width, seed=1), tokens(batch, m, width, seed=2)


def entropy(plan: Tensor) -> Tensor:
    return -torch.xlogy(plan, plan).sum(dim=(1, 2))


def uniform(count: int) -> np.ndarray:
    return np.full(count, 1 / count)


def assert_marginals(result: Transport, atol: float = TOLERANCE) -> None:
    plan = result.plan
    assert (plan >= 0).all()
    rows = (plan.sum(dim=2) - 1 / plan.shape[1]).abs().sum(dim=1)
    columns = (plan.sum(dim=1) - 1 / plan.shape[2]).abs().sum(dim=1)
    assert (rows + columns <= atol).all()


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 3),
    n=st.integers(1, 12),
    m=st.integers(1, 12),
    exponent=st.floats(-3, 1),
    seed=st.integers(0, 1000),
)
def test_marginals_are_uniform_at_any_epsilon_in_float32(
    batch: int, n: int, m: int, exponent: float, seed: int
) -> None:
    result = entropic_plan(costs(batch, n, m, seed).float(), 10**exponent)
    assert_marginals(result)
    assert not result.unconverged.any()
    rows = (result.plan.sum(dim=2) - 1 / n).abs().sum(dim=1)
    columns = (result.plan.sum(dim=1) - 1 / m).abs().sum(dim=1)
    torch.testing.assert_close(result.error, rows + columns)


@pytest.mark.parametrize("shape", [(18, 32), (36, 36), (7, 17), (1, 9)])
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_every_plan_of_a_batch_of_tokens_converges(epsilon: float, shape: tuple[int, int]) -> None:
    source, target = pair(128, *shape, width=16)
    result = transport(source.float(), target.float(), TransportSettings(epsilon))
    assert not result.unconverged.any()
    assert torch.isfinite(result.plan).all()


@pytest.mark.parametrize("shape", [(18, 32), (28, 27)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_costs_full_of_ties_converge(shape: tuple[int, int], dtype: torch.dtype) -> None:
    """Costs of five values have many optimal matchings, and are the hardest problems at small ε."""
    for seed in range(3):
        tied = (torch.rand(256, *shape, generator=torch.Generator().manual_seed(seed)) * 4).round() / 4
        result = entropic_plan(tied.to(dtype), 1e-3)
        assert not result.unconverged.any(), (seed, result.error.max())


def test_degenerate_costs_converge() -> None:
    """Equal costs, a matching with ties, and equal tokens converge."""
    ties = torch.ones(5, 5) - torch.eye(5)
    hard = torch.stack([torch.zeros(5, 5), torch.ones(5, 5), ties, torch.eye(5), ties[:, [0, 0, 1, 1, 2]]])
    for epsilon in EPSILONS:
        assert not entropic_plan(hard, epsilon).unconverged.any(), epsilon


@pytest.mark.parametrize("kind", KINDS)
def test_entropy_rises_with_epsilon(kind: str) -> None:
    """The entropy rises in every sample for ``linear``; the other kinds may reach another optimum at another ε."""
    entropies = torch.stack(
        [entropy(transport(*pair(16), TransportSettings(epsilon, kind)).plan) for epsilon in EPSILONS]
    )
    rises = entropies.diff(dim=0) > -1e-5
    assert rises.all() or (kind != "linear" and rises.double().mean() > 0.95)
    assert (entropies[-1] - entropies[0] > 0.5).all()
    assert (entropies.mean(dim=1).diff() > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_large_epsilon_gives_the_product_of_the_marginals(kind: str) -> None:
    plan = transport(*pair(), TransportSettings(1e4, kind)).plan
    torch.testing.assert_close(plan, torch.full_like(plan, 1 / 30), atol=1e-5, rtol=0)


def test_small_epsilon_gives_the_unregularised_optimum() -> None:
    cost = costs(8, 6, 6)
    for one, plan in zip(cost, entropic_plan(cost, 1e-3).plan, strict=True):
        best = ot.emd2(uniform(6), uniform(6), one.numpy())
        assert (one * plan).sum().item() == pytest.approx(best, abs=2e-3)


@pytest.mark.parametrize("epsilon", SAFE)
def test_linear_agrees_with_pots_single_solver(epsilon: float) -> None:
    cost = costs()
    for one, computed in zip(cost.numpy(), entropic_plan(cost, epsilon).plan.numpy(), strict=True):
        reference = ot.sinkhorn(
            uniform(5), uniform(6), one, epsilon, method="sinkhorn_log", numItermax=20000, stopThr=1e-12
        )
        np.testing.assert_allclose(computed, reference, atol=1e-8)


@pytest.mark.parametrize("epsilon", SAFE)
@pytest.mark.parametrize(("kind", "alpha"), [("gromov", 1.0), ("fused", 0.3), ("fused", 0.8)])
def test_gromov_and_fused_agree_with_pots_single_solver(
    kind: str, alpha: float, epsilon: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """α is defined as in POT; POT's ε is (1 + α) times the ε of `transport`."""
    monkeypatch.setattr("helo.model.transport.MIRROR_TOLERANCE", 1e-9)
    monkeypatch.setattr("helo.model.transport.SMALLEST_STEP", 1e-12)
    source, target = pair()
    computed = transport(source, target, TransportSettings(epsilon, kind, alpha)).plan.numpy()
    inner, outer = cosine_cost(source, source).numpy(), cosine_cost(target, target).numpy()
    between = cosine_cost(source, target).numpy()
    for number, plan in enumerate(computed):
        reference = ot.gromov.entropic_fused_gromov_wasserstein(
            between[number],
            inner[number],
            outer[number],
            uniform(5),
            uniform(6),
            "square_loss",
            epsilon=(1 + alpha) * epsilon,
            alpha=alpha,
            symmetric=True,
            max_iter=3000,
            tol=1e-12,
            numItermax=5000,
            stopThr=1e-12,
        )
        np.testing.assert_allclose(plan, reference, atol=1e-6)


@pytest.mark.parametrize("kind", ["gromov", "fused"])
@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("shape", [(7, 17), (18, 32)])
def test_converged_plans_are_near_the_fixed_point(
    shape: tuple[int, int], epsilon: float, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short steps do not prove convergence, because all steps near a saddle are short."""
    source, target = pair(16, *shape, width=32)
    found = transport(source, target, TransportSettings(epsilon, kind))
    assert not found.unconverged.any()
    monkeypatch.setattr("helo.model.transport.MIRROR_TOLERANCE", 1e-7)
    monkeypatch.setattr("helo.model.transport.SMALLEST_STEP", 1e-10)
    monkeypatch.setattr("helo.model.transport.MIRROR_STEPS", 3000)
    solution = transport(source, target, TransportSettings(epsilon, kind))
    distance = (found.plan - solution.plan).abs().sum(dim=(1, 2))
    assert not solution.unconverged.any()
    assert (distance < 5 * TOLERANCE).all()


@pytest.mark.parametrize("steps", [3, 6])
def test_the_gradient_of_an_unfinished_plan_is_bounded(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient of an unconverged plan stays finite, so the cell can continue."""
    source, target = (side.float().requires_grad_() for side in pair(16, 18, 32, 32))
    monkeypatch.setattr("helo.model.transport.MIRROR_STEPS", steps)
    result = transport(source, target, TransportSettings(3e-3, "gromov"))
    assert result.unconverged.any()
    for slope in torch.autograd.grad(result.plan.square().sum(), (source, target)):
        assert torch.isfinite(slope).all()
        assert slope.abs().max() < 100


def test_mirror_descent_leaves_a_saddle() -> None:
    """For almost equidistant tokens, the product of the marginals is nearly stationary but not optimal."""
    noise = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    near, other = torch.eye(8) + 1e-3 * noise, torch.eye(8) + 1e-3 * noise.flip(0)
    result = transport(near, other, TransportSettings(1e-3, "gromov"))
    assert (result.unconverged | (entropy(result.plan) < 2.2)).all()
    assert not result.unconverged.all()


def test_fused_lies_between_linear_and_gromov() -> None:
    source, target = pair()
    for alpha, kind in ((0.0, "linear"), (1.0, "gromov")):
        torch.testing.assert_close(
            transport(source, target, TransportSettings(0.1, "fused", alpha)).plan,
            transport(source, target, TransportSettings(0.1, kind)).plan,
        )
    half = transport(source, target, TransportSettings(0.05, "fused", 0.5)).plan
    for kind in ("linear", "gromov"):
        assert (half - transport(source, target, TransportSettings(0.05, kind)).plan).abs().sum(dim=(1, 2)).min() > 0.01


def test_gromov_finds_a_rotated_and_shuffled_copy() -> None:
    """Distances between tokens do not depend on the coordinates, so Gromov–Wasserstein recovers the matching."""
    source = tokens(1, 4, 3, seed=5)
    rotation = torch.linalg.qr(tokens(1, 3, 3, seed=6)[0]).Q
    order = torch.tensor([2, 0, 3, 1])
    target = (source @ rotation)[:, order]
    plan = transport(source, target, TransportSettings(2e-3, "gromov")).plan[0]
    assert (plan.argmax(dim=0) == order).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epsilon", [2e-3, 0.02, 0.1, 0.5])
def test_gradient_agrees_with_finite_differences(kind: str, epsilon: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helo.model.transport.MIRROR_TOLERANCE", 1e-10)
    monkeypatch.setattr("helo.model.transport.SMALLEST_STEP", 1e-13)
    source, target = pair(2, 3, 4)
    source, target = source.requires_grad_(), target.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s, t: transport(s, t, TransportSettings(epsilon, kind)).plan,
        (source, target),
        eps=1e-7,
        atol=1e-4,
        rtol=1e-3,
    )


@pytest.mark.parametrize("epsilon", SAFE)
def test_gradient_agrees_with_unrolled_iterations(epsilon: float) -> None:
    cost = costs().requires_grad_()
    upstream = torch.randn(cost.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (computed,) = torch.autograd.grad((entropic_plan(cost, epsilon).plan * upstream).sum(), cost)
    unrolled = ot.batch.solve_batch(
        cost, reg=epsilon, max_iter=5000, tol=1e-12, method="log_sinkhorn", grad="autodiff"
    ).plan
    (reference,) = torch.autograd.grad((unrolled * upstream).sum(), cost)
    torch.testing.assert_close(computed, reference, rtol=0, atol=1e-4 * reference.abs().max().item())


def test_gradient_ignores_constants_in_the_cost() -> None:
    """A constant added to a row or a column does not change the plan, so the gradient in this direction is 0."""
    cost = costs().requires_grad_()
    upstream = torch.randn(cost.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (slope,) = torch.autograd.grad((entropic_plan(cost, 0.2).plan * upstream).sum(), cost)
    scale = slope.abs().max().item()
    torch.testing.assert_close(slope.sum(dim=1), torch.zeros(4, 6).double(), rtol=0, atol=1e-4 * scale)
    torch.testing.assert_close(slope.sum(dim=2), torch.zeros(4, 5).double(), rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epsilon", [1e-3, 10.0])
def test_gradient_is_finite_at_both_ends_in_float32(kind: str, epsilon: float) -> None:
    source, target = (side.float().requires_grad_() for side in pair(8, 6, 7))
    for slope in torch.autograd.grad(
        transport(source, target, TransportSettings(epsilon, kind)).plan.square().sum(), (source, target)
    ):
        assert torch.isfinite(slope).all()


def test_plans_far_from_the_fixed_point_are_unconverged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps of mirror descent suffice at large ε, but not at small ε."""
    monkeypatch.setattr("helo.model.transport.MIRROR_STEPS", 3)
    assert transport(*pair(), TransportSettings(1e-3, "gromov")).unconverged.all()
    assert not transport(*pair(), TransportSettings(10.0, "gromov")).unconverged.any()


def test_plans_that_miss_their_marginals_are_unconverged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helo.model.sinkhorn.LAST_STEPS", 1)
    monkeypatch.setattr("helo.model.sinkhorn.STAGE_STEPS", 1)
    easy = torch.zeros(5, 6, dtype=torch.float64)
    result = entropic_plan(torch.stack([costs(1)[0], easy]), 1e-3)
    assert result.unconverged.tolist() == [True, False]
    assert result.error[0] > TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_that_is_not_a_number_is_unconverged(kind: str) -> None:
    source, target = pair()
    source[1] = torch.nan
    assert transport(source, target, TransportSettings(0.1, kind)).unconverged.tolist() == [False, True, False, False]


@pytest.mark.parametrize("epsilon", [0.0, -0.1, float("nan")])
def test_epsilon_must_be_positive(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon > 0 must hold, got"):
        entropic_plan(costs(), epsilon)


def test_wrong_kinds_and_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="kind must be linear, gromov or fused, got 'sinkhorn'"):
        transport(*pair(), TransportSettings(0.1, "sinkhorn"))
    with pytest.raises(ValueError, match=r"0 <= alpha <= 1 must hold, got 1\.5"):
        transport(*pair(), TransportSettings(0.1, "fused", 1.5))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_a_plan_does_not_depend_on_the_rest_of_the_batch(kind: str, epsilon: float) -> None:
    """The plan of a sample is the same alone and beside easier or harder samples."""
    source, target = pair(6)
    source[0] = source[0, :1]  # Equal tokens: solved immediately.
    together = transport(source, target, TransportSettings(epsilon, kind))
    for number in range(6):
        alone = transport(source[number : number + 1], target[number : number + 1], TransportSettings(epsilon, kind))
        torch.testing.assert_close(together.plan[number], alone.plan[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_permuted_tokens_permute_the_plan(kind: str) -> None:
    (source, target), rows, columns = pair(), torch.randperm(5), torch.randperm(6)
    plan = transport(source, target, TransportSettings(0.1, kind)).plan
    moved = transport(source[:, rows], target[:, columns], TransportSettings(0.1, kind)).plan
    torch.testing.assert_close(moved, plan[:, rows][:, :, columns], rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_swapping_source_and_target_transposes_the_plan(kind: str) -> None:
    source, target = pair()
    torch.testing.assert_close(
        transport(source, target, TransportSettings(0.05, kind)).plan,
        transport(target, source, TransportSettings(0.05, kind)).plan.transpose(1, 2),
        rtol=0,
        atol=1e-6,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epsilon", [3e-3, 0.1, 1.0])
def test_an_absent_token_equals_a_removed_token(kind: str, epsilon: float) -> None:
    source, target = pair()
    source_present, target_present = torch.ones(4, 5, dtype=torch.bool), torch.ones(4, 6, dtype=torch.bool)
    source_present[1, [0, 3]] = False
    target_present[2, 5] = False
    result = transport(source, target, TransportSettings(epsilon, kind, 0.5), source_present, target_present)
    assert not result.unconverged.any()
    for number in range(4):
        rows, columns = source_present[number], target_present[number]
        alone = transport(
            source[number, rows][None], target[number, columns][None], TransportSettings(epsilon, kind)
        ).plan[0]
        torch.testing.assert_close(result.plan[number][rows][:, columns], alone, rtol=0, atol=1e-8)
        assert (result.plan[number][~rows] == 0).all()
        assert (result.plan[number][:, ~columns] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_without_tokens_has_a_zero_plan_and_a_zero_gradient(kind: str) -> None:
    (source, target), source_present = pair(), torch.ones(4, 5, dtype=torch.bool)
    source_present[1] = False
    source.requires_grad_()
    result = transport(source, target, TransportSettings(0.05, kind, 0.5), source_present)
    assert (result.plan[1] == 0).all()
    assert not result.unconverged.any()
    (slope,) = torch.autograd.grad(result.plan.square().sum(), source)
    assert torch.isfinite(slope).all()
    assert (slope[1] == 0).all()


def test_a_target_without_mass_gets_zeros_and_a_finite_gradient() -> None:
    source, target = (side.requires_grad_() for side in pair())
    target_present = torch.ones(4, 6, dtype=torch.bool)
    target_present[1, 2] = False
    carried = transported(transport(source, target, TransportSettings(0.1), target_present=target_present).plan, source)
    assert (carried[1, 2] == 0).all()
    for slope in torch.autograd.grad((10 * carried).square().sum(), (source, target)):
        assert torch.isfinite(slope).all()


def test_cosine_cost_lies_between_same_and_opposite() -> None:
    a = torch.tensor([[[1.0, 0.0]]])
    b = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]])
    torch.testing.assert_close(cosine_cost(a, b), torch.tensor([[[0.0, 0.5, 1.0]]]))
    cost = cosine_cost(tokens(3, 5), tokens(3, 6, seed=1))
    assert cost.shape == (3, 5, 6)
    assert ((cost >= 0) & (cost <= 1)).all()


def test_cosine_cost_ignores_token_lengths() -> None:
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
