"""Many requests with less work: batches of similar length, each picture encoded once, keys and values kept.

Gives the reference's answers, whatever the batch.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from flamingo_lab.engine.images import PictureStore
from flamingo_lab.engine.kv import KV
from flamingo_lab.engine.plan import Job, failed, plan
from flamingo_lab.engine.reference import ranked
from flamingo_lab.engine.search import Search
from flamingo_lab.errors import BadImage
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.markup import NONE
from flamingo_lab.model import Answer, Rank, Request
from flamingo_lab.nn.positions import Places

WINDOW = 4096
"""Requests that are rendered and sorted together."""

BATCH_TOKENS = 8192
"""Tokens of a batch, padding included. Small enough for its activations to stay in a CPU's cache, see `benchmarks/`."""


ENOUGH = 0.25
"""Share of a batch's tokens from which on it ends where the prompts' length changes."""


def answers(model: LoadedModel, requests: Iterable[Request], batch_tokens: int = BATCH_TOKENS) -> Iterator[Answer]:
    """An answer a request, each as soon as its batch has it."""
    store = PictureStore(model)
    stream = iter(requests)
    while window := list(itertools.islice(stream, WINDOW)):
        jobs: list[Job] = []
        for planned in plan(model, window):
            if isinstance(planned, Answer):
                yield planned
            else:
                jobs.append(planned)
        for batch in batches(jobs, batch_tokens):
            yield from _answer_all(model, store, batch)


def batches(jobs: Iterable[Job], batch_tokens: int) -> Iterator[list[Job]]:
    """Jobs of one kind and of similar length, longest first, so that the largest batch comes first."""

    def is_rank(job: Job) -> bool:
        return bool(job.options)

    for _, same_kind in itertools.groupby(sorted(jobs, key=is_rank), key=is_rank):
        batch: list[Job] = []
        rows = 0
        longest = 0
        for job in sorted(same_kind, key=lambda job: -len(job.ids)):
            longest = longest or _capacity(job)
            is_full = (rows + _rows(job)) * longest > batch_tokens
            # Prompts of one length need no padding, and attention among them no mask.
            is_worth_ending = rows * longest > batch_tokens * ENOUGH and len(job.ids) < len(batch[0].ids)
            if batch and (is_full or is_worth_ending):
                yield batch
                batch, rows, longest = [], 0, _capacity(job)
            batch.append(job)
            rows += _rows(job)
        if batch:
            yield batch


def _rows(job: Job) -> int:
    """Sequences that the job takes in a batch at most."""
    decoding = job.request.decoding
    return len(job.options) if isinstance(decoding, Rank) else getattr(decoding, "beams", 1)


def _capacity(job: Job) -> int:
    """Positions that one of the job's sequences takes at most."""
    return len(job.ids) + max((len(option.ids) for option in job.options), default=job.request.max_new_tokens)


def _answer_all(model: LoadedModel, store: PictureStore, jobs: list[Job]) -> Iterator[Answer]:
    """An answer a job, whatever happens: a batch that fails, for want of memory say, is asked again by halves."""
    left = {job.request.id: job for job in jobs}
    alone: Answer | None = None
    try:
        for answer in _answer_batch(model, store, jobs):
            del left[answer.id]
            yield answer
    except Exception as error:  # whatever one question does, the others are still asked
        if len(left) == 1:
            alone = failed(next(iter(left)), error)
    # Outside of the handler, so that the failed batch's tensors are free.
    if alone is not None:
        yield alone
        return
    rest = list(left.values())
    half = (len(rest) + 1) // 2
    for part in (rest[:half], rest[half:]):
        if part:
            yield from _answer_all(model, store, part)


def _answer_batch(model: LoadedModel, store: PictureStore, jobs: list[Job]) -> Iterator[Answer]:
    began = time.perf_counter()
    tokens = store.tokens({id(image): image for job in jobs for image in job.rendered.images}.values())
    usable: list[Job] = []
    rows: list[list[Tensor]] = []
    for job in jobs:
        # A picture that could not be read stands under its name.
        held = [tokens.get(image.name) or tokens[image.digest] for image in job.rendered.images]
        unreadable = [picture for picture in held if isinstance(picture, BadImage)]
        if unreadable:
            yield failed(job.request.id, unreadable[0])
        else:
            usable.append(job)
            rows.append([picture for picture in held if isinstance(picture, Tensor)])
    if not usable:
        return
    answered = _rank(model, usable, rows) if usable[0].options else _generate(model, usable, rows)
    for answer in answered:
        yield replace(answer, seconds=(time.perf_counter() - began) / len(usable))


class Rows:
    """Sequences being extended together, one a row. `pictures`: each row's pictures' tokens (L, D)."""

    def __init__(self, model: LoadedModel, jobs: Sequence[Job], pictures: Sequence[Sequence[Tensor]]) -> None:
        self._vlm = model.vlm
        self._kv = KV(model.vlm.architecture.decoder.layers, max(_capacity(job) for job in jobs))
        self._pictures = self._vlm.look_at(pictures)
        self._noise = noise_tables(model, jobs)
        self._real = torch.zeros(len(jobs), 0, dtype=torch.bool, device=self._vlm.device)
        self._prompts = torch.tensor([job.sequence.prompt_positions for job in jobs], device=self._vlm.device)
        self._first = torch.tensor([job.sequence.padding for job in jobs], device=self._vlm.device)
        self._together = torch.tensor([job.sequence.asked_positions for job in jobs], device=self._vlm.device)

    def feed(self, x: Tensor, sees: Tensor, real: Tensor) -> Tensor:
        """Hidden states (R, T, D) of the next tokens.

        x (R, T, D) embedded; sees (R, T) int, the picture that each may look at across; real (R, T) bool, False on padding.
        """
        self._real = torch.cat((self._real, real), 1)
        places = Places.of(self._real, x.shape[1], self._prompts, self._first, self._together, self._noise)
        hidden = self._vlm(x, places, self._pictures, sees, self._kv)
        self._kv.advance(x.shape[1])
        return hidden

    def select(self, rows: Sequence[int]) -> None:
        """Keep the given rows, in the given order; a row may be named more than once."""
        if list(rows) == list(range(len(self._real))):
            return
        index = torch.tensor(rows, device=self._real.device)
        self._kv.select(index)
        self._pictures = self._pictures.select(index)
        self._real, self._prompts, self._first = self._real[index], self._prompts[index], self._first[index]
        self._together = self._together[index]
        self._noise = None if self._noise is None else self._noise[index]


