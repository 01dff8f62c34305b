"""The wordings of questions, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flamingo_lab.prompt import QUESTION_ANSWER

if TYPE_CHECKING:
    from eval_tasks.task import Sample


@dataclass(frozen=True)
class Wording:
    """How a question is put. `question` holds the slot `{question}`; `running` is how a base model reads it with its answer."""

    name: str
    source: str
    question: str = "{question}"
    running: str = QUESTION_ANSWER
    system: str | None = None

    def ask(self, sample: Sample) -> str:
        """The question as put to the model."""
        return self.question.replace("{question}", sample.question)


PLAIN = Wording("plain", "the question as it stands; base models: Flamingo, arXiv 2204.14198, appendix C")

SHORT_ANSWER = Wording(
    "short-answer",
    "LLaVA 1.5, arXiv 2310.03744, table 1",
    question="{question}\nAnswer the question using a single word or phrase.",
)
