"""SEAL's search model: what it sees on the way from a `[LOC]` token to boxes and heat maps, and its own searches."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

import flamingo_lab as fl
from flamingo_lab.search.guided import Ask, Patch, Seen
from flamingo_lab.search.locate import SearchModel
from tests.families import seal_searches
from tests.families.goldens import Case, Row
from tests.families.stages.common import pixel_values


def ask(case: Case, row: Row) -> Ask:
    """The case as a question about the whole of its picture."""
    image, question = row.prompt.turns[0].parts
    assert isinstance(image, fl.Image) and isinstance(question, str)
    picture = image.load()
    return Ask(case.options["mode"], picture, Patch(0, 0, *picture.size), question)


def look(model: fl.LoadedModel, asked: Ask) -> Seen:
    (seen,) = SearchModel(model).look([asked])
    assert isinstance(seen, Seen)
    return seen


def states(model: fl.LoadedModel, row: Row) -> Tensor:
    return SearchModel(model).states(fl.Request("golden", row.prompt), row.expect["generated_ids"])


def patches(model: fl.LoadedModel, row: Row) -> Tensor:
    return SearchModel(model).patches(row.prompt.images[0].load().convert("RGB"))


def owl_pixel_values(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> np.ndarray:
    """Every second row and column."""
    return SearchModel(model).locator.config.pipeline(row.prompt.images[0].load())[..., ::2, ::2]


def owl_embeds(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    return patches(model, row)


def loc_positions(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> list[int]:
    ids = [*model.renderer.render(row.prompt).ids, *row.expect["generated_ids"]]
    return [place for place, token in enumerate(ids) if token == model.tokenizer.id_of("[LOC]")]


def loc_hidden(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    return states(model, row)


def seg_embeds(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    return SearchModel(model).locator.to_prompt(states(model, row))


def det_embeds(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    return SearchModel(model).locator.to_query(states(model, row))


def low_res_masks(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    """The first `[LOC]`'s, every second row and column."""
    return SearchModel(model).locator.heat(patches(model, row), states(model, row))[0, ::2, ::2]


def boxes(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> np.ndarray:
    return look(model, ask(case, row)).boxes


def scores(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> np.ndarray:
    return look(model, ask(case, row)).scores


def mask(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> np.ndarray:
    return look(model, ask(case, row)).heat


def error(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> str:
    """Without a `[LOC]` the authors' code fails at the first of no masks; here nothing is found and nothing is hot."""
    seen = look(model, ask(case, row))
    return "IndexError" if not len(seen.boxes) and not seen.heat.any() else "found"


FOUND: dict[tuple[Path, str], seal_searches.Searched] = {}
"""Each case's search, which all of its stages look into."""


def of_search(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Any:
    key = case.folder, case.name
    if key not in FOUND:
        FOUND[key] = seal_searches.searched(case.options, case.folder, lambda asked: look(model, asked))
    return seal_searches.STAGES[match[0]](FOUND[key])


STAGES = {
    "clip_pixel_values": pixel_values,
    "owl_pixel_values": owl_pixel_values,
    "owl_embeds": owl_embeds,
    "loc_positions": loc_positions,
    "loc_hidden": loc_hidden,
    "seg_embeds": seg_embeds,
    "det_embeds": det_embeds,
    "low_res_masks": low_res_masks,
    "boxes": boxes,
    "scores": scores,
    "mask|heatmap": mask,
    "error": error,
    "|".join(seal_searches.STAGES): of_search,
}
