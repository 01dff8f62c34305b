"""SEAL, "Show, sEArch and TelL": a model that says what it cannot see, and one that finds it (V*, arXiv 2312.14135)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flamingo_lab.composed import Composed

if TYPE_CHECKING:
    from flamingo_lab.prepared import Seats
    from flamingo_lab.search.vstar import VStar


def build(name: str, models: Seats) -> VStar:
    """The two models with the guided search between them."""
    from flamingo_lab.search.vstar import VStar

    return VStar(name, models)


COMPOSED = Composed(
    name="seal",
    title="SEAL (V*): answering with guided visual search",
    paper="arXiv 2312.14135",
    models={"vqa": "seal_vqa_7b", "vsm": "seal_vsm_7b"},
    build=build,
)
