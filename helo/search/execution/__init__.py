"""Execution of a search on Ray: its cells as trials of Ray Tune."""
