"""One question at a time, for every loaded model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from flamingo_lab.errors import BadPrompt, LabError
from flamingo_lab.model import Answer, Decoding, Greedy, Model, Request
from flamingo_lab.prompt import CAPTION, QUESTION_ANSWER, Part, Prompt, Shot


class Askable(Model, Protocol):
    """A `Model` that is `Asking` too."""

    @property
    def generate(self) -> Callable[..., Answer]: ...
    @property
    def answer(self) -> Callable[..., Answer]: ...


class Asking:
    """What a loaded `Model` offers beside `answers`."""

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `Model`."""
        raise NotImplementedError

    def generate(
        self,
        prompt: Prompt,
        decoding: Decoding | None = None,
        *,
        max_new_tokens: int = 32,
        min_new_tokens: int = 0,
        stop: Sequence[str] = (),
        forbidden: Sequence[str] = (),
    ) -> Answer:
        """The answer to one prompt, greedy unless `decoding` says otherwise. Raises `LabError` where there can be none."""
        request = Request(
            "prompt", prompt, decoding or Greedy(), max_new_tokens, min_new_tokens, tuple(stop), tuple(forbidden)
        )
        (answer,) = self.answers([request])
        if answer.error:
            raise LabError(answer.error.message)
        return answer

    def answer(
        self,
        *parts: Part,
        shots: Sequence[Shot] = (),
        system: str | None = None,
        running: str = QUESTION_ANSWER,
        decoding: Decoding | None = None,
        max_new_tokens: int = 32,
    ) -> Answer:
        """The answer to a question with its pictures, after worked examples with theirs; greedy and of 32 tokens by default.

        `running` is how a base model reads it, `{text}` the question and `{answer}` its answer. Raises `BadPrompt` where
        words or pictures are missing or the model cannot take the prompt, `LabError` where it has no answer to it.
        """
        prompt = Prompt.ask(*parts, shots=shots, system=system, running=running)
        _check(parts, running)
        return self.generate(prompt, decoding, max_new_tokens=max_new_tokens)


def _check(parts: Sequence[Part], running: str) -> None:
    """Refuse a question without a picture or words, and a form that no question goes into. Raises `BadPrompt`."""
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) == len(parts):
        file = next((text for text in texts if _is_file(text)), None)
        hint = f"Image({file!r}) shows that file" if file else "generate(Prompt.ask(...)) sends text alone"
        raise BadPrompt(f"a question without a picture; {hint}")
    places = set(re.findall(r"{(\w*)}", running))
    if not places or not places <= {"text", "answer"}:
        raise BadPrompt(
            f"running {running!r}: {{text}} stands for the question and {{answer}} for its answer, and nothing else does"
        )
    if "text" in places and not "".join(texts).strip():
        raise BadPrompt(f"nothing is asked; give the question's words, or running={CAPTION!r} for a caption")


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # longer than a name may be, or no name at all
        return False
