"""How much may be held and computed at once, from the memory that there is."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from math import ceil
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from flamingo_lab import decoding, host
from flamingo_lab.config import Architecture, Cross, Decoder
from flamingo_lab.errors import BadSetting

if TYPE_CHECKING:
    from flamingo_lab.engine.plan import Job
    from flamingo_lab.loaded import LoadedModel
    from flamingo_lab.prompt import Image

BATCH_TOKENS = 8192
"""Tokens of a pass, padding included. Small enough for its activations to stay in a CPU's cache, see `benchmarks/`."""

ENOUGH_TOKENS = 1024
"""Tokens of a pass from which on it gains so little from more that shorter prompts, which only pad it, pass apart."""

ROWS = 256
"""Sequences that go on side by side at most."""

REFILL = 0.25
"""Share of the slots that is free before waiting sequences enter, so that their prompts pass together."""

FEW_REFILLS = 0.5
"""The same where a pass costs much, whatever its size. About the least passes for answers of four tokens, see decision 26."""

VIEWS = 32
"""Views that pass the tower together; a picture's are not parted."""

FREE_SHARE = 0.8
"""Of the memory that is free, what is taken where nothing else is said."""

DECODED, PICTURES, KEYS, PASS = 0.05, 0.2, 0.45, 0.3
"""Shares of the room beside the weights: decoded pictures, pictures' tokens, keys and values, and what a pass makes."""

START_BYTES = 500 * 2**20
"""What Python and torch take before any model."""

WARM_BYTES = 100 * 2**20
"""What the first passes load and keep: kernels, buffers of libraries, pages of files on their way."""

LIKELIHOOD_BYTES = 16
"""What a token's chance of being next takes: logits, the same in float32, log-probabilities, and a copy without some."""

GIB = 2**30


