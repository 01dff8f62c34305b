"""Stages of models that read patches as they are: which patch stands where."""

from __future__ import annotations

import re

import flamingo_lab as fl
from flamingo_lab.markup import Rendered
from tests.families.goldens import Case, Row

NONE = -1
ROOM = 10
"""Places that the authors' processor leaves behind the prompt, whatever is generated."""


def indices(rendered: Rendered) -> list[int]:
    """The number of the patch at each id of the prompt, with the authors' room behind it."""
    found = [NONE] * (len(rendered.ids) + ROOM)
    for slot in rendered.slots:
        assert slot.length == slot.tokens
        found[slot.start : slot.start + slot.length] = range(slot.first, slot.first + slot.tokens)
    return found


def image_patches_indices(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> list[int]:
    """Padded on the left to the longest row."""
    longest = max(len(indices(model.renderer.render(other.prompt))) for other in case.rows)
    own = indices(model.renderer.render(row.prompt))
    return [NONE] * (longest - len(own)) + own


STAGES = {"image_patches_indices": image_patches_indices}
