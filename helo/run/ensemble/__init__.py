"""Ensembles: in each fold the weighted mean of a few configurations, chosen by their out-of-fold predictions."""
