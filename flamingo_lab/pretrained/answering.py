"""Many requests for a model of transformers: batches of similar length, padded, each row as if it were alone."""

from __future__ import annotations

import inspect
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from flamingo_lab.engine.plan import failed
from flamingo_lab.engine.search import Ends, search
from flamingo_lab.errors import BadPrompt, BadSetting, LabError
from flamingo_lab.model import Answer, Beam, Rank, Request
from flamingo_lab.pretrained.choosing import Choosing, Over, Restricting, StopTexts
from flamingo_lab.pretrained.handing import Side
from flamingo_lab.pretrained.saying import Said

if TYPE_CHECKING:
    from flamingo_lab.backends.transformers import PretrainedModel

WINDOW = 1024
"""Requests that are said and sorted together."""

BATCH_TOKENS = 8192
"""Tokens of a batch as far as they can be told before its pictures are prepared; too large a batch is halved."""

PIXELS_OF_TOKEN = 28 * 28
"""Pixels that a picture token usually stands for. It decides the order of requests and nothing else."""


@dataclass(frozen=True)
class Option:
    """A prompt with an option behind it, of which the last `length` tokens are the option's."""

    said: Said
    length: int


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


def answers(model: PretrainedModel, requests: Iterable[Request]) -> Iterator[Answer]:
    """An answer a request, each as soon as its batch has it."""
    stream = iter(requests)
    while window := list(itertools.islice(stream, WINDOW)):
        jobs: list[Job] = []
        for request in window:
            try:
                jobs.append(job(model, request))
            except LabError as error:
                yield failed(request.id, error)
        for batch in batches(jobs):
            yield from _answer_all(model, batch)


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
    # Beams of one batch are searched by the same rules; chains and options have each their own.
    rules = (decoding, request.max_new_tokens, ends.min_new_tokens, ends.stop_ids, ends.stop_texts, ends.forbidden)
    kind = rules if isinstance(decoding, Beam) else (isinstance(decoding, Rank),)
    pixels = sum(width * height for width, height in (image.size for image in said.images))
    ready = Job(
        request,
        said,
        ends,
        len(ids) + pixels // PIXELS_OF_TOKEN + request.max_new_tokens,
        (*kind, bool(said.images), model.handing.is_plain(said)),
    )
    return replace(ready, options=_options(model, request, ids)) if isinstance(decoding, Rank) else ready


