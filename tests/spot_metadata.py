"""Metadata service of a spot machine of AWS or Google Cloud, on the loopback interface.

``python spot_metadata.py PORT FILE`` runs it, with the content of a file as the notice of AWS as soon as there is one.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = "a-token"


class Metadata(ThreadingHTTPServer):
    """Metadata service. `notice` is the interruption notice of AWS, or None, and `preempted` the answer of Google."""

    notice: str | None = None
    preempted = "FALSE"

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Metadata

    def do_PUT(self) -> None:
        asked = self.path == "/latest/api/token" and "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
        self._answer(TOKEN if asked else None)

    def do_GET(self) -> None:
        if self.path == "/latest/meta-data/spot/instance-action":
            if self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
                self._answer(None, 401)
            else:
                self._answer(self.server.notice)
        elif self.path == "/computeMetadata/v1/instance/preempted" and self.headers.get("Metadata-Flavor") == "Google":
            self._answer(self.server.preempted)
        else:
            self._answer(None, 403)

    def _answer(self, text: str | None, missing: int = 404) -> None:
        self.send_response(missing if text is None else 200)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


class FromFile(Metadata):
    """Metadata service that reads its notice from the file that the command line names."""

    @property
    def notice(self) -> str | None:  # type: ignore[override]
        path = Path(sys.argv[2])
        return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    FromFile(("127.0.0.1", int(sys.argv[1])), Answers).serve_forever()
