"""Stages that every family has: pixels, features, embeddings, logits."""

from __future__ import annotations

import re

import torch
from torch import Tensor

import flamingo_lab as fl
from flamingo_lab.engine import reference
from flamingo_lab.engine.plan import Job, job
from tests.families.goldens import Case, Row


def ready(model: fl.LoadedModel, case: Case, row: Row) -> Job:
    """The row as a job, cut where the authors cut it."""
    return job(model, fl.Request("golden", row.prompt, max_new_tokens=1, is_cut=True, padding=case.padding))


def views(model: fl.LoadedModel, row: Row, *, is_object: bool = False) -> list[Tensor]:
    """Each picture's views; those of details (SEAL) apart."""
    images = [image for image in row.prompt.images if image.is_object == is_object]
    return [torch.from_numpy(model.pipeline(image.load())) for image in images]


def shown_tokens(model: fl.LoadedModel, row: Row, *, is_object: bool = False) -> list[Tensor]:
    """Each picture's tokens, as far as the prompt shows them; those of details (SEAL) apart."""
    images = row.prompt.images
    encoded = model.vlm.encode(
        [torch.from_numpy(model.pipeline(image.load())) for image in images], [image.size for image in images]
    )
    slots = model.renderer.render(row.prompt).slots
    for number, tokens in enumerate(encoded):
        own = [tokens[slot.first : slot.first + slot.tokens] for slot in slots if slot.image == number]
        encoded[number] = torch.cat(own) if own else tokens
    return [tokens for tokens, image in zip(encoded, images, strict=True) if image.is_object == is_object]


def pixel_values(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    return torch.cat(views(model, row))


def vision_features(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    return model.vlm.tower(torch.cat(views(model, row)))


def image_embeds(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    return torch.cat(shown_tokens(model, row))


def image_embeds_every(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    """Every so many rows of each picture by itself."""
    return torch.cat([tokens[:: int(match[1])] for tokens in shown_tokens(model, row)])


def inputs_embeds(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    asked = ready(model, case, row)
    ids = torch.tensor([asked.ids])
    return model.vlm.embed(ids, [asked.sequence.fills], [reference.picture_tokens(model, asked)])[0]


def image_attention_mask(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    slots = max(1, max(len(other.prompt.images) for other in case.rows))
    sees = torch.tensor(model.renderer.render(row.prompt).sees)
    return (sees[:, None] == torch.arange(slots)).float()


def logits(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    asked = ready(model, case, row)
    noise = model.noise(asked.request.id)
    return reference.logits(model, asked.sequence, reference.picture_tokens(model, asked), noise=noise)


def class_logprobs(model: fl.LoadedModel, case: Case, row: Row, match: re.Match[str]) -> Tensor:
    answer = model.generate(row.prompt, fl.Rank(case.classes))
    assert answer.option_logprobs is not None
    return torch.tensor(answer.option_logprobs)


STAGES = {
    "pixel_values": pixel_values,
    "vision_features": vision_features,
    "image_embeds|perceiver": image_embeds,
    r"image_embeds_every_(\d+)(?:st|nd|rd|th)": image_embeds_every,
    "inputs_embeds": inputs_embeds,
    "image_attention_mask": image_attention_mask,
    "logits": logits,
    "class_logprobs": class_logprobs,
}
