"""Clusters: what their machines are and cost."""
