"""Files of predictions made elsewhere: JSON, JSON lines and CSV, with or without their gold answers."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval_tasks.errors import BadPredictions
from eval_tasks.task import Sample, Task

IDS = ("id", "sample_id", "question_id", "questionId")
ANSWERS = ("prediction", "answer", "text")
"""Names of the fields, the first that a row has counts. Where a row has both, `answer` is the gold one."""


@dataclass(frozen=True)
class Predicted:
    """One answer made elsewhere, with what it is scored against."""

    answer: str
    targets: tuple[str, ...]
    document: str
    slices: Mapping[str, str]


def read(task: Task, files: Sequence[Path], annotations: Sequence[Path], data: Path | None) -> list[Predicted]:
    """All answers of the files, joined with gold answers: their own, those of `annotations`, or the task's samples."""
    rows = [(f"{file}, row {number}", row) for file in files for number, row in enumerate(_rows(file))]
    if not rows:
        raise BadPredictions(f"{', '.join(map(str, files))}: no predictions in it")
    if all("prediction" in row and "answer" in row for _, row in rows):
        return [_with_gold(where, row) for where, row in rows]
    gold = _annotated(annotations) if annotations else {s.id: s for s in task.samples(task.split, data)}
    missing = gold.keys() - {_identity(where, row) for where, row in rows}
    if missing:
        raise BadPredictions(f"{len(missing)} of {len(gold)} questions have no prediction, {min(missing)} for one")
    return [_joined(where, row, gold) for where, row in rows]


def _with_gold(where: str, row: Mapping[str, Any]) -> Predicted:
    """A row that brings its gold answer; `split` is its slice, `imgname` its document."""
    answer = row["answer"]
    targets = tuple(map(str, answer)) if isinstance(answer, list) else (str(answer),)
    slices = {"split": str(row["split"])} if "split" in row else {}
    return Predicted(_text(where, row["prediction"]), targets, str(row.get("imgname", where)), slices)


def _joined(where: str, row: Mapping[str, Any], gold: Mapping[str, Sample]) -> Predicted:
    identity = _identity(where, row)
    if identity not in gold:
        raise BadPredictions(f"{where}: {identity!r} is no question of the task")
    sample = gold[identity]
    answer = next((row[key] for key in ANSWERS if key in row), None)
    return Predicted(_text(where, answer), sample.targets, sample.document, sample.slices)


def _annotated(files: Sequence[Path]) -> dict[str, Sample]:
    samples: dict[str, Sample] = {}
    for file in files:
        for number, row in enumerate(_rows(file)):
            identity = _identity(f"{file}, row {number}", row)
            held = row.get("targets", row.get("answers", row.get("answer")))
            if held is None:
                raise BadPredictions(f"{file}, row {number}: no targets, answers or answer in it")
            targets = tuple(map(str, held)) if isinstance(held, list) else (str(held),)
            samples[identity] = Sample(identity, (), str(row.get("question", "")), targets, identity)
    return samples


def _identity(where: str, row: Mapping[str, Any]) -> str:
    for key in IDS:
        if key in row:
            return str(row[key])
    raise BadPredictions(f"{where}: no id in it; one of {', '.join(IDS)} is expected")


def _text(where: str, answer: object) -> str:
    if not isinstance(answer, str):
        raise BadPredictions(f"{where}: the prediction is {answer!r}, not text")
    return answer


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        if file.suffix == ".csv":
            with file.open(encoding="utf-8", newline="") as stream:
                return list(csv.DictReader(stream))
        content = file.read_text(encoding="utf-8")
        rows = (
            json.loads(content)
            if file.suffix == ".json"
            else [json.loads(line) for line in content.splitlines() if line]
        )
    except (OSError, ValueError) as error:
        raise BadPredictions(f"{file}: not readable as {file.suffix or 'JSON lines'} ({error})") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadPredictions(f"{file}: a list of objects with id and prediction is expected")
    return rows
