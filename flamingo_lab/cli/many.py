"""A model as `--ray` and its options ask for it: in this process, or as replicas on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flamingo_lab.cli.options import Chosen
    from flamingo_lab.model import Model


def load(
    chosen: Chosen, device: str, dtype: str, address: str | None, replicas: int | None, devices: int | None
) -> Model:
    """The model, loaded here without an `address`, else on the nodes of the cluster. Raises `LabError` kinds."""
    from flamingo_lab.errors import BadSetting, MissingModel

    if address is None:
        if replicas is not None or devices is not None:
            raise BadSetting("--replicas and --devices-per-replica say how --ray lays out a run; add --ray auto, say")
        return chosen.load(device, dtype)
    from flamingo_lab.replicas import driver

    with suppress(MissingModel):  # the nodes need its files, this machine does not
        chosen.locate()
    build = partial(builder, chosen.model, chosen.told(device, dtype))
    say = partial(print, file=sys.stderr)
    ranks = chosen.tensor_parallel
    return driver.start(build, address, replicas=replicas, devices=devices, device=device, ranks=ranks, say=say)


def builder(model: str, told: dict[str, Any], beside: int) -> Callable[[], Model]:
    """What loads one of `beside` replicas of a node."""
    from flamingo_lab.replicas.replica import load_beside

    return partial(load_beside, beside, model, **told)


def state(model: Model) -> Callable[[], str]:
    """How many replicas a model has at the moment, in words; nothing for a model in this process."""
    from flamingo_lab.replicas.driver import Replicas

    return (lambda: model.state) if isinstance(model, Replicas) else (lambda: "")
