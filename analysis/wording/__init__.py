"""Results in words and formatted numbers, the same for the terminal, the report and the dashboard."""

from helo.analysis.wording.ablation import LossWords, ablation_note, describe_variants, loss_words
from helo.analysis.wording.coverage import coverage_notes, describe_cells, incomplete_note, is_incomplete
from helo.analysis.wording.next_step import next_step
from helo.analysis.wording.notes import (
    BY_GROUP_NOTE,
    BY_GROUP_TITLE,
    MEANINGS,
    NOT_REPORTABLE,
    failure_notes,
    method_notes,
    optimism_note,
    training_end_note,
    unconverged_note,
    untrained_note,
)
from helo.analysis.wording.numbers import (
    count,
    format_difference,
    format_effect,
    format_p,
    format_percent,
    format_score,
    p_equals,
    power_note,
)
from helo.analysis.wording.practical import new_person_note
from helo.analysis.wording.verdict import best_baseline_note, verdict

__all__ = [
    "BY_GROUP_NOTE",
    "BY_GROUP_TITLE",
    "MEANINGS",
    "NOT_REPORTABLE",
    "LossWords",
    "ablation_note",
    "best_baseline_note",
    "count",
    "coverage_notes",
    "describe_cells",
    "describe_variants",
    "failure_notes",
    "format_difference",
    "format_effect",
    "format_p",
    "format_percent",
    "format_score",
    "incomplete_note",
    "is_incomplete",
    "loss_words",
    "method_notes",
    "new_person_note",
    "next_step",
    "optimism_note",
    "p_equals",
    "power_note",
    "training_end_note",
    "unconverged_note",
    "untrained_note",
    "verdict",
]
