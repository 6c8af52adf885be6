"""What every result stands beside: scores without any signal, and those of plain regressors."""

from helo.evaluation.baselines.table import baselines_table
from helo.evaluation.baselines.trivial import trivial_predictions

__all__ = ["baselines_table", "trivial_predictions"]
