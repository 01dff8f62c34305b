"""Draws a run of `flab eval` as the README shows it: the command is run in a terminal, and what it printed becomes an SVG.

    python docs/picture.py             some minutes: the whole command is run

The SVG names the bundled weights that answered, so that a test can tell when it is stale.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "pictures" / "eval.svg"
WEIGHTS = ROOT / "flamingo_lab" / "bundled" / "flamingo-tiny" / "model.safetensors"

COMMAND = "flab eval --model flamingo-tiny --tasks easy-vqa,shapes-binding --num-fewshot 4"
COLUMNS = 128

FORM = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<!-- weights {weights} -->
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""rich's own form without its fonts, which are files of another site."""


def weights_digest() -> str:
    """Hex SHA-256 of the bundled weights."""
    return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()


def printed(command: list[str], folder: Path) -> str:
    """What a command prints to a terminal, colours and all, after the last state of its progress bars."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # so Linux says that the other side has closed
            break
        if not piece:
            break
        pieces.append(piece)
    if code := process.wait():
        raise SystemExit(f"{shlex.join(command)} ended with {code}")
    text = b"".join(pieces).decode().replace("\r\n", "\n")
    # A bar erases its line before each new state.
    return "\n".join(line.rpartition("\x1b[2K")[2] for line in text.split("\n"))


def main() -> None:
    """Run the command and write the picture."""
    words = shlex.split(COMMAND)
    with tempfile.TemporaryDirectory() as folder:
        output = printed([sys.executable, "-m", "flamingo_lab.cli", *words[1:]], Path(folder))
    console = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w"))  # noqa: SIM115 - as long as we
    console.print(f"$ {COMMAND}", style="bold", markup=False, highlight=False)
    console.print(Text.from_ansi(output), end="")
    form = FORM.replace("{weights}", weights_digest())
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(console.export_svg(title="flamingo-lab", code_format=form, unique_id="eval"), encoding="utf-8")
    print(f"written: {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
