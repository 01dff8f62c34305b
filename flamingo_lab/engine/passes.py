"""One pass of many sequences through the decoder: what they are, what they may look at, and where their keys go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from flamingo_lab.engine.images import PictureStore
from flamingo_lab.engine.kv import Further, Groups, Level, Memory, Own, Read, Slots, further_mask, own_mask, read, seen
from flamingo_lab.engine.plan import Job, part
from flamingo_lab.engine.tree import Node
from flamingo_lab.engine.work import Work
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.markup import NONE, Expanded
from flamingo_lab.nn.attention import Heads, attend
from flamingo_lab.nn.decoder import Ends
from flamingo_lab.nn.positions import Places

NOTHING = -1
"""The group of a token that is in none."""


class Row(NamedTuple):
    """A sequence's tokens in a pass. `tokens` of the job stand at positions from `first` on, behind the nodes `above`."""

    job: Job
    tokens: Expanded
    first: int
    above: Sequence[Node]

    @classmethod
    def of(cls, job: Job, first: int, end: int, above: Sequence[Node]) -> Row:
        """Positions `first` to `end` of the job's prompt."""
        return cls(job, part(job.sequence, first, end), job.sequence.padding + first, above)

    def digest(self, sees: int) -> str | None:
        """The digest of the picture of this index."""
        return None if sees == NONE else self.job.rendered.images[sees].digest


@dataclass(frozen=True)
class Seen:
    """The distinct pictures that tokens look at: keys and values (N, H, L, d) a block, and whose they are."""

    heads: Sequence[Heads]
    groups: Groups

    def attend(self, block: int, queries: Tensor) -> Tensor:
        """See `nn.gated.Looking`."""
        held = self.heads[block]
        return self.groups.scatter(attend(self.groups.gather(queries), held.keys, held.values, None), 0.0)


class Passes:
    """What a model computes for the engine."""

    def __init__(self, model: LoadedModel, store: PictureStore, work: Work) -> None:
        self.model = model
        self.store = store
        self.work = work
        self._config = model.vlm.architecture.decoder
        self._looks = bool(model.vlm.join)

    def prompts(self, rows: Sequence[Row], own: Own) -> Tensor:
        """Hidden states (R, T, D) of rows side by side, padding behind each."""
        return self._prompts(rows, own, at_ends=False)

    def ends(self, rows: Sequence[Row], own: Own) -> Tensor:
        """Hidden states (R, D) of each row's last token, which is all that most are asked for."""
        return self._prompts(rows, own, at_ends=True)[:, 0]

    def _prompts(self, rows: Sequence[Row], own: Own, *, at_ends: bool) -> Tensor:
        vlm, device = self.model.vlm, self.model.vlm.device
        counts = [len(row.tokens.ids) for row in rows]
        longest = max(counts)
        self.work.fed(len(rows), longest, sum(counts))
        ids = torch.tensor(
            [(*row.tokens.ids, *[0] * (longest - count)) for row, count in zip(rows, counts, strict=True)]
        )
        first = torch.tensor([row.first for row in rows], device=device)
        positions = first[:, None] + torch.arange(longest, device=device)
        real = None
        if min(counts) < longest:
            real = torch.arange(longest, device=device) < torch.tensor(counts, device=device)[:, None]
        company = Company.of(self.model, [row.job for row in rows])
        places = company.places(positions, real)
        pictures = [
            {fill.image: self.store.tokens(row.job.rendered.images[fill.image]) for fill in row.tokens.fills}
            for row in rows
        ]
        x = vlm.embed(ids.to(device), [row.tokens.fills for row in rows], pictures)
        looks: list[str | None] = []
        for row, count in zip(rows, counts, strict=True) if self._looks else ():
            looks += [*map(row.digest, row.tokens.sees), *[None] * (longest - count)]
        memory = Memory(own, own_mask(self._config, positions), self._reads(rows, positions))
        ends = None
        if at_ends:
            tokens = torch.tensor(counts, device=device) - 1
            last = (first + tokens)[:, None]
            mask = seen(self._config, last, positions, real)
            ends = Ends(tokens, company.places(last), Memory(own, mask, self._reads(rows, last)))
        return vlm(x, places, self.seen(looks, longest), memory, ends)

    def _reads(self, rows: Sequence[Row], positions: Tensor) -> list[Read]:
        """What tokens at positions (R, T) read of the levels that their rows stand behind."""
        groups = levels([row.above for row in rows], positions.shape[1], positions.device)
        return [read(self._config, level, of_level, positions) for level, of_level in groups]

    def seen(self, looks: Sequence[str | None], tokens: int) -> Seen | None:
        """What tokens (R * T) look at, by the pictures' digests."""
        distinct = list(dict.fromkeys(digest for digest in looks if digest is not None))
        if not distinct:
            return None
        numbers = {digest: number for number, digest in enumerate(distinct)}
        of_token = [NOTHING if digest is None else numbers[digest] for digest in looks]
        return Seen(self.store.heads(distinct), Groups(of_token, len(distinct), tokens, self.model.vlm.device))

    def logprobs(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., V) float32."""
        return self.model.vlm.logits(hidden).float().log_softmax(-1)

    def chances(self, hidden: Tensor, tokens: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Log-probabilities of tokens (R, T) behind hidden states (R, T, D), and whether they are the likeliest.

        `rows`: so many log-probabilities over the vocabulary are held at a time.
        """
        found: list[Tensor] = []
        are_likeliest: list[Tensor] = []
        for states, wanted in zip(hidden.flatten(0, 1).split(rows), tokens.flatten().split(rows), strict=True):
            logprobs = self.logprobs(states)
            found.append(logprobs.gather(-1, wanted[:, None])[:, 0])
            are_likeliest.append(logprobs.argmax(-1) == wanted)
        return torch.cat(found).view_as(tokens), torch.cat(are_likeliest).view_as(tokens)


