"""The search: spaces, planner, Ray Tune (``python -m helo.search``)."""
