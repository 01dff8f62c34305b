"""Our own searches inside transformers' `generate`: what is chosen, forbidden and stopped at is what the engine does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from flamingo_lab.engine.search import Ends, Search


class Choosing(LogitsProcessor):
    """Leaves each row the one token that its search chooses; rows that are over get `filler`.

    Sampling noise therefore depends on the request alone, and not on the batch.
    """

    def __init__(self, searches: Sequence[Search], filler: int) -> None:
        self._searches = searches
        self._filler = filler
        self.is_over = [False] * len(searches)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """scores (B, V) float; returns them at minus infinity but for the chosen tokens."""
        logprobs = scores.float().log_softmax(-1)
        tokens = [self._next(row, logprobs[row : row + 1]) for row in range(len(self._searches))]
        chosen = torch.full_like(scores, -torch.inf)
        chosen[torch.arange(len(tokens)), torch.tensor(tokens)] = 0
        return chosen

    def _next(self, row: int, logprobs: Tensor) -> int:
        if self.is_over[row]:
            return self._filler
        search = self._searches[row]
        step = search.step(logprobs)
        if step.tokens:
            return step.tokens[0]
        self.is_over[row] = True
        return search.found().token_ids[-1]


class Over(StoppingCriteria):
    """A row ends when its search is over."""

    def __init__(self, choosing: Choosing) -> None:
        self._choosing = choosing

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: object) -> Any:
        """Returns (B,) bool."""
        return torch.tensor(self._choosing.is_over, device=input_ids.device)


class Restricting(LogitsProcessor):
    """What may not follow is at minus infinity, in every beam; the new tokens begin at `start`."""

    def __init__(self, ends: Ends, start: int) -> None:
        self._ends = ends
        self._start = start

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """scores (R, V) float; returns a restricted copy."""
        new = input_ids[:, self._start :].tolist()
        return torch.stack([self._ends.restrict(row, ids) for row, ids in zip(scores, new, strict=True)])


class StopTexts(StoppingCriteria):
    """A beam ends when its new tokens, which begin at `start`, hold a stop text."""

    def __init__(self, ends: Ends, start: int) -> None:
        self._ends = ends
        self._start = start

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: object) -> Any:
        """Returns (R,) bool."""
        new = input_ids[:, self._start :].tolist()
        return torch.tensor(
            [self._ends.stopped_by(ids) == "stop text" for ids in new], dtype=torch.bool, device=input_ids.device
        )