class Company(NamedTuple):
    """What of the sequences of a pass decides how their tokens are routed and turned; see `Places`."""

    prompts: Tensor
    together: Tensor
    noise: Tensor | None

    @classmethod
    def of(cls, model: LoadedModel, jobs: Sequence[Job]) -> Company:
        """Of these jobs, one a sequence."""
        device = model.vlm.device
        tables = [model.noise(job.request.id) for job in jobs]
        ends = [job.sequence.padding + len(job.ids) + job.new_tokens for job in jobs]
        noise = [table[:, : max(ends)].to(device) for table in tables if table is not None]
        return cls(
            torch.tensor([job.sequence.prompt_positions for job in jobs], device=device),
            torch.tensor([job.sequence.asked_positions for job in jobs], device=device),
            torch.stack(noise) if noise else None,
        )

    def places(self, positions: Tensor, real: Tensor | None = None) -> Places:
        """Where tokens at positions (R, T) stand."""
        return Places(positions, real, self.prompts, self.together, self.noise)


@dataclass(frozen=True)
class Layout:
    """What stays the same from one step to the next while the sequences in the slots do."""

    company: Company
    levels: Sequence[tuple[Level, Groups]]
    seen: Seen | None

    @classmethod
    def of(cls, passes: Passes, rows: Sequence[Row]) -> Layout:
        """Of the rows in the slots; each looks at what its last token looks at."""
        model = passes.model
        looks = [row.digest(row.tokens.sees[-1]) for row in rows] if model.vlm.join else []
        company = Company.of(model, [row.job for row in rows])
        return cls(company, levels([row.above for row in rows], 1, model.vlm.device), passes.seen(looks, 1))

    def step(self, passes: Passes, slots: Slots, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        """Log-probabilities (R, V) behind one more token a slot."""
        vlm = passes.model.vlm
        config, device = vlm.architecture.decoder, vlm.device
        places = torch.tensor(positions, device=device)[:, None]
        passes.work.fed(len(tokens), 1, len(tokens))
        passes.work.decode_steps += 1
        reads = [read(config, level, groups, places) for level, groups in self.levels]
        memory = Memory(Further(slots), further_mask(config, places, slots.lengths), reads)
        x = vlm.embed(torch.tensor(tokens, device=device)[:, None])
        hidden = vlm(x, self.company.places(places), self.seen, memory)
        slots.lengths[:] = [length + 1 for length in slots.lengths]
        return passes.logprobs(hidden[:, -1])


def levels(above: Sequence[Sequence[Node]], tokens: int, device: torch.device) -> Sequence[tuple[Level, Groups]]:
    """The levels that rows with `tokens` tokens each stand behind, and who reads which of their beginnings."""
    found: dict[int, tuple[Level, list[int]]] = {}
    for row, nodes in enumerate(above):
        for node in nodes:
            assert node.level is not None, "a beginning is computed before what stands behind it"
            _, of_row = found.setdefault(id(node.level), (node.level, [NOTHING] * len(above)))
            of_row[row] = node.group
    return [
        (level, Groups([group for group in of_row for _ in range(tokens)], len(level.spans), tokens, device))
        for level, of_row in found.values()
    ]
