"""The figures of runs while their searches go on, in a browser: ``python -m analysis dashboard RUN``."""
