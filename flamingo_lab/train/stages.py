"""The three stages of the bundled model: a language model, then frozen; a tower, then frozen; then what joins them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flamingo_lab.nn.attention import Attention
from flamingo_lab.nn.decoder import CausalDecoder
from flamingo_lab.nn.positions import Places
from flamingo_lab.nn.vit import VisionTower
from flamingo_lab.placement.devices import has_native_bfloat16
from flamingo_lab.train.optimise import Progress, Recipe, run_stage
from flamingo_lab.train.pictures import KINDS, draw, normalised
from flamingo_lab.train.pool import Pool
from flamingo_lab.train.sequences import Batch, picture_batches, text_batches
from flamingo_lab.vlm import VLM

LANGUAGE, TOWER, JOIN = "language model", "tower", "join"
STAGES = (LANGUAGE, TOWER, JOIN)


def initialise(vlm: VLM, seed: int) -> None:
    """Random weights. Queries and keys of the decoder start equal, so that equal tokens attend to each other at once.

    This mimics what trained attention looks like (arXiv 2305.09828); without it, and with AdamW alone, binding was not
    learnt within the steps that this recipe takes.
    """
    torch.manual_seed(seed)
    for name, parameter in vlm.named_parameters():
        if name.endswith(".bias"):
            nn.init.zeros_(parameter)  # a layer fills its own with noise that no seed decides
        if name.endswith("_gate") or (parameter.ndim < 2 and "class_token" not in name):
            continue  # gates start at zero, norms at one
        is_last = ".out." in name or ".down." in name  # what a branch adds to the residual stream starts small
        inner = parameter[0].numel() if parameter.ndim > 1 else parameter.numel()
        std = 0.08 if "embedding" in name else 0.7 * inner**-0.5 * (0.35 if is_last else 1.0)
        nn.init.normal_(parameter, 0.0, 0.02 if name.startswith("tower.positions") or parameter.ndim == 1 else std)
    for layer in vlm.decoder.layers:
        attention = layer.get_submodule("attention")
        assert isinstance(attention, Attention)
        nn.init.normal_(attention.q.weight, 0.0, 0.075)
        attention.k.weight.data.copy_(attention.q.weight.data)


def seeded(seed: int, stage: str, step: int) -> np.random.Generator:
    """The noise of one step, which depends on nothing that came before."""
    return np.random.default_rng([seed, STAGES.index(stage), step])


def weighted_loss(batches: Sequence[Batch], logits: Callable[[Batch], Tensor]) -> Tensor:
    """Mean cross-entropy of the next token over the targets' weights in all the batches. `logits` of one are (B, T, V)."""
    total = sum(batch.weights[:, 1:].sum() for batch in batches)
    losses = []
    for batch in batches:
        weights = batch.weights[:, 1:]
        counts = weights > 0
        said = logits(batch)[:, :-1][counts].float()
        losses.append((F.cross_entropy(said, batch.ids[:, 1:][counts], reduction="none") * weights[counts]).sum())
    return torch.stack(losses).sum() / total


def causal(length: int) -> Places:
    """Sequences of this length. Padding stands on the right, where no real token looks."""
    return Places(torch.arange(length)[None])


def train_language(decoder: CausalDecoder, recipe: Recipe, seed: int, folder: Path, progress: Progress) -> None:
    """The decoder on text, in float32. The extra tokens' embeddings take no part.

    So it does not depend on the processor: what is learnt when is a matter of small differences here.
    """

    def logits(batch: Batch) -> Tensor:
        return decoder.logits(decoder(decoder.embedding(batch.ids), causal(batch.ids.shape[1])))

    def loss(step: int) -> Tensor:
        drawn = text_batches(seeded(seed, LANGUAGE, step), recipe.batch, step / recipe.steps)
        return weighted_loss(drawn, logits)

    parameters = [(name, p) for name, p in decoder.named_parameters() if name != "embedding.extra"]
    run_stage(LANGUAGE, recipe, parameters, loss, folder, progress)


class CaptionMatch(nn.Module):
    """Pictures against captions by cosine, as in contrastive pre-training (arXiv 2103.00020), over all captions at once."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.captions = nn.Embedding(len(KINDS), width)
        self.pooled = nn.Linear(width, width)
        self.scale = nn.Parameter(torch.tensor(2.3))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (N, P, D) -> logits over the captions (N, K)."""
        pictures = F.normalize(self.pooled(tokens.float().mean(1)), dim=-1)
        return pictures @ F.normalize(self.captions.weight, dim=-1).T * self.scale.exp()


def train_tower(
    tower: VisionTower, match: CaptionMatch, recipe: Recipe, seed: int, folder: Path, progress: Progress
) -> None:
    """The tower on drawn pictures. easy-VQA's pictures are not used here: they show how well it carries over."""

    def loss(step: int) -> Tensor:
        random = seeded(seed, TOWER, step)
        drawn = draw(random.integers(len(KINDS), size=recipe.batch), random)
        with torch.autocast("cpu", torch.bfloat16, enabled=has_native_bfloat16()):
            tokens = tower(torch.from_numpy(normalised(drawn.pixels)))
        return F.cross_entropy(match(tokens), torch.from_numpy(drawn.kinds))

    # The norm behind the last layer acts on nothing that is read.
    parameters = [(name, p) for name, p in tower.named_parameters() if not name.startswith("post_norm")]
    matched = [(f"match.{name}", p) for name, p in match.named_parameters()]
    run_stage(TOWER, recipe, [*parameters, *matched], loss, folder, progress)


def train_join(vlm: VLM, pool: Pool, recipe: Recipe, seed: int, folder: Path, progress: Progress) -> None:
    """The resampler, the gated blocks and the extra tokens' embeddings; tower and language model are frozen."""

    def logits(batch: Batch) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=has_native_bfloat16()):
            tokens = vlm.connector(pool.features[batch.pictures.flatten()].float())
            held = [list(row) for row in tokens.unflatten(0, batch.pictures.shape)]
            places = causal(batch.ids.shape[1])
            return vlm.logits(vlm(vlm.embed(batch.ids), places, vlm.look_at(held, batch.sees)))

    def loss(step: int) -> Tensor:
        return weighted_loss(picture_batches(seeded(seed, JOIN, step), recipe.batch, pool.choose), logits)

    run_stage(JOIN, recipe, trained_in_join(vlm), loss, folder, progress)


def trained_in_join(vlm: VLM) -> list[tuple[str, nn.Parameter]]:
    """What the last stage trains; the rest of the model it leaves as it is."""
    return [
        (name, parameter)
        for name, parameter in vlm.named_parameters()
        if name.startswith(("connector.", "join.")) or name == "decoder.embedding.extra"
    ]
