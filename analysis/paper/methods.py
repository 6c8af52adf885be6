"""The methods of a run as a paragraph for a paper, with the numbers of the run.

Every sentence is made from what the run recorded, and is left out where the run has no record of it. Sentences cite
works as ``[@key]``, with the keys of `helo.analysis.paper.references`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from helo._text import format_duration
from helo.analysis.paper.latex import escape_latex
from helo.analysis.paper.names import printed_name
from helo.analysis.paper.references import (
    BIB_FILE,
    cited,
    name_citations,
    render_bibliography,
    split_citations,
)
from helo.analysis.paper.statistics_text import describe_statistics
from helo.analysis.source import Source
from helo.analysis.wording import count
from helo.errors import shorten
from helo.metrics import METRICS
from helo.names import (
    FITTED_BASELINES,
    Column,
    Estimate,
    Method,
    ModalitySelection,
    Normalisation,
    Prefix,
    Role,
    SearchProtocol,
    Status,
    TransportKind,
)

METHODS_FILE: Final = "methods.txt"
"""Name of the plain text in an export."""

METHODS_LATEX_FILE: Final = "methods.tex"
"""Name of the LaTeX text in an export."""

_DATASETS: Final = {"wesad": "schmidt2018wesad", "dmer": "yang2024dmer"}
_VERSIONS: Final = {
    "python": "Python",
    "helo-search": "HeLo Search",
    "torch": "PyTorch",
    "pot": "POT",
    "ray": "Ray",
    "optuna": "Optuna",
    "scikit-learn": "scikit-learn",
    "scipy": "SciPy",
    "numpy": "NumPy",
    "pandas": "pandas",
}
_BASELINES: Final = {
    Method.KNN: "nearest neighbours, known as AA-kNN [@geng2016ldl]",
    Method.MAX_ENTROPY: "a linear maximum-entropy model with a penalty, which without it is SA-BFGS [@geng2016ldl]",
    Method.RIDGE: "ridge regression, clipped at 0 and divided by its sum",
    Method.RANDOM_FOREST: "a random forest of 100 trees",
    Method.MLP: "a multilayer perceptron with one hidden layer",
}
_OF_SKLEARN: Final = frozenset(_BASELINES) - {Method.MAX_ENTROPY}


def methods_sentences(source: Source) -> list[str]:
    """Return the sentences of the Methods paragraph, with citations as ``[@key]``.

    Parameters
    ----------
    source : Source
        The run.

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        If the run has no cells.
    """
    return [
        *source.incomplete,
        *_data(source),
        *_model(source),
        *_folds(source),
        *_scaling(source),
        *_search(source),
        *_racing(source),
        *_cells(source),
        *_selection(source),
        *_baselines(source),
        *describe_statistics(source),
        *_versions(source),
    ]


def render_methods(source: Source) -> dict[str, str]:
    """Return the files ``methods.txt``, ``methods.tex`` and ``references.bib`` by name."""
    text = " ".join(methods_sentences(source))
    latex = "".join(
        rf"\cite{{{piece}}}" if is_key else escape_latex(piece) for piece, is_key in split_citations(text)
    ).replace(r" \cite", r"~\cite")
    return {
        METHODS_FILE: name_citations(text) + "\n",
        METHODS_LATEX_FILE: f"% The works are in references.bib.\n{{\\sloppy\n{latex}\n\\par}}\n",
        BIB_FILE: render_bibliography(cited(text)),
    }


def _data(source: Source) -> list[str]:
    dataset = source.dataset
    said = f"{dataset.name} {dataset.source}".lower()
    citation = "".join(f" [@{key}]" for name, key in _DATASETS.items() if name in said)
    sentences = []
    if dataset.subjects is not None and dataset.windows is not None:
        name = "The data set" if dataset.name is None else f"The data set {dataset.name}{citation}"
        name = "The simulated data set" if dataset.name == "simulated" else name
        sentences.append(f"{name} has {count(dataset.subjects, 'subject')} and {dataset.windows:,} windows.")
    if source.emotions:
        sentences.append(
            f"The label of a window is a distribution over {count(len(source.emotions), 'emotion')}"
            f" ({shorten(source.emotions, most=30)})."
        )
    roles = {
        role: [name for name, one in source.modalities.items() if isinstance(one, Mapping) and one.get("role") == role]
        for role in (Role.PHYSIOLOGICAL, Role.BEHAVIOURAL)
    }
    listed = [f"{count(len(names), f'{role} signal')} ({', '.join(names)})" for role, names in roles.items() if names]
    if listed:
        sentences.append(f"Features come from {' and '.join(listed)}.")
    if dataset.missing and dataset.missing != "nothing":
        sentences.append(f"Missing signals: {dataset.missing}.")
    return sentences


def _model(source: Source) -> list[str]:
    versions = source.manifest.last_circumstances.versions or {}
    framework = " in PyTorch [@paszke2019pytorch]" if "torch" in versions else ""
    sentences = [f"HeLo [@zheng2025helo] was trained{framework} to predict this distribution."]
    cells = source.cells
    transport, modalities = Prefix.PARAM + "transport", Prefix.PARAM + "modalities"
    if {transport, modalities} <= set(cells):
        matched = (cells[transport] != TransportKind.NONE) & (cells[modalities] == ModalitySelection.BOTH)
        roles = {one.get("role") for one in source.modalities.values() if isinstance(one, Mapping)}
        if matched.any() and {Role.PHYSIOLOGICAL, Role.BEHAVIOURAL} <= roles:
            solver = " with POT [@flamary2021pot]" if "pot" in versions else ""
            sentences.append(f"Its optimal transport was computed{solver}.")
    return sentences


def _folds(source: Source) -> list[str]:
    found = [f"Each of the {source.folds} subjects was the test subject of one fold (leave-one-subject-out)."]
    splits = None if source.manifest.folds is None else source.manifest.folds.inner_folds
    if splits == 1:
        found.append("In each fold, a part of the other subjects validated and the rest trained.")
    elif splits is not None:
        found.append(
            f"In each fold, the other subjects were divided into {splits} groups; one model was trained per group,"
            f" without that group, which validated it. The mean of the {splits} models predicted the test subject."
        )
    return found


def _scaling(source: Source) -> list[str]:
    if source.manifest.normalise == Normalisation.TRAIN:
        return ["Features were scaled by the mean and standard deviation of the training subjects."]
    if source.manifest.normalise == Normalisation.SUBJECT:
        return [
            "Features were scaled by the mean and standard deviation of each subject's own windows, which uses the"
            " unlabelled windows of the test subject."
        ]
    return []


def _search(source: Source) -> list[str]:
    manifest, label = source.manifest, METRICS[source.objective].label
    if source.variants:
        return [f"The space lists {count(len(source.variants), 'variant')} of the model; no sampler proposed any."]
    searched = {name: one for name, one in source.parameters.items() if isinstance(one, Mapping) and "value" not in one}
    found = []
    number, per = source.space.get("configurations"), " per fold" if source.nested else ""
    if number and searched:
        optuna = " of Optuna [@akiba2019optuna]"
        sampler = {
            "tpe": f", proposed by the TPE sampler [@bergstra2011tpe]{optuna}",
            "random": f", drawn at random by Optuna{optuna.removeprefix(' of Optuna')}",
        }.get(str(source.space.get("sampler")), "")
        found.append(
            f"The search space {source.space.get('name', '')} has"
            f" {count(len(searched), 'hyperparameter')}: {'; '.join(_range(*one) for one in searched.items())}."
        )
        found.append(
            f"Up to {count(number, 'configuration')}{per} were tried{sampler}; the objective was the {label} of the"
            " inner validation subjects."
        )
    if manifest.protocol == SearchProtocol.NESTED:
        found.append("Each fold had its own search, and nothing passed between folds (nested).")
    elif manifest.protocol == SearchProtocol.SHARED:
        found.append(
            "One search proposed the configurations for all folds, so the proposals, but not the choice in a fold,"
            " depend on subjects that are test subjects of other folds."
        )
    if "ray" in (manifest.circumstances.versions or {}):
        found.append("Ray Tune [@liaw2018tune] ran the search.")
    if manifest.seed is not None:
        found.append(f"The seed was {manifest.seed}.")
    return found


def _range(name: str, entry: Mapping[str, Any]) -> str:
    if entry.get("choices"):
        return f"{name} (one of {shorten(entry['choices'], most=12)})"
    scale = ", logarithmic" if entry.get("log") else ""
    return f"{name} ({entry.get('low')} to {entry.get('high')}{scale})"


def _racing(source: Source) -> list[str]:
    if not source.manifest.racing:
        return []
    found = [
        "Training of a configuration in a fold was stopped early where its validation loss was not among the best"
        " quarter of that fold so far, as in ASHA [@li2020asha]."
    ]
    if source.manifest.protocol == SearchProtocol.SHARED and not source.variants:
        found.append(
            "A configuration that was clearly worse than the best one on the first folds was not run in the others,"
            " as in iterated racing [@lopez2016irace]."
        )
    return found


def _cells(source: Source) -> list[str]:
    cells = source.cells
    counts = cells[Column.STATUS].value_counts()
    ends = ((Status.COMPLETED, "ran to the end"), (Status.STOPPED, "were stopped early"), (Status.FAILED, "failed"))
    listed = [f"{counts[status]} {words}" for status, words in ends if counts.get(status)]
    if not listed:
        return []
    used = format_duration(float(cells[Column.SECONDS].sum()))
    return [
        f"Of {count(len(cells), 'training')} (one per configuration and fold), {', '.join(listed)}; together they took"
        f" {used}."
    ]


def _selection(source: Source) -> list[str]:
    if source.variants:
        return []
    label = METRICS[source.objective].label
    found = [f"In each fold, the configuration with the best inner validation {label} was chosen."]
    summary = source.summary.set_index(Column.ESTIMATE)
    if (summary.loc[[Estimate.SINGLE_CONFIGURATION], "subjects"] > 0).any():
        found.append(
            f"{printed_name(Estimate.SINGLE_CONFIGURATION)} is the configuration with the best mean inner validation"
            f" {label} over all folds."
        )
    if len(source.ensemble):
        found.append(
            f"{printed_name(Estimate.ENSEMBLE)} is the weighted mean of the predictions of good configurations of a"
            " fold, with weights from greedy selection on the inner validation subjects [@caruana2004]."
        )
    return found


def _baselines(source: Source) -> list[str]:
    table = source.baselines
    present = set(table.loc[table[Prefix.TEST + source.objective].notna(), Column.METHOD].astype(str))
    found = []
    if Estimate.TRAIN_MEAN in present:
        found.append("The train mean predicts the mean label of all subjects but the test subject, without any input.")
    fitted = [name for name in FITTED_BASELINES if name in present]
    if fitted:
        library = " of scikit-learn [@pedregosa2011sklearn]" if _OF_SKLEARN.intersection(fitted) else ""
        found.append(
            f"Baselines{library}, on the same folds, features and inner validation subjects:"
            f" {'; '.join(_BASELINES[name] for name in fitted)}."
        )
    return found


def _versions(source: Source) -> list[str]:
    recorded = source.manifest.last_circumstances.versions or {}
    known = [f"{shown} {recorded[name]}" for name, shown in _VERSIONS.items() if recorded.get(name)]
    return [f"Software: {', '.join(known)}."] if known else []
