"""`flab dashboard`: where it listens, and one line for what cannot be."""

from __future__ import annotations

import http.client
import socket
import subprocess
import threading
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flamingo_lab.cli import dashboard as command
from flamingo_lab.cli import run
from tests.dashboard import made
from tests.dashboard.served import free_port, served
from tests.folders import ROOT


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line of a command that cannot be done."""
    assert run(["dashboard", *map(str, arguments)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_taken_port_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        said = refused(capsys, "--port", str(port))
    assert said.startswith(f"error: port {port} at 127.0.0.1 cannot be used")
    assert said.endswith("choose another with --port")


def test_a_file_for_a_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results").write_text("")
    assert "a file stands where a folder should be" in refused(capsys, "--results", tmp_path / "results")


def test_a_folder_of_something_else_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letter.txt").write_text("")
    assert "no results folder" in refused(capsys, "--results", tmp_path, "--port", str(free_port()))


def test_a_folder_of_pictures_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "--results", tmp_path, "--images", tmp_path / "nowhere", "--port", str(free_port()))
    assert said.endswith("nowhere: neither a folder nor a .zip")


def test_an_address_that_is_not_this_machines_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "--results", tmp_path, "--host", "192.0.2.1", "--port", str(free_port()))
    assert "192.0.2.1 cannot be used" in said


def test_without_streamlit_it_says_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'flamingo-lab[dashboard]'" in refused(capsys, "--results", tmp_path)


def test_a_proxy_is_not_asked_whether_the_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(command, "PATIENCE_SECONDS", 5)
    asked: list[str] = []

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            asked.append(self.path)

    with HTTPServer(("127.0.0.1", 0), Health) as server, running() as process:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert command.is_up(process, "127.0.0.1", server.server_port)
    assert asked == ["/_stcore/health"]


@contextmanager
def running() -> Generator[subprocess.Popen[bytes]]:
    """A process that has not ended."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_started_by_itself_it_listens_on_this_machines_own_address() -> None:
    held = tomllib.loads((ROOT / "dashboard" / ".streamlit" / "config.toml").read_text())
    assert held["server"]["address"] == "127.0.0.1"


def test_it_listens_on_this_machines_own_address_and_to_its_own_names(tmp_path: Path) -> None:
    made.two_models(tmp_path)
    with served("--results", tmp_path) as address:
        port = urlsplit(address).port or 0
        assert urlsplit(address).hostname == "127.0.0.1"
        assert _asked(port, f"127.0.0.1:{port}") == 101
        assert _asked(port, "elsewhere.example") == 403
        for outside in _outside():
            with pytest.raises(OSError), socket.create_connection((outside, port), timeout=2):
                pass


def _asked(port: int, host: str) -> int:
    """The status of a websocket that is opened under a name."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", "/_stcore/stream", skip_host=True)
    headers = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version": "13",
    }
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


def _outside() -> list[str]:
    """This machine's addresses that others can reach, if it has any."""
    try:
        found = socket.gethostbyname_ex(socket.gethostname())[2]
    except OSError:
        return []
    return [one for one in found if not one.startswith("127.")]
