"""What a reader of the estimates must know: what they mean, how the run was made, and what is missing."""

from __future__ import annotations

import math
from typing import Final

import pandas as pd

from helo.analysis.statistics.estimates import chosen_cells, completed
from helo.analysis.statistics.training_end import MIN_FOLDS
from helo.analysis.wording.numbers import count, format_score
from helo.metrics import METRICS
from helo.names import Column, Estimate, Method, Normalisation, SearchProtocol, Status
from helo.run.manifest import Manifest
from helo.run.selection import best_per_fold
from helo.run.versions import spell_nodes, spell_versions

MEANINGS: Final = {
    Estimate.PER_FOLD_SELECTION: "in each fold, the configuration with the best inner validation score, scored on the"
    " test subject. This is the result to report.",
    Estimate.SINGLE_CONFIGURATION: "the configuration with the best mean inner validation score over all folds: the"
    " one to deploy. All folds share one choice, so each test subject has influenced it through the other folds.",
    Estimate.ENSEMBLE: "in each fold, the weighted mean of the predictions of a few of its best configurations. Weights"
    " are chosen on the predictions for the inner validation subjects.",
    Estimate.ORACLE: "the best test score in each fold, separately for each metric. Not reportable: it shows how"
    " optimistic selection on the test subject would have been.",
    Estimate.TRAIN_MEAN: "the mean distribution of all other subjects, whatever the input. A model that is no better"
    " has learnt nothing from the signals.",
    Estimate.UNIFORM: "the same probability for every emotion.",
    Method.KNN: "the mean label of the nearest windows (AA-kNN).",
    Method.MAX_ENTROPY: "a linear maximum-entropy model (SA-BFGS with a penalty).",
    Method.RIDGE: "linear least squares with a penalty; predictions are clipped at 0 and divided by their sum.",
    Method.RANDOM_FOREST: "the mean label of the leaves of 100 regression trees.",
    Method.MLP: "a network with one hidden layer.",
    Estimate.BEST_POSSIBLE: "the best prediction, in terms of KL, for an unseen subject if the signals had no noise.",
}
"""Meaning of each estimate, as the end of a sentence that starts with its name."""

NOT_REPORTABLE: Final = "not reportable"
"""Label of estimates that use test scores for selection."""

BY_GROUP_TITLE: Final = "Scores by group (clip or condition)"
"""Title of the second table of estimates."""

BY_GROUP_NOTE: Final = (
    "The predictions of a subject's windows in the same group are averaged, and so are their labels. The averages are"
    " scored, and the scores are averaged over the groups of each subject and then over subjects. Skill is against"
    f" {Estimate.TRAIN_MEAN}, scored in the same way. Selection, tests, figures and the verdict use scores of windows."
)
"""How the scores of the second table of estimates are computed."""

_FITTED = (
    "The fitted baselines choose their settings on the inner validation subjects and are then fitted to all subjects"
    " but the test subject."
)
_NOT_REFITTED = {
    None: " HeLo is not refitted: the inner validation subjects decide when its training stops, so it trains without"
    " them.",
    1: " HeLo is not refitted: it trains without the inner validation subjects.",
}
"""What differs for HeLo, by the number of inner splits. Earlier versions recorded no number."""

_MEMBERS_NOT_REFITTED = (
    " HeLo is not refitted: the mean of the {members} members of a cell predicts the test subject, and each member"
    " trains without its own inner validation subjects."
)
_BEST_FITTED = " The best fitted baseline is selected by its test score, so the comparison is biased in its favour."
_LISTED = (
    "The configurations are the variants that the space lists; no sampler proposed any. In the table of estimates,"
    " per_fold_selection, single_configuration, ensemble and oracle choose among all variants, including the ablated"
    " ones. Report the table of variants instead. In tests and in figures of subjects, the first variant takes the"
    " place of per_fold_selection."
)
_SHARED = (
    "Protocol shared: one study proposes the configurations for all folds. The proposals therefore depend on the"
    " other folds, in which the test subject of this fold is a training or validation subject."
)
_SHARED_CHOICE = (
    " Only the proposals are affected: the selection in each fold uses the inner validation subjects of that fold"
    " alone."
)
_SHARED_RACING = (
    " Racing has the same effect: a configuration that scored badly in the first folds was not run in the others. Among"
    " the remaining configurations, the selection in each fold uses the inner validation subjects of that fold alone."
    " Protocol nested avoids both effects."
)
_NESTED = (
    "Protocol nested: each fold has its own study and nothing passes between folds, so per_fold_selection is an"
    " unbiased estimate. No configuration is in all folds, so there is no single_configuration: the estimate describes"
    " the search itself. For deployment, the report recommends the medoid of the folds' selections, the"
    " configuration nearest to all others."
)
_RUNGS = (
    "A cell that was clearly behind the others of its fold was stopped early. Such a cell is never selected in its"
    " fold. In a mean over folds, it counts with the score that it had reached."
)
_RUNGS_OVER_MEMBERS = (
    "A cell whose first members were clearly behind those of the other cells of its fold was stopped before its other"
    " members were trained. Such a cell is never selected in its fold. In a mean over folds, the inner validation"
    " subjects of its untrained members count as predicted by the mean training label."
)
_SUBJECT_SCALED = (
    "Features were scaled within each subject. This uses the unlabelled windows of the test subject, but never its"
    " labels. Compare only with results that do the same."
)


