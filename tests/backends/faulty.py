"""A small server that answers as OpenAI-compatible endpoints do, and fails as they do, by a script."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What comes back. `body` is sent as it is where it is text, else as JSON; `missing` bytes of it are never sent.

    `is_cut`: the connection is reset before anything is sent.
    """

    body: object = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    delay_seconds: float = 0.0
    missing: int = 0
    is_cut: bool = False


def said(text: str | None, reason: str | None = "stop", **more: Any) -> Reply:
    """A usual reply with this text."""
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text}, **more}
    return Reply({"choices": [choice], "usage": {"prompt_tokens": 11, "completion_tokens": 3}})


def question(body: Mapping[str, Any]) -> str:
    """The words of the last turn."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def echo(body: Mapping[str, Any], tries: int) -> Reply:
    """The last turn's words, as an answer."""
    return said(question(body))


Script = Callable[[Mapping[str, Any], int], Reply]
"""A reply by the request's body, and how often the same question has come, this time included."""


class FaultyServer:
    """Replies by a script. `bodies`, `headers` and `times` are those of the requests that came, `most` were there at once."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.most = 0
        self._here = 0
        self._tries: dict[str, int] = {}
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                owner.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing is written to stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    @contextmanager
    def running(self) -> Iterator[FaultyServer]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def forget(self) -> None:
        """As if no request had come yet."""
        with self._lock:
            self.bodies.clear()
            self.headers.clear()
            self.times.clear()
            self._tries.clear()
            self.most = 0

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        key = question(body)
        with self._lock:
            self._tries[key] = self._tries.get(key, 0) + 1
            tries = self._tries[key]
            self.bodies.append(body)
            self.headers.append(dict(handler.headers))
            self.times.append(time.monotonic())
            self._here += 1
            self.most = max(self.most, self._here)
        try:
            is_known = handler.path == "/v1/chat/completions"
            self._send(handler, self.script(body, tries) if is_known else Reply({"detail": "Not Found"}, 404))
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True
        finally:
            with self._lock:
                self._here -= 1

    def _send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        time.sleep(reply.delay_seconds)
        if reply.is_cut:
            # With no time to linger, closing resets the connection.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.close_connection = True
            handler.connection.close()
            return
        content = (reply.body if isinstance(reply.body, str) else json.dumps(reply.body)).encode()
        handler.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[: len(content) - reply.missing])
        if reply.missing:
            handler.close_connection = True
