"""Published tensors that have to be put together before they are a model: deltas, adapters, several files."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, Sequence
from itertools import chain

from torch import Tensor

from flamingo_lab.checkpoint import Checkpoint, Entry, Tensors
from flamingo_lab.errors import BadCheckpoint


class Joined:
    """The tensors of several sources, one after another. A name that two of them hold fills a parameter twice."""

    def __init__(self, sources: Sequence[Tensors]) -> None:
        self.folder = sources[0].folder
        self.files = tuple(chain.from_iterable(source.files for source in sources))
        self._sources = sources

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Headers by published name."""
        return chain.from_iterable(source.items() for source in self._sources)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor with its name."""
        return chain.from_iterable(source.tensors() for source in self._sources)


class Renamed:
    """The tensors of a source under other names."""

    def __init__(self, source: Tensors, rename: Callable[[str], str]) -> None:
        self.folder, self.files = source.folder, source.files
        self._source, self._rename = source, rename

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Headers by published name."""
        return ((self._rename(name), entry) for name, entry in self._source.items())

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
        wanted = {self._name(name, side) for name in base for side in "AB"}
        unknown = next((name for name in adapter if name not in wanted), None)
        if unknown:
            raise BadCheckpoint(
                f"{adapter[unknown].file}: {unknown} adapts nothing in {base.folder}; is it the right base?"
            )

    def _name(self, tensor: str, side: str) -> str:
        return f"{self._prefix}{tensor.removesuffix('.weight')}.lora_{side}.weight"

    def items(self) -> ItemsView[str, Entry]:
        """Headers by published name."""
        return self._base.items()

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of the base with its name, merged in float32 where an adapter names it."""
        for name, tensor in self._base.tensors():
            up, down = (self._adapters.get(self._name(name, side)) for side in "BA")
            if up is not None and down is not None:
                tensor = (tensor.float() + self._scale * (up.float() @ down.float())).to(tensor.dtype)
            yield name, tensor


class Added:
    """A delta with its base added; rows that only the delta has stay as they are (LLaVA, llava/model/apply_delta.py)."""

    def __init__(self, base: Checkpoint, delta: Checkpoint) -> None:
        self.folder, self.files = delta.folder, (*base.files, *delta.files)
        self._base, self._delta = base, delta
        missing = next((name for name in base if name not in delta and "inv_freq" not in name), None)
        if missing:
            raise BadCheckpoint(
                f"{delta.folder}: a delta without {missing}, which {base.folder} has; is it the right base?"
            )
        for name, entry in base.items():
            if name in delta and (delta[name].shape[1:] != entry.shape[1:] or delta[name].shape[0] < entry.shape[0]):
                raise BadCheckpoint(
                    f"{entry.file}: {name} {list(entry.shape)} cannot be added to {list(delta[name].shape)} of {delta.folder}"
                )

    def items(self) -> ItemsView[str, Entry]:
        """Headers by published name."""
        return self._delta.items()

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of the delta with its name, the base added."""
        for name, tensor in self._delta.tensors():
            if name in self._base:
                base = self._base.tensor(name)
                tensor = tensor.clone()
                tensor[: len(base)] += base.to(tensor.dtype)
            yield name, tensor
