"""The hub as far as a download asks it: data sets' files in folders, on this machine, in a thread."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@contextmanager
def served(folders: Mapping[str, Path], revisions: Mapping[str, str]) -> Generator[tuple[str, list[str]]]:
    """The server's address, and the files that were sent, by their names. `folders`, `revisions`: of each repository."""
    held = {
        repository: {
            file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
        }
        for repository, folder in folders.items()
    }
    sent: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            repository = next((one for one in held if f"/datasets/{one}/" in f"{path}/"), "")
            files, revision = held.get(repository, {}), revisions.get(repository, "")
            if path.startswith(f"/api/datasets/{repository}/tree/"):
                tree = [
                    {"type": "file", "path": name, "size": len(held), "oid": hashlib.sha1(held).hexdigest()}
                    for name, held in files.items()
                ]
                self.say(json.dumps(tree).encode(), with_body, {})
            elif path.startswith(f"/api/datasets/{repository}"):
                siblings = [{"rfilename": name, "size": len(held)} for name, held in files.items()]
                facts = {"id": repository, "sha": revision, "siblings": siblings, "private": False, "tags": []}
                self.say(json.dumps(facts).encode(), with_body, {})
            elif (
                path.startswith(start := f"/datasets/{repository}/resolve/{revision}/") and path[len(start) :] in files
            ):
                name = path[len(start) :]
                sent.extend([name] if with_body else [])
                etag = hashlib.sha1(files[name]).hexdigest()
                self.say(files[name], with_body, {"ETag": f'"{etag}"', "X-Repo-Commit": revision})
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def say(self, body: bytes, with_body: bool, headers: dict[str, str]) -> None:
            self.send_response(200)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
