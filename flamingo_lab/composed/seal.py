"""SEAL, "Show, sEArch and TelL": a model that says what it cannot see, and one that finds it (V*, arXiv 2312.14135)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flamingo_lab.composed import Composed
from flamingo_lab.errors import BadCheckpoint
from flamingo_lab.family import flag

if TYPE_CHECKING:
    from flamingo_lab.prepared import Seats
    from flamingo_lab.search.vstar import VStar


def build(name: str, models: Seats) -> VStar:
    """The two models with the guided search between them. Raises `BadCheckpoint` where one stands in the other's place."""
    from flamingo_lab.config import TwoLengths
    from flamingo_lab.search.vstar import VQA, VSM, VStar

    vqa, vsm = models.models[VQA], models.models[VSM]
    if not isinstance(vqa.architecture.connector, TwoLengths):
        raise BadCheckpoint(
            f"{vqa.unread.about['weights']}: shows no details beside a picture; {flag(VQA)} is for seal_vqa_7b"
        )
    if vsm.architecture.locator is None:
        raise BadCheckpoint(
            f"{vsm.unread.about['weights']}: locates nothing in a picture; {flag(VSM)} is for seal_vsm_7b"
        )
    return VStar(name, models)


COMPOSED = Composed(
    name="seal",
    title="SEAL (V*): answering with guided visual search",
    paper="arXiv 2312.14135",
    models={"vqa": "seal_vqa_7b", "vsm": "seal_vsm_7b"},
    build=build,
)
