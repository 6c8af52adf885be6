"""Docstrings of the public API: every parameter, return value and summary is documented, in NumPy style."""

from __future__ import annotations

import pytest
from numpydoc.validate import validate

PUBLIC = [
    "helo.HeLoRegressor",
    "helo.HeLoRegressor.fit",
    "helo.HeLoRegressor.predict",
    "helo.load_model",
    "helo.load_run",
    "helo.run_search",
    "helo.data.Dataset",
    "helo.data.simulate",
    "helo.data.read_dataset",
    "helo.data.write_dataset",
    "helo.metrics.Metric",
    "helo.metrics.mean_scores",
    "helo.metrics.subject_scores",
    "helo.metrics.window_scores",
    "helo.search.Space",
    "helo.analysis.result.RunResult",
    "helo.analysis.result.RunResult.figure",
    "helo.analysis.result.RunResult.report",
    "helo.training.fitted.FittedModel",
    "helo.training.fitted.FittedModel.predict",
]
RULES = {"PR01", "PR02", "PR03", "RT01", "RT03", "SS03", "SS05"}
"""Parameters documented, known and in order; return value documented; a summary that is a sentence and a command."""


@pytest.mark.parametrize("name", PUBLIC)
def test_public_docstrings(name: str) -> None:
    problems = {code: text for code, text in validate(name)["errors"] if code in RULES}
    assert problems == {}
