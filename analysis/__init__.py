"""What a finished search means: estimates, tables, figures and the report of one run.

Reads the tables of a run directory and nothing else: neither the search nor torch is imported here.
"""
