"""Every name that files, tables and commands share, in one place."""

from __future__ import annotations

from typing import Final

# --- the six measures -------------------------------------------------------------------------

METRICS: Final = ("chebyshev", "clark", "canberra", "kl", "cosine", "intersection")
"""The six measures of emotion distribution learning, in the order of every table."""

HIGHER_IS_BETTER: Final = frozenset({"cosine", "intersection"})
"""The two similarities; the other four are distances."""

METRIC_LABELS: Final = {
    "chebyshev": "Chebyshev",
    "clark": "Clark",
    "canberra": "Canberra",
    "kl": "KL",
    "cosine": "Cosine",
    "intersection": "Intersection",
}

# --- a dataset directory ----------------------------------------------------------------------

WINDOWS_FILE: Final = "windows.parquet"
SCHEMA_FILE: Final = "dataset.yaml"
SUBJECT: Final = "subject"
GROUP: Final = "group"
PHYSIOLOGICAL: Final = "physiological"
BEHAVIOURAL: Final = "behavioural"
ROLES: Final = (PHYSIOLOGICAL, BEHAVIOURAL)

# --- a run directory --------------------------------------------------------------------------

MANIFEST_FILE: Final = "manifest.json"
FOLDS_FILE: Final = "folds.json"
LEDGER_FOLDER: Final = "ledger"
CHECKPOINTS_FOLDER: Final = "checkpoints"
LOCK_FILE: Final = "lock"
STUDY_FILE: Final = "study.log"
IDENTITY: Final = "identity"
REPORT_FILE: Final = "report.html"
MODEL_FOLDER: Final = "model"
MODEL_FILE: Final = "model.json"
WEIGHTS_FILE: Final = "weights.safetensors"
CELLS: Final = "cells"
EPOCHS: Final = "epochs"
PREDICTIONS: Final = "predictions"
ALL_PREDICTIONS: Final = "all_predictions"
EXPLANATIONS: Final = "explanations"
BASELINES: Final = "baselines"
SUMMARY: Final = "summary"
SUBJECTS: Final = "subjects"
COMPARISONS: Final = "comparisons"
ABLATION: Final = "ablation"
CONFIGURATIONS: Final = "configurations"
IMPORTANCE: Final = "importance"
MARGINAL_EFFECTS: Final = "marginal_effects"
FRIEDMAN: Final = "friedman"
OPTIMISM: Final = "optimism"
ESTIMATES: Final = "estimates"

# --- columns ----------------------------------------------------------------------------------

CONFIGURATION: Final = "configuration"
FOLD: Final = "fold"
FOLD_NUMBER: Final = "fold_number"
METHOD: Final = "method"
PARAM: Final = "param_"
PARAMS: Final = "params"
HISTORY: Final = "history"
VAL: Final = "val_"
TEST: Final = "test_"
STATUS: Final = "status"
REASON: Final = "reason"
EPOCH: Final = "epoch"
EPOCHS_RUN: Final = "epochs"
BEST_EPOCH: Final = "best_epoch"
TRAIN_LOSS: Final = "train_loss"
ALIGNMENT_LOSS: Final = "alignment_loss"
UNCONVERGED: Final = "unconverged"
SECONDS: Final = "seconds"
NODE: Final = "node"
STARTED: Final = "started"
FINISHED: Final = "finished"
WINDOW: Final = "window"
TRUE: Final = "true_"
PREDICTED: Final = "pred_"
KIND: Final = "kind"
ROW: Final = "row"
COLUMN: Final = "column"
VALUE: Final = "value"

LABEL_CORRELATION: Final = "label_correlation"
TRANSPORT_PLAN: Final = "transport_plan"

COMPLETED: Final = "completed"
STOPPED: Final = "stopped"
FAILED: Final = "failed"
SCORED: Final = (COMPLETED, STOPPED)
"""The status of a cell that has scores, of its end or of what it had reached."""

# --- estimates --------------------------------------------------------------------------------

PER_FOLD_SELECTION: Final = "per_fold_selection"
SINGLE_CONFIGURATION: Final = "single_configuration"
ORACLE: Final = "oracle"
TRAIN_MEAN: Final = "train_mean"
UNIFORM: Final = "uniform"
BEST_POSSIBLE: Final = "best_possible"

ESTIMATE: Final = "estimate"
METRIC: Final = "metric"
SKILL: Final = "skill"
REFERENCE: Final = "reference"

# --- configurations ---------------------------------------------------------------------------

ADJUSTED: Final = "adjusted_"
"""Prefix of a mean over folds that is adjusted for which folds a configuration ran in."""
ERROR: Final = "error"
FOLDS: Final = "folds"
CHOSEN: Final = "chosen"
BEST_ON_TEST: Final = "best_on_test"
RECOMMENDED: Final = "recommended"
PARAMETER: Final = "parameter"

# --- methods ----------------------------------------------------------------------------------

HELO: Final = "helo"
KNN: Final = "knn"
MAX_ENTROPY: Final = "max_entropy"
RIDGE: Final = "ridge"
RANDOM_FOREST: Final = "random_forest"
MLP: Final = "mlp"
FITTED_BASELINES: Final = (KNN, MAX_ENTROPY, RIDGE, RANDOM_FOREST, MLP)
"""Plain regressors that every search scores on its folds, in the order of every table."""

# --- choices ----------------------------------------------------------------------------------

NORMALISE_TRAIN: Final = "train"
NORMALISE_SUBJECT: Final = "subject"
NORMALISATIONS: Final = (NORMALISE_TRAIN, NORMALISE_SUBJECT)
PROTOCOL_SHARED: Final = "shared"
PROTOCOL_NESTED: Final = "nested"
PROTOCOLS: Final = (PROTOCOL_SHARED, PROTOCOL_NESTED)
LINEAR: Final = "linear"
GROMOV: Final = "gromov"
FUSED: Final = "fused"
NONE: Final = "none"
TRANSPORTS: Final = (LINEAR, GROMOV, FUSED, NONE)
CORRELATED: Final = "correlated"
PLAIN: Final = "plain"
LABEL_ATTENTIONS: Final = (CORRELATED, PLAIN, NONE)
BOTH: Final = "both"
MODALITIES: Final = (BOTH, PHYSIOLOGICAL, BEHAVIOURAL)
PRECISION_FULL: Final = "full"
PRECISION_MIXED: Final = "mixed"
PRECISIONS: Final = (PRECISION_FULL, PRECISION_MIXED)
LOG_TENSORBOARD: Final = "tensorboard"
LOG_MLFLOW: Final = "mlflow"
LOGS: Final = (LOG_TENSORBOARD, LOG_MLFLOW)
