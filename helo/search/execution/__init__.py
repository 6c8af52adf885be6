"""Execution: cells as Ray Tune trials. The only folder of the search that imports Ray."""
