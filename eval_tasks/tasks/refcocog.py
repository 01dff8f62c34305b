"""RefCOCOg: things named in longer sentences (Mao et al. 2016)."""

from __future__ import annotations

from eval_tasks import coco
from eval_tasks.refer_task import YEAR, ReferTask
from eval_tasks.task import Hub


class RefCOCOg(ReferTask):
    """Sentences of the split UMD; Google's shares pictures between train and val."""

    name = "refcocog"
    title = "Boxes of things named in longer sentences"
    paper = "https://arxiv.org/abs/1511.02283"
    source = "refcocog/refs(umd).p and refcocog/instances.json of lichengunc/refer, photographs of COCO"
    files = f"the folder refcocog of lichengunc/refer (https://github.com/lichengunc/refer) and {YEAR} of {coco.SITE}"
    hub = Hub("lmms-lab/RefCOCOg", revision="93af55545967808285637a67431e4971a6f9fd49", lacks=("train",))
    splits = ("train", "val", "test")
    sizes = (80_512, 4_896, 9_602)
    folder = "refcocog"
    refs = "refs(umd).p"
    mixed = ("val",)


TASK = RefCOCOg()
