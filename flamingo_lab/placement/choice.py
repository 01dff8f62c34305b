"""One way to run a model on some devices: what it needs, and what there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flamingo_lab.engine.budget import GIB
from flamingo_lab.placement.devices import CUDA, Device
from flamingo_lab.placement.needs import Form, Needs


class Share(NamedTuple):
    """What one device needs, how much of its memory there is for that, and how long a prompt may be.

    `why`: what is behind the need, where that is not plain.
    """

    device: Device
    needs: Needs
    there: int
    tokens: int
    why: str = ""

    @property
    def left(self) -> int:
        """Bytes that are left beside the weights; negative where some are missing."""
        return self.there - self.needs.held

    @property
    def spare(self) -> int:
        """Bytes that are left beside the planned prompt too."""
        return self.there - self.needs.total


@dataclass(frozen=True)
class Choice:
    """A way to run a model. `shares`: of its devices, in the order of the ranks.

    `planned`: tokens of the prompt that has to fit; slices: ranks that share the weights; offload: whether these stay in
    their files.
    """

    form: Form
    shares: Sequence[Share]
    planned: int
    slices: int = 1
    offload: bool = False

    @property
    def tightest(self) -> Share:
        """The device that has the least to spare."""
        return min(self.shares, key=lambda share: share.spare)

    @property
    def fits(self) -> bool:
        """Whether there is room for the weights and for the planned prompt."""
        return self.tightest.spare >= 0

    @property
    def tokens(self) -> int:
        """How long a prompt may be; zero where not even the weights fit."""
        return min(share.tokens for share in self.shares)

    @property
    def type(self) -> str:
        """The kind of its devices."""
        return self.shares[0].device.type

    @property
    def name(self) -> str:
        """What it is called."""
        if self.type == CUDA:
            on = "one GPU" if self.slices == 1 else f"{self.slices} GPUs"
        else:
            on = "CPU" if self.slices == 1 else f"CPU with {self.slices} processes"
        return f"offload on {on}" if self.offload else on

    @property
    def device(self) -> str:
        """Its devices as `--device` takes them."""
        numbers = ",".join(str(share.device.index) for share in self.shares)
        return f"{CUDA}:{numbers}" if self.type == CUDA else self.type

    @property
    def options(self) -> str:
        """What asks for it on the command line."""
        said = [f"--device {self.device}"]
        said += [f"--quant {self.form.quant}" if self.form.quant else f"--dtype {self.form}"]
        said += [f"--tensor-parallel {self.slices}"] if self.slices > 1 else []
        said += ["--offload"] if self.offload else []
        return " ".join(said)

    @property
    def against(self) -> str:
        """What it needs and what there is, in words."""
        each = " on each" if self.slices > 1 else ""
        return f"{gib(self.tightest.needs.total)} of {gib(self.tightest.there)}{each}"

    def facts(self) -> Mapping[str, Any]:
        """All of it, in bytes."""
        return {
            "choice": self.name,
            "options": self.options,
            "form": str(self.form),
            "fits": self.fits,
            "prompt_tokens": self.tokens,
            "planned_tokens": self.planned,
            "devices": [
                {
                    "device": str(share.device.torch),
                    **share.needs._asdict(),
                    "needs": share.needs.total,
                    "there": share.there,
                }
                for share in self.shares
            ],
        }


def gib(count: int, digits: int = 1) -> str:
    """Bytes as GiB."""
    return f"{count / GIB:.{digits}f} GiB"
