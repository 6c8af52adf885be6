"""The statistics of a run in sentences: metrics, intervals, tests. Only what was computed for the run is said."""

from __future__ import annotations

from helo.analysis.source import Source
from helo.analysis.statistics.comparisons import count_corrected
from helo.analysis.statistics.equivalence import REGION
from helo.analysis.statistics.estimates import CONFIDENCE, RESAMPLES, best_fitted_baseline
from helo.analysis.statistics.new_person import LEVEL
from helo.analysis.statistics.signed_rank import ALPHA, FEW
from helo.analysis.wording import count, new_person_note
from helo.analysis.wording.practical import equivalence_note
from helo.errors import InputError
from helo.metrics import METRICS
from helo.names import Column, Estimate


def describe_statistics(source: Source) -> list[str]:
    """Return sentences about metrics, intervals and tests, with citations as ``[@key]``.

    Parameters
    ----------
    source : Source
        The run.

    Returns
    -------
    list of str
    """
    labels = [metric.label for metric in METRICS.values()]
    summary = source.summary
    of_search = summary[
        (summary[Column.ESTIMATE] == Estimate.PER_FOLD_SELECTION) & (summary[Column.METRIC] == source.objective)
    ]
    found = [
        f"The metrics are {', '.join(labels[:-1])} and {labels[-1]} [@geng2016ldl], averaged over the windows of a"
        " subject and then over subjects."
    ]
    if len(of_search) and of_search["ci_low"].notna().all():
        found.append(
            f"Intervals are {100 * CONFIDENCE:.0f} % percentile bootstrap intervals of the mean over subjects"
            f" ({RESAMPLES:,} resamples) [@efron1993bootstrap]."
        )
    return [*found, *_tests(source), *_pool(source), *_practice(source), *_importance(source)]


def _tests(source: Source) -> list[str]:
    table = source.comparisons
    tested = table[(table[Column.METRIC] == source.objective) & table["p"].notna()]
    planned = tested[tested[Column.REFERENCE] == Estimate.TRAIN_MEAN]
    others = tested[tested[Column.REFERENCE] != Estimate.TRAIN_MEAN]
    if tested.empty:
        return []
    judged = f"the first variant ({next(iter(source.variants))})" if source.variants else "HeLo"
    subjects = int(tested["subjects"].max())
    found = []
    if len(planned):
        found.append(
            f"Skill over the train mean was judged on {METRICS[source.objective].label} by the two-sided Wilcoxon"
            f" signed-rank test [@wilcoxon1945] over the {count(subjects, 'subject')} at a level of {ALPHA}."
        )
    if len(others):
        test = "the same test" if len(planned) else "the two-sided Wilcoxon signed-rank test [@wilcoxon1945]"
        correction = count_corrected(table)
        found.append(
            f"Differences of {judged} from {count(len(others), 'other reference')} were judged by {test}, with Holm's"
            f" correction [@holm1979] for {count(correction, 'comparison')} per metric."
        )
    if subjects < FEW:
        found.append("The p values of this test come from permutations of the signs.")
    else:
        found.append("The p values of this test were computed by SciPy [@virtanen2020scipy].")
    found.append("Effect sizes are matched-pairs rank-biserial correlations [@kerby2014].")
    return found


def _pool(source: Source) -> list[str]:
    if source.variants or not source.friedman["p"].notna().any():
        return []
    found = ["All methods were compared by Friedman's test [@friedman1937]."]
    try:
        ranks = source.ranks
    except InputError:
        return found
    return [
        *found,
        f"The critical difference of the mean ranks of {len(ranks.methods)} methods is Nemenyi's, computed by autorank"
        " [@herbold2020autorank].",
    ]


def _practice(source: Source) -> list[str]:
    """Return what the verdict and the notes say about practice."""
    found = []
    best = "" if source.variants else best_fitted_baseline(source.scores, source.objective)
    if best and equivalence_note(source.scores, source.objective, best):
        found.append(
            "Practical equivalence to the best baseline was judged by the Bayesian signed-rank test [@benavoli2017]; a"
            f" difference of at most {100 * REGION:g} % of skill counts as none."
        )
    if new_person_note(source.judged, source.objective):
        found.append(f"The {100 * LEVEL:.0f} % bound for a new person is split-conformal [@lei2018].")
    return found


def _importance(source: Source) -> list[str]:
    if source.variants:
        return []
    try:
        has_importance = len(source.importance) > 0
    except InputError:
        return []
    return ["The importance of hyperparameters is PED-ANOVA [@watanabe2023pedanova]."] if has_importance else []
