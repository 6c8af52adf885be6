"""Serve the dashboard: to this machine alone unless told otherwise."""

from __future__ import annotations

import errno
import gc
import ipaddress
import logging
import re
import socket
from collections.abc import Callable, Sequence

from flask import Flask, abort, request
from helo.analysis.dashboard.app import build_app
from helo.analysis.dashboard.watched import WatchedRun
from werkzeug.serving import BaseWSGIServer, make_server

from helo.errors import InputError


def serve(
    places: Sequence[str],
    host: str,
    port: int,
    refresh: float,
    told: Callable[[int, int], None],
    ready: Callable[[str], None],
) -> None:
    """Serve the dashboard of some runs until interrupted.

    `told` hears how far the reading of a ledger is, `ready` the address once it answers. Raise `InputError` for what
    is no run, and where nothing can listen at `host` and `port` (0: any free one).
    """
    runs = [WatchedRun(place, told) for place in places]
    app = build_app(runs, refresh)
    # statsmodels collects garbage within every correction of p values: it need not look at all that is loaded for good.
    gc.freeze()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for every look of every page
    with _listening(host, port, app.server) as server:
        if ipaddress.ip_address(server.socket.getsockname()[0]).is_loopback:
            _only_for_this_machine(app.server)
        ready(f"http://{f'[{host}]' if ':' in host else host}:{server.port}/")
        server.serve_forever()


def _listening(host: str, port: int, app: Flask) -> BaseWSGIServer:
    try:
        # Bound here: werkzeug ends the process where it cannot.
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as bound:
            return make_server(host, port, app, threaded=True, fd=bound.fileno())
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "is in use; choose another --port" if taken else f"cannot be listened at ({error})"
        raise InputError(f"{host}:{port}: {why}") from None


def _only_for_this_machine(app: Flask) -> None:
    """Refuse requests under other names: a page elsewhere could have one lead here, and then read the answers."""

    @app.before_request
    def check() -> None:
        name = re.sub(r":\d+$", "", request.host)
        if name != "localhost" and not re.fullmatch(r"127(\.\d{1,3}){3}|\[::1\]", name):
            abort(403)
