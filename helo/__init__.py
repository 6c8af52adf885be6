"""HeLo Search: leave-one-subject-out hyperparameter search of HeLo, an emotion-distribution model."""

__version__ = "0.1.0"
