"""Which token comes next: greedy, drawn, or by beams. The same objects drive the reference and the cached loop.

A search is fed the log-probabilities of its open branches and says which tokens go on from which branch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from flamingo_lab.errors import BadSetting
from flamingo_lab.model import Beam, Greedy, Request, Sample, StoppedBy, check
from flamingo_lab.noise import generator


@dataclass(frozen=True)
class Ends:
    """When a branch ends, and what it may not say.

    Stop texts are looked for once there are `stops_from` new tokens; `strips`: the text loses white space at both ends.
    The text is cut before a stop text, before one of `trailing` only where it ends with it.
    `forbidden` are token sequences; the last token of one is refused where the others stand before it. Refused tokens
    get log-probability minus infinity without renormalising, as in the authors' beam search. `finish` is done to an
    answer's ids before they become its text. `closing`: a token that follows every other stop token while there is room
    for it. `loses_last`: an answer that nothing stopped loses its last token.
    """

    stop_ids: frozenset[int]
    stop_texts: tuple[str, ...]
    forbidden: tuple[tuple[int, ...], ...]
    min_new_tokens: int
    max_new_tokens: int
    stops_from: int
    strips: bool
    decode: Callable[[Sequence[int]], str]
    finish: Callable[[Sequence[int]], Sequence[int]]
    trailing: tuple[str, ...] = ()
    closing: int | None = None
    loses_last: bool = False

    def refused(self, ids: Sequence[int]) -> list[int]:
        """What may not follow the new tokens `ids`."""
        refused = [words[-1] for words in self.forbidden if tuple(ids[len(ids) - len(words) + 1 :]) == words[:-1]]
        return [*refused, *self.stop_ids] if len(ids) < self.min_new_tokens else refused

    def restrict(self, logprobs: Tensor, ids: Sequence[int]) -> Tensor:
        """A copy of logprobs (V,) after the new tokens `ids`, with what may not follow at minus infinity."""
        logprobs = logprobs.clone()
        logprobs[self.refused(ids)] = -torch.inf
        return logprobs

    def stopped_by(self, ids: Sequence[int]) -> StoppedBy | None:
        """What ends a branch with these new tokens, None if nothing does."""
        if ids[-1] in self.stop_ids:
            return "stop token"
        if self.stop_texts and len(ids) >= max(self.min_new_tokens, self.stops_from):
            text = self.decode(ids)
            if any(stop in text for stop in self.stop_texts):
                return "stop text"
        return "length" if len(ids) >= self.max_new_tokens else None

    def text(self, ids: Sequence[int]) -> str:
        """The text of the new tokens, up to the stop."""
        is_stopped = bool(ids) and ids[-1] in self.stop_ids
        text = self.decode(self.finish(ids[:-1] if is_stopped else ids))
        cuts = [text.find(stop) for stop in self.stop_texts if stop in text and stop not in self.trailing]
        if cuts:
            text = text[: min(cuts)]
        elif self.loses_last and not is_stopped:
            text = self.decode(self.finish(ids[:-1]))
        text = text.strip() if self.strips else text
        for stop in self.trailing:
            text = text.removesuffix(stop)
        return text.strip() if self.strips else text

    def closed(self, ids: Sequence[int]) -> tuple[int, ...]:
        """The new tokens with the one that the authors' code forces behind a stop token."""
        is_open = bool(ids) and ids[-1] in self.stop_ids and ids[-1] != self.closing
        if self.closing is None or not is_open or len(ids) >= self.max_new_tokens:
            return tuple(ids)
        return (*ids, self.closing)


class Next(NamedTuple):
    """The tokens that go on, and the branch that each one continues. No tokens: the search is over."""

    tokens: Sequence[int]
    parents: Sequence[int]


OVER = Next((), ())


class Found(NamedTuple):
    """What a search ended with; see `Answer` for the fields."""

    token_ids: tuple[int, ...]
    text: str
    logprob: float
    stopped_by: StoppedBy


class Search(Protocol):
    """One request's way through its tokens."""

    def step(self, logprobs: Tensor) -> Next:
        """Take the log-probabilities (branches, V) of the open branches, one branch at the beginning."""
        ...

    def found(self) -> Found:
        """The result, once `step` has said that the search is over."""
        ...


class Chain:
    """One branch: each step's token is chosen from the restricted log-probabilities (V,) and the step's number.

    Without `choose` it is the likeliest; then whoever drives it may find that for many chains at once, and `take` it.
    """

    def __init__(self, ends: Ends, choose: Callable[[Tensor, int], int] | None = None) -> None:
        self._ends = ends
        self._choose = choose
        self._ids: list[int] = []
        self._logprob = 0.0
        self._stopped_by: StoppedBy | None = None

    @property
    def takes_likeliest(self) -> bool:
        """Whether the next token is the likeliest one that is not refused."""
        return self._choose is None

    def refused(self) -> list[int]:
        """What may not come next."""
        return self._ends.refused(self._ids)

    def step(self, logprobs: Tensor) -> Next:
        allowed = self._ends.restrict(logprobs[0], self._ids)
        token = int(allowed.argmax()) if self._choose is None else self._choose(allowed, len(self._ids))
        return self.take(token, float(allowed[token]))

    def take(self, token: int, logprob: float) -> Next:
        """Go on with this token."""
        self._ids.append(token)
        self._logprob += logprob
        self._stopped_by = self._ends.stopped_by(self._ids)
        return OVER if self._stopped_by else Next((token,), (0,))

    def found(self) -> Found:
        ids = self._ends.closed(self._ids)
        return Found(ids, self._ends.text(self._ids), self._logprob, self._stopped_by or "length")


