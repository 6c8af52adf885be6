"""Simulated AWS that has no spot capacity of some types of machines: ``lab_moto.py FILE HOST PORT``.

Each line of the file is a type. Lines may be added and removed while the server runs. Without the file, all types can
be had, as in moto itself.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

REFUSAL = b"""<?xml version="1.0" encoding="UTF-8"?>
<Response><Errors><Error><Code>InsufficientInstanceCapacity</Code>
<Message>There is no Spot capacity available that matches your request.</Message></Error></Errors>
<RequestID>lab</RequestID></Response>"""
"""Answer of EC2, with the status 500."""


def refusing(
    application: Callable[..., Iterable[bytes]], sold_out: Path
) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """Return a WSGI application that refuses to start instances of types that are sold out."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):  # as EC2 is asked, not S3
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            environ["wsgi.input"] = io.BytesIO(body)
            asked = parse_qs(body.decode("utf-8"))
            kinds = asked.get("InstanceType", []) if asked["Action"] == ["RunInstances"] else []
            if sold_out.exists() and {*kinds} & {*sold_out.read_text(encoding="utf-8").split()}:
                start_response("500 Internal Server Error", [("Content-Type", "text/xml;charset=UTF-8")])
                return [REFUSAL]
        return application(environ, start_response)

    return answer


if __name__ == "__main__":
    place, host, port = sys.argv[1:]
    os.environ["MOTO_PORT"] = port
    application = refusing(DomainDispatcherApplication(create_backend_app), Path(place))
    run_simple(host, int(port), application, threaded=True, request_handler=MotoRequestHandler)
