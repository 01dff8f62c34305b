"""How long it takes to score as many answers as VQAv2's validation split has, beside the official program's steps.

    python benchmarks/vqa_scoring.py

Seconds are of one core. Answers are drawn from words with VQAv2's habits: most people agree, one in five answers is rare.
"""

from __future__ import annotations

import os
import random
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import machine

from eval_tasks import vqa_text
from eval_tasks.metrics import Item, Prediction, Targets
from eval_tasks.scoring import mark
from eval_tasks.task import MetricName
from flamingo_lab.host import peak_bytes

REPORT = Path(__file__).parent / "reports" / "vqa_scoring.md"
QUESTIONS = 214_354
PER_PICTURE = 5
QUESTION_TYPES = 65
OFFICIAL = "gt-vision-lab"
VARIANTS = (OFFICIAL, "gt-vision-lab-uploaded", "evalai")
REPEATS = 5
ALLOWED_SECONDS = 10
ALLOWED_MB = 2000
LEAST_TIMES = 5

T = TypeVar("T")

COMMON = (
    "yes",
    "no",
    "red",
    "a dog",
    "the cat",
    "two",
    "3",
    "left",
    "on the table",
    "t-shirt",
    "dont know",
    "1,000",
    "no.",
)


def items() -> list[Item]:
    """The questions of a made-up split, each with ten people's answers and a model's."""
    draw = random.Random(0)
    rare = [f"thing {number}" for number in range(20_000)]

    def answer() -> str:
        return draw.choice(COMMON) if draw.random() < 0.8 else draw.choice(rare)

    made: list[Item] = []
    for number in range(QUESTIONS):
        best = answer()
        people = tuple(best if draw.random() < 0.7 else answer() for _ in range(10))
        said = draw.choice((best, best.capitalize(), f"{best}.", answer()))
        slices = {
            "question_type": str(draw.randrange(QUESTION_TYPES)),
            "answer_type": draw.choice(("yes/no", "number", "other")),
        }
        made.append(Item(Prediction(said), Targets(people), str(number), str(number // PER_PICTURE), slices))
    return made


class Official:
    """VQA's own evaluation, step by step as its authors' program takes them, in the same language and on one core.

    Its steps are theirs (GT-Vision-Lab/VQA, `vqaEval.py`, as the facts of the metric hold them): each of the eleven texts of a
    question is normalised anew, each person's answer is left out in turn by comparing records, the others are gone through,
    and every question's accuracy joins the lists of its type. The words are ours, since their file is not on this machine;
    what they print while they go is left out. It gives no intervals.
    """

    def __init__(self) -> None:
        self.by_question: dict[str, float] = {}
        self.by_type: dict[str, list[float]] = {}

    def evaluate(self, asked: list[Item]) -> float:
        """The mean accuracy in percent, to two decimals."""
        accuracies: list[float] = []
        for item in asked:
            people = [{"answer": text, "answer_id": n} for n, text in enumerate(item.targets.texts)]
            said = self._plain(item.prediction.text)
            for person in people:
                person["answer"] = self._plain(str(person["answer"]))
            if len({person["answer"] for person in people}) > 1:
                for person in people:
                    person["answer"] = self._digits(self._punctuation(str(person["answer"])))
                said = self._digits(self._punctuation(said))
            shares: list[float] = []
            for person in people:
                others = [other for other in people if other != person]
                matching = [other for other in others if other["answer"] == said]
                shares.append(min(1, float(len(matching)) / 3))
            accuracy = float(sum(shares)) / len(shares)
            accuracies.append(accuracy)
            self.by_question[item.id] = round(100 * accuracy, 2)
            for kind in item.slices.values():
                self.by_type.setdefault(kind, []).append(accuracy)
        return round(100 * float(sum(accuracies)) / len(accuracies), 2)

    def _plain(self, text: str) -> str:
        return text.replace("\n", " ").replace("\t", " ").strip()

    def _punctuation(self, text: str) -> str:
        made = text
        for sign in vqa_text.MARKS:
            is_apart = sign + " " in text or " " + sign in text
            if is_apart or re.search(vqa_text.COMMA_IN_NUMBER, text) is not None:
                made = made.replace(sign, "")
            else:
                made = made.replace(sign, " ")
        return vqa_text.PERIOD.sub("", made, count=vqa_text.PERIODS_REMOVED)

    def _digits(self, text: str) -> str:
        kept: list[str] = []
        for word in text.lower().split():
            word = vqa_text.NUMBER_WORDS.get(word, word)
            if word not in vqa_text.ARTICLES:
                kept.append(word)
        for place, word in enumerate(kept):
            if word in vqa_text.CONTRACTIONS:
                kept[place] = vqa_text.CONTRACTIONS[word]
        return " ".join(kept)


def seconds_of(what: Callable[[], T]) -> tuple[float, T]:
    """Seconds of one core, and what came out."""
    began = time.process_time()
    found = what()
    return time.process_time() - began, found


def main() -> None:
    """Measure every variant, then the official program's steps; write the report, and fail where a bound is not kept."""
    machine.options(__doc__).parse_args()
    asked = items()
    rows: list[str] = []
    slowest, first_of_official = 0.0, 0.0
    for variant in VARIANTS:
        name = MetricName("vqa_accuracy", variant)
        seconds = [seconds_of(lambda name=name: mark(name, asked))[0] for _ in range(REPEATS)]
        slowest = max(slowest, *seconds)
        first_of_official = first_of_official or seconds[0]
        later = sorted(seconds[1:])
        rows.append(
            f"| {variant} | {seconds[0]:.1f} | {statistics.median(later):.1f} | {later[0]:.1f}-{later[-1]:.1f} |"
        )
    peak = peak_bytes() / 1e6
    official = Official()
    theirs, value = seconds_of(lambda: official.evaluate(asked))
    ours = mark(MetricName("vqa_accuracy", OFFICIAL), asked)
    equal = sum(
        outcome is not None and round(100 * outcome.score, 2) == official.by_question[item.id]
        for item, outcome in zip(asked, ours.outcomes, strict=True)
    )
    times = theirs / first_of_official
    lines = [
        "# Scoring VQAv2",
        "",
        f"`{machine.command()}` on {machine.facts()}; load {os.getloadavg()[0]:.1f}.",
        "",
        f"{QUESTIONS:,} synthetic answers with ten people's each, {QUESTION_TYPES + 3} slices, intervals included.",
        f"Seconds of one core; the first run fills the memory of normalised answers. Highest resident memory {peak:,.0f} MB.",
        "",
        "| variant | first run | median of the later | from - to |",
        "| --- | ---: | ---: | ---: |",
        *rows,
        f"| the steps of the official program | {theirs:.1f} | | |",
        "",
        f"{times:.1f} times as fast as the official program's steps, from the first run of `{OFFICIAL}`; "
        f"{equal:,} of {QUESTIONS:,} accuracies are equal, and the mean is {value}.",
        "The official file was not on this machine: its steps are written in our own words, without what it prints and",
        "without intervals, which it does not have.",
        "",
    ]
    REPORT.write_text("\n".join(lines))
    print("\n".join(lines))
    if slowest > ALLOWED_SECONDS or peak > ALLOWED_MB or times < LEAST_TIMES or equal < QUESTIONS:
        raise SystemExit(f"not as promised: {slowest:.1f} s, {peak:,.0f} MB, {times:.1f} times, {equal} equal")


if __name__ == "__main__":
    main()
