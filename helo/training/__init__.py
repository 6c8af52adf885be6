"""Training: one cell of the search, its checkpoints, and the model fitted to all subjects."""
