"""What cannot be used of a cluster is one line and exit 2, before anything is asked."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from flamingo_lab.cli import run
from tests.scale.conftest import free_ports

ASKED = ["eval", "--model", "flamingo-tiny", "--tasks", "easy-vqa", "--limit", "10"]


def told(capsys: pytest.CaptureFixture[str], tmp_path: Path, *options: str) -> str:
    """The one line that a command with these options ends with."""
    results = tmp_path / "results"
    assert run([*ASKED, "--results", str(results), *options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert not results.exists()
    return err


def test_ray_that_is_not_installed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'flamingo-lab[ray]'" in told(capsys, tmp_path, "--ray", "auto")


def test_an_address_where_nothing_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    began = time.monotonic()
    (port,) = free_ports(1)
    assert "is the cluster's head up?" in told(capsys, tmp_path, "--ray", f"127.0.0.1:{port}")
    assert time.monotonic() - began < 20


def test_an_address_where_something_else_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert "is no Ray cluster" in told(capsys, tmp_path, "--ray", address)
    assert time.monotonic() - began < 20


@contextmanager
def head(*, asks_for_token: bool) -> Iterator[str]:
    """The address of what answers as a cluster's head does to whoever asks who it is."""

    class Head(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            return (
                grpc.unary_unary_rpc_method_handler(self.answer)
                if "GetClusterId" in handler_call_details.method
                else None
            )

        def answer(self, request: bytes, context: Any) -> bytes:
            if asks_for_token:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
            return b""

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Head()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(1).wait()


@pytest.mark.parametrize(
    ("asks", "mode", "line"),
    [
        (True, "", "asks for a token: set RAY_AUTH_MODE=token"),
        (True, "disabled", "asks for a token: set RAY_AUTH_MODE=token"),
        (False, "token", "asks for no token: leave away RAY_AUTH_MODE=token"),
    ],
)
def test_a_cluster_that_asks_for_another_authentication(
    asks: bool,
    mode: str,
    line: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with head(asks_for_token=asks) as address:
        assert line in told(capsys, tmp_path, "--ray", address)


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265", "", ":6379", "head:port", "head:70000000"])
def test_addresses_that_are_none(address: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    err = told(capsys, tmp_path, "--ray", address)
    assert "auto or HOST:PORT" in err or "nothing answers there" in err


@pytest.mark.parametrize("options", [["--replicas", "2"], ["--devices-per-replica", "1"]])
def test_replicas_without_a_cluster(options: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "add --ray auto" in told(capsys, tmp_path, *options)


def test_a_model_that_does_not_exist_is_told_before_a_cluster_is_looked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "flamingo-tinny" in told(capsys, tmp_path, "--model", "flamingo-tinny", "--ray", "127.0.0.1:1")
