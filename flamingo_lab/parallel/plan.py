"""What of each parameter a rank holds, from the architecture alone. Needs no torch.

As in Megatron-LM (arXiv 1909.08053, section 3): what makes heads or inner channels is split by rows, what takes them by columns,
and the ranks' results are added up behind it, once for the attention and once for the feed-forward branch. Of several
experts each rank holds a slice of every one: whichever experts tokens take, all ranks have the same to do.
"""

from __future__ import annotations

import re
from math import ceil, gcd
from typing import Literal, NamedTuple

from flamingo_lab.config import Architecture, Cross
from flamingo_lab.errors import BadSetting

LAYER = r"(decoder\.layers|join)\.\d+\."
BRANCH = rf"{LAYER}mlp\.(experts\.\d+\.)?"

Unit = Literal["query heads", "key heads", "equal parts"]


class Rule(NamedTuple):
    """Parameters whose names match are split along `axis`, in units of so many rows or columns."""

    names: str
    axis: int
    unit: Unit


SPLIT = (
    Rule(rf"{LAYER}attention\.q\.(weight|bias)", 0, "query heads"),
    Rule(rf"{LAYER}attention\.[kv]\.(weight|bias)", 0, "key heads"),
    Rule(rf"{LAYER}attention\.out\.weight", 1, "query heads"),
    Rule(rf"{BRANCH}(gate|up)\.(weight|bias)", 0, "equal parts"),
    Rule(rf"{BRANCH}down\.weight", 1, "equal parts"),
    Rule(r"decoder\.(embedding|head)\.weight", 0, "equal parts"),
)

EVERYWHERE = ("decoder.", "join.")
"""What else has these beginnings every rank holds whole: norms, gates, routers, the rows of extra tokens."""

ONCE = rf"({LAYER}attention\.out|{BRANCH}down)\.bias"
"""Added behind a sum over the ranks, so rank 0 alone adds them. It alone has the tower, the connector and the locator too."""


class Slice(NamedTuple):
    """Rows or columns `first` to `end` of a parameter."""

    axis: int
    first: int
    end: int


def held(name: str, shape: tuple[int, ...], built: Architecture, rank: int, ranks: int) -> Slice | None:
    """What of our parameter of this name and whole shape a rank holds; None for nothing."""
    for rule in SPLIT:
        if re.fullmatch(rule.names, name):
            return _slice(rule, name, shape[rule.axis], built, rank, ranks)
    is_everywhere = name.startswith(EVERYWHERE) and not re.fullmatch(ONCE, name)
    return Slice(0, 0, shape[0]) if is_everywhere or rank == 0 else None


def is_split(name: str) -> bool:
    """Whether the ranks hold different parts of our parameter of this name."""
    return any(re.fullmatch(rule.names, name) for rule in SPLIT)


def _slice(rule: Rule, name: str, size: int, built: Architecture, rank: int, ranks: int) -> Slice:
    if rule.unit == "equal parts":
        part = ceil(size / ranks)
        return Slice(rule.axis, min(size, rank * part), min(size, (rank + 1) * part))
    query, key, width = _heads(name, built)
    heads = query if rule.unit == "query heads" else key
    # Where there are fewer heads of keys than ranks, several ranks hold the same one, each for its own queries.
    own = max(1, heads // ranks)
    first = rank * heads // ranks
    return Slice(rule.axis, first * width, (first + own) * width)


def _heads(name: str, built: Architecture) -> tuple[int, int, int]:
    """Heads of queries and of keys, and the width of one, of the attention that a parameter belongs to."""
    decoder, join = built.decoder, built.join
    if name.startswith("join."):
        assert isinstance(join, Cross), "there are gated blocks only where pictures are looked at across"
        return join.heads, join.heads, join.head_width
    return decoder.heads, decoder.kv_heads or decoder.heads, decoder.head_width


def copies(built: Architecture, ranks: int) -> int:
    """How many ranks hold the same keys and values of the decoder."""
    return max(1, ranks // (built.decoder.kv_heads or built.decoder.heads))


def is_possible(built: Architecture, ranks: int) -> bool:
    """Whether so many ranks can share the heads evenly."""
    keys = built.decoder.kv_heads or built.decoder.heads
    return _shared_heads(built) % ranks == 0 and (keys % ranks == 0 or ranks % keys == 0)


def check(built: Architecture, ranks: int) -> None:
    """Raises `BadSetting` where so many ranks cannot share the heads, with the numbers that can."""
    if is_possible(built, ranks):
        return
    decoder, join = built.decoder, built.join
    counts = [f"{decoder.heads} heads"]
    if decoder.kv_heads not in (None, decoder.heads):
        counts.append(f"{decoder.kv_heads} of keys and values")
    if isinstance(join, Cross) and join.heads != decoder.heads:
        counts.append(f"{join.heads} that look at pictures")
    fitting = [str(count) for count in range(2, _shared_heads(built) + 1) if is_possible(built, count)]
    would = f"{', '.join(fitting)} would do" if fitting else "no number would do"
    raise BadSetting(f"--tensor-parallel {ranks} cannot share the model's {', '.join(counts)} evenly: {would}")


def _shared_heads(built: Architecture) -> int:
    return gcd(built.decoder.heads, built.join.heads) if isinstance(built.join, Cross) else built.decoder.heads
