"""The dashboard as `flab dashboard` starts it, on a free port."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.folders import ROOT

PATIENCE_SECONDS = 90


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(*arguments: str | Path) -> Generator[str]:
    """The address of a running server, which ends with the block; it must end as Ctrl-C ends it."""
    port = free_port()
    command = [sys.executable, "-m", "flamingo_lab.cli", "dashboard", "--port", str(port), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
    stopper = threading.Timer(PATIENCE_SECONDS, process.kill)
    stopper.start()
    assert process.stderr is not None
    try:
        for line in process.stderr:
            found = re.search(r"is shown at (http\S+) ", line)
            if found:
                stopper.cancel()
                yield found[1]
                break
        else:
            raise AssertionError("the dashboard did not start")
    finally:
        stopper.cancel()
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode == 0
