"""MME: perception and cognition by two yes/no questions a picture (Fu et al. 2023)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from eval_tasks import parquet
from eval_tasks.errors import BadRow
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing import PLAIN
from eval_tasks.sources import Row, held_in, need, picture, seek, text
from eval_tasks.task import OF_ONE_SPLIT, Hub, Sample
from flamingo_lab.prompt import Image

PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
PARTS = dict.fromkeys(PERCEPTION, "perception") | dict.fromkeys(COGNITION, "cognition")
"""The categories, and which of the two figures each counts for."""

QUESTIONS = 2
"""Of each picture: one whose answer is yes, one whose answer is no."""


class MME(FileTask):
    """The figures are the slices `part=perception`, at most 2000 points, and `part=cognition`, at most 800."""

    name = "mme"
    title = "Perception and cognition by yes or no"
    paper = "https://arxiv.org/abs/2306.13394"
    source = "CATEGORY.txt and the pictures of a folder a category, of MME_Benchmark"
    files = "MME's folders and its eval_tool/Your_Results (https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models)"
    hub = Hub("lmms-lab/MME", revision="d6c9023f017b564f7b3ccccf5348166bce8fdbcd")
    licence = "for research [unread]"
    splits_for_shots = ()
    options = OF_ONE_SPLIT
    sizes = (2_374,)
    metrics = (MetricName("mme", "official"),)
    wordings = (PLAIN,)
    max_new_tokens = 8
    example = Sample("", (), "Is there a dog in this image? Please answer yes or no.", ("Yes",), "")

    def samples(self, split: str, data: Path | None) -> Sequence[Sample]:
        """As they stand, checked: without both questions of a picture there is no acc+."""
        found = super().samples(split, data)
        counts = Counter(sample.document for sample in found)
        for document, count in counts.items():
            if count != QUESTIONS:
                raise BadRow(f"{self.name}: {document} has {count} questions, not {QUESTIONS}; its files are damaged")
        return found

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """Lines of picture, question, right answer; what follows is somebody's answer. The question says how to answer."""
        for category in PARTS:
            name = f"{category}.txt"
            file = need(root, name, f"eval_tool/Your_Results/{name}", f"Your_Results/{name}", origin=self.files)
            folder = need(root, category, origin=self.files)
            folder = seek(folder, "images") or folder
            for place, line in enumerate(held_in(file), start=1):
                where, fields = f"{file}, line {place}", line.split("\t")
                if len(fields) < 3:
                    raise BadRow(f"{where}: picture, question and right answer with tabs between are expected")
                image = picture(folder, fields[0], where)
                yield _sample(f"{category}/{fields[0]}", category, fields[1], fields[2], image, where)

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """`question_id` names the picture, as CATEGORY/PICTURE."""
        for place, row in enumerate(rows):
            where = f"{root}, row {place}"
            document, category = text(row, "question_id", where), text(row, "category", where)
            image = parquet.picture(row, "image", where)
            yield _sample(document, category, text(row, "question", where), text(row, "answer", where), image, where)


def _sample(document: str, category: str, question: str, right: str, image: Image, where: str) -> Sample:
    if category not in PARTS:
        raise BadRow(f"{where}: {category!r} is no category of MME; they are {', '.join(PARTS)}")
    return Sample(
        id=f"{document}/{question}",
        images=(image,),
        question=question,
        targets=(right,),
        document=document,
        slices={"part": PARTS[category], "category": category},
        facts={"questions": QUESTIONS},
    )


TASK = MME()
