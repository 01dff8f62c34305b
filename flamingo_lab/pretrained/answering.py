"""Many requests for a model of transformers: batches of similar length, padded, each row as if it were alone."""

from __future__ import annotations

import inspect
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from flamingo_lab.engine.plan import failed
from flamingo_lab.engine.search import search
from flamingo_lab.errors import BadPrompt, BadSetting
from flamingo_lab.model import Answer, Beam, Rank, Request
from flamingo_lab.pretrained.choosing import Choosing, Over, Restricting, StopTexts
from flamingo_lab.pretrained.handing import Side
from flamingo_lab.pretrained.jobs import Job, batches, job
from flamingo_lab.pretrained.saying import Said

if TYPE_CHECKING:
    from flamingo_lab.backends.transformers import PretrainedModel

WINDOW = 1024
"""Requests that are said and sorted together."""


def answers(model: PretrainedModel, requests: Iterable[Request]) -> Iterator[Answer]:
    """An answer a request, each as soon as its batch has it."""
    stream = iter(requests)
    while window := list(itertools.islice(stream, WINDOW)):
        jobs: list[Job] = []
        for request in window:
            try:
                jobs.append(job(model, request))
            except Exception as error:  # tokenizers and templates raise their own
                yield failed(request.id, error)
        for batch in batches(jobs):
            yield from _answer_all(model, batch)


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
    ask = _rank if jobs[0].is_rank else _beams if jobs[0].is_beams else _chains
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
    rows = zip(jobs, batch.lengths, found.sequences[:, start:].tolist(), found.sequences_scores.tolist(), strict=True)
    return [_beam(*row) for row in rows]


def _beam(ready: Job, prompt_tokens: int, new: list[int], score: float) -> Answer:
    """The answer that a beam's new tokens are. What ends it is followed by padding, which may be the same token."""
    ends = ready.ends
    length = next((n for n in range(1, len(new) + 1) if ends.stopped_by(new[:n])), len(new))
    ids = tuple(new[:length])
    stopped_by = ends.stopped_by(ids) or "length"
    return _answer(ready, prompt_tokens, token_ids=ids, text=ends.text(ids), logprob=score, stopped_by=stopped_by)


class Scored(NamedTuple):
    """An option's tokens, their summed log-probability, if greedy says them, and the length of the prompt before them."""

    ids: tuple[int, ...]
    total: float
    is_greedy: bool
    prompt_tokens: int


@torch.inference_mode()
def _rank(model: PretrainedModel, jobs: Sequence[Job]) -> list[Answer]:
    """Every option by the log-probability of its tokens behind the prompt."""
    network = model.network
    options = [option for job in jobs for option in job.options]
    batch = _batch(model, [option.said for option in options], "right", 0)
    ids, real = batch.inputs["input_ids"], batch.inputs["attention_mask"].bool()
    places = [row.nonzero()[-len(option.ids) :, 0] for row, option in zip(real, options, strict=True)]
    for row, (option, place) in enumerate(zip(options, places, strict=True)):
        if tuple(ids[row, place].tolist()) != option.ids:
            raise BadSetting("the model's processor adds to a prompt's end, so options behind it cannot be ranked")
    first = min(int(place[0]) for place in places) - 1
    # Logits of the whole prompt can be larger than all else together; most models can leave them away.
    is_cut = "logits_to_keep" in inspect.signature(network.forward).parameters
    kept = {"logits_to_keep": ids.shape[1] - first} if is_cut else {}
    logits = network(**batch.inputs, use_cache=False, **kept).logits
    offset = ids.shape[1] - logits.shape[1]
    scored: list[Scored] = []
    for row, (option, place) in enumerate(zip(options, places, strict=True)):
        predicting = logits[row, place - 1 - offset].float().log_softmax(-1)
        total = float(predicting.gather(-1, ids[row, place][:, None]).sum())
        is_greedy = bool((predicting.argmax(-1) == ids[row, place]).all())
        scored.append(Scored(option.ids, total, is_greedy, batch.lengths[row] - len(option.ids)))
    rest = iter(scored)
    return [_ranked(job, list(itertools.islice(rest, len(job.options)))) for job in jobs]


def _ranked(job: Job, options: Sequence[Scored]) -> Answer:
    """The answer of one request from its options."""
    decoding = job.request.decoding
    assert isinstance(decoding, Rank)
    is_mean = decoding.normalise == "mean"
    scores = [option.total / len(option.ids) if is_mean else option.total for option in options]
    best = max(range(len(scores)), key=scores.__getitem__)
    return _answer(
        job,
        options[best].prompt_tokens,
        text=decoding.options[best],
        token_ids=options[best].ids,
        logprob=scores[best],
        option_logprobs=tuple(scores),
        option_is_greedy=tuple(option.is_greedy for option in options),
        stopped_by="rank",
    )


def _answer(job: Job, prompt_tokens: int, **found: Any) -> Answer:
    """An answer to the job's request, with the counts that every answer has."""
    return Answer(id=job.request.id, prompt_tokens=prompt_tokens, images=len(job.said.images), **found)
