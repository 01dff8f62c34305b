"""How judges are asked and heard, after the authors' evaluation code; their wordings are in `data/`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from eval_tasks.errors import MissingData
from flamingo_lab.model import Decoding, Greedy
from flamingo_lab.model import Sample as Drawn

if TYPE_CHECKING:
    from eval_tasks.task import Sample

DATA = Path(__file__).parent / "data"

CAPTION = "caption"
"""In a sample's context: what LLaVA-Bench's judge, which sees no picture, is told of it."""

Grades = tuple[str, ...]
"""The grade of the answer, then that of the reference answer where the judge gives one to it too."""


@dataclass(frozen=True)
class Rubric:
    """How a benchmark's authors let a judge grade.

    `ask` words what the judge is asked; `read` finds the grades in what it says, None where there are none. It is asked
    `tries` times at most: after the first, `again` follows the words, at temperatures that rise from 0 by `warmer`.
    `gradings`: how often each answer is graded. `unread` stands for grades that could not be read. `licence` is that of the
    `source`, whose words these are.
    """

    source: str
    licence: str
    ask: Callable[[Sample, str], str]
    read: Callable[[str], Grades | None]
    gradings: int
    max_new_tokens: int
    system: str | None = None
    decoding: Decoding = field(default_factory=Greedy)
    tries: int = 1
    again: str = ""
    warmer: float = 0.0
    unread: Grades = ("",)


def mmvet_words(sample: Sample, answer: str) -> str:
    """A row of a table whose last cell the judge fills in."""
    right = sample.targets[0].replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
    return f"{_text('judge_mmvet')}\n" + " | ".join((sample.question, right, answer, ""))


def mmvet_grade(said: str) -> Grades | None:
    """The first word, where it is a number from 0 to 1."""
    grade = _number(said.split(" ")[0].strip())
    return None if grade is None or not 0 <= grade <= 1 else (str(grade),)


def llava_words(sample: Sample, answer: str) -> str:
    """What is in the picture, the question, the reference answer, the model's answer, and what to do."""
    caption = need(sample, CAPTION, "context.jsonl of the benchmark")
    spoken = "".join(
        f"[Assistant {number}]\n{text}\n\n[End of Assistant {number}]\n\n"
        for number, text in enumerate((sample.targets[0], answer), start=1)
    )
    system = f"[System]\n{_text('judge_llava_bench')}\n\n"
    return f"[Context]\n{caption}\n\n[Question]\n{sample.question}\n\n{spoken}{system}"


def llava_grades(said: str) -> Grades | None:
    """The two numbers of the first line, with one blank or comma between: of the reference, then of the model's answer.

    QUIRK: a comma and a blank between them are two separators, and the authors' code reads nothing then.
    """
    words = said.split("\n")[0].replace(",", " ").split(" ")
    grades = [_number(word) for word in words]
    if len(grades) != 2 or grades[0] is None or grades[1] is None:
        return None
    return str(grades[1]), str(grades[0])


def need(sample: Sample, name: str, origin: str) -> str:
    """What a judge is told besides the question. Raises `MissingData` where the benchmark's files lack it."""
    if name not in sample.context:
        raise MissingData(
            f"the judge is told the {name} of each picture, and there is none of {sample.id}; it is in {origin}"
        )
    return sample.context[name]


def _number(word: str) -> float | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _text(name: str) -> str:
    return (DATA / f"{name}.txt").read_text(encoding="utf-8")


MMVET = Rubric(
    source="yuweihao/MM-Vet mm-vet_evaluator.py",
    licence="Apache-2.0",
    ask=mmvet_words,
    read=mmvet_grade,
    gradings=5,
    max_new_tokens=3,
    # The authors ask a sixth time, and take 0 without having read what is said then.
    tries=5,
    again="\nPredict the correctness of the answer (digit): ",
    warmer=0.5,
)

LLAVA_BENCH = Rubric(
    source="haotian-liu/LLaVA llava/eval/eval_gpt_review_bench.py, table/rule.json",
    licence="Apache-2.0",
    ask=llava_words,
    read=llava_grades,
    gradings=3,
    max_new_tokens=1024,
    system="You are a helpful and precise assistant for checking the quality of the answer.",
    decoding=Drawn(0.2),
    unread=("", "0"),
)
"""Where no grades can be read, neither the answer's nor the reference's counts in the two means."""
