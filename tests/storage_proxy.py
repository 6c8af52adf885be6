"""Proxy of an object storage on this machine that fails on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_OWN = ("host", "expect", "connection", "transfer-encoding", "content-length")
"""Headers that belong to one connection."""

DROPPED = 0
"""Stands for a status: the connection is closed without an answer."""

UNANSWERED = 1
"""Stands for a status: the request is passed on, and the connection closed without an answer."""


class StorageProxy:
    """Server that passes requests on to a storage, or refuses them.

    Attributes
    ----------
    address : str
        URL of the proxy.
    refuse : callable
        Gets method and path of a request, and returns the status to refuse it with (an HTTP status, `DROPPED` or
        `UNANSWERED`), or None to pass it on.
    refused : int
        Number of refused requests.
    """

    def __init__(self, behind: str) -> None:
        self.refuse: Callable[[str, str], int | None] = lambda command, path: None
        self.refused = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def content(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                found = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    found += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return found

            def answer(self) -> None:
                content = self.content()
                status = proxy.refuse(self.command, self.path)
                if status in (DROPPED, UNANSWERED):
                    proxy.refused += 1
                    self.close_connection = True
                if status == DROPPED:
                    return
                if status not in (None, UNANSWERED):
                    proxy.refused += 1
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                connection = HTTPConnection(behind.removeprefix("http://"))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _OWN}
                connection.request(self.command, self.path, content, headers)
                answer = connection.getresponse()
                body = answer.read()
                if status == UNANSWERED:
                    return
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _OWN:
                        self.send_header(name, value)
                self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

            def log_message(self, *words: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
