"""Server of the dashboard, by default for the local machine only."""

from __future__ import annotations

import errno
import gc
import ipaddress
import logging
import re
import socket
from collections.abc import Callable, Sequence

from flask import Flask, abort, request
from werkzeug.serving import BaseWSGIServer, make_server

from helo.analysis.dashboard.app import build_app
from helo.analysis.dashboard.watched import WatchedRun
from helo.errors import InputError


def serve(
    places: Sequence[str],
    host: str,
    port: int,
    refresh: float,
    on_read: Callable[[int, int], None],
    on_ready: Callable[[str], None],
) -> None:
    """Serve the dashboard of some runs until interrupted.

    Parameters
    ----------
    places : sequence of str
        Run directories.
    host, port : str, int
        Address to listen on. Port 0 is any free port.
    refresh : float
        Seconds between two updates of a page.
    on_read : callable
        Called with the numbers of ledger records that are read and that exist.
    on_ready : callable
        Called with the address once the server listens.

    Raises
    ------
    InputError
        If a directory is not a run directory, or the server cannot listen on `host` and `port`.
    """
    runs = [WatchedRun(place, on_read) for place in places]
    app = build_app(runs, refresh)
    # statsmodels collects garbage with every correction of p values; frozen objects are skipped.
    gc.freeze()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # otherwise it logs every update of every page
    with _listening(host, port, app.server) as server:
        if ipaddress.ip_address(server.socket.getsockname()[0]).is_loopback:
            _only_for_this_machine(app.server)
        on_ready(f"http://{f'[{host}]' if ':' in host else host}:{server.port}/")
        server.serve_forever()


def _listening(host: str, port: int, app: Flask) -> BaseWSGIServer:
    if not host:  # it would listen on all interfaces without a check of the host name
        raise InputError("--host must be an address or a name, such as 127.0.0.1, got ''")
    try:
        # The socket is bound here, because werkzeug exits if it cannot bind.
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as bound:
            return make_server(host, port, app, threaded=True, fd=bound.fileno())
    except (OSError, OverflowError, UnicodeError) as error:  # the last for names that cannot be looked up
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "is in use; choose another --port" if taken else f"cannot be used for listening ({error})"
        raise InputError(f"{host}:{port}: {why}") from None


def _only_for_this_machine(app: Flask) -> None:
    """Refuse requests under other host names, as a protection against DNS rebinding."""

    @app.before_request
    def check() -> None:
        name = re.sub(r":\d+$", "", request.host)
        if name != "localhost" and not re.fullmatch(r"127(\.\d{1,3}){3}|\[::1\]", name):
            abort(403)
