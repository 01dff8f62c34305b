"""The two Java programs behind caption scores, from the package pycocoevalcap: the PTB tokenizer and METEOR 1.5."""

from __future__ import annotations

import atexit
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from eval_tasks.errors import MissingTool, ToolFailed

TOKENIZER = "tokenizer/stanford-corenlp-3.4.1.jar"
METEOR = "meteor/meteor-1.5.jar"

DROPPED = {"''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"}
"""Tokens that pycocoevalcap leaves out. QUIRK: the brackets' names are in lower case by then, so brackets stay."""

# Whatever the tokenizer takes for the end of a line. pycocoevalcap replaces `\n` alone, so that a caption with another
# one in it moves every caption after it by one.
LINE_ENDS = re.compile("[\n\r\x0b\x0c\u2028\u2029]")

REMEMBERED_LETTERS = 1000
METEOR_WORDS = 1000
"""METEOR aligns the first so many words of a text: its time grows with their square, and far beyond it dies."""


def check() -> None:
    """Refuse where the programs cannot run."""
    if importlib.util.find_spec("pycocoevalcap") is None:
        raise MissingTool(
            "captions are scored by pycocoevalcap, which is not installed: pip install flamingo-lab[captions]"
        )
    if shutil.which("java") is None:
        raise MissingTool(
            "captions are tokenized and scored by Java programs, and there is no java on the PATH: install a Java runtime"
        )


def tokenise(texts: Sequence[str]) -> list[str]:
    """Each text's tokens with blanks between them, in lower case, without punctuation.

    All new texts pass through one Java process; short ones are remembered.
    """
    known = _tokenised()
    new = [text for text in dict.fromkeys(texts) if text not in known]
    made = dict(zip(new, _ptb(new), strict=True))
    known.update((text, tokens) for text, tokens in made.items() if len(text) <= REMEMBERED_LETTERS)
    return [made[text] if text in made else known[text] for text in texts]


@cache
def _tokenised() -> dict[str, str]:
    return {}


def _ptb(texts: Sequence[str]) -> list[str]:
    if not texts:
        return []
    check()
    lines = "".join(LINE_ENDS.sub(" ", text) + "\n" for text in texts)
    command = ["java", "-cp", str(_folder() / TOKENIZER), "edu.stanford.nlp.process.PTBTokenizer"]
    command += ["-preserveLines", "-lowerCase", "-encoding", "utf-8"]
    made = subprocess.run(command, input=lines.encode("utf-8", "replace"), capture_output=True, check=False)
    found = made.stdout.decode("utf-8", "replace").split("\n")[:-1]
    if made.returncode or len(found) != len(texts):
        raise ToolFailed(
            f"the PTB tokenizer gave {len(found)} lines for {len(texts)} texts; java said: {last_words(made.stderr)}"
        )
    return [" ".join(word for word in line.rstrip().split(" ") if word not in DROPPED) for line in found]


def last_words(stderr: bytes) -> str:
    """What a Java program said before it ended: the exception, without the calls that led to it; else its last line."""
    lines = stderr.decode("utf-8", "replace").strip().splitlines() or ["nothing"]
    return next((line for line in lines if "Exception" in line or "Error" in line), lines[-1]).strip()


class Meteor:
    """METEOR 1.5 as a running Java process, which takes some ten seconds to load its paraphrases."""

    def __init__(self) -> None:
        check()
        command = ["java", "-jar", "-Xmx2G", str(_folder() / METEOR), "-", "-", "-stdio", "-l", "en", "-norm"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        atexit.register(self._process.kill)

    def statistics(self, candidate: str, references: Sequence[str]) -> str:
        """What METEOR counts for a candidate, as a line of numbers."""
        texts = [_one_line(text) for text in (*references, candidate)]
        return self._ask("SCORE ||| " + " ||| ".join(texts), answers=1)[0]

    def score(self, statistics: Sequence[str]) -> float:
        """The score of a set, from the counts of its candidates."""
        return float(self._ask("EVAL ||| " + " ||| ".join(statistics), answers=len(statistics) + 1)[-1])

    def _ask(self, line: str, answers: int) -> list[str]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # both are pipes
        try:
            stdin.write(f"{line}\n".encode("utf-8", "replace"))
            stdin.flush()
            found = [stdout.readline().decode().strip() for _ in range(answers)]
        except BrokenPipeError:
            found = [""]
        if not all(found):
            raise ToolFailed("METEOR's Java process ended; is there memory for it (2 GB)?")
        return found


@cache
def meteor() -> Meteor:
    """The one METEOR process of this program."""
    return Meteor()


def _one_line(text: str) -> str:
    """A text for METEOR, whose fields are divided by `|||` and whose lines end."""
    return " ".join(LINE_ENDS.sub(" ", text).replace("|||", "").replace("  ", " ").split(" ")[:METEOR_WORDS])


def _folder() -> Path:
    spec = importlib.util.find_spec("pycocoevalcap")
    assert spec is not None and spec.submodule_search_locations  # check() has seen it
    return Path(spec.submodule_search_locations[0])