def noise_tables(model: LoadedModel, jobs: Sequence[Job]) -> Tensor | None:
    """Each job's router noise (R, L, P, E), as far as its positions go; None where the model has none."""
    tables = [model.noise(job.request.id) for job in jobs]
    capacity = max(_capacity(job) for job in jobs)
    held = [table[:, :capacity].to(model.vlm.device) for table in tables if table is not None]
    return torch.stack(held) if held else None


def padded(
    sequences: Sequence[Sequence[int]], device: torch.device, *, left: bool, value: int = 0
) -> tuple[Tensor, Tensor]:
    """Sequences as (R, T) int, filled with `value`, and where they are real, (R, T) bool."""
    length = max(map(len, sequences))
    rows: list[list[int]] = []
    for sequence in sequences:
        padding = [value] * (length - len(sequence))
        rows.append([*padding, *sequence] if left else [*sequence, *padding])
    lengths = torch.tensor([len(sequence) for sequence in sequences])[:, None]
    places = torch.arange(length)[None]
    real = places >= length - lengths if left else places < lengths
    return torch.tensor(rows, device=device), real.to(device)


class Prompts(NamedTuple):
    """Prompts side by side: x (R, T, D) embedded; sees (R, T) int; real (R, T) bool, False on padding."""

    x: Tensor
    sees: Tensor
    real: Tensor


def prompts(model: LoadedModel, jobs: Sequence[Job], pictures: Sequence[Sequence[Tensor]]) -> Prompts:
    """The jobs' prompts, padded on the left, so that all end together. pictures: each job's pictures' tokens (L, D)."""
    device = model.vlm.device
    ids, real = padded([job.ids for job in jobs], device, left=True)
    sees, _ = padded([job.sees for job in jobs], device, left=True, value=NONE)
    length = ids.shape[1]
    fills = [
        [fill._replace(position=length - len(job.ids) + fill.position) for fill in job.sequence.fills] for job in jobs
    ]
    return Prompts(model.vlm.embed(ids, fills, pictures), sees, real)


def _prefill(model: LoadedModel, rows: Rows, jobs: Sequence[Job], pictures: Sequence[Sequence[Tensor]]) -> Tensor:
    """Log-probabilities (R, V) after each prompt."""
    hidden = rows.feed(*prompts(model, jobs, pictures))
    return model.vlm.logits(hidden[:, -1]).float().log_softmax(-1)


@torch.inference_mode()
def _generate(model: LoadedModel, jobs: Sequence[Job], pictures: Sequence[Sequence[Tensor]]) -> Iterator[Answer]:
    device = model.vlm.device
    rows = Rows(model, jobs, pictures)
    logprobs = _prefill(model, rows, jobs, pictures)
    open_jobs = [(job, job.search(), 1) for job in jobs]
    while open_jobs:
        tokens: list[int] = []
        parents: list[int] = []
        sees: list[int] = []
        going: list[tuple[Job, Search, int]] = []
        first = 0
        for job, searching, branches in open_jobs:
            step = searching.step(logprobs[first : first + branches])
            if step.tokens:
                tokens += step.tokens
                parents += [first + parent for parent in step.parents]
                sees += [job.sees[-1]] * len(step.tokens)  # new tokens see what the prompt's last token sees
                going.append((job, searching, len(step.tokens)))
            else:
                yield job.answer(**searching.found()._asdict())
            first += branches
        open_jobs = going
        if open_jobs:
            rows.select(parents)
            ids = torch.tensor(tokens, device=device)[:, None]
            seen = torch.tensor(sees, device=device)[:, None]
            hidden = rows.feed(model.vlm.embed(ids), seen, torch.ones_like(ids, dtype=torch.bool))
            logprobs = model.vlm.logits(hidden[:, -1]).float().log_softmax(-1)


@torch.inference_mode()
def _rank(model: LoadedModel, jobs: Sequence[Job], pictures: Sequence[Sequence[Tensor]]) -> Iterator[Answer]:
    """Each prompt is computed once; its options branch off it."""
    device = model.vlm.device
    rows = Rows(model, jobs, pictures)
    after_prompt = _prefill(model, rows, jobs, pictures)
    owners = [number for number, job in enumerate(jobs) for _ in job.options]
    rows.select(owners)
    options = [option for job in jobs for option in job.options]
    ids, real = padded([option.ids for option in options], device, left=False)
    sees, _ = padded([option.sees for option in options], device, left=False, value=NONE)
    logprobs = model.vlm.logits(rows.feed(model.vlm.embed(ids), sees, real)).float().log_softmax(-1)
    predicting = torch.cat((after_prompt[owners][:, None], logprobs[:, :-1]), 1)
    sums = iter((predicting.gather(-1, ids[..., None])[..., 0] * real).sum(-1).tolist())
    greedy = iter(((predicting.argmax(-1) == ids) | ~real).all(-1).tolist())
    for job in jobs:
        count = len(job.options)
        yield ranked(job, list(itertools.islice(sums, count)), list(itertools.islice(greedy, count)))
