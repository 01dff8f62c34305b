"""The causal decoder, with the vocabulary's ends and the place where pictures may come in before a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from flamingo_lab.config import Decoder, Rotary
from flamingo_lab.nn.attention import Attention, Causal, Heads, attend
from flamingo_lab.nn.experts import Mixture, branch
from flamingo_lab.nn.linear import linear
from flamingo_lab.nn.norms import norm
from flamingo_lab.nn.positions import Places, Rotation, alibi_bias, log_n, rotate, rotation, slopes


class Memory(Protocol):
    """What keeps a layer's keys and values between passes, and so knows what there is to attend to."""

    def attend(self, layer: int, queries: Tensor, new: Heads) -> Tensor:
        """What the new tokens' queries (B, H, T, d) see among all tokens so far; `new`: their own keys and values."""
        ...


class Ends(NamedTuple):
    """The last tokens of a pass' rows, of whom alone more is asked than keys and values.

    tokens (R,) int: which they are; places: where they stand, (R, 1); memory: what they attend to.
    """

    tokens: Tensor
    places: Places
    memory: Memory

    def of(self, x: Tensor) -> Tensor:
        """(R, T, D) -> (R, 1, D)."""
        return x[torch.arange(len(x), device=x.device), self.tokens][:, None]


class Embedding(nn.Module):
    """Token embeddings whose rows beyond the published vocabulary are held apart, so that only they need training."""

    def __init__(self, config: Decoder) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(config.vocab, config.width))
        self.extra = nn.Parameter(torch.zeros(config.extra_vocab, config.width)) if config.extra_vocab else None

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, T) -> (B, T, D)."""
        if self.extra is None:
            return nn.functional.embedding(ids, self.weight)
        vocab = len(self.weight)
        is_extra = ids >= vocab
        usual = nn.functional.embedding(ids.masked_fill(is_extra, 0), self.weight)
        extra = nn.functional.embedding((ids - vocab).clamp(min=0), self.extra)
        return torch.where(is_extra[..., None], extra, usual)


class Head(nn.Module):
    """Logits over the published vocabulary and the extra tokens behind it. With tied embeddings it owns no weights."""

    def __init__(self, config: Decoder) -> None:
        super().__init__()
        is_tied = config.ties_embeddings
        self.weight = None if is_tied else nn.Parameter(torch.zeros(config.vocab, config.width))
        self.extra = (
            None if is_tied or not config.extra_vocab else nn.Parameter(torch.zeros(config.extra_vocab, config.width))
        )

    def forward(self, x: Tensor, tied: Embedding) -> Tensor:
        """(B, T, D) -> (B, T, V)."""
        weight, extra = (tied.weight, tied.extra) if self.weight is None else (self.weight, self.extra)
        logits = linear(x, weight)
        return logits if extra is None else torch.cat((logits, linear(x, extra)), -1)


class DecoderLayer(nn.Module):
    """Self-attention and a feed-forward branch, one after the other behind a norm each, or side by side."""

    def __init__(self, config: Decoder, number: int) -> None:
        super().__init__()
        normed = {"head": config.head_width, "width": config.width, None: 0}[config.qk_norm]
        self.attention_norm = norm(config.norm, config.width, config.norm_eps)
        self.attention = Attention(
            config.width,
            config.heads,
            kv_heads=config.kv_heads,
            has_bias=config.has_qkv_bias,
            has_out_bias=config.has_out_bias,
            query_norm=norm(config.norm, normed, config.norm_eps) if normed else None,
            key_norm=norm(config.norm, normed, config.norm_eps) if normed else None,
            norms_width=config.qk_norm == "width",
            limit=config.qkv_limit,
        )
        self._is_parallel = config.is_parallel
        self.mlp_norm = norm(config.norm, config.width, config.norm_eps) if config.has_two_norms else None
        if config.experts is not None and number in config.experts.layers:
            self.mlp = Mixture(config, config.experts, config.experts.layers.index(number))
        else:
            self.mlp = branch(config)
        self._log_n_length = config.log_n_length

    def forward(
        self,
        x: Tensor,
        turn: Rotation | None,
        mask: Tensor | Causal | None,
        layer: int,
        memory: Memory | None,
        places: Places,
        ends: Ends | None = None,
    ) -> Tensor:
        normed = self.attention_norm(x)
        heads = self.attention.keys_values(normed)
        if turn is not None:
            heads = Heads(rotate(heads.keys, turn), heads.values)
        if ends is not None:
            x, normed, memory, places = ends.of(x), ends.of(normed), ends.memory, ends.places
            turn = turn and Rotation(*(ends.of(part[:, 0])[:, None] for part in turn))
        queries = self.attention.queries(normed)
        if turn is not None:
            queries = rotate(queries, turn)
        if self._log_n_length is not None:
            queries = queries * log_n(places, self._log_n_length, queries.dtype)
        if memory is None:
            attended = attend(queries, heads.keys, heads.values, mask)
        else:
            attended = memory.attend(layer, queries, heads)
        attended = self.attention.merge(attended)
        after = x + attended
        read = x if self._is_parallel else after
        return after + self._feed(normed if self.mlp_norm is None else self.mlp_norm(read), places)

    def _feed(self, x: Tensor, places: Places) -> Tensor:
        return self.mlp(x, places) if isinstance(self.mlp, Mixture) else self.mlp(x)


class CausalDecoder(nn.Module):
    """Embedding, layers, last norm and head."""

    def __init__(self, config: Decoder) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config)
        self.layers = nn.ModuleList(DecoderLayer(config, number) for number in range(config.layers))
        self.norm = norm(config.norm, config.width, config.norm_eps)
        self.head = Head(config)

    def forward(
        self,
        x: Tensor,
        places: Places,
        memory: Memory | None = None,
        before: Callable[[int, Tensor], Tensor] = lambda layer, x: x,
        ends: Ends | None = None,
    ) -> Tensor:
        """Hidden states after the last norm, (B, T, D), or (B, 1, D) where only the rows' `ends` are asked for.

        x (B, T, D) embedded tokens; `places` counts what `memory` holds too; `before(layer, x)` acts on the sequence
        before each layer.
        """
        config = self.config
        turn = rotation(places, config.place, config.head_width, x.dtype) if isinstance(config.place, Rotary) else None
        mask = causal_mask(config, places) if memory is None else None
        # What the last layer makes of other tokens nobody looks at, but where they share experts' places with the ends.
        early = None if isinstance(self.layers[-1].mlp, Mixture) else ends
        for index, layer in enumerate(self.layers):
            is_last = index == config.layers - 1
            x = layer(before(index, x), turn, mask, index, memory, places, early if is_last else None)
        return self.norm(x if ends is None or early is not None else ends.of(x))

    def logits(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, V)."""
        return self.head(x, self.embedding)


def causal_mask(config: Decoder, places: Places) -> Tensor | Causal | None:
    """What each token of a pass sees of the others of the pass.

    Biases as MPT's authors have them: in float32, and for every query by how far the key is from the last one, which makes
    the same softmax. It takes bits from the scores, and golden open_flamingo_mpt7b, whose logits reach 76, shows which.
    """
    if isinstance(config.place, Rotary):
        return places.mask(config.window)
    tokens = places.positions.shape[1]
    of_last = alibi_bias(places.positions[:, -1:], places.positions, slopes(config.place, config.heads, config.share))
    unseen = torch.ones(tokens, tokens, dtype=torch.bool, device=of_last.device).triu(1)
    return of_last.float().masked_fill(unseen, -torch.inf)
