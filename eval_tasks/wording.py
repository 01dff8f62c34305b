"""How a question is put to a model: the few lines that fill in a wording. The wordings themselves are in `phrasing`."""

from __future__ import annotations

import random
import re
import string
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from eval_tasks import boxes
from eval_tasks.errors import MissingData
from eval_tasks.metrics import MetricName
from flamingo_lab.prompt import QUESTION_ANSWER, Part

if TYPE_CHECKING:
    from eval_tasks.task import Sample

Reads = Literal["running text", "turns"]
"""How a model reads shots: a base model as running text, a chat model as turns."""

SLOT = re.compile(r"\{(\w+)\}")
LETTERS = string.ascii_uppercase

PICTURE = "<image>"
"""Where the picture stands, in a wording that people read."""

FAMILYS = "family"
"""As the cut of a wording: what the authors of the model's family cut off answers in their own form."""


@dataclass(frozen=True)
class Wording:
    """How a question is put, with whatever of the answer the wording decides.

    `question` holds slots: `{question}`, `{options}`, and the names of a sample's `context`. `optional` says for a slot what
    stands there where it is filled (`{}` is the filling) and where it is not; None: it has to be. `option`: how one option
    is written, `between`: what stands between two. `before` stands before the pictures. `running` is how a base model reads
    the question with its answer, `separator` what stands behind a shown one, None for the family's own. `reads`: the kind
    of model that it was written for, None for both.

    `answer`: how a shot's answer is shown, `shown`: which one of several. `says_option`: whether an option is told by its
    letter or its text. `rank`: options are ranked by the sum or the mean of their tokens' log-probabilities instead of
    being written; `ends`: with the stop token. `box`: the notation of boxes, the variant of the metric `iou` that reads
    them. `metrics`: what reads its answers, None for the task's own metrics. `cut`: what its authors cut off an answer
    before it is scored, one of `postprocess.VARIANTS`, or `FAMILYS` in the wordings that are each family's own form.
    """

    name: str
    source: str
    question: str = "{question}"
    running: str = QUESTION_ANSWER
    separator: str | None = None
    system: str | None = None
    before: str = ""
    option: str = "{letter}. {text}"
    between: str = "\n"
    optional: Mapping[str, tuple[str, str | None]] = field(default_factory=dict[str, tuple[str, str | None]])
    reads: Reads | None = None
    answer: str = "{answer}"
    shown: Literal["most common", "first", "drawn"] = "most common"
    says_option: Literal["letter", "text"] = "letter"
    rank: Literal["sum", "mean"] | None = None
    ends: bool = False
    box: str = ""
    metrics: tuple[MetricName, ...] | None = None
    cut: str = ""

    @property
    def form(self) -> str:
        """The whole wording with its slots: the running text where it was written for one, else what a turn holds."""
        said = SLOT.sub(lambda slot: self.optional.get(slot[1], ("{}", ""))[0].replace("{}", slot[0]), self.question)
        words = self.before + PICTURE + said
        if self.reads == "running text":
            lead = "" if self.before else PICTURE
            words = lead + self.running.replace("{text}", words.removeprefix(lead))
        return f"{self.system}\n{words}" if self.system else words

    def ask(self, sample: Sample) -> str:
        """The question as put to the model. What the sample brings is never read as a slot."""
        filled = {"question": sample.question, "options": self._options(sample), **sample.context}
        return SLOT.sub(lambda slot: self._filled(slot[1], filled.get(slot[1])), self.question)

    def parts(self, sample: Sample) -> tuple[Part, ...]:
        """Pictures and words: the pictures first, or each at its mark in the words where the sample has marks."""
        words = self.ask(sample)
        if not sample.marks:
            return (*([self.before] if self.before else []), *sample.images, words)
        images = dict(zip(sample.marks, sample.images, strict=True))
        pieces = re.split("(" + "|".join(map(re.escape, sample.marks)) + ")", words)
        named = [piece for piece in pieces if piece in images]
        # A picture that the words do not name, or name again, still reaches the model exactly once.
        left = [image for mark, image in images.items() if mark not in named]
        placed = [images.pop(piece) if piece in images else piece for piece in pieces]
        return (*([self.before] if self.before else []), *left, *(part for part in placed if part))

    def answered(self, sample: Sample) -> str:
        """The answer that a shot shows."""
        return self.answer.replace("{answer}", self._right(sample))

    def options(self, sample: Sample) -> tuple[str, ...]:
        """What is ranked, in the order of the sample's choices."""
        if self.says_option == "text":
            return tuple(self.answer.replace("{answer}", choice) for choice in sample.choices)
        return tuple(self.answer.replace("{answer}", letter) for letter in LETTERS[: len(sample.choices)])

    def _right(self, sample: Sample) -> str:
        if sample.answer:
            return sample.answer
        if self.box:
            return boxes.written(self.box, sample.facts["box"], sample.facts["size"])
        if sample.choices and self.says_option == "text":
            return sample.choices[LETTERS.index(sample.targets[0])]
        if self.shown == "most common":
            return Counter(sample.targets).most_common(1)[0][0]
        return sample.targets[0] if self.shown == "first" else random.Random(sample.id).choice(sample.targets)

    def _options(self, sample: Sample) -> str:
        lines = (
            self.option.replace("{letter}", letter).replace("{text}", choice)
            for letter, choice in zip(LETTERS, sample.choices, strict=False)
        )
        return self.between.join(lines)

    def _filled(self, slot: str, filling: str | None) -> str:
        there, absent = self.optional.get(slot, ("{}", ""))
        if filling is None and absent is None:
            raise MissingData(f"the wording {self.name!r} needs {slot!r} of each question, and the data brings none")
        return there.replace("{}", filling or "") if filling or absent is None else absent
