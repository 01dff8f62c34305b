"""Flamingo-tiny's training in miniature, and as a process that kills itself: OUT STAGE STEP."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from flamingo_lab.train import tiny
from flamingo_lab.train.optimise import SAVE_EVERY, Recipe
from flamingo_lab.train.tiny import Tiny

STEPS = SAVE_EVERY + 10
"""Of each stage, so that each one has a checkpoint before its end."""

THREADS = 1
SEED = 3

MINIATURE = Tiny(
    decoder={
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "cross_layer_interval": 1,
        "max_position_embeddings": 512,
    },
    tower={
        "embed_dim": 24,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 16,
    },
    resampler={
        "resampler_depth": 1,
        "resampler_n_heads": 2,
        "resampler_head_dim": 12,
        "resampler_n_latents": 2,
    },
    language_recipe=Recipe(steps=STEPS, batch=4),
    tower_recipe=Recipe(steps=STEPS, batch=16),
    join_recipe=Recipe(steps=STEPS, batch=4),
    drawn=50,
)


def main(out: str, stage: str, step: str) -> None:
    """Train until the step of the stage is done, then die without warning."""

    def progress(name: str, done: int, loss: float) -> None:
        if (name, done) == (stage, int(step)):
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(THREADS)
    tiny.train(Path(out), seed=SEED, progress=progress, tiny=MINIATURE)


if __name__ == "__main__":
    main(*sys.argv[1:])
