"""What is sent to the Robust Reading Competition (DocVQA, InfographicVQA), with a file of its right answers."""

from __future__ import annotations

from collections.abc import Iterator

from eval_tasks.layouts import Layout
from eval_tasks.metrics import Item
from eval_tasks.predictions import (
    Given,
    Read,
    all_have,
    by_key,
    field,
    identity,
    joined,
    question,
    rows,
    said,
    texts,
)
from eval_tasks.sources import tags_in
from eval_tasks.tasks.infovqa import GROUPS

ID = "questionId"
DOCUMENTS = ("ucsf_document_id", "docId", "image", "image_local_name")
"""Fields that name what questions share, the widest first."""

KINDS = ("question_types", *GROUPS)
"""Fields with the kinds of a question: DocVQA's, then InfographicVQA's."""


def recognises(given: Given) -> bool:
    """Answers by `questionId`, and annotations in the competition's form."""
    return all_have(given.predictions, ID, "answer") and all_have(given.annotations, ID, "answers", within="data")


def read(given: Given) -> Read:
    """One answer a question."""
    return Read(joined(given, said(given, ID, "answer"), by_key(_questions(given))))


def _questions(given: Given) -> Iterator[tuple[str, str, Item]]:
    """Questions about one document, or one picture where documents are not named, belong together, and in their kinds."""
    for where, row in rows(given.annotations, "data"):
        key = identity(where, row, ID)
        document = next((row[name] for name in DOCUMENTS if row.get(name)), "")
        kinds = {name: yes for kind in KINDS for name, yes in tags_in(row, kind).items()}
        yield (
            where,
            key,
            question(key, texts(where, field(where, row, "answers")), document=str(document), slices=kinds),
        )


LAYOUT = Layout("a list of {questionId, answer} with {data: [{questionId, answers}]} as annotations", recognises, read)
