"""What correct is: one request at a time, no cache, the full forward pass for each new token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flamingo_lab.engine.plan import Job, failed, job
from flamingo_lab.errors import LabError
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.model import Answer, Rank, Request
from flamingo_lab.vlm import causal_mask, positions_of


def answer(model: LoadedModel, request: Request) -> Answer:
    """The answer by definition. A request that cannot be answered gives an answer with `error`."""
    try:
        ready = job(model, request)
        pictures = picture_tokens(model, ready)
    except LabError as error:
        return failed(request.id, error)
    return _rank(model, ready, pictures) if isinstance(request.decoding, Rank) else _generate(model, ready, pictures)


@torch.inference_mode()
def picture_tokens(model: LoadedModel, ready: Job) -> Tensor:
    """The tokens of the prompt's pictures, (I, L, Dv), each picture encoded by itself."""
    encoded = [
        model.vlm.encode(torch.from_numpy(model.pipeline(image.load()))[None].to(model.vlm.device, model.vlm.dtype))
        for image in ready.rendered.images
    ]
    shape = (0, model.vlm.architecture.tokens_per_image, model.vlm.architecture.tower.width)
    return torch.cat(encoded) if encoded else torch.zeros(shape, device=model.vlm.device, dtype=model.vlm.dtype)


@torch.inference_mode()
def logits(model: LoadedModel, ids: Sequence[int], sees: Sequence[int], pictures: Tensor) -> Tensor:
    """Logits (T, V) of one sequence. ids, sees: T numbers each; pictures (I, L, Dv)."""
    vlm = model.vlm
    row = torch.tensor([ids], device=vlm.device)
    real = torch.ones_like(row, dtype=torch.bool)
    visible = torch.tensor([sees], device=vlm.device)[..., None] == torch.arange(len(pictures), device=vlm.device)
    hidden = vlm(row, positions_of(real), causal_mask(real), vlm.look_at(pictures[None]), visible)
    return vlm.logits(hidden)[0].float()


def _generate(model: LoadedModel, ready: Job, pictures: Tensor) -> Answer:
    searching = ready.search()
    branches: list[tuple[int, ...]] = [()]
    while branches:
        rows = [
            # New tokens see what the prompt's last token sees.
            logits(model, ready.ids + new, ready.sees + ready.sees[-1:] * len(new), pictures)[-1].log_softmax(-1)
            for new in branches
        ]
        tokens, parents = searching.step(torch.stack(rows))
        branches = [(*branches[parent], token) for token, parent in zip(tokens, parents, strict=True)]
    return ready.answer(**searching.found()._asdict())


def _rank(model: LoadedModel, ready: Job, pictures: Tensor) -> Answer:
    scores: list[float] = []
    for option in ready.options:
        whole = logits(model, ready.ids + option.ids, ready.sees + option.sees, pictures).log_softmax(-1)
        predicting = whole[len(ready.ids) - 1 : -1]
        scores.append(float(predicting.gather(-1, torch.tensor(option.ids, device=whole.device)[:, None]).sum()))
    return ranked(ready, scores)


def ranked(ready: Job, sums: Sequence[float]) -> Answer:
    """The answer of a `Rank` request from the options' summed log-probabilities."""
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
        stopped_by="rank",
    )