class Branch(NamedTuple):
    """A beam: its new tokens and their summed log-probability."""

    ids: tuple[int, ...]
    logprob: float


class Beams:
    """Beam search with early stopping off, in the order of events of transformers' `BeamSearchScorer` (4.37).

    A finished beam scores its sum over its length to the power `length_penalty`. Its length is that of its new tokens, the
    stop token counted; with `counted` positions of the prompt (transformers before 4.36), theirs and its own without the
    stop token. The search is over when enough beams have finished and the best open one, scored at its present length,
    cannot beat the worst.
    """

    def __init__(self, ends: Ends, beams: int, length_penalty: float, counted: int | None = None) -> None:
        self._ends = ends
        self._beams = beams
        self._penalty = length_penalty
        self._counted = counted
        self._open = [Branch((), 0.0)]
        self._finished: list[tuple[float, Branch, StoppedBy]] = []

    def step(self, logprobs: Tensor) -> Next:
        total = torch.stack(
            [
                self._ends.restrict(row, branch.ids) + branch.logprob
                for row, branch in zip(logprobs, self._open, strict=True)
            ]
        )
        vocab = total.shape[-1]
        best = total.flatten().topk(min(2 * self._beams, total.numel()))
        going: list[tuple[Branch, int]] = []
        for rank, (score, index) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
            parent, token = divmod(index, vocab)
            branch = Branch((*self._open[parent].ids, token), score)
            stopped_by = self._ends.stopped_by(branch.ids)
            if stopped_by in ("stop token", "stop text"):
                if rank < self._beams:  # a stop ranked below the beams would not have been looked at
                    self._finish(branch, stopped_by)
            else:
                going.append((branch, parent))
            if len(going) == self._beams:
                break
        length = len(self._open[0].ids) + 1
        self._open = [branch for branch, _ in going]
        if length >= self._ends.max_new_tokens and not self._is_over(best.values[0].item(), length):
            for branch in self._open:
                self._finish(branch, "length")
            return OVER
        if self._is_over(best.values[0].item(), length):
            return OVER
        return Next([branch.ids[-1] for branch, _ in going], [parent for _, parent in going])

    def found(self) -> Found:
        score, branch, stopped_by = max(self._finished, key=lambda finished: finished[0])
        return Found(self._ends.closed(branch.ids), self._ends.text(branch.ids), score, stopped_by)

    def _score(self, logprob: float, new: int) -> float:
        """The score of a beam with this many new tokens that count."""
        return logprob / ((self._counted or 0) + new) ** self._penalty

    def _finish(self, branch: Branch, stopped_by: StoppedBy) -> None:
        """Keep the best finished beams; among equals the earlier one stays."""
        is_stop_left_out = self._counted is not None and stopped_by == "stop token"
        self._finished.append((self._score(branch.logprob, len(branch.ids) - is_stop_left_out), branch, stopped_by))
        self._finished.sort(key=lambda finished: -finished[0])
        del self._finished[self._beams :]

    def _is_over(self, best: float, length: int) -> bool:
        return len(self._finished) >= self._beams and self._finished[-1][0] >= self._score(best, length)


def search(request: Request, ends: Ends, counted: int | None = None) -> Search:
    """The search that a request asks for; `counted`: see `Beams`."""
    check(request.decoding)
    match request.decoding:
        case Greedy():
            return Chain(ends)
        case Sample() as how:
            return Chain(ends, lambda logprobs, step: draw(logprobs, how, f"{how.seed}/{request.id}/{step}"))
        case Beam(beams=beams, length_penalty=penalty):
            if counted is not None and counted < 1:
                raise BadSetting(f"padded_to is {counted}; a prompt has at least 1 position")
            return Beams(ends, beams, penalty, counted)
        case _:
            raise BadSetting(f"{request.decoding} is no way to generate text")


def draw(logprobs: Tensor, how: Sample, key: str) -> int:
    """A token by Gumbel noise from `key` alone, so that a draw is the same in any company. logprobs (V,)."""
    if how.temperature == 0:
        return int(logprobs.argmax())
    scaled = (logprobs.double() / how.temperature).log_softmax(-1).cpu()
    if how.top_p < 1:
        values, order = scaled.sort(descending=True, stable=True)
        mass_before = values.exp().cumsum(-1) - values.exp()
        scaled[order[mass_before >= how.top_p]] = -torch.inf
    uniform = torch.rand(scaled.shape, generator=generator(key), dtype=torch.float64)
    return int((scaled - (-uniform.log()).log()).argmax())
