"""`flab dashboard`: the results as pages in a browser."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Annotated

import typer

from flamingo_lab.cli import options

PORT = 8501
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PATIENCE_SECONDS = 120


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("dashboard", epilog=options.example("flab dashboard --results results"))(dashboard)


def dashboard(
    results: Annotated[str, typer.Option(help="Folder of the results, or a URL: s3://BUCKET/FOLDER.")] = str(
        options.RESULTS
    ),
    demo: Annotated[bool, typer.Option("--demo", help="The results that come with this package.")] = False,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            help="A folder or .zip that pictures may be read from, beside the bundled tasks'; may be repeated."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen at; the usual one is this machine's own.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen at.")] = PORT,
) -> int:
    """Show the results as pages in a browser, until Ctrl-C."""
    import leaderboards
    from flamingo_lab.errors import MissingPackage
    from leaderboards.errors import BadStore

    if importlib.util.find_spec("streamlit") is None:
        raise MissingPackage("flab dashboard needs streamlit: pip install 'flamingo-lab[dashboard]'")
    name = "demo" if demo else results
    if demo:
        results = str(_demo())
    if problem := leaderboards.open(results).place.problem():  # told before a server starts
        raise BadStore(problem)
    roots = [*(images or ()), *_bundled()]
    _check(roots, host, port)
    process = subprocess.Popen(_command(results, name, roots, host, port), stdout=subprocess.DEVNULL)
    try:
        if not is_up(process, host, port):
            if process.poll() is None:
                print(f"error: the server did not answer within {PATIENCE_SECONDS} s", file=sys.stderr)
            process.terminate()
            return process.wait() or 1
        if host not in LOOPBACK:
            print(f"everyone who reaches {host} can read these results and their pictures", file=sys.stderr)
        print(f"{name} is shown at {_address(host, port)} (Ctrl-C ends it)", file=sys.stderr)
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return 0


def _command(results: str, name: str, roots: list[Path], host: str, port: int) -> list[str]:
    """What starts Streamlit. On this machine's own address it answers to no other name, whatever that resolves to."""
    import dashboard as package
    from eval_tasks.groups import GROUPS

    app = Path(package.__file__ or "").parent / "app.py"
    # The code does not change while it is served, and Python collects its garbage without a whole pass after every page.
    flags = [f"--server.address={host}", f"--server.port={port}"]
    flags += ["--server.fileWatcherType=none", "--runner.postScriptGC=false"]
    if host in LOOPBACK:
        flags += [f"--server.allowedHosts={name}" for name in LOOPBACK]
    told = ["--results", results, "--name", name]
    told += [part for root in roots for part in ("--images", str(root.resolve()))]
    told += [part for name, tasks in GROUPS.items() for part in ("--group", f"{name}={','.join(tasks)}")]
    return [sys.executable, "-m", "streamlit", "run", str(app), *flags, "--", *told]


def _check(roots: list[Path], host: str, port: int) -> None:
    """Raises `BadSetting` for a folder that is not there, and for an address that cannot be listened at."""
    from flamingo_lab.errors import BadSetting

    for root in roots:
        if not root.is_dir() and not (root.is_file() and root.suffix == ".zip"):
            raise BadSetting(f"--images {root}: neither a folder nor a .zip")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or error
            raise BadSetting(f"port {port} at {host} cannot be used ({reason}); choose another with --port") from None


def is_up(process: subprocess.Popen[bytes], host: str, port: int) -> bool:
    """Whether the server answers; False where it has ended instead."""
    until = time.monotonic() + PATIENCE_SECONDS
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads to this machine
    while process.poll() is None and time.monotonic() < until:
        try:
            with direct.open(f"{_address(host, port)}/_stcore/health", timeout=1):
                return True
        except OSError:
            time.sleep(0.1)
    return False


def _address(host: str, port: int) -> str:
    reached = "127.0.0.1" if host == "0.0.0.0" else "[::1]" if host == "::" else f"[{host}]" if ":" in host else host
    return f"http://{reached}:{port}"


def _demo() -> Path:
    import dashboard as package

    return Path(package.__file__ or "").parent / "demo"


def _bundled() -> list[Path]:
    """Where the pictures of the bundled tasks lie."""
    from eval_tasks.tasks import shapes_binding

    package = importlib.util.find_spec("easy_vqa")
    easy_vqa = [Path(package.origin).parent / "data"] if package and package.origin else []
    return [*easy_vqa, shapes_binding.FOLDER / "pictures.zip"]
