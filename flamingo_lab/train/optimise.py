"""One training stage: steps, optimisers, and checkpoints from which a killed stage goes on as if nothing had been."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from flamingo_lab.errors import BadSetting
from flamingo_lab.train.muon import Muon

SAVE_EVERY = 100
WARM_UP = 50

Progress = Callable[[str, int, float], None]
"""Called with a stage's name, its finished steps and the last loss."""


@dataclass(frozen=True)
class Recipe:
    """How a stage learns: matrices by Muon (orthogonalised momentum), everything else by AdamW.

    The rates rise over `WARM_UP` steps and fall to nothing over the last `decay` of them. `gate_rate` is that of gates,
    which start at zero and hold the rest back until they open. `matrix_decay` keeps the matrices from growing: where they
    do, attention saturates, and what is not learnt by then never is.
    """

    steps: int
    batch: int
    matrix_rate: float = 0.02
    other_rate: float = 3e-3
    gate_rate: float = 2e-2
    decay: float = 0.4
    matrix_decay: float = 0.3


def run_stage(
    name: str,
    recipe: Recipe,
    parameters: Iterable[tuple[str, nn.Parameter]],
    loss: Callable[[int], Tensor],
    folder: Path,
    progress: Progress,
) -> None:
    """Take the stage's steps, from the last checkpoint in `folder` if there is one. `loss(step)` draws its own data."""
    named = dict(parameters)
    optimisers = _optimisers(named, recipe)
    file = folder / f"{name}.pt"
    begin = _restore(file, named, optimisers)
    for step in range(begin, recipe.steps):
        rise, fall = (step + 1) / WARM_UP, (recipe.steps - step) / (recipe.decay * recipe.steps)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * min(1.0, rise, fall)
            optimiser.zero_grad()
        value = loss(step)
        value.backward()
        torch.nn.utils.clip_grad_norm_(named.values(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
        done = step + 1
        if done % SAVE_EVERY == 0 or done == recipe.steps:
            _save(file, done, named, optimisers)
        progress(name, done, value.item())


def _optimisers(named: dict[str, nn.Parameter], recipe: Recipe) -> list[torch.optim.Optimizer]:
    def is_matrix(name: str, parameter: nn.Parameter) -> bool:
        return (parameter.ndim == 2 and "layers." in name) or (parameter.ndim == 2 and "join." in name)

    matrices = [p for name, p in named.items() if is_matrix(name, p)]
    gates = [p for name, p in named.items() if name.endswith("_gate")]
    others = [p for name, p in named.items() if not is_matrix(name, p) and not name.endswith("_gate")]
    groups = [{"params": others, "initial_lr": recipe.other_rate}]
    if gates:
        groups.append({"params": gates, "initial_lr": recipe.gate_rate})
    return [
        Muon([{"params": matrices, "initial_lr": recipe.matrix_rate}], weight_decay=recipe.matrix_decay),
        torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _save(file: Path, step: int, named: dict[str, nn.Parameter], optimisers: list[torch.optim.Optimizer]) -> None:
    held = {
        "step": step,
        "parameters": {name: parameter.detach() for name, parameter in named.items()},
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
    }
    temporary = file.with_suffix(".tmp")
    torch.save(held, temporary)
    temporary.replace(file)


def _restore(file: Path, named: dict[str, nn.Parameter], optimisers: list[torch.optim.Optimizer]) -> int:
    """The step to go on with."""
    if not file.is_file():
        return 0
    try:
        held = torch.load(file, weights_only=True)
        for name, parameter in named.items():
            parameter.data.copy_(held["parameters"][name])
        for optimiser, state in zip(optimisers, held["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        return int(held["step"])
    except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadSetting(f"{file}: not a checkpoint of this training ({reason}); move it away to begin anew") from None
