"""Sizing: what a cell needs, and how many cells fit on the machines."""
