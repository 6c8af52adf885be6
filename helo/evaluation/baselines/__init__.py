"""Baselines: trivial predictions without signals, and fitted regressors."""

from helo.evaluation.baselines.table import baselines_table
from helo.evaluation.baselines.trivial import trivial_predictions

__all__ = ["baselines_table", "trivial_predictions"]
