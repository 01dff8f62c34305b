"""What a process of a model split over several takes, told by each of them. `tensor_parallel.py` asks."""

from __future__ import annotations

from typing import NamedTuple

from flamingo_lab.host import peak_bytes
from flamingo_lab.parallel import plan
from flamingo_lab.parallel.model import SplitModel


class Taken(NamedTuple):
    """In bytes. split: slices of what is split; whole: what the process holds whole; peak: of resident memory, all in all."""

    split: int
    whole: int
    peak: int


def measure(model: SplitModel) -> list[Taken]:
    """By rank."""
    split = whole = 0
    for name, parameter in model.vlm.named_parameters():
        if plan.is_split(name):
            split += parameter.nbytes
        else:
            whole += parameter.nbytes
    return model.ranks.exchange(Taken(split, whole, peak_bytes()))
