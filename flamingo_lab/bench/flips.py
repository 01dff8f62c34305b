"""Which answers depend on their company, and by how little: `flab bench --invariance`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from flamingo_lab.engine import reference
from flamingo_lab.engine.plan import Job, job
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.model import Answer, Rank, Request

Tokens = tuple[int, ...]

TOGETHER = (1, 8)
"""Requests that are asked together, besides all of them: their prompts pass, and their answers go on, side by side."""


@dataclass(frozen=True)
class Flip:
    """An answer that differs between batch sizes. texts: what was said, by how many requests were asked together.

    step: the first new token that differs, 0 under `Rank`; margin: how far apart the two choices are there in
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
        first, *others = said[request.id].values()
        other = next((one for one in others if one.token_ids != first.token_ids), None)
        if other is not None:
            step, margin = parted(model, request, first.token_ids, other.token_ids)
            found.append(Flip(request.id, {name: one.text for name, one in said[request.id].items()}, step, margin))
    return found


def parted(model: LoadedModel, request: Request, one: Tokens, other: Tokens) -> tuple[int, float]:
    """Where two answers to a request part, and by how little: `step` and `margin` of a `Flip`."""
    ready: Job = job(model, request)
    if isinstance(request.decoding, Rank):
        scores = reference.answer(model, request).option_logprobs or ()
        of_option = {option.ids: score for option, score in zip(ready.options, scores, strict=True)}
        return 0, abs(of_option[one] - of_option[other])
    step = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    sequence = reference.extended(ready.sequence, one[:step]) if step else ready.sequence
    pictures = reference.picture_tokens(model, ready)
    logits = reference.logits(model, sequence, pictures, model.noise(request.id))[-1]
    # The one of two that is shorter ended there.
    choices = [[row[step]] if len(row) > step else sorted(ready.ends.stop_ids) for row in (one, other)]
    first, second = (float(logits[choice].max()) for choice in choices)
    return step, abs(first - second)
