"""The model as a rank computes it: the core's own modules over slices, and what is sent between them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flamingo_lab.config import Architecture, Decoder
from flamingo_lab.markup import Fill
from flamingo_lab.nn.attention import Attention
from flamingo_lab.nn.decoder import DecoderLayer, Embedding, Ends, Head, Memory
from flamingo_lab.nn.gated import Looking
from flamingo_lab.nn.linear import linear
from flamingo_lab.nn.positions import Places
from flamingo_lab.parallel import plan
from flamingo_lab.parallel.ranks import Ranks, Step
from flamingo_lab.vlm import VLM


class SplitEmbedding(Embedding):
    """The rows of this rank; zero for tokens of others', so that the ranks' results add up to the embedding."""

    def __init__(self, config: Decoder, ranks: Ranks) -> None:
        super().__init__(config)
        self._vocab = config.vocab
        self._first = ranks.rank * ceil(config.vocab / ranks.count)
        self._leads = ranks.leads

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, T) -> (B, T, D)."""
        own = ids - self._first
        is_own = (own >= 0) & (own < len(self.weight))
        x = F.embedding(own.masked_fill(~is_own, 0), self.weight).masked_fill(~is_own[..., None], 0)
        if self.extra is None or not self._leads:
            return x
        is_extra = ids >= self._vocab
        extra = F.embedding((ids - self._vocab).clamp(min=0), self.extra)
        return torch.where(is_extra[..., None], extra, x)


class SplitHead(Head):
    """Logits over the rows of this rank, then over everybody's."""

    def __init__(self, config: Decoder, ranks: Ranks) -> None:
        super().__init__(config)
        self._vocab = config.vocab
        self._ranks = ranks

    def forward(self, x: Tensor, tied: Embedding) -> Tensor:
        """(..., D) -> (..., V), the same bytes on every rank."""
        weight, extra = (tied.weight, tied.extra) if self.weight is None else (self.weight, self.extra)
        own = linear(x, weight)
        own = F.pad(own, (0, ceil(self._vocab / self._ranks.count) - len(weight)))
        logits = torch.cat(self._ranks.gather(own), -1)[..., : self._vocab]
        return logits if extra is None else torch.cat((logits, linear(x, extra)), -1)


class Nothing:
    """Pictures of which nothing is seen."""

    def attend(self, block: int, queries: Tensor) -> Tensor:
        """See `Looking`."""
        return torch.zeros_like(queries)


class SplitVLM(VLM):
    """A rank's share of a model. What goes into `forward` and comes out of it is the same on all ranks."""

    def __init__(self, architecture: Architecture, ranks: Ranks) -> None:
        super().__init__(replace(architecture, decoder=replace(architecture.decoder, share=(ranks.rank, ranks.count))))
        self.ranks = ranks
        self._mark = 0
        config = self.architecture.decoder
        self.decoder.embedding = SplitEmbedding(config, ranks)
        self.decoder.head = SplitHead(config, ranks)
        layers = cast(list[DecoderLayer], list(self.decoder.layers))

        def add_up(module: nn.Module, given: object, out: Tensor) -> Tensor:
            return ranks.sum(out)

        for layer in (*layers, *self.blocks):
            for branch in (layer.attention.out, layer.mlp):
                branch.register_forward_hook(add_up)
        if config.qk_norm == "width":
            for layer in layers:
                self._norm_whole(layer.attention)

    def _norm_whole(self, attention: Attention) -> None:
        """Let norms over all heads see all heads."""
        ranks = self.ranks
        for norm, copies in (
            (attention.query_norm, 1),
            (attention.key_norm, plan.copies(self.architecture, ranks.count)),
        ):
            assert norm is not None, "norms over the width are on both sides"
            own = ranks.rank // copies

            def whole(module: nn.Module, given: tuple[Tensor], copies: int = copies) -> Tensor:
                return torch.cat(ranks.gather(given[0])[::copies], -1)

            def part(module: nn.Module, given: object, out: Tensor, copies: int = copies, own: int = own) -> Tensor:
                return out.chunk(ranks.count // copies, -1)[own].contiguous()

            norm.register_forward_pre_hook(whole)
            norm.register_forward_hook(part)

    def embed(
        self,
        ids: Tensor,
        fills: Sequence[Sequence[Fill]] = (),
        pictures: Sequence[Mapping[int, Tensor] | Sequence[Tensor]] = (),
    ) -> Tensor:
        """What this rank knows of the embedded tokens (B, T, D); `forward` adds up what all know. See `VLM.embed`.

        Rank 0 has the pictures' tokens, and the first rows of the vocabulary, one of which stands in their places.
        """
        self._mark = zlib.crc32(ids.cpu().numpy().tobytes())
        return super().embed(ids, fills if self.ranks.leads else (), pictures)

    def forward(
        self,
        x: Tensor,
        places: Places,
        pictures: Looking | None,
        memory: Memory | None = None,
        ends: Ends | None = None,
    ) -> Tensor:
        """See `VLM.forward`; x comes from `embed`. All layers compute all tokens: what ranks send has one size a pass."""

        def again() -> None:
            one = Places(torch.zeros(1, 1, dtype=torch.long, device=x.device))
            seen = None if pictures is None else Nothing()
            VLM.forward(self, self.ranks.sum(x.new_zeros(1, 1, x.shape[-1])), one, seen)

        hidden = self.ranks.run(
            Step.PASS,
            self._mark,
            lambda: VLM.forward(self, self.ranks.sum(x), places, pictures, memory),
            again,
            x.shape[:-1],
        )
        return hidden if ends is None else ends.of(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """See `VLM.logits`."""
        return self.ranks.run(
            Step.LOGITS,
            zlib.crc32(repr(tuple(hidden.shape)).encode()),
            lambda: VLM.logits(self, hidden),
            lambda: VLM.logits(self, hidden.new_zeros(1, 1, hidden.shape[-1])),
            hidden.shape[:-1],
        )
