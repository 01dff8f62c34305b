"""Stages of Qwen-VL alone."""

from __future__ import annotations

import re

import torch

import flamingo_lab as fl
from flamingo_lab.config import Rotary
from flamingo_lab.nn.positions import Places, ntk_factor
from tests.families.goldens import Case, Row
from tests.families.stages.common import ready


def ntk_alpha(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> float:
    """The factor by which the rotary base is stretched, after the whole answer."""
    place = model.vlm.architecture.decoder.place
    assert isinstance(place, Rotary)
    assert place.ntk_length is not None
    asked = ready(model, case, row)
    last = len(asked.ids) + len(row.expect["generated_ids"]) - 1
    places = Places(torch.tensor([[last]]), prompts=torch.tensor([asked.sequence.prompt_positions]))
    return float(ntk_factor(places, place.ntk_length))


STAGES = {"ntk_alpha": ntk_alpha}
