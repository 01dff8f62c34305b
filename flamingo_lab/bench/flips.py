"""Which answers depend on their company, and by how little: `flab bench --invariance`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from flamingo_lab.engine import reference
from flamingo_lab.engine.plan import Job, job
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.model import Answer, Rank, Request

TOGETHER = (1, 8)
"""Requests that are asked together, besides all of them: their prompts pass, and their answers go on, side by side."""


@dataclass(frozen=True)
class Flip:
    """An answer that differs between batch sizes. texts: what was said, by how many requests were asked together.

    step: the first new token that differs, 0 under `Rank`; margin: how far apart the two likeliest choices are there in
    log-probability, by the reference.
    """

    id: str
    texts: Mapping[str, str]
    step: int
    margin: float


def flips(model: LoadedModel, requests: Sequence[Request]) -> list[Flip]:
    """The requests whose answers differ, in their order."""
    said: dict[str, dict[str, Answer]] = {request.id: {} for request in requests}
    for size in (*(size for size in TOGETHER if size < len(requests)), len(requests)):
        with closing(model.session()) as session:
            for first in range(0, len(requests), size):
                for answer in session.answers(requests[first : first + size]):
                    said[answer.id][str(size)] = answer
    found: list[Flip] = []
    for request in requests:
        answers = said[request.id]
        if len({answer.token_ids for answer in answers.values()}) > 1:
            step = 0 if isinstance(request.decoding, Rank) else _first_difference([*answers.values()])
            margin = _margin(model, request, next(iter(answers.values())), step)
            found.append(Flip(request.id, {name: one.text for name, one in answers.items()}, step, margin))
    return found


def _first_difference(answers: Sequence[Answer]) -> int:
    rows = [answer.token_ids for answer in answers]
    shared = 0
    while all(len(row) > shared for row in rows) and len({row[shared] for row in rows}) == 1:
        shared += 1
    return shared


def _margin(model: LoadedModel, request: Request, answer: Answer, step: int) -> float:
    """Between the two likeliest tokens behind the answer's first `step` ones, or the two likeliest options."""
    if isinstance(request.decoding, Rank):
        scores = sorted(reference.answer(model, request).option_logprobs or (), reverse=True)
        return scores[0] - scores[1]
    ready: Job = job(model, request)
    sequence = reference.extended(ready.sequence, answer.token_ids[:step]) if step else ready.sequence
    pictures = reference.picture_tokens(model, ready)
    logits = reference.logits(model, sequence, pictures, model.noise(request.id))[-1]
    first, second = logits.topk(2).values.tolist()
    return first - second