def optimism_note(table: pd.DataFrame, objective: str, without_choice: int = 0) -> list[str]:
    """Say how much better the result would have looked if test scores had selected.

    Parameters
    ----------
    table : pandas.DataFrame
        Result of `helo.analysis.statistics.comparisons.measure_optimism`.
    objective : str
        Name of the metric to report.
    without_choice : int
        Number of folds in which a single cell ran to its end.

    Returns
    -------
    list of str
        One item, or none if no gap is known.
    """
    row = table.set_index(Column.METRIC).loc[objective]
    label = METRICS[objective].label
    if not row["subjects"] or math.isnan(row["gap"]):
        return []
    if row["gap"] == 0:
        return [f"Optimism gap: none on {label}. Selection by test score would give the same cells."]
    interval = ""
    if not math.isnan(row["gap_low"]):
        interval = f", 95 % interval {format_score(row['gap_low'])} to {format_score(row['gap_high'])}"
    sentence = (
        f"Optimism gap: if the configurations had been selected by test score (oracle), {label} would look better by"
        f" {format_score(row['gap'])} ({row['per_cent']:.1f} % of {format_score(row['score'])}{interval})."
    )
    if without_choice:
        sentence += (
            f" This is a lower bound: in {without_choice} of {row['subjects']:.0f} folds only one cell ran to its end,"
            " so there was nothing to choose."
        )
    return [sentence]


def untrained_note(cells: pd.DataFrame, objective: str) -> list[str]:
    """Say in how many folds the selected cell kept its initial weights.

    This happens only in runs of version 0.1, which used the weights of the best epoch.
    """
    chosen = chosen_cells(completed(cells), best_per_fold(cells, objective))
    untrained = int((chosen[Column.BEST_EPOCH] == 0).sum())
    if not untrained:
        return []
    return [
        f"In {untrained} of {count(len(chosen), 'fold')}, no epoch scored better on the inner validation subjects than"
        " the untrained model. There, the selected model predicts the mean label of its training subjects, whatever the"
        " signals."
    ]


def training_end_note(ends: pd.DataFrame, objective: str) -> list[str]:
    """Say in how many folds the selected cell was still improving at its last epoch, and what to do.

    Parameters
    ----------
    ends : pandas.DataFrame
        Result of `helo.analysis.statistics.training_end.measure_training_end`.
    objective : str
        Name of the metric that selects configurations.

    Returns
    -------
    list of str
        One item, or none if training was long enough in nearly all folds.
    """
    improving = ends[ends["improving"].astype(bool)]
    if improving.empty or len(improving) < MIN_FOLDS * len(ends):
        return []
    longest = int(improving[Column.EPOCHS].max())
    return [
        f"Training was too short: in {len(improving)} of {count(len(ends), 'fold')}, the validation"
        f" {METRICS[objective].label} of the selected configuration was still improving at its last epoch (the last"
        f" tenth of the epochs brought {100 * improving['share'].median():.0f} % of the whole gain, median). Train for"
        f" more steps before you draw conclusions about the method: more than {count(longest, 'epoch')}, smaller"
        " batches, or batch_size: auto and epochs: auto with more steps in the space."
    ]


def failure_notes(baselines: pd.DataFrame) -> list[str]:
    """Say for each fitted baseline that failed in how many folds it did, and the first reason."""
    if Column.STATUS not in baselines:
        return []
    failed = baselines[baselines[Column.STATUS] == Status.FAILED]
    return [
        f"{method} failed in {count(len(rows), 'fold')}, first with the test subject {rows[Column.FOLD].iloc[0]}:"
        f" {str(rows[Column.REASON].iloc[0]).strip().splitlines()[-1]}"
        for method, rows in failed.groupby(Column.METHOD, sort=False)
    ]


def method_notes(manifest: Manifest) -> list[str]:
    """Say how the run was made, as far as it affects what the estimates mean."""
    members = None if manifest.folds is None else manifest.folds.inner_folds
    notes = []
    if manifest.baselines:
        not_refitted = _NOT_REFITTED.get(members) or _MEMBERS_NOT_REFITTED.format(members=members)
        notes.append(_FITTED + not_refitted + _BEST_FITTED)
    has_racing = bool(manifest.racing)
    if manifest.space is not None and manifest.space.get("variants"):
        notes.append(_LISTED)
    elif manifest.protocol == SearchProtocol.SHARED:
        notes.append(_SHARED + (_SHARED_RACING if has_racing else _SHARED_CHOICE))
    if manifest.protocol == SearchProtocol.NESTED:
        notes.append(_NESTED)
    if has_racing:
        notes.append(_RUNGS if members in (None, 1) else _RUNGS_OVER_MEMBERS)
    if manifest.normalise == Normalisation.SUBJECT:
        notes.append(_SUBJECT_SCALED)
    if changed := manifest.changed_versions:
        notes.append(
            f"The search was resumed with other versions ({spell_versions(changed)}), so its cells may not be strictly"
            " comparable."
        )
    if others := manifest.other_versions:
        notes.append(
            f"Some cells ran on nodes of the cluster with other versions than the search ({spell_nodes(others)}), so"
            " its cells may not be strictly comparable."
        )
    return notes


def unconverged_note(per_cell: pd.Series) -> list[str]:
    """Say in how many cells transport plans did not converge.

    `per_cell` is the result of `helo.analysis.statistics.estimates.count_unconverged`.
    """
    affected = int((per_cell > 0).sum())
    if not affected:
        return []
    return [
        f"In {affected} of {count(len(per_cell), 'cell')}, some transport plans did not converge (at most"
        f" {per_cell.max():.0f} in an epoch). In these cells, the plans deviate from the"
        " solution for the given entropic regularisation."
    ]
