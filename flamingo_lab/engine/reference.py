"""What correct is: one request at a time, no cache, the full forward pass for each new token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flamingo_lab.engine.plan import Job, failed, job
from flamingo_lab.errors import LabError
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.markup import Expanded
from flamingo_lab.model import Answer, Rank, Request
from flamingo_lab.nn.positions import Places


def answer(model: LoadedModel, request: Request) -> Answer:
    """The answer by definition. A request that cannot be answered gives an answer with `error`."""
    try:
        ready = job(model, request)
        pictures = picture_tokens(model, ready)
        is_rank = isinstance(request.decoding, Rank)
        return _rank(model, ready, pictures) if is_rank else _generate(model, ready, pictures)
    except LabError as error:
        return failed(request.id, error)


@torch.inference_mode()
def picture_tokens(model: LoadedModel, ready: Job) -> list[Tensor]:
    """The tokens (L, D) of the prompt's pictures, each picture encoded by itself."""
    vlm = model.vlm
    return [
        vlm.encode([torch.from_numpy(model.pipeline(image.load())).to(vlm.device, vlm.dtype)], [image.size])[0]
        for image in ready.rendered.images
    ]


@torch.inference_mode()
def logits(model: LoadedModel, sequence: Expanded, pictures: Sequence[Tensor], noise: Tensor | None = None) -> Tensor:
    """Logits (T, V) of one sequence with its pictures' tokens. noise (L, P, E): see `RouterNoise`."""
    return model.vlm.logits(hidden(model, sequence, pictures, noise)[None])[0].float()


@torch.inference_mode()
def hidden(model: LoadedModel, sequence: Expanded, pictures: Sequence[Tensor], noise: Tensor | None = None) -> Tensor:
    """Hidden states (T, D) of one sequence with its pictures' tokens, after the last norm.

    Where a token's way through the model depends on the whole prompt (experts with few places, rotary bases by length),
    it does not depend on what is generated.
    """
    vlm = model.vlm
    row = torch.tensor([sequence.ids], device=vlm.device)
    x = vlm.embed(row, [sequence.fills], [pictures])
    places = Places(
        torch.arange(row.shape[1], device=vlm.device)[None] + sequence.padding,
        prompts=torch.tensor([sequence.prompt_positions], device=vlm.device),
        together=torch.tensor([sequence.asked_positions], device=vlm.device),
        noise=None if noise is None else noise[None].to(vlm.device),
    )
    return vlm(x, places, vlm.look_at([pictures], torch.tensor([sequence.sees], device=vlm.device)))[0]


def extended(sequence: Expanded, ids: tuple[int, ...], sees: tuple[int, ...] | None = None) -> Expanded:
    """The sequence with more ids. Where it is not said, they see what the last position sees."""
    more = sequence.sees[-1:] * len(ids) if sees is None else sees
    prompt = len(sequence.ids) if sequence.prompt is None else sequence.prompt
    asked = len(sequence.ids) if sequence.asked is None else sequence.asked
    return sequence._replace(ids=sequence.ids + ids, sees=sequence.sees + more, prompt=prompt, asked=asked)


def _generate(model: LoadedModel, ready: Job, pictures: Sequence[Tensor]) -> Answer:
    searching = ready.search()
    branches: list[tuple[int, ...]] = [()]
    noise = model.noise(ready.request.id)
    while branches:
        rows = [logits(model, extended(ready.sequence, new), pictures, noise)[-1] for new in branches]
        tokens, parents = searching.step(torch.stack(rows).log_softmax(-1))
        branches = [(*branches[parent], token) for token, parent in zip(tokens, parents, strict=True)]
    return ready.answer(**searching.found()._asdict())


def _rank(model: LoadedModel, ready: Job, pictures: Sequence[Tensor]) -> Answer:
    scores: list[float] = []
    is_greedy: list[bool] = []
    noise = model.noise(ready.request.id)
    for option in ready.options:
        sequence = extended(ready.sequence, option.ids, option.sees)
        whole = logits(model, sequence, pictures, noise).log_softmax(-1)
        predicting = whole[len(ready.ids) - 1 : -1]
        ids = torch.tensor(option.ids, device=whole.device)
        scores.append(float(predicting.gather(-1, ids[:, None]).sum()))
        is_greedy.append(bool((predicting.argmax(-1) == ids).all()))
    return ranked(ready, scores, is_greedy)


def ranked(ready: Job, sums: Sequence[float], is_greedy: Sequence[bool]) -> Answer:
    """The answer of a `Rank` request from the options' summed log-probabilities, and which of them greedy would say."""
    decoding = ready.request.decoding
    assert isinstance(decoding, Rank)
    is_mean = decoding.normalise == "mean"
    scores = [total / len(option.ids) if is_mean else total for total, option in zip(sums, ready.options, strict=True)]
    best = max(range(len(scores)), key=scores.__getitem__)
    return ready.answer(
        text=decoding.options[best],
        token_ids=ready.options[best].ids,
        logprob=scores[best],
        option_logprobs=tuple(scores),
        option_is_greedy=tuple(is_greedy),
        stopped_by="rank",
    )
