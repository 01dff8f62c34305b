"""SEAL: what the answering model lacks, what it is shown of objects, and how options are ranked."""

from __future__ import annotations

import re

import torch
from torch import Tensor

import flamingo_lab as fl
from flamingo_lab.engine import loop, reference
from flamingo_lab.engine.plan import Job, job
from flamingo_lab.prompt import Image
from flamingo_lab.search import focus
from tests.families.goldens import Case, Row
from tests.families.stages.common import ready, shown_tokens


def objects(row: Row) -> list[Image]:
    return [image for image in row.prompt.images if image.is_object]


def found(case: Case) -> list[focus.Found]:
    return [focus.Found(one["name"], focus.Box(*one["bbox"])) for one in case.options["search_result"]]


def object_pixel_values(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    return torch.cat([torch.from_numpy(model.pipeline(image.load())) for image in objects(row)])


def object_embeds(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    return torch.cat(shown_tokens(model, row, is_object=True))


def object_crop_boxes(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> list[list[int]]:
    return [list(focus.crop(one.box, row.prompt.images[0].size)) for one in found(case)]


def focus_text(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> str:
    marks = ["<object>"] * len(found(case))
    return "".join(map(str, focus.focus(found(case), marks, row.prompt.images[0].size))).removesuffix("\n")


def missing_objects(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> list[str]:
    return list(focus.missing(row.expect["text"]))


def ranking(model: fl.LoadedModel, case: Case, row: Row) -> fl.Request:
    options = tuple(case.options["answer_options"])
    return fl.Request("golden", row.prompt, fl.Rank(options, normalise="mean", ends=True))


def ranked(model: fl.LoadedModel, case: Case, row: Row) -> fl.Answer:
    """The reference's answer, which the loop has to give too."""
    by_definition = reference.answer(model, ranking(model, case, row))
    (answer,) = loop.answers(model, [ranking(model, case, row)])
    assert answer.text == by_definition.text
    assert torch.allclose(
        torch.tensor(answer.option_logprobs), torch.tensor(by_definition.option_logprobs), atol=1e-4, rtol=0
    )
    return by_definition


def option_losses(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    return -torch.tensor(ranked(model, case, row).option_logprobs)


def option_ids(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> list[list[int]]:
    asked: Job = job(model, ranking(model, case, row))
    assert asked.ids == ready(model, case, row).ids  # the options branch off behind the whole prompt
    return [list(option.ids) for option in asked.options]


def option_chosen(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> int:
    return case.options["answer_options"].index(ranked(model, case, row).text)


STAGES = {
    "object_pixel_values": object_pixel_values,
    "object_embeds": object_embeds,
    "object_crop_boxes": object_crop_boxes,
    "focus_text": focus_text,
    "missing_objects": missing_objects,
    "option_losses": option_losses,
    "option_ids": option_ids,
    "option_chosen": option_chosen,
}
