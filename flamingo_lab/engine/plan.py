"""From requests to jobs: rendered, checked against the model's limits, with their stop rules as ids."""

from __future__ import annotations

import hashlib
import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from flamingo_lab.config import Rotary
from flamingo_lab.engine.search import Ends, Search, search
from flamingo_lab.errors import BadPrompt, BadSetting, LabError
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.markup import Expanded, Fill, Rendered
from flamingo_lab.model import Answer, Beam, Failure, Rank, Request
from flamingo_lab.tokens import TiktokenFile
from flamingo_lab.wording import Piecewise, Running


@dataclass(frozen=True)
class Option:
    """A way to go on from a prompt, to be ranked: tokens after the shared prefix, and which picture each one sees."""

    ids: tuple[int, ...]
    sees: tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """A request ready for the model.

    `sequence` is the prompt, position by position. Under `Rank` it ends where the options' tokens begin to differ from
    the prompt's: a tokenizer may merge the prompt's last letters with an option's first. `counted`: positions of the
    prompt that count in a beam's length, None where only new tokens do. `stretch`: how often its length doubles the one
    from which on rotary bases are stretched.
    """

    request: Request
    rendered: Rendered
    sequence: Expanded
    ends: Ends
    options: tuple[Option, ...] = field(default=())
    counted: int | None = None
    stretch: int = 0

    @property
    def rows(self) -> int:
        """Sequences that the job takes side by side at most."""
        decoding = self.request.decoding
        return len(decoding.options) if isinstance(decoding, Rank) else getattr(decoding, "beams", 1)

    @property
    def new_tokens(self) -> int:
        """Tokens behind the prompt at most."""
        return max((len(option.ids) for option in self.options), default=self.request.max_new_tokens)

    @property
    def ids(self) -> tuple[int, ...]:
        """Ids of the prompt, `PICTURE` where picture tokens stand."""
        return self.sequence.ids

    @property
    def sees(self) -> tuple[int, ...]:
        """The picture that each position may look at across."""
        return self.sequence.sees

    def search(self) -> Search:
        """A fresh search for this job."""
        return search(self.request, self.ends, self.counted)

    def answer(self, **found: object) -> Answer:
        """An answer to the request, with the counts that every answer has."""
        return Answer(
            id=self.request.id,
            prompt_tokens=len(self.sequence.ids),
            images=len(self.rendered.images),
            **found,  # pyright: ignore[reportArgumentType] - fields of Answer by name
        )


def plan(model: LoadedModel, requests: Iterable[Request]) -> Iterator[Job | Answer]:
    """A job for each request, or an answer with the reason why there can be none."""
    for request in requests:
        try:
            ready = job(model, request)
            for image in ready.rendered.images:
                _ = image.digest  # a picture that cannot be read is known here
            yield ready
        except LabError as error:
            yield failed(request.id, error)


def job(model: LoadedModel, request: Request) -> Job:
    """The request as a job. Raises `BadPrompt` for one that the model cannot take."""
    rendered = model.renderer.render(request.prompt)
    declared = len(request.prompt.images)
    is_whole = len(rendered.images) == declared and rendered.shots == request.prompt.shots
    if not is_whole and request.prompt.window is None:
        raise BadPrompt(
            f"{len(rendered.images)} pictures and {rendered.shots} shots would reach the model, "
            f"{declared} and {request.prompt.shots} were declared"
        )
    ends = ends_of(model, request)
    if request.padding < 0:
        raise BadSetting(f"padding is {request.padding}; at least 0 is needed")
    if not isinstance(request.decoding, Rank):
        sequence = _within(model, rendered.expanded(), request)._replace(padding=request.padding)
        _check_length(model, len(sequence.ids) + request.max_new_tokens)
        counted = _counted(model, request, len(sequence.ids))
        return Job(request, rendered, sequence, ends, counted=counted, stretch=_stretch(model, sequence))
    options = [model.renderer.render(request.prompt, option).expanded() for option in request.decoding.options]
    if not options:
        raise BadSetting("Rank needs at least one option")
    end = _end(model) if request.decoding.ends else ()
    longest = max(options, key=lambda option: len(option.ids))
    length = len(_within(model, longest, replace(request, is_cut=False)).ids) + len(end)
    _check_length(model, length)
    whole = rendered.expanded()
    shared = min(_common(whole.ids, option.ids) for option in options)
    if any(len(option.ids) == shared for option in options):
        raise BadSetting("an option to be ranked adds no token to the prompt")
    tails = tuple(
        Option((*option.ids[shared:], *end), (*option.sees[shared:], *option.sees[-1:] * len(end)))
        for option in options
    )
    # Options are scored without a cache by their authors: all but the last token is their prompt.
    sequence = part(whole, 0, shared)._replace(padding=request.padding, prompt=length - 1)
    return Job(request, rendered, sequence, ends, tails, stretch=_stretch(model, sequence))


def _end(model: LoadedModel) -> tuple[int, ...]:
    """The stop token behind a whole answer: the first of the wording's that the tokenizer knows."""
    known = (model.tokenizer.id_of(token) for token in model.renderer.wording.stop_tokens)
    end = next((token for token in known if token is not None), None)
    if end is None:
        raise BadSetting("Rank(ends=True) scores the stop token too, and this model's answers end with none")
    return (end,)


