"""Names that files, tables and commands share.

Members are strings: ``Column.FOLD == "fold"``, so they serve as column names and in JSON as they are.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class _Name(StrEnum):
    """A string that messages and tables show as such."""

    def __repr__(self) -> str:
        return repr(self.value)


class Role(_Name):
    """Role of a modality in a dataset."""

    PHYSIOLOGICAL = "physiological"
    BEHAVIOURAL = "behavioural"


class FileName(_Name):
    """Files and folders of a dataset directory, a run directory and a model directory."""

    WINDOWS = "windows.parquet"
    SCHEMA = "dataset.yaml"
    MANIFEST = "manifest.json"
    SEEDS = "seeds.json"
    FOLDS = "folds.json"
    LEDGER = "ledger"
    CHECKPOINTS = "checkpoints"
    LOCK = "lock"
    JOURNAL = "journal.jsonl"
    STUDY = "study.log"
    REPORT = "report.html"
    MODEL = "model"
    MODEL_DESCRIPTION = "model.json"
    WEIGHTS = "weights.safetensors"


class TableName(_Name):
    """Tables of a run directory (``NAME.parquet``) and of an export (``NAME.csv``)."""

    CELLS = "cells"
    EPOCHS = "epochs"
    PREDICTIONS = "predictions"
    ALL_PREDICTIONS = "all_predictions"
    EXPLANATIONS = "explanations"
    BASELINES = "baselines"
    ENSEMBLE = "ensemble"
    ENSEMBLE_PREDICTIONS = "ensemble_predictions"
    SUMMARY = "summary"
    SUMMARY_BY_GROUP = "summary_by_group"
    SUBJECTS = "subjects"
    EMOTIONS = "emotions"
    COMPARISONS = "comparisons"
    ABLATION = "ablation"
    CONFIGURATIONS = "configurations"
    IMPORTANCE = "importance"
    MARGINAL_EFFECTS = "marginal_effects"
    FRIEDMAN = "friedman"
    OPTIMISM = "optimism"
    EQUIVALENCE = "equivalence"
    ESTIMATES = "estimates"
    ESTIMATES_BY_GROUP = "estimates_by_group"
    SEEDS = "seeds"


class Column(_Name):
    """Columns of tables, and keys of records."""

    SUBJECT = "subject"
    GROUP = "group"
    EMOTION = "emotion"
    CONFIGURATION = "configuration"
    FOLD = "fold"
    FOLD_NUMBER = "fold_number"
    METHOD = "method"
    PARAMS = "params"
    HISTORY = "history"
    FIRST_LOSSES = "first_losses"
    WINDOWS = "windows"
    PREDICTIONS = "predictions"
    OUT_OF_FOLD = "out_of_fold"
    WEIGHTS = "weights"
    VAL = "val"
    STATUS = "status"
    REASON = "reason"
    FAULT = "fault"
    EPOCH = "epoch"
    EPOCHS = "epochs"
    BEST_EPOCH = "best_epoch"
    TRAIN_LOSS = "train_loss"
    ALIGNMENT_LOSS = "alignment_loss"
    UNCONVERGED = "unconverged"
    SECONDS = "seconds"
    NODE = "node"
    STARTED = "started"
    FINISHED = "finished"
    WINDOW = "window"
    KIND = "kind"
    ROW = "row"
    COLUMN = "column"
    VALUE = "value"
    ESTIMATE = "estimate"
    METRIC = "metric"
    SKILL = "skill"
    REFERENCE = "reference"
    ERROR = "error"
    FOLDS = "folds"
    CHOSEN = "chosen"
    BEST_ON_TEST = "best_on_test"
    RECOMMENDED = "recommended"
    PARAMETER = "parameter"
    DISAGREEMENT = "disagreement"
    SEED = "seed"


class Prefix(_Name):
    """Prefixes of columns that come once per hyperparameter, metric or emotion."""

    PARAM = "param_"
    VAL = "val_"
    TEST = "test_"
    TEST_BY_GROUP = "test_by_group_"  # scores after averaging a subject's windows in each group
    TRUE = "true_"
    PREDICTED = "pred_"
    ADJUSTED = "adjusted_"  # a mean over folds, adjusted for which folds a configuration ran in


class Explanation(_Name):
    """Kinds of rows in ``explanations.parquet``: what the selected cells learnt."""

    LABEL_CORRELATION = "label_correlation"
    TRANSPORT_PLAN = "transport_plan"


class Status(_Name):
    """Final status of a cell."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"


