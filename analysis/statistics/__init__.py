"""From the tables of a run to numbers: estimates, tests, importance, what was learnt, what it cost. Pure functions."""
