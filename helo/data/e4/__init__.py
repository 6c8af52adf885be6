"""Recordings of the Empatica E4 wristband in its own CSV files, with ratings of spans of time.

The wrist of WESAD was recorded with the same device, and features and their names are the same as those of
``helo.data wesad --device wrist``.
"""

from helo.data.e4.dataset import RatedColumns, read_e4

__all__ = ["RatedColumns", "read_e4"]
