"""From a prepared model to this rank's share of it, read from the files slice by slice."""

from __future__ import annotations

import importlib.metadata
import platform
import socket
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from flamingo_lab.errors import BadSetting
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.parallel import joining, plan
from flamingo_lab.parallel.model import SplitModel, SplitRoom, follow
from flamingo_lab.parallel.ranks import Lost, Ranks
from flamingo_lab.parallel.split import SplitVLM
from flamingo_lab.weights import fill

if TYPE_CHECKING:
    from flamingo_lab.prepared import Prepared


class Facts(NamedTuple):
    """What has to be the same on all ranks. digest: of the weights, empty on all but one rank of a machine."""

    torch: str
    package: str
    processor: str
    dtype: str
    digest: str


def read(prepared: Prepared, wanted: int, asked: object) -> LoadedModel:
    """The model on rank 0. On the others it follows rank 0 and ends the process. asked: what starts the same there.

    Raises `BadSetting` where the ranks differ, `LostRank` where one is missing.
    """
    device = prepared.device
    ranks = joining.join(wanted, device, asked)
    try:
        hosts = _compared(ranks, prepared, device)
        vlm = _filled(prepared, ranks, device)
        ranks.have_read()
    except Lost as error:
        ranks.lost(error)
    except BaseException:
        ranks.abort()
        raise
    unread = prepared.unread
    room = SplitRoom(**vars(unread.room), ranks=ranks, neighbours=hosts.count(hosts[ranks.rank]))
    about = {**unread.about, "device": f"{wanted} x {device.type}", "tensor_parallel": wanted}
    fields: dict[str, Any] = {**vars(unread), "vlm": vlm, "room": room, "about": about}
    model = SplitModel(**fields, ranks=ranks)
    if not ranks.leads:
        follow(model)
    weakref.finalize(vlm, ranks.close)
    return model


def _compared(ranks: Ranks, prepared: Prepared, device: torch.device) -> list[str]:
    """The machines of all ranks. Raises `BadSetting` for a rank that would compute something else than rank 0."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    own = Facts(
        torch.__version__,
        importlib.metadata.version("flamingo-lab"),
        f"{platform.machine()} {kind}",
        str(prepared.dtype).removeprefix("torch."),
        prepared.unread.digest,
    )
    own_gpu = str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else None
    told = ranks.exchange((socket.gethostname(), own_gpu, own))
    first = told[0][2]
    of_gpu: dict[str, int] = {}
    for rank, (host, gpu, facts) in enumerate(told):
        if gpu is not None and (other := of_gpu.setdefault(gpu, rank)) != rank:
            raise BadSetting(f"ranks {other} and {rank} on {host} have the same GPU; start them with one each")
        for name, ours, theirs in zip(Facts._fields, first, facts, strict=True):
            if theirs and theirs != ours:
                raise BadSetting(f"rank {rank} on {host} has another {name} than rank 0: {theirs}, not {ours}")
    return [host for host, _, _ in told]


def _filled(prepared: Prepared, ranks: Ranks, device: torch.device) -> SplitVLM:
    """The modules of this rank with its weights."""
    built = prepared.architecture
    with torch.device("meta"):
        vlm = SplitVLM(built, ranks)

    def own(name: str, whole: Tensor) -> Tensor | None:
        held = plan.held(name, tuple(whole.shape), built, ranks.rank, ranks.count)
        return None if held is None else whole.narrow(held.axis, held.first, held.end - held.first).contiguous()

    fill(vlm, prepared.sources, dtype=prepared.dtype, device=device, own=own)
    if not ranks.leads:
        vlm.tower, vlm.connector, vlm.newline, vlm.locator = None, nn.Identity(), None, None
    for module in vlm.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.is_meta:
                module.register_parameter(name, None)
    vlm.eval()
    return vlm
