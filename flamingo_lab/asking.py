"""One question at a time, for every loaded model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from flamingo_lab.errors import LabError
from flamingo_lab.model import Answer, Decoding, Greedy, Model, Request
from flamingo_lab.prompt import QUESTION_ANSWER, Part, Prompt, Shot


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
        """The answer to one prompt. Raises `LabError` where there can be none."""
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
        """The answer to a question with its pictures, after worked examples with theirs."""
        prompt = Prompt.ask(*parts, shots=shots, system=system, running=running)
        return self.generate(prompt, decoding, max_new_tokens=max_new_tokens)
