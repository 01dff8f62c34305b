"""What the engine did, in counts that are the same on any machine, and in seconds."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Work:
    """Counts since the model was loaded. `seconds`: time by stage, as seen by the thread that computes."""

    prompt_tokens_asked: int = 0
    prompt_tokens_computed: int = 0
    images_referenced: int = 0
    images_encoded: int = 0
    images_from_cache: int = 0
    decode_steps: int = 0
    generated_tokens: int = 0
    positions_fed: int = 0
    positions_padding: int = 0
    halved_budgets: int = 0
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict[str, float](float))

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Count the time inside to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began

    def fed(self, rows: int, columns: int, real: int) -> None:
        """Count a pass over `rows` sequences, padded to `columns` tokens each."""
        self.positions_fed += rows * columns
        self.positions_padding += rows * columns - real

    def counters(self) -> dict[str, float]:
        """The counts by name."""
        return {name: value for name, value in vars(self).items() if name != "seconds"}
