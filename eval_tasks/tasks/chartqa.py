"""ChartQA: questions about charts, written by people or generated (Masry et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks import parquet
from eval_tasks.errors import BadRow, MissingData
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing import PLAIN, QWEN_VL_VQA, SHORT_ANSWER, SINGLE_WORD, VERY_BRIEF
from eval_tasks.sources import Row, image, inside, json_rows, text
from eval_tasks.task import Hub, Sample

FOLDER = "ChartQA Dataset"
KINDS = ("human", "augmented")


class ChartQA(FileTask):
    """Labels are taken as they stand, oddities included; the overall score is the mean of the two kinds."""

    name = "chartqa"
    title = "Questions about charts"
    paper = "https://aclanthology.org/2022.findings-acl.177"
    source = f"the original folder {FOLDER!r} (vis-nlp/ChartQA)"
    files = f"the folder {FOLDER!r} of the authors' archive"
    hub = Hub("HuggingFaceM4/ChartQA", revision="b605b6e08b57faf4359aeb2fe6a3ca595f99b6c5")
    licence = "GPL-3.0"
    splits = ("train", "val", "test")
    sizes = (28_299, 1_920, 2_500)
    metrics = (
        MetricName("relaxed_accuracy", "pix2struct"),
        MetricName("relaxed_accuracy", "qwen-vl"),
        MetricName("exact_match", "strip-lower"),
    )
    wordings = (PLAIN, SHORT_ANSWER, SINGLE_WORD, VERY_BRIEF, QWEN_VL_VQA)
    mean_of = tuple(f"kind={kind}" for kind in KINDS)
    example = Sample("", (), "What is the value of the lowest bar?", ("23",), "")

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """The human questions, then the augmented ones; a part whose file is absent is left out, both absent is an error."""
        folder = root / FOLDER / split if (root / FOLDER).is_dir() else root / split
        there = [(kind, file) for kind in KINDS if (file := folder / f"{split}_{kind}.json").is_file()]
        if not there:
            names = " or ".join(f"{split}_{kind}.json" for kind in KINDS)
            raise MissingData(
                f"{folder}: no questions of the {split} split here; {names} is expected, from {self.files}"
            )
        for kind, file in there:
            for number, row in enumerate(json_rows(file)):
                where = f"{file}, row {number}"
                name = text(row, "imgname", where)
                png = inside(folder / "png", name, where)
                yield Sample(
                    id=f"{split}-{kind}-{number}",
                    images=(image(png, str(png.relative_to(root))),),
                    question=text(row, "query", where),
                    targets=(text(row, "label", where),),
                    document=name,
                    slices={"kind": kind},
                )

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """`label` is a list, and nothing names the picture, so its digest stands for the document."""
        for number, row in enumerate(rows):
            where = f"{root}, {split} row {number}"
            picture, labels, machine = (
                parquet.picture(row, "image", where),
                row.get("label"),
                row.get("human_or_machine"),
            )
            if not isinstance(labels, list) or not labels or machine not in (0, 1):
                raise BadRow(f"{where}: 'label' or 'human_or_machine' is missing; the file is not in the hub's layout")
            kind = KINDS[machine]
            yield Sample(
                id=f"{split}-{kind}-{number}",
                images=(picture,),
                question=text(row, "query", where),
                targets=tuple(map(str, labels)),
                document=picture.digest,
                slices={"kind": kind},
            )


TASK = ChartQA()
