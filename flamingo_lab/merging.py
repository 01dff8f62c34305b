"""Published tensors that have to be put together before they are a model: deltas, adapters, several files."""

from __future__ import annotations

from collections.abc import Callable, Collection, ItemsView, Iterator, Sequence
from itertools import chain
from pathlib import Path

from torch import Tensor

from flamingo_lab.checkpoint import Checkpoint, Entry, Tensors
from flamingo_lab.errors import BadCheckpoint

BUFFER = "inv_freq"
"""In the names of what LLaMA's files of 2023 carry or not, and nothing reads."""


class Joined:
    """The tensors of several sources, one after another. A name that two of them hold fills a parameter twice."""

    def __init__(self, sources: Sequence[Tensors]) -> None:
        self.folder = sources[0].folder
        self.files = tuple(chain.from_iterable(source.files for source in sources))
        self._sources = sources
        self._of = {name: source for source in sources for name, _ in source.items()}

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Headers by published name."""
        return chain.from_iterable(source.items() for source in self._sources)

    def tensor(self, name: str) -> Tensor:
        """One tensor."""
        return self._of[name].tensor(name)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor with its name."""
        return chain.from_iterable(source.tensors() for source in self._sources)


class Renamed:
    """The tensors of a source under other names."""

    def __init__(self, source: Tensors, rename: Callable[[str], str]) -> None:
        self.folder, self.files = source.folder, source.files
        self._source, self._rename = source, rename
        self._own = {rename(name): name for name, _ in source.items()}

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Headers by published name."""
        return ((self._rename(name), entry) for name, entry in self._source.items())

    def tensor(self, name: str) -> Tensor:
        """One tensor."""
        return self._source.tensor(self._own[name])

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor with its name."""
        return ((self._rename(name), tensor) for name, tensor in self._source.tensors())


class Adapted:
    """A base with low-rank adapters merged into it: W + scale * B @ A (arXiv 2106.09685)."""

    def __init__(self, base: Checkpoint, adapter: Checkpoint, scale: float, prefix: str) -> None:
        self.folder, self.files = adapter.folder, (*base.files, *adapter.files)
        self._base, self._scale = base, scale
        self._adapters = dict(adapter.tensors())
        self._prefix = prefix
        wanted = {self._name(name, side): name for name in base for side in "AB"}
        for name, entry in adapter.items():
            if name not in wanted:
                raise BadCheckpoint(f"{entry.file}: {name} adapts nothing in {base.folder}; is it the right base?")
            self._check(wanted[name], entry.file)

    def _check(self, tensor: str, file: Path) -> None:
        """Refuse a half of an adapter, and one for a tensor of another shape."""
        up, down = (self._adapters.get(self._name(tensor, side)) for side in "BA")
        if up is None or down is None:
            raise BadCheckpoint(f"{file}: {self._name(tensor, 'B' if up is None else 'A')} is missing")
        shape = self._base[tensor].shape
        if (up.shape[1], (up.shape[0], down.shape[1])) != (down.shape[0], shape):
            raise BadCheckpoint(
                f"{file}: an adapter {list(up.shape)} x {list(down.shape)} cannot be merged into {tensor} {list(shape)} "
                f"of {self._base.folder}; is it the right base?"
            )

    def _name(self, tensor: str, side: str) -> str:
        return f"{self._prefix}{tensor.removesuffix('.weight')}.lora_{side}.weight"

    def items(self) -> ItemsView[str, Entry]:
        """Headers by published name."""
        return self._base.items()

    def tensor(self, name: str) -> Tensor:
        """One tensor of the base, merged in float32 where an adapter names it."""
        return self._merged(name, self._base.tensor(name))

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor with its name."""
        return ((name, self._merged(name, tensor)) for name, tensor in self._base.tensors())

    def _merged(self, name: str, tensor: Tensor) -> Tensor:
        up, down = (self._adapters.get(self._name(name, side)) for side in "BA")
        if up is None or down is None:
            return tensor
        return (tensor.float() + self._scale * (up.float() @ down.float())).to(tensor.dtype)


class Added:
    """A delta with its base added (LLaVA, llava/model/apply_delta.py).

    In the tensors of `grown` the delta may have more rows than the base; these stay as they are, and so do its tensors
    whose names begin with `alone`.
    """

    def __init__(self, base: Checkpoint, delta: Checkpoint, *, grown: Collection[str], alone: str) -> None:
        self.folder, self.files = delta.folder, (*base.files, *delta.files)
        self._base, self._delta = base, delta
        for here, there in ((base, delta), (delta, base)):
            for name, entry in here.items():
                if name not in there and not name.startswith(alone) and BUFFER not in name:
                    raise BadCheckpoint(f"{entry.file}: has {name}, which {there.folder} lacks; is it the right base?")
        for name, entry in base.items():
            sums = delta[name].shape if name in delta else entry.shape
            cut = (min(sums[0], entry.shape[0]), *sums[1:]) if name in grown else sums
            if cut != entry.shape:
                raise BadCheckpoint(
                    f"{entry.file}: {name} {list(entry.shape)} cannot be added to {list(sums)} of {delta.folder}; "
                    "is it the right base?"
                )

    def items(self) -> ItemsView[str, Entry]:
        """Headers by published name."""
        return self._delta.items()

    def tensor(self, name: str) -> Tensor:
        """One tensor of the delta, the base added."""
        return self._added(name, self._delta.tensor(name))

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor with its name."""
        return ((name, self._added(name, tensor)) for name, tensor in self._delta.tensors())

    def _added(self, name: str, tensor: Tensor) -> Tensor:
        if name not in self._base:
            return tensor
        base, tensor = self._base.tensor(name), tensor.clone()
        tensor[: len(base)] += base.to(tensor.dtype)
        return tensor