@dataclass(frozen=True)
class Budget:
    """What may be held and computed at once.

    pass_tokens: tokens of one pass as they are best; enough_tokens: see `ENOUGH_TOKENS`; most_tokens: as many as fit;
    kv_tokens: tokens whose keys and values are held; rows: sequences side by side; picture_bytes: of pictures' tokens;
    views: see `VIEWS`; refill: see `REFILL`.
    """

    pass_tokens: int = BATCH_TOKENS
    enough_tokens: int = ENOUGH_TOKENS
    most_tokens: int = 1 << 40
    kv_tokens: int = 1 << 20
    rows: int = ROWS
    picture_bytes: int = GIB
    views: int = VIEWS
    refill: float = REFILL

    def halved(self) -> Budget:
        """Half of everything, after there was too little memory."""
        return replace(
            self,
            pass_tokens=max(1, self.pass_tokens // 2),
            kv_tokens=max(1, self.kv_tokens // 2),
            rows=max(1, self.rows // 2),
            picture_bytes=self.picture_bytes // 2,
            views=max(1, self.views // 2),
        )

    def check(self, job: Job, room: Room, memory_bytes: int) -> None:
        """Refuse a question that does not fit by itself. Raises `BadSetting` with both numbers."""
        tokens = len(job.ids)
        if room.batch_tokens is not None and tokens > room.batch_tokens:
            raise BadSetting(
                f"question {job.request.id} takes {tokens} tokens, and --batch-tokens lets {room.batch_tokens} pass "
                "together; give at least as many, or fewer shots"
            )
        held = (tokens + job.request.max_new_tokens) * job.rows
        short = max(tokens / self.most_tokens, held / self.kv_tokens)
        if short > 1:
            raise BadSetting(
                f"question {job.request.id} takes {tokens} tokens, too many for {memory_bytes / GIB:.2f} GiB of memory: "
                f"about {short:.1f} times the room beside the weights; give more with --memory, or fewer shots"
            )


@dataclass(frozen=True)
class Room:
    """What the engine may take. memory_bytes: of the whole process, on a GPU of its memory; None: most of what is free.

    batch_tokens: tokens of a pass, no less than a prompt's; None: what fits, up to `BATCH_TOKENS`.
    features: a folder where pictures' tokens stay.
    """

    memory_bytes: int | None = None
    batch_tokens: int | None = None
    features: Path | None = None

    @classmethod
    def of(cls, memory: float | None, batch_tokens: int | None, features: str | PathLike[str] | None = None) -> Room:
        """As a user says it, `memory` in GiB."""
        return cls(
            memory_bytes=None if memory is None else int(memory * GIB),
            batch_tokens=batch_tokens,
            features=None if features is None else Path(features),
        )

    def budget(self, model: LoadedModel) -> Budget:
        """The budget for this model, which also bounds the decoded pictures that are kept.

        Raises `BadSetting` where not even its weights fit.
        """
        vlm = model.vlm
        built, dtype = vlm.architecture, vlm.dtype
        taken, bound = taken_bytes(vlm.device), self.bytes_for(vlm.device)
        if model.streamed is not None:
            taken += WARM_BYTES
        else:  # weights that are mapped take nothing before they are used
            weights = sum(parameter.nbytes for parameter in vlm.parameters())
            taken = max(taken, weights + (START_BYTES if vlm.device.type == "cpu" else 0))
        room = bound - taken
        if room <= 0:
            raise BadSetting(
                f"--memory {bound / GIB:.2f} GiB is less than the {taken / GIB:.2f} GiB that the weights and the program take"
            )
        decoding.keep_at_most(int(DECODED * room))
        most = max(1, tokens_of_pass(room, built, dtype))
        best, enough, rows, refill = BATCH_TOKENS, ENOUGH_TOKENS, ROWS, REFILL
        if model.streamed is not None:  # each pass reads the weights, so it takes all that there is room for
            best, enough, rows, refill = most, most, most, FEW_REFILLS
        return Budget(
            pass_tokens=min(self.batch_tokens or best, most),
            enough_tokens=enough,
            most_tokens=most,
            rows=max(1, min(rows, int(PASS * room / (LIKELIHOOD_BYTES * built.decoder.vocab)))),
            kv_tokens=max(1, tokens_held(room, built, dtype)),
            picture_bytes=int(PICTURES * room),
            views=max(1, min(VIEWS, int(PASS * room / view_bytes(built, dtype)))),
            refill=refill,
        )

    def bytes_for(self, device: torch.device) -> int:
        """The bound in bytes."""
        return self.bound(taken_bytes(device), free_bytes(device))

    def bound(self, taken: int, free: int, neighbours: int = 1) -> int:
        """The bound in bytes of one of `neighbours` processes that share what is `free`, and that has `taken` so much."""
        return taken + int(FREE_SHARE * free / neighbours) if self.memory_bytes is None else self.memory_bytes


def tokens_of_pass(room: int, built: Architecture, dtype: torch.dtype) -> int:
    """How many tokens may pass together with so many bytes beside the weights."""
    return int(PASS * room / pass_bytes(built, dtype))


def tokens_held(room: int, built: Architecture, dtype: torch.dtype) -> int:
    """Of how many tokens keys and values may be held with so many bytes beside the weights."""
    return int(KEYS * room / kv_bytes(built.decoder, dtype))


def bytes_of_work(tokens: int, built: Architecture, dtype: torch.dtype) -> int:
    """The room beside the weights in which a prompt of so many tokens passes, and one picture at a time."""
    pass_takes = max(tokens * pass_bytes(built, dtype), view_bytes(built, dtype))
    return ceil(max(pass_takes / PASS, tokens * kv_bytes(built.decoder, dtype) / KEYS))


def kv_bytes(decoder: Decoder, dtype: torch.dtype) -> int:
    """What a token's keys and values take in all layers, as far as this process holds them."""
    return 2 * decoder.layers * decoder.own_kv_heads * decoder.head_width * dtype.itemsize


def pass_bytes(built: Architecture, dtype: torch.dtype) -> int:
    """About what a token takes while it passes: a layer's widest tensors, and float32 logits where they are asked for."""
    decoder, join = built.decoder, built.join
    widest = 8 * decoder.width + 3 * decoder.mlp_width
    if isinstance(join, Cross):
        widest = max(widest, 8 * decoder.width + 3 * join.mlp_width)
    return widest * dtype.itemsize + kv_bytes(decoder, dtype)


def picture_bytes(built: Architecture, dtype: torch.dtype, image: Image) -> int:
    """What a picture's tokens take, with their keys and values in all gated blocks where tokens look at them."""
    numbers = built.picture_width
    if isinstance(built.join, Cross):
        numbers += 2 * len(built.join.layers) * built.join.heads * built.join.head_width
    return built.tokens_of(image.size) * numbers * dtype.itemsize


def view_bytes(built: Architecture, dtype: torch.dtype) -> int:
    """About what a picture of the tower's size takes while it is encoded; a patch where there is no tower."""
    tower = built.vision
    if tower is None:
        return 2 * built.picture_width * dtype.itemsize
    return tower.positions * (8 * tower.width + 2 * tower.mlp_width) * dtype.itemsize


def free_bytes(device: torch.device) -> int:
    """Memory that is free, in bytes; on a GPU with what torch keeps of it and has no tensors in."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return host.free_bytes()


def peak_bytes(device: torch.device) -> int:
    """The most memory that this process has held, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return host.peak_bytes()


def taken_bytes(device: torch.device) -> int:
    """Memory that this process holds, in bytes."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
