"""Models that are real objects with scripted answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flamingo_lab as fl
from flamingo_lab.errors import BadPrompt
from flamingo_lab.model import Failure, Limits, Sent


def last_word(request: fl.Request) -> str:
    """The last word of the question: an answer that depends on what is asked."""
    words = [part for part in request.prompt.turns[-1].parts if isinstance(part, str)]
    return words[-1].split()[-1].strip("?")


@dataclass
class Scripted:
    """Answers by a function of the request. `log` names a file to which the id of everything asked is appended."""

    reply: Callable[[fl.Request], str] = last_word
    digest: str = "double"
    name: str = "double"
    delay_seconds: float = 0.0
    log: Path | None = None
    images_lost: int = 0
    shots_lost: int = 0
    about: Mapping[str, Any] = field(default_factory=lambda: {"family": "double", "backend": "tests"})
    limits: Limits = field(default_factory=Limits)
    asked: list[str] = field(default_factory=list)

    def sent(self, request: fl.Request) -> Sent:
        pieces: list[str] = []
        for turn in request.prompt.turns:
            for part in turn.parts:
                pieces.append(part if isinstance(part, str) else f"<image:{part.digest[:12]}>")
        text = "\n".join(pieces)
        images, shots = len(request.prompt.images), request.prompt.shots
        return Sent(text, tuple(text.encode()), images - self.images_lost, shots - self.shots_lost)

    def answers(self, requests: Iterable[fl.Request]) -> Iterator[fl.Answer]:
        for request in requests:
            self.asked.append(request.id)
            if self.log is not None:
                with self.log.open("a") as stream:
                    stream.write(request.id + "\n")
            time.sleep(self.delay_seconds)
            images = len(request.prompt.images)
            try:
                text = self.reply(request)
            except BadPrompt as error:
                yield fl.Answer(request.id, error=Failure("BadPrompt", str(error)), stopped_by="error")
                continue
            yield fl.Answer(request.id, text=text, token_ids=(1, 2), logprob=-0.5, prompt_tokens=7, images=images)
