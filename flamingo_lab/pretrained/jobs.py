"""From requests to batches of jobs: said, checked, with their stop rules as ids, and sorted by length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flamingo_lab.engine.search import Ends, search
from flamingo_lab.errors import BadPrompt, BadSetting
from flamingo_lab.model import Beam, Rank, Request
from flamingo_lab.pretrained.saying import Said

if TYPE_CHECKING:
    from flamingo_lab.backends.transformers import PretrainedModel

BATCH_TOKENS = 8192
"""Tokens of a batch as far as they can be told before its pictures are prepared; too large a batch is halved."""

PIXELS_OF_TOKEN = 28 * 28
"""Pixels that a picture token usually stands for. It decides the order of requests and nothing else."""


@dataclass(frozen=True)
class Option:
    """A prompt with an option behind it, whose tokens are the last `ids`."""

    said: Said
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """A request ready for the model. `weight`: about how many tokens it takes; jobs of one batch agree in `kind`."""

    request: Request
    said: Said
    ends: Ends
    weight: int
    kind: tuple[object, ...]
    options: tuple[Option, ...] = ()

    @property
    def rows(self) -> int:
        """Sequences that it takes in a batch."""
        return len(self.options) or getattr(self.request.decoding, "beams", 1)

    @property
    def is_rank(self) -> bool:
        """Whether options are ranked."""
        return isinstance(self.request.decoding, Rank)

    @property
    def is_beams(self) -> bool:
        """Whether it is searched for by several beams at once."""
        return isinstance(self.request.decoding, Beam) and self.request.decoding.beams > 1


def job(model: PretrainedModel, request: Request) -> Job:
    """The request as a job. Raises `LabError` kinds for one that the model cannot take."""
    prompt, decoding = request.prompt, request.decoding
    if prompt.window is not None or request.padding:
        raise BadSetting("windows and padding belong to the core's own families; leave them away")
    if isinstance(decoding, Beam) and decoding.counts == "prompt+new":
        raise BadSetting("transformers counts a beam's new tokens alone; leave its `counts` away")
    said = model.speech.say(prompt)
    if (len(said.images), said.shots) != (len(prompt.images), prompt.shots):
        raise BadPrompt(
            f"{len(said.images)} pictures and {said.shots} shots would reach the model, "
            f"{len(prompt.images)} and {prompt.shots} were declared"
        )
    ends = ends_of(model, request)
    ids = model.handing.ids(said)
    pixels = sum(width * height for width, height in (image.size for image in said.images))
    weight = len(ids) + pixels // PIXELS_OF_TOKEN + request.max_new_tokens
    ready = Job(request, said, ends, weight, (bool(said.images), model.handing.is_plain(said)))
    if ready.is_rank:
        return replace(ready, kind=("rank", *ready.kind), options=_options(model, request, ids))
    search(request, ends)  # refuses what cannot be searched for
    if not ready.is_beams:
        return ready
    # Beams of one batch are searched by the same rules; chains have each their own.
    rules = (decoding, request.max_new_tokens, ends.min_new_tokens, ends.stop_ids, ends.stop_texts, ends.forbidden)
    return replace(ready, kind=(*rules, *ready.kind))


def ends_of(model: PretrainedModel, request: Request) -> Ends:
    """When the request's answer ends, and what it may not say."""
    tokenizer = model.processor.tokenizer
    if request.max_new_tokens < 1:
        raise BadSetting(f"max_new_tokens is {request.max_new_tokens}; at least 1 is needed")
    # A special token leaves no text behind, so it is looked for as an id.
    known = {token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    special = {word: known[word] for word in request.stop if word in known}
    return Ends(
        stop_ids=model.stop_ids.union(special.values()),
        stop_texts=tuple(word for word in request.stop if word not in special),
        forbidden=tuple(tuple(tokenizer.encode(word, add_special_tokens=False)) for word in request.forbidden),
        min_new_tokens=request.min_new_tokens,
        max_new_tokens=request.max_new_tokens,
        stops_from=1,
        strips=False,
        decode=lambda ids: tokenizer.decode(list(ids), skip_special_tokens=True),
        finish=lambda ids: ids,
    )


def _options(model: PretrainedModel, request: Request, prompt: Sequence[int]) -> tuple[Option, ...]:
    """The options to be ranked, each behind the prompt; they begin where the first of them leaves the prompt's ids."""
    decoding = request.decoding
    assert isinstance(decoding, Rank)
    if model.network.config.is_encoder_decoder:
        raise BadSetting("options are ranked by models that read prompt and answer as one text; this one does not")
    if not decoding.options:
        raise BadSetting("Rank needs at least one option")
    if decoding.ends:
        raise BadSetting("options are ranked without a stop token here; leave `ends` away")
    said = [model.speech.say(request.prompt, option) for option in decoding.options]
    ids = [model.handing.ids(one) for one in said]
    shared = min(_common(prompt, one) for one in ids)
    if any(len(one) == shared for one in ids):
        raise BadSetting("an option to be ranked adds no token to the prompt")
    return tuple(Option(one, held[shared:]) for one, held in zip(said, ids, strict=True))


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many ids two sequences share at their beginning."""
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def batches(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Jobs of one kind and of similar length, the longest first."""
    by_kind: dict[tuple[object, ...], list[Job]] = {}
    for one in jobs:
        by_kind.setdefault(one.kind, []).append(one)
    for same in by_kind.values():
        batch: list[Job] = []
        rows = 0
        for one in sorted(same, key=lambda job: -job.weight):
            if batch and (rows + one.rows) * batch[0].weight > BATCH_TOKENS:
                yield batch
                batch, rows = [], 0
            batch.append(one)
            rows += one.rows
        yield batch
