"""Several sequences in one pass, ours and as other libraries take them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

import flamingo_lab as fl
from flamingo_lab.bench.theirs import left_padded as left_padded
from flamingo_lab.engine.kv import Nowhere
from flamingo_lab.engine.passes import Passes, Row
from flamingo_lab.engine.plan import Job
from flamingo_lab.engine.work import Work


def passes_of(model: fl.LoadedModel, jobs: Sequence[Job]) -> Passes:
    """The engine's passes, with the jobs' pictures encoded."""
    store = model.pictures(1 << 30, None)
    assert not store.bring(itertools.chain.from_iterable(job.rendered.images for job in jobs))
    return Passes(model, store, Work())


@torch.inference_mode()
def logits_together(model: fl.LoadedModel, jobs: Sequence[Job]) -> Tensor:
    """The engine's logits (tokens, V) of all prompts in one pass, one prompt's after the other's, without padding."""
    rows = [Row.of(job, 0, len(job.ids), ()) for job in jobs]
    logits = model.vlm.logits(passes_of(model, jobs).prompts(rows, Nowhere())).float()
    return torch.cat([row[: len(job.ids)] for row, job in zip(logits, jobs, strict=True)])