def _counted(model: LoadedModel, request: Request, length: int) -> int | None:
    """What of a prompt of this length counts in a beam's, None for nothing."""
    if not isinstance(request.decoding, Beam) or (request.decoding.counts or model.beam_counts) == "new":
        return None
    return length if request.padded_to is None else request.padded_to


def _stretch(model: LoadedModel, sequence: Expanded) -> int:
    """See `Job`; prompts that differ in it have other angles from the first token on."""
    place = model.vlm.architecture.decoder.place
    if not isinstance(place, Rotary) or place.ntk_length is None:
        return 0
    return max(0, math.ceil(math.log2(sequence.prompt_positions / place.ntk_length)))


def _within(model: LoadedModel, sequence: Expanded, request: Request) -> Expanded:
    """The sequence, cut at its end where the authors cut it and the request lets it be."""
    limit = model.cut_at
    if limit is None or len(sequence.ids) <= limit:
        return sequence
    if not request.is_cut:
        raise BadPrompt(
            f"the prompt takes {len(sequence.ids)} positions; the authors cut its end off at {limit}, the question with it: "
            "use fewer or smaller pictures"
        )
    return part(sequence, 0, limit)


def part(sequence: Expanded, first: int, end: int) -> Expanded:
    """Positions `first` to `end` of a sequence; fills are counted from the first."""
    fills: list[Fill] = []
    for fill in sequence.fills:
        start, stop = max(fill.position, first), min(fill.position + fill.tokens, end)
        if start < stop:
            fills.append(Fill(start - first, fill.image, fill.first + start - fill.position, stop - start))
    return sequence._replace(ids=sequence.ids[first:end], sees=sequence.sees[first:end], fills=tuple(fills))


def ends_of(model: LoadedModel, request: Request) -> Ends:
    """The family's stop rules and forbidden tokens, with the request's own. A template's hold for its turns alone."""
    wording = model.renderer.wording
    is_raw = request.prompt.is_raw
    turn = wording if isinstance(wording, Piecewise) and not is_raw else None
    shown = wording.shown if isinstance(wording, Running) else turn.shown if turn else ()
    # A special token leaves no text behind, so it is looked for as an id.
    ids = {word: token for word in request.stop if (token := model.tokenizer.id_of(word)) is not None}
    special = {word: token for word, token in ids.items() if token in model.tokenizer.specials}
    stop_texts = tuple(word for word in request.stop if word not in special)
    forbidden = tuple(_words(model, word) for word in (*model.forbidden, *request.forbidden))
    if request.max_new_tokens < 1:
        raise BadSetting(f"max_new_tokens is {request.max_new_tokens}; at least 1 is needed")
    return Ends(
        stop_ids=model.stop_ids.union(special.values(), _ids(model, turn.ends if turn else ())),
        stop_texts=stop_texts if is_raw else (*wording.stop, *stop_texts),
        stops_from=wording.stops_from,
        strips=wording.strips,
        forbidden=forbidden,
        min_new_tokens=request.min_new_tokens,
        max_new_tokens=request.max_new_tokens,
        decode=_decoder(model, shown),
        finish=_finish(model, request),
        trailing=wording.stop if wording.cuts_end else (),
        closing=next(_ids(model, turn.stop_tokens), None) if turn else None,
        loses_last=turn is not None and turn.loses_last,
    )


def _finish(model: LoadedModel, request: Request) -> Callable[[Sequence[int]], Sequence[int]]:
    """What is done to the ids of the request's answer before they are decoded."""
    finish = model.finish
    if finish is None:
        return lambda ids: ids
    sizes = [image.size for image in request.prompt.images]
    return lambda ids: finish(ids, model.tokenizer, sizes)


def _decoder(model: LoadedModel, shown: Sequence[str]) -> Callable[[Sequence[int]], str]:
    """How ids become an answer's text."""
    if not shown:
        return model.tokenizer.decode
    assert isinstance(model.tokenizer, TiktokenFile)  # a family whose wordings show tokens has such a tokenizer
    return partial(model.tokenizer.decode, shown=frozenset(_ids(model, shown)))


def _ids(model: LoadedModel, tokens: Iterable[str]) -> Iterator[int]:
    """Ids of those tokens that the vocabulary has."""
    return (token for word in tokens if (token := model.tokenizer.id_of(word)) is not None)


def _words(model: LoadedModel, word: str) -> tuple[int, ...]:
    """The ids that say a word."""
    token = model.tokenizer.id_of(word)
    return tuple(model.tokenizer.encode(word)) if token is None else (token,)


def failed(request_id: str, error: Exception) -> Answer:
    """An answer that says why there is none."""
    where = "".join(traceback.format_tb(error.__traceback__))
    failure = Failure(type(error).__name__, str(error), hashlib.sha256(where.encode()).hexdigest()[:12])
    return Answer(id=request_id, error=failure, stopped_by="error")


def _check_length(model: LoadedModel, tokens: int) -> None:
    positions = model.limits.positions
    if positions is not None and tokens > positions:
        raise BadPrompt(f"the prompt and its answer need {tokens} positions; the model has {positions}")


def _common(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """How many ids two sequences share at their beginning."""
    for place, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return place
    return min(len(first), len(second))
