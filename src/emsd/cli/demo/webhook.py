"""An on-call target on this machine: a webhook that keeps what it is sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Webhook", "webhook"]

_LONGEST_BODY = 64 * 1024


@dataclass(slots=True)
class Webhook:
    """Where it listens, and the titles of the notifications that came."""

    port: int
    titles: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address as Apprise writes it."""
        return f"json://127.0.0.1:{self.port}/oncall"


@contextmanager
def webhook() -> Iterator[Webhook]:
    """Listen on a free port of the loopback address, in a thread of its own, until the block ends."""
    received: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = min(int(self.headers.get("Content-Length", "0")), _LONGEST_BODY)
            try:
                message = json.loads(self.rfile.read(length))
                received.append(str(message["title"]))
            except (ValueError, KeyError, TypeError):
                self.send_response(400)
            else:
                self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="on-call-webhook", daemon=True)
        thread.start()
        try:
            yield Webhook(int(server.server_address[1]), received)
        finally:
            server.shutdown()
            thread.join()