def ends_of(model: PretrainedModel, request: Request) -> Ends:
    """When the request's answer ends, and what it may not say."""
    tokenizer = model.processor.tokenizer
    if request.max_new_tokens < 1:
        raise BadSetting(f"max_new_tokens is {request.max_new_tokens}; at least 1 is needed")
    # A special token leaves no text behind, so it is looked for as an id.
    special = {word for word in request.stop if word in tokenizer.all_special_tokens}
    return Ends(
        stop_ids=model.stop_ids.union(tokenizer.convert_tokens_to_ids(sorted(special))),
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
    return tuple(Option(one, len(held) - shared) for one, held in zip(said, ids, strict=True))


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many ids two sequences share at their beginning."""
    return next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))


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


def _answer_all(model: PretrainedModel, jobs: Sequence[Job]) -> Iterator[Answer]:
    """An answer a job, whatever happens: a batch that fails, for want of memory say, is asked again by halves."""
    reason: Exception | None = None
    try:
        yield from _answer_batch(model, jobs)
    except Exception as error:  # whatever one question does, the others are still asked
        reason = error.with_traceback(None) if len(jobs) > 1 else error
    if reason is None:
        return
    if len(jobs) == 1:
        yield failed(jobs[0].request.id, reason)
        return
    half = (len(jobs) + 1) // 2
    yield from _answer_all(model, jobs[:half])
    yield from _answer_all(model, jobs[half:])


def _answer_batch(model: PretrainedModel, jobs: Sequence[Job]) -> list[Answer]:
    began = time.perf_counter()
    decoding = jobs[0].request.decoding
    ask = _rank if isinstance(decoding, Rank) else _beams if isinstance(decoding, Beam) else _chains
    found = ask(model, jobs)
    seconds = (time.perf_counter() - began) / len(jobs)
    return [replace(answer, seconds=seconds) for answer in found]


@dataclass(frozen=True)
class Batch:
    """Prompts as the model takes them. `lengths`: of each row, padding left out."""

    inputs: Mapping[str, Any]
    lengths: tuple[int, ...]


def _batch(model: PretrainedModel, said: Sequence[Said], side: Side, new_tokens: int) -> Batch:
    """The prompts on the model's device. Raises `BadPrompt` for one that is longer than the model's positions."""
    network = model.network
    given = model.handing.inputs(said, side)
    inputs = {
        name: value.to(network.device, network.dtype if value.is_floating_point() else None)
        if isinstance(value, Tensor)
        else value
        for name, value in given.items()
    }
    ids = inputs["input_ids"]
    lengths = inputs["attention_mask"].sum(-1).tolist() if "attention_mask" in inputs else [ids.shape[1]] * len(ids)
    positions = model.limits.positions
    if positions is not None and max(lengths) + new_tokens > positions:
        raise BadPrompt(
            f"the prompt and its answer need {max(lengths) + new_tokens} positions; the model has {positions}"
        )
    return Batch(inputs, tuple(lengths))


def _chains(model: PretrainedModel, jobs: Sequence[Job]) -> list[Answer]:
    """One token after the other, the likeliest or a drawn one."""
    searches = [search(job.request, job.ends) for job in jobs]
    limit = max(job.request.max_new_tokens for job in jobs)
    batch = _batch(model, [job.said for job in jobs], "left", limit)
    choosing = Choosing(searches, model.filler)
    model.network.generate(
        **batch.inputs,
        generation_config=GenerationConfig(do_sample=False, num_beams=1, max_new_tokens=limit),
        logits_processor=LogitsProcessorList([choosing]),
        stopping_criteria=StoppingCriteriaList([Over(choosing)]),
    )
    return [
        _answer(job, length, **search.found()._asdict())
        for job, length, search in zip(jobs, batch.lengths, searches, strict=True)
    ]


def _beams(model: PretrainedModel, jobs: Sequence[Job]) -> list[Answer]:
    """transformers' own beam search, where the model has it."""
    decoding, ends = jobs[0].request.decoding, jobs[0].ends
    assert isinstance(decoding, Beam)
    batch = _batch(model, [job.said for job in jobs], "left", ends.max_new_tokens)
    start = 1 if model.network.config.is_encoder_decoder else batch.inputs["input_ids"].shape[1]
    found = model.network.generate(
        **batch.inputs,
        generation_config=GenerationConfig(
            do_sample=False,
            num_beams=decoding.beams,
            length_penalty=decoding.length_penalty,
            early_stopping=False,
            max_new_tokens=ends.max_new_tokens,
            return_dict_in_generate=True,
            output_scores=True,
        ),
        logits_processor=LogitsProcessorList([Restricting(ends, start)]),
        stopping_criteria=StoppingCriteriaList([StopTexts(ends, start)] if ends.stop_texts else []),
    )
    answers: list[Answer] = []
    scores = found.sequences_scores.tolist()
    for job, length, row, score in zip(jobs, batch.lengths, found.sequences, scores, strict=True):
        # What ends a beam is followed by padding, which may be the same token.
        new = row[start:].tolist()
        end = next((n for n in range(1, len(new) + 1) if ends.stopped_by(new[:n])), len(new))
        ids = tuple(new[:end])
        answers.append(
            _answer(job, length, token_ids=ids, text=ends.text(ids), logprob=score, stopped_by=ends.stopped_by(ids))
        )
    return answers


@torch.inference_mode()
def _rank(model: PretrainedModel, jobs: Sequence[Job]) -> list[Answer]:
    """Every option by the log-probability of its tokens behind the prompt."""
    network = model.network
    options = [option for job in jobs for option in job.options]
    batch = _batch(model, [option.said for option in options], "right", 0)
    ids = batch.inputs["input_ids"]
    real = batch.inputs["attention_mask"].bool()
    places = [row.nonzero()[-option.length :, 0] for row, option in zip(real, options, strict=True)]
    first = min(int(place[0]) for place in places) - 1
    is_cut = "logits_to_keep" in inspect.signature(network.forward).parameters
    kept = {"logits_to_keep": ids.shape[1] - first} if is_cut else {}
    logits = network(**batch.inputs, use_cache=False, **kept).logits
    offset = ids.shape[1] - logits.shape[1]
    sums: list[float] = []
    for row, place in enumerate(places):
        predicting = logits[row, place - 1 - offset].float().log_softmax(-1)
        sums.append(float(predicting.gather(-1, ids[row, place][:, None]).sum()))
    answers: list[Answer] = []
    rest = iter(zip(options, places, sums, batch.lengths, range(len(ids)), strict=True))
    for job in jobs:
        answers.append(_ranked(job, ids, list(itertools.islice(rest, len(job.options)))))
    return answers


def _ranked(job: Job, ids: Tensor, rows: Sequence[tuple[Option, Tensor, float, int, int]]) -> Answer:
    """The answer of one request from its options: each with its places, sum, whole length, and row."""
    decoding = job.request.decoding
    assert isinstance(decoding, Rank)
    is_mean = decoding.normalise == "mean"
    scores = [total / option.length if is_mean else total for option, _, total, _, _ in rows]
    best = max(range(len(scores)), key=scores.__getitem__)
    option, places, _, length, row = rows[best]
    return _answer(
        job,
        length - option.length,
        text=decoding.options[best],
        token_ids=tuple(ids[row, places].tolist()),
        logprob=scores[best],
        option_logprobs=tuple(scores),
        stopped_by="rank",
    )


def _answer(job: Job, prompt_tokens: int, **found: Any) -> Answer:
    """An answer to the job's request, with the counts that every answer has."""
    return Answer(id=job.request.id, prompt_tokens=prompt_tokens, images=len(job.said.images), **found)
