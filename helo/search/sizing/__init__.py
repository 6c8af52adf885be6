"""Resources that a cell needs, and number of cells that run at the same time."""
