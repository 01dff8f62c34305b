"""SPICE: what captions say, as objects, attributes and relations (Anderson et al. 2016, arXiv 1607.08822).

Off by default: its Java program, which comes with pycocoevalcap, reads models of Stanford CoreNLP 3.6.0 that do not. Nothing
is fetched: `check` says which files are missing and where they belong.
"""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval_tasks import captions_java
from eval_tasks.errors import MissingTool, ToolFailed
from eval_tasks.metrics import Item, Metric, Outcome, about

PROGRAM = "spice-1.0.jar"
MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
ARCHIVE = "http://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"

HEAP = "-Xmx8G"
"""What pycocoevalcap gives the program."""

NOTHING_SAID = "no objects in it"


def check() -> None:
    """Refuse where the program or its models are missing."""
    captions_java.check()
    missing = [name for name in MODELS if not (folder() / "lib" / name).is_file()]
    if missing:
        raise MissingTool(
            f"SPICE needs {' and '.join(missing)}, which no package brings: take them out of {ARCHIVE} and put them into "
            f"{folder() / 'lib'}"
        )


def official(items: Sequence[Item]) -> Sequence[Outcome]:
    """The F-score of a caption's tuples in those of all its references, as pycocoevalcap calls the authors' program."""
    if not items:
        return []
    targets = [item.targets.texts for item in items]
    prepared = iter(captions_java.tokenise([text for texts in targets for text in texts]))
    references = [[next(prepared) for _ in texts] for texts in targets]
    candidates = captions_java.tokenise([item.prediction.text for item in items])
    asked = [
        {"image_id": number, "test": candidate, "refs": texts}
        for number, (candidate, texts) in enumerate(zip(candidates, references, strict=True))
    ]
    found = {row["image_id"]: row["scores"]["All"]["f"] for row in _run(asked)}
    return [_outcome(found.get(number)) for number in range(len(items))]


def folder() -> Path:
    """Where pycocoevalcap keeps SPICE."""
    spec = importlib.util.find_spec("pycocoevalcap")
    assert spec is not None and spec.submodule_search_locations  # check() has seen it
    return Path(spec.submodule_search_locations[0]) / "spice"


def _outcome(score: Any) -> Outcome:
    """A candidate and references without any tuple have no F-score; the program writes no number for them."""
    if not isinstance(score, int | float) or math.isnan(score):
        return Outcome(0.0, None, NOTHING_SAID)
    return Outcome(float(score), score)


def _run(asked: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    check()
    with tempfile.TemporaryDirectory() as temporary:
        given, made = Path(temporary, "given.json"), Path(temporary, "made.json")
        given.write_text(json.dumps(asked), encoding="utf-8")
        command = ["java", "-jar", HEAP, PROGRAM, str(given), "-out", str(made), "-subset", "-silent"]
        ran = subprocess.run(command, cwd=folder(), capture_output=True, check=False)
        if ran.returncode or not made.is_file():
            raise ToolFailed(
                f"SPICE's Java program ended with {ran.returncode}: {captions_java.last_words(ran.stderr)}"
            )
        return json.loads(made.read_text(encoding="utf-8"))


VARIANTS = {"official": Metric(official, about(official), check=check)}
