"""Equal to the authors' processor at real sizes: patches, ids, and locations in answers. No weights are needed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flamingo_lab.families.fuyu import FAMILY
from flamingo_lab.family import Folder
from flamingo_lab.markup import Rendered
from flamingo_lab.markup.patches import PatchRows
from flamingo_lab.render import Renderer
from tests.families.goldens import Case, Golden, Row, apart, found, params
from tests.families.stages.patches import indices
from tests.folders import GOLDENS

FOUND = found(GOLDENS, "fuyu without weights")

pytestmark = pytest.mark.skipif(not FOUND, reason=f"no goldens of this processor under FLAB_GOLDENS ({GOLDENS})")


SAMPLE, SAMPLE_ROWS = "patch_sample", "patch_sample_rows"
"""Some of the patches, and which ones these are: no stage of its own."""


class Processor:
    """What a folder without weights gives: its tokenizer, markup and pipeline, and a case's prompt through them."""

    def __init__(self, golden: Golden, case: Case, row: Row) -> None:
        folder = Folder(golden.folder / golden.facts["load"]["path"])
        built = FAMILY.architecture(folder)
        markup = FAMILY.markup(folder)
        assert isinstance(markup, PatchRows)
        self.locations = markup.locations
        self.tokenizer = FAMILY.tokenizer(folder)
        self.renderer = Renderer(
            markup, FAMILY.wordings["base"], self.tokenizer, lambda image: built.tokens_of(image.size)
        )
        self.pipeline = FAMILY.pipeline(folder, built)
        self.options = case.options
        self.prompt = row.prompt
        self.expect = row.expect

    @property
    def rendered(self) -> Rendered:
        return self.renderer.render(self.prompt)

    @property
    def size(self) -> tuple[int, int]:
        (image,) = self.prompt.images
        return image.size

    @property
    def patches(self) -> np.ndarray:
        (image,) = self.prompt.images
        patches = self.pipeline(image.load())
        assert len(patches) == sum(slot.tokens for slot in self.rendered.slots)
        return patches

    @property
    def indices(self) -> list[int]:
        return indices(self.rendered)

    @property
    def output_ids(self) -> list[int]:
        height, width = self.options["target_size_hw"]
        return self.locations.in_pixels(self.options["output_ids"], self.tokenizer, (width, height))


STAGES: dict[str, Callable[[Processor], Any]] = {
    "input_ids": lambda made: list(made.rendered.ids),
    "rendered": lambda made: made.rendered.text,
    "pixel_values": lambda made: made.patches,
    "image_patches_indices": lambda made: made.indices,
    "num_patches": lambda made: len(made.patches),
    "patch_mean": lambda made: made.patches.mean(1),
    "patch_std": lambda made: made.patches.std(1),
    SAMPLE: lambda made: made.patches[made.expect[SAMPLE_ROWS]],
    "input_ids_run_lengths": lambda made: [
        [token, len(list(run))] for token, run in itertools.groupby(made.rendered.ids)
    ],
    "image_patches_indices_length": lambda made: len(made.indices),
    "image_patches_indices_tail": lambda made: made.indices[-len(made.expect["image_patches_indices_tail"]) :],
    "unpadded_size": lambda made: list(reversed(made.locations.patching.inner(made.size))),
    "scale_factor": lambda made: made.locations.patching.scale(made.size),
    "output_ids": lambda made: made.output_ids,
    "text": lambda made: made.tokenizer.decode(made.output_ids),
}


@pytest.mark.parametrize(("golden", "name", "number"), params(FOUND, lambda case: range(len(case.rows))))
def test_golden_processor_stages_are_equal(golden: Golden, name: str, number: int) -> None:
    case = golden.cases[name]
    row = case.rows[number]
    made = Processor(golden, case, row)
    stages = {stage: expected for stage, expected in row.stages.items() if stage != SAMPLE_ROWS}
    assert stages.keys() <= STAGES.keys(), f"stages that no test knows: {sorted(stages.keys() - STAGES.keys())}"
    for stage, expected in stages.items():
        assert apart(STAGES[stage](made), expected) <= golden.tolerance, stage
