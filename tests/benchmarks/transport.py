"""What plans cost and how exact they are: ours, a loop of `ot.sinkhorn`, and `ot.batch`, on the same problems.

``python tests/benchmarks/transport.py [--repeats 3] [--iterations 1000]`` prints one JSON line. The problems are
cosine costs between random tokens, 128 of 18 × 32 (as in HeLo at the release's shapes), in float32. Every solver
stops at 1e-4 in its own measure of the marginals' error (ours L1 per plan; `ot.sinkhorn` L2 per plan, `ot.batch` L2 of
the worst plan, both looked at every ten iterations); POT's get `iterations` at most (the loop solves a sixteenth of the
problems, and its time is scaled). ``tied`` is ε = 1e-3 on costs of five values, full of ties. For each ε:

- ``ms``: the whole batch, median over repeats
- ``error``: the largest marginal error (L1 over rows and columns)
- ``unconverged``: the share of plans with an error above `helo.model.transport.TOLERANCE`
- ``loop_ratio``, ``batch_ratio``: POT's time over ours, median over repeats
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ot
import ot.batch
import torch
from torch import Tensor

from helo.model.transport import TOLERANCE, cosine_cost, entropic_plan

EPSILONS = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 10.0)
PROBLEMS, ROWS, COLUMNS, WIDTH = 128, 18, 32, 128
STOP = 1e-4
SHARE = 16


def ours(cost: Tensor, epsilon: float, iterations: int) -> Tensor:
    return entropic_plan(cost, epsilon).plan


def batch(cost: Tensor, epsilon: float, iterations: int) -> Tensor:
    plan: Tensor = ot.batch.solve_batch(cost, epsilon, max_iter=iterations, tol=STOP, method="log_sinkhorn").plan
    return plan


def loop(cost: Tensor, epsilon: float, iterations: int) -> Tensor:
    a, b = torch.full((ROWS,), 1 / ROWS), torch.full((COLUMNS,), 1 / COLUMNS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says so itself when it has not converged; we measure it
        plans = [
            ot.sinkhorn(a, b, one, epsilon, method="sinkhorn_log", stopThr=STOP, numItermax=iterations) for one in cost
        ]
    return torch.stack(plans)


def timed(solve: Callable[[Tensor, float, int], Tensor], cost: Tensor, *settings: float) -> tuple[float, Tensor]:
    start = time.perf_counter()
    plan = solve(cost, *settings)  # type: ignore[arg-type]
    return 1e3 * (time.perf_counter() - start), plan


def report(milliseconds: float, plan: Tensor) -> dict[str, float]:
    rows = (plan.sum(dim=2) - 1 / ROWS).abs().sum(dim=1)
    columns = (plan.sum(dim=1) - 1 / COLUMNS).abs().sum(dim=1)
    error = rows + columns
    return {
        "ms": round(milliseconds, 2),
        "error": float(f"{error.max().item():.2g}"),
        "unconverged": round((error > TOLERANCE).double().mean().item(), 3),
    }


def measure(epsilon: float, cost: Tensor, repeats: int, iterations: int) -> dict[str, object]:
    times: dict[str, list[float]] = {"ours": [], "batch": [], "loop": []}
    plans = {}
    for _ in range(repeats):
        for name, solve, some in (("ours", ours, cost), ("batch", batch, cost), ("loop", loop, cost[::SHARE])):
            milliseconds, plans[name] = timed(solve, some, epsilon, iterations)
            times[name].append(milliseconds * len(cost) / len(some))
    ratios = {
        f"{name}_ratio": round(statistics.median(b / a for a, b in zip(times["ours"], times[name], strict=True)), 2)
        for name in ("loop", "batch")
    }
    return {name: report(statistics.median(times[name]), plans[name]) for name in times} | ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=1000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cost = cosine_cost(torch.randn(PROBLEMS, ROWS, WIDTH), torch.randn(PROBLEMS, COLUMNS, WIDTH))
    tied = (torch.rand(PROBLEMS, ROWS, COLUMNS) * 4).round() / 4
    measure(1.0, cost, 1, 10)  # warm up
    print(
        json.dumps(
            {
                "benchmark": "transport",
                "machine": platform.machine(),
                "torch": torch.__version__,
                "pot": ot.__version__,
                "problems": [PROBLEMS, ROWS, COLUMNS],
                "iterations": arguments.iterations,
                "tied": measure(EPSILONS[0], tied, arguments.repeats, arguments.iterations),
                "epsilon": {
                    f"{epsilon:g}": measure(epsilon, cost, arguments.repeats, arguments.iterations)
                    for epsilon in EPSILONS
                },
            }
        )
    )


if __name__ == "__main__":
    main()
