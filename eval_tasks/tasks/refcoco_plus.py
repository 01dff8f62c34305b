"""RefCOCO+: things named without words of place (Yu et al. 2016)."""

from __future__ import annotations

from eval_tasks import coco
from eval_tasks.refer_task import YEAR, ReferTask
from eval_tasks.task import Hub


class RefCOCOPlus(ReferTask):
    """Sentences of the split UNC. `testA` asks for people, `testB` for other things."""

    name = "refcoco+"
    title = "Boxes of things named without words of place"
    paper = "https://arxiv.org/abs/1608.00272"
    source = "refcoco+/refs(unc).p and refcoco+/instances.json of lichengunc/refer, photographs of COCO"
    files = f"the folder refcoco+ of lichengunc/refer (https://github.com/lichengunc/refer) and {YEAR} of {coco.SITE}"
    hub = Hub("lmms-lab/RefCOCOplus", revision="a283082593c437efc2bb9876d43bc3075cd914fe", lacks=("train",))
    splits = ("train", "val", "testA", "testB")
    sizes = (120_191, 10_758, 5_726, 4_889)
    folder = "refcoco+"
    refs = "refs(unc).p"


TASK = RefCOCOPlus()
