"""transformers' own model on our token ids and pixels, as its users write the loop: what the engine is measured against."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flamingo_lab.config import Cross
from flamingo_lab.engine.plan import Job
from flamingo_lab.errors import BadSetting
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.markup import Expanded
from flamingo_lab.model import Rank

BATCHES = (1, 2, 4, 8, 16, 32, 64)
"""Batch sizes of which the best is chosen."""

WORSE = 0.8
"""A batch size with less than this share of the best rate ends the search for a better one."""


class Theirs:
    """The same weights in transformers' class. Both sides get the same ids and pixels, so that only the work differs."""

    def __init__(self, network: Any, ours: LoadedModel) -> None:
        self.network = network
        self._ours = ours
        self._looks = isinstance(ours.vlm.architecture.join, Cross)

    def answer(self, jobs: Sequence[Job], batch: int) -> dict[str, tuple[int, ...]]:
        """New tokens by request, for `Greedy` requests; the likeliest option's tokens for `Rank`."""
        found: dict[str, tuple[int, ...]] = {}
        for part in _batches(jobs, batch):
            is_rank = isinstance(part[0].request.decoding, Rank)
            found |= self._rank(part) if is_rank else self._generate(part)
        return found

    @torch.inference_mode()
    def _generate(self, jobs: Sequence[Job]) -> dict[str, tuple[int, ...]]:
        request, ends = jobs[0].request, jobs[0].ends
        inputs = self._inputs([one.sequence for one in jobs], jobs)
        prompt = inputs["input_ids"].shape[1]
        out: Tensor = self.network.generate(
            **inputs,
            max_new_tokens=request.max_new_tokens,
            min_new_tokens=request.min_new_tokens,
            do_sample=False,
            eos_token_id=sorted(ends.stop_ids) or None,
            pad_token_id=0,
            bad_words_ids=[list(words) for words in ends.forbidden] or None,
            stopping_criteria=[_Stops(jobs, prompt)] if ends.stop_texts else None,
        )
        return {one.request.id: _ended(one, row[prompt:].tolist()) for one, row in zip(jobs, out, strict=True)}

    @torch.inference_mode()
    def _rank(self, jobs: Sequence[Job]) -> dict[str, tuple[int, ...]]:
        """Every option by a whole forward pass of the prompt with it."""
        best: dict[str, tuple[float, tuple[int, ...]]] = {}
        for number in range(max(len(one.options) for one in jobs)):
            held = [one for one in jobs if number < len(one.options)]
            tails = [one.options[number] for one in held]
            rows = [
                one.sequence._replace(ids=one.ids + tail.ids, sees=one.sees + tail.sees)
                for one, tail in zip(held, tails, strict=True)
            ]
            most = max(len(tail.ids) for tail in tails)
            logits = self.network(**self._inputs(rows, held), logits_to_keep=most + 1).logits.float()
            for one, tail, row in zip(held, tails, logits, strict=True):
                count = len(tail.ids)
                chances = row[-count - 1 : -1].log_softmax(-1)
                score = float(chances.gather(-1, torch.tensor(tail.ids, device=chances.device)[:, None]).sum())
                is_mean = getattr(one.request.decoding, "normalise", "sum") == "mean"
                score = score / count if is_mean else score
                if one.request.id not in best or score > best[one.request.id][0]:
                    best[one.request.id] = score, tail.ids
        return {name: ids for name, (_, ids) in best.items()}

    def _inputs(self, rows: Sequence[Expanded], jobs: Sequence[Job]) -> dict[str, Tensor]:
        """What the network takes: ids (R, T), their mask, pixels, and for cross-attention which token sees which picture."""
        vlm = self._ours.vlm
        views = [[self._ours.pipeline(image.load()) for image in one.rendered.images] for one in jobs]
        if any(len(view) != 1 for of_job in views for view in of_job):
            raise BadSetting(
                f"{self._ours.name} shows some pictures in several views, which --against transformers does not feed"
            )
        pixels = [[torch.from_numpy(view[0]).to(vlm.device, vlm.dtype) for view in of_job] for of_job in views]
        if self._looks:
            ids, real = left_padded([row.ids for row in rows])
            sees, _ = left_padded([row.sees for row in rows], -1)
            most = max(1, *(len(of_job) for of_job in pixels))
            side = self.network.config.vision_config.image_size
            blank = torch.zeros(3, side, side, device=vlm.device, dtype=vlm.dtype)
            held = torch.stack([torch.stack([*of_job, *[blank] * (most - len(of_job))]) for of_job in pixels])
            mask = (sees[..., None] == torch.arange(most)) & real[..., None]
            found = {"pixel_values": held, "image_attention_mask": mask.long()}
        else:
            mark = self.network.config.image_token_id
            ids, real = left_padded([[mark if token < 0 else token for token in row.ids] for row in rows])
            flat = [one for of_job in pixels for one in of_job]
            found = {"pixel_values": torch.stack(flat)} if flat else {}
        found |= {"input_ids": ids, "attention_mask": real.long()}
        return {name: tensor.to(vlm.device) for name, tensor in found.items()}


