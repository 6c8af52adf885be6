"""Evaluation: leave-one-subject-out folds, feature scaling and baselines."""
