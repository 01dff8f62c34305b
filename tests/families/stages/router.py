"""Stages of models with experts: how a prompt's tokens are routed, layer by layer, and the noise that was recorded."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import torch
from torch import Tensor

import flamingo_lab as fl
from flamingo_lab.nn.experts import Router, Routing, balance_loss
from tests.families.goldens import Case, Row
from tests.families.stages import Stage, common


def routings(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> list[Routing]:
    """Of the prompt, in the order of the layers."""
    seen: list[Routing] = []
    routers = [module for module in model.vlm.modules() if isinstance(module, Router)]
    hooks = [router.register_forward_hook(lambda router, given, routing: seen.append(routing)) for router in routers]
    common.logits(model, case, row, match)
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(routers) > 0
    return seen


def router_logits(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    return torch.cat([routing.logits for routing in routings(model, case, row, match)])


def router_weights(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    return torch.cat([routing.weights for routing in routings(model, case, row, match)])


def capacity(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> list[int]:
    return [int(routing.capacity) for routing in routings(model, case, row, match)]


def aux_losses(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    return torch.cat([balance_loss(routing) for routing in routings(model, case, row, match)])


def moe_loss(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> float:
    experts = model.vlm.architecture.decoder.experts
    assert experts is not None
    return experts.balance_weight * float(aux_losses(model, case, row, match).sum())


def tokens_with(count: int) -> Stage:
    """How many tokens of each layer so many experts take."""

    def counted(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> list[int]:
        return [int(((routing.weights > 0).sum(-1) == count).sum()) for routing in routings(model, case, row, match)]

    return counted


def router_noise(model: fl.LoadedModel, case: Case) -> fl.LoadedModel:
    """The model with the noise that the authors' run drew, prompt and steps one behind the other."""
    if case.options["router_noise"] == "off":
        return model
    assert case.options["router_noise"] == "recorded"
    steps = case.options["gumbel_decode"][:, :, 0].swapaxes(0, 1)
    table = torch.from_numpy(np.concatenate((case.options["gumbel_prefill"], steps), axis=1))
    return dataclasses.replace(model, noise=lambda request_id: table)


OPTIONS = {"router_noise": router_noise}

STAGES = {
    "router_logits": router_logits,
    "router_weights": router_weights,
    "capacity": capacity,
    "aux_losses": aux_losses,
    "moe_loss": moe_loss,
    "dropped_tokens": tokens_with(0),
    "tokens_with_one_expert": tokens_with(1),
}
