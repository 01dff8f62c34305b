"""What a figure was measured on."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path


def facts() -> str:
    """Processor, cores, memory and versions in one line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{', '.join(sorted(names)) or platform.processor()}, {os.cpu_count()} cores, {memory:.0f} GiB; "
        f"Python {platform.python_version()}, torch {version('torch')}"
    )


def command() -> str:
    """The command, as it is typed at the repository's root."""
    script, *told = sys.argv
    return " ".join(["python", f"benchmarks/{Path(script).name}", *told])


def letter(number: int) -> str:
    """What a report's table calls the machine of this number."""
    return chr(ord("A") + number)


def options(what: str | None) -> argparse.ArgumentParser:
    """The command line of a script; `what` is its docstring, shown by `--help` as it stands."""
    return argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
