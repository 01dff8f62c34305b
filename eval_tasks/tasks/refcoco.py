"""RefCOCO: things named in any words (Yu et al. 2016)."""

from __future__ import annotations

from eval_tasks import coco
from eval_tasks.refer_task import YEAR, ReferTask
from eval_tasks.task import Hub


class RefCOCO(ReferTask):
    """Sentences of the split UNC. `testA` asks for people, `testB` for other things."""

    name = "refcoco"
    title = "Boxes of things that a sentence names"
    paper = "https://arxiv.org/abs/1608.00272"
    source = "refcoco/refs(unc).p and refcoco/instances.json of lichengunc/refer, photographs of COCO"
    files = f"the folder refcoco of lichengunc/refer (https://github.com/lichengunc/refer) and {YEAR} of {coco.SITE}"
    hub = Hub("lmms-lab/RefCOCO", revision="a5dff0b3194715fda69b2d6a0d2aaafb41eaa407", lacks=("train",))
    splits = ("train", "val", "testA", "testB")
    sizes = (120_624, 10_834, 5_657, 5_095)
    folder = "refcoco"
    refs = "refs(unc).p"
    mixed = ("val",)


TASK = RefCOCO()