class Fault(_Name):
    """What a failed cell failed because of."""

    MACHINE = "machine"  # memory, a killed process, a lost node, a disk or a network: the cell may succeed elsewhere
    CELL = "cell"  # its configuration or its data, as training that diverges: it would fail again


class SearchPhase(_Name):
    """Phases of a search in its journal; the last four are its endings."""

    STARTING = "starting"
    BASELINES = "baselines"
    CELLS = "cells"
    TABLES = "tables"
    REPORT = "report"
    MODEL = "model"
    COMPLETE = "complete"
    OUT_OF_TIME = "out of time"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


ENDINGS: Final = (SearchPhase.COMPLETE, SearchPhase.OUT_OF_TIME, SearchPhase.INTERRUPTED, SearchPhase.FAILED)
"""Phases after which a search does nothing more."""

SCORED: Final = (Status.COMPLETED, Status.STOPPED)
"""Statuses of cells with scores, from their last epoch or from the rung that stopped them."""


class Estimate(_Name):
    """Estimates of a summary besides the fitted baselines."""

    PER_FOLD_SELECTION = "per_fold_selection"
    SINGLE_CONFIGURATION = "single_configuration"
    ENSEMBLE = "ensemble"
    ORACLE = "oracle"
    TRAIN_MEAN = "train_mean"
    UNIFORM = "uniform"
    BEST_POSSIBLE = "best_possible"


class Method(_Name):
    """Method of a cell: HeLo or a fitted baseline."""

    HELO = "helo"
    KNN = "knn"
    MAX_ENTROPY = "max_entropy"
    RIDGE = "ridge"
    RANDOM_FOREST = "random_forest"
    MLP = "mlp"


FITTED_BASELINES: Final = (Method.KNN, Method.MAX_ENTROPY, Method.RIDGE, Method.RANDOM_FOREST, Method.MLP)
"""Fitted baselines, in the order of every table."""


class Normalisation(_Name):
    """Source of the statistics that scale features: the training subjects, or each subject itself."""

    TRAIN = "train"
    SUBJECT = "subject"


class SearchProtocol(_Name):
    """Whether all folds share one study or each fold has its own."""

    SHARED = "shared"
    NESTED = "nested"


class Delivery(_Name):
    """Model that is fitted with all subjects after a search: one configuration, or a mean of several."""

    RECOMMENDED = "recommended"
    ENSEMBLE = "ensemble"


FOLD_ENSEMBLES: Final = "fold_ensembles"
"""Key of ``model.json`` that says that a model is the mean of the ensembles of the folds of a run."""


class TransportKind(_Name):
    """Objective of the transport plan; see `helo.model.transport`."""

    LINEAR = "linear"
    GROMOV = "gromov"
    FUSED = "fused"
    NONE = "none"


class LabelAttentionKind(_Name):
    """Attention of label embeddings to tokens; see `helo.model.network`."""

    CORRELATED = "correlated"
    PLAIN = "plain"
    NONE = "none"


class FeatureEncoding(_Name):
    """Map from the features of a token to the token; see `helo.model.layers.TokenEncoder`."""

    PIECEWISE = "piecewise"
    LINEAR = "linear"


class ModalitySelection(_Name):
    """Roles of the modalities that a configuration reads."""

    BOTH = "both"
    PHYSIOLOGICAL = "physiological"
    BEHAVIOURAL = "behavioural"


class Precision(_Name):
    """Precision of a cell's matrix products: float32, or bfloat16 for some."""

    FULL = "full"
    MIXED = "mixed"


class CellLogger(_Name):
    """Loggers of Ray Tune that can record every cell."""

    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"


def enum_values(choices: type[StrEnum]) -> tuple[str, ...]:
    """Return the values of an enumeration as plain strings, for ``argparse`` and messages.

    >>> enum_values(SearchProtocol)
    ('shared', 'nested')
    """
    return tuple(choice.value for choice in choices)


IN_MEMORY: Final = "a Dataset in memory"
"""Entry of a manifest for data without a path. They must be given again to resume the run."""
