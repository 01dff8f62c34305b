"""`rices`: the training examples whose pictures are most like the question's, the most similar one last.

Retrieval of in-context examples by similarity (Yang et al. 2021, arXiv 2109.05014; Flamingo, arXiv 2204.14198;
`open_flamingo/eval/rices.py`). Pictures are compared by the cosine of the asked model's own features, see `Embeds`. Unlike
theirs, an example that shares picture or document with the question never counts among the similar ones.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import partial

from eval_tasks.errors import MissingTool
from eval_tasks.shots import LOOKED_AT, Order, Pool, Selection, Usable, drawn, of_question
from eval_tasks.task import Sample
from eval_tasks.vectors import Index, Vectors
from flamingo_lab.errors import BadSetting
from flamingo_lab.model import Embeds


def check() -> None:
    """Refuse where similar pictures could not be searched for."""
    if importlib.util.find_spec("faiss") is None:
        raise MissingTool(
            "similar pictures are found by faiss, which is not installed: pip install flamingo-lab[faiss]"
        )


def order(pool: Pool) -> Order:
    """The pool by similarity to a question. Raises `BadSetting` for a model that does not show its features."""
    check()
    model = pool.model
    if not isinstance(model, Embeds):
        raise BadSetting(
            f"{model.name} does not show what its vision tower makes of a picture (endpoints and hf: models do not), so "
            "similar ones cannot be found: choose another --shot-selection"
        )
    vectors = Vectors(model, pool.features)
    pictures = [image for samples in (pool.samples, pool.asked) for sample in samples for image in sample.images]
    vectors.add(pictures, partial(pool.looked, LOOKED_AT))
    # Examples with the same pictures are one entry of the index; those whose pictures cannot be read are none.
    holders: dict[tuple[str, ...], list[int]] = {}
    for number, sample in enumerate(pool.samples):
        digests = tuple(digest for image in sample.images if (digest := vectors.held(image)))
        if digests and len(digests) == len(sample.images):
            holders.setdefault(digests, []).append(number)
    entries = list(holders.values())
    index = Index(vectors, list(holders))

    def numbers(sample: Sample, usable: Usable) -> Iterator[int]:
        if not sample.images:
            yield from drawn(of_question(pool, sample), len(pool.samples))
            return
        vectors.add(sample.images)
        for entry in index.nearest(vectors.mean([image.digest for image in sample.images])):
            yield from entries[entry]

    return numbers


SELECTION = Selection(
    "most similar pictures by the model's own features, the most similar one last",
    order,
    best_is_last=True,
    fits_own=False,
    has_looked=True,
    check=check,
)