def best_batch(theirs: Theirs, jobs: Sequence[Job]) -> int:
    """The batch size at which transformers answers most questions a second."""
    theirs.answer(jobs[:1], 1)  # what is slow once would count against the first size
    rates: dict[int, float] = {}
    for size in BATCHES:
        part = jobs[: max(size, 8)]
        if len(part) < size:
            break
        began = time.perf_counter()
        theirs.answer(part, size)
        rates[size] = len(part) / (time.perf_counter() - began)
        if rates[size] < WORSE * max(rates.values()):
            break
    return max(rates, key=lambda size: rates[size])


def _batches(jobs: Sequence[Job], size: int) -> Iterator[list[Job]]:
    """Jobs that go together, in order."""
    return ([*jobs[first : first + size]] for first in range(0, len(jobs), size))


def _ended(job: Job, ids: Sequence[int]) -> tuple[int, ...]:
    """A row's new tokens up to where its request stops; padding follows in the batch."""
    for count in range(1, len(ids) + 1):
        if job.ends.stopped_by(ids[:count]) is not None:
            return tuple(ids[:count])
    return tuple(ids)


class _Stops:
    """Stop texts, for transformers' `generate`: which rows (R,) have said one."""

    def __init__(self, jobs: Sequence[Job], prompt: int) -> None:
        self._jobs = jobs
        self._prompt = prompt

    def __call__(self, ids: Tensor, scores: Tensor, **told: Any) -> Tensor:
        new = ids[:, self._prompt :].tolist()
        over = [job.ends.stopped_by(row) is not None for job, row in zip(self._jobs, new, strict=True)]
        return torch.tensor(over, device=ids.device)


def open_theirs(ours: LoadedModel, folder: Path) -> Theirs:
    """transformers' class with the weights of this folder. Raises `BadSetting` where it does not read them all."""
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging

    join = ours.vlm.architecture.join
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=ours.vlm.dtype, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    except (ValueError, OSError, KeyError, RuntimeError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadSetting(f"--against transformers: it does not read {folder} ({reason})") from None
    network, told = loaded
    if missing := sorted(told["missing_keys"]):
        raise BadSetting(
            f"--against transformers: it does not read the layout of {folder}, {len(missing)} of its tensors are not there "
            f"({missing[0]}, for one)"
        )
    if not isinstance(join, Cross) and not hasattr(network.config, "image_token_id"):
        raise BadSetting(
            f"--against transformers: its class for {folder} takes pictures in a form that is not fed here"
        )
    return Theirs(network.to(ours.vlm.device).eval(), ours)


def left_padded(sequences: Sequence[Sequence[int]], value: int = 0) -> tuple[Tensor, Tensor]:
    """Sequences as (R, T) int with `value` before the shorter ones, and where they are real, (R, T) bool."""
    length = max(map(len, sequences))
    ids = torch.tensor([[*[value] * (length - len(sequence)), *sequence] for sequence in sequences])
    return ids, torch.arange(length) >= length - torch.tensor([len(sequence) for sequence in sequences])[:, None]
