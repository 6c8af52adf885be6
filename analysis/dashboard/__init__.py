"""Dashboard: the figures of runs in a browser, updated while their searches run."""
