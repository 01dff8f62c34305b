"""A GPU that is none: its tensors lie in main memory, say that they are on cuda:0, and meet no others.

As on a real one, an operation takes tensors of one device; numbers without dimensions may come from the CPU, and so may
indices. What reads a tensor into Python works, what reads it into numpy does not. Operations compute what they do on the
CPU. With it runs what is written for GPUs, but for their kernels and for what is asynchronous.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only

MOST_BYTES, KEPT_BYTES = 123 * 2**20, 77 * 2**30
"""What it says to have held at once, and what torch holds of it and has no tensors in, as after an evaluation."""

aten = torch.ops.aten

OF_BOTH = {
    aten.copy_.default,
    aten._to_copy.default,
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
}
"""What takes tensors of both devices."""

INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}

OF_CPUS = ("for_cpu", "mkldnn")
"""In the names of operations that no GPU has."""

INTO_PYTHON = {aten._local_scalar_dense.default, aten.equal.default}


class OnGpu(Tensor):
    """A tensor on it. `held`: its numbers. `own`: the GPU of this process."""

    held: Tensor
    own = torch.device("cuda", 0)

    @staticmethod
    def __new__(cls, held: Tensor) -> OnGpu:
        """The same numbers, there. To torch's own code it is a tensor without numbers, as where models are made from shapes."""
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device="meta"
        )
        made.held = held
        return made

    def __init__(self, held: Tensor) -> None:
        """See `__new__`."""

    @classmethod
    def of(cls, numbers: list[int]) -> OnGpu:
        """Indices, which torch's own code would make where it believes the indexed tensor to be."""
        return cls(torch.tensor(numbers, dtype=torch.long))

    device = property(lambda self: OnGpu.own)
    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)

    def tolist(self) -> Any:
        """As on a GPU."""
        return self.held.tolist()

    def numpy(self, **_: Any) -> Any:
        """As on a GPU. Raises `TypeError`."""
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def untyped_storage(self) -> Any:
        """That of its numbers."""
        return self.held.untyped_storage()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """What an operation gives. Raises `RuntimeError` for tensors of two devices."""
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
    there = [one for one in tensors if isinstance(one, OnGpu)]
    check(func, args, tensors, there)
    device = next((one for one in (*args, *kwargs.values()) if isinstance(one, torch.device)), None)
    if device is not None:
        is_there = device.type == "cuda"
    elif func is aten.copy_.default:
        is_there = isinstance(args[0], OnGpu)
    else:
        is_there = bool(there) and func not in INTO_PYTHON
    with torch.inference_mode(False), torch.no_grad():
        result = ON_CPU.get(func, func)(*tree_map(here, args), **tree_map(here, dict(kwargs)))
        if device is not None and any(result is here(one) and one.device != device for one in tensors):
            result = result.clone()
        if not is_there:
            return result
        same = {id(one.held): one for one in there}
        return tree_map(lambda one: same.get(id(one), OnGpu(one)) if isinstance(one, Tensor) else one, result)


def tiled(weight: Tensor, depth: int) -> Tensor:
    """A matrix of 4 bits (N, K / 2) uint8 in the shape in which the GPU's kernel takes it; the order within is our own."""
    rows, columns = len(weight), 2 * weight.shape[1]
    return weight.view(torch.int32).view(rows // 8, columns // (depth * 16), 32, depth // 2)


def multiplied(x: Tensor, weight: Tensor, group: int, scales: Tensor) -> Tensor:
    """x (M, K) bfloat16 by a matrix that `tiled` gave, through the CPU's kernel, which takes rows by 16."""
    pairs = weight.view(torch.uint8).view(8 * len(weight), -1)
    more = -len(pairs) % 16
    integers = F.pad(torch.stack((pairs >> 4, pairs & 15), -1).flatten(1).int(), (0, 0, 0, more))
    packed = aten._convert_weight_to_int4pack_for_cpu(integers, 2)
    return aten._weight_int4pack_mm_for_cpu(x, packed, group, F.pad(scales, (0, 0, 0, more)))[:, : len(pairs)]


ON_CPU = {aten._convert_weight_to_int4pack.default: tiled, aten._weight_int4pack_mm.default: multiplied}
"""For operations that there are on a GPU alone, those of the same meaning."""


def check(func: Any, args: Any, tensors: Iterable[Tensor], there: list[OnGpu]) -> None:
    """Raises `RuntimeError` as a GPU would."""
    if there and any(word in func.name() for word in OF_CPUS):
        raise NotImplementedError(f"{func} on cuda:0")
    others = [one for one in tensors if not isinstance(one, OnGpu)]
    if not there or not others:
        return
    assert not any(one.is_meta for one in others), f"{func} was given what this pretended GPU did not make"
    is_index_alone_there = func in INDEXING and not isinstance(args[0], OnGpu)
    if is_index_alone_there or (func not in OF_BOTH and any(one.dim() for one in others)):
        shapes = ", ".join(f"{list(one.shape)} on {one.device}" for one in tensors)
        raise RuntimeError(f"{func} of tensors on two devices: {shapes}")


def here(one: Any) -> Any:
    """The same for an operation on the CPU."""
    if isinstance(one, OnGpu):
        return one.held
    return torch.device("cpu") if isinstance(one, torch.device) and one.type == "cuda" else one


class Operations(TorchDispatchMode):
    """Has operations computed there which no tensor of its asks for: those that make tensors."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class Functions(TorchFunctionMode):
    """What does not go through operations alone."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        if func is torch.tensor and given.get("device") is not None:
            device = given.pop("device")
            return func(*args, **given).to(device)
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], OnGpu):
            lists = tree_map_only(list, OnGpu.of, args[1], is_leaf=lambda one: isinstance(one, list))
            args = args[0], lists, *(one if isinstance(one, Tensor) else torch.tensor(one) for one in args[2:])
        if func is F.scaled_dot_product_attention:  # which makes masks on the device that torch's own code sees
            return computed(aten.scaled_dot_product_attention.default, args, given)
        return func(*args, **given)


@contextmanager
def pretended(own: int = 0, count: int = 1) -> Generator[None]:
    """As on a machine with so many such GPUs, of which this process uses its own. What goes over NCCL there goes over gloo."""
    nbytes = 80 * 2**30
    initialise = dist.init_process_group

    def facts(device: Any = 0) -> Any:
        return SimpleNamespace(total_memory=nbytes, uuid=f"GPU-{os.getpid()}-{torch.device(device).index}")

    told: dict[str, Any] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: count,
        "set_device": lambda device: None,
        "get_device_properties": facts,
        "get_device_name": lambda device=None: "pretended",
        "get_device_capability": lambda device=None: (9, 0),
        "mem_get_info": lambda device=None: (nbytes - KEPT_BYTES, nbytes),
        "memory_reserved": lambda device=None: KEPT_BYTES,
        "max_memory_allocated": lambda device=None: MOST_BYTES,
        "memory_allocated": lambda device=None: 0,
        "empty_cache": lambda: None,
    }
    submit = ThreadPoolExecutor.submit

    def submit_there(pool: Any, function: Any, *given: Any, **named: Any) -> Any:
        """Modes are a thread's own."""

        def run() -> Any:
            with Functions(), Operations():
                return function(*given, **named)

        return submit(pool, run)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(OnGpu, "own", torch.device("cuda", own))
        patched.setattr(ThreadPoolExecutor, "submit", submit_there)
        patched.setattr(dist, "init_process_group", lambda backend, **given: initialise("gloo", **given))
        for name, value in told.items():
            patched.setattr(torch.cuda, name, value)
        with Functions(), Operations():
            yield
