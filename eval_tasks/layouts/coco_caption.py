"""COCO's result files: a caption a picture, with reference captions in COCO's form (nocaps' too)."""

from __future__ import annotations

from eval_tasks.errors import BadPredictions
from eval_tasks.layouts import Layout
from eval_tasks.metrics import Item
from eval_tasks.predictions import Given, Read, all_have, as_text, field, identity, joined, question, rows, said
from eval_tasks.sources import kinds_in, size_slice

WITHIN = "annotations"


def recognises(given: Given) -> bool:
    """Captions by `image_id` on both sides."""
    return all_have(given.predictions, "image_id", "caption") and all_have(
        given.annotations, "image_id", "caption", within=WITHIN
    )


def read(given: Given) -> Read:
    """One caption a picture; pictures without references are no questions."""
    return Read(joined(given, said(given, "image_id", "caption"), _pictures(given)))


def _pictures(given: Given) -> dict[str, Item]:
    """The pictures by id, with all their references, in slices by their size; nocaps names each one's domain."""
    references: dict[str, list[str]] = {}
    for where, row in rows(given.annotations, WITHIN):
        caption = as_text(where, field(where, row, "caption"))
        references.setdefault(identity(where, row, "image_id"), []).append(caption)
    slices: dict[str, dict[str, str]] = {}
    for where, row in rows(given.annotations, "images"):
        key = identity(where, row, "id")
        if key in slices:
            raise BadPredictions(f"{where}: the picture {key!r} occurs twice in the right answers")
        slices[key] = kinds_in(row, "domain") | size_slice(row.get("width"), row.get("height"))
    return {key: question(key, texts, slices=slices.get(key)) for key, texts in references.items()}


LAYOUT = Layout("a list of {image_id, caption} with COCO's annotations", recognises, read)
