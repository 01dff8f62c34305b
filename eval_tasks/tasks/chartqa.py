"""ChartQA: questions about charts, written by people or generated (Masry et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from eval_tasks.errors import BadRow, MissingData
from eval_tasks.phrasing import PLAIN, SHORT_ANSWER
from eval_tasks.sources import Row, hub_folder, image, inside, json_rows, parquet_files, parquet_rows, text
from eval_tasks.task import MetricName, Sample, Task
from flamingo_lab.prompt import Image

HUB = "HuggingFaceM4/ChartQA"
FOLDER = "ChartQA Dataset"
KINDS = ("human", "augmented")


class ChartQA(Task):
    """Labels are taken as they stand, oddities included; the overall score is the mean of the two kinds."""

    name = "chartqa"
    title = "Questions about charts"
    paper = "https://aclanthology.org/2022.findings-acl.177"
    source = f"the original folder {FOLDER!r}, or {HUB} on the hub"
    licence = "GPL-3.0"
    splits = ("train", "val", "test")
    metrics = (
        MetricName("relaxed_accuracy", "pix2struct"),
        MetricName("relaxed_accuracy", "qwen-vl"),
        MetricName("exact_match", "strip-lower"),
    )
    wordings = (PLAIN, SHORT_ANSWER)
    mean_of = tuple(f"kind={kind}" for kind in KINDS)

    def samples(self, split: str, data: Path | None) -> Sequence[Sample]:
        """The human questions, then the augmented ones; a part whose file is absent is left out, both absent is an error."""
        root = data or hub_folder(HUB)
        if root is None:
            raise MissingData(
                f"chartqa: no data; point --data to the folder {FOLDER!r} of the authors' archive, or fetch it with: "
                f"hf download --repo-type dataset {HUB}"
            )
        if not root.is_dir():
            raise MissingData(f"{root}: no such folder; --data is the root of the benchmark's own files")
        if files := parquet_files(root, split):
            return list(_from_parquet(split, files))
        folder = root / FOLDER / split if (root / FOLDER).is_dir() else root / split
        found = list(_from_folder(split, folder, root))
        if not found:
            names = " or ".join(f"{split}_{kind}.json" for kind in KINDS)
            raise MissingData(f"{folder}: no questions of the {split} split here; {names} is expected")
        return found


def _from_folder(split: str, folder: Path, root: Path) -> Iterator[Sample]:
    """The authors' layout: SPLIT/SPLIT_KIND.json beside SPLIT/png/."""
    for kind in KINDS:
        file = folder / f"{split}_{kind}.json"
        for number, row in enumerate(json_rows(file) if file.is_file() else []):
            where = f"{file}, row {number}"
            name = text(row, "imgname", where)
            png = inside(folder / "png", name, where)
            picture = image(png, str(png.relative_to(root)))
            yield _sample(f"{split}-{kind}-{number}", kind, name, picture, row, text(row, "label", where), where)


def _from_parquet(split: str, files: list[Path]) -> Iterator[Sample]:
    """The hub's layout: `label` is a list, and nothing names the picture, so its digest stands for the document."""
    for number, row in enumerate(parquet_rows(files)):
        where = f"{files[0].parent}, {split} row {number}"
        held, labels, machine = row.get("image"), row.get("label"), row.get("human_or_machine")
        if not isinstance(held, dict) or not isinstance(held.get("bytes"), bytes):
            raise BadRow(f"{where}: the field 'image' holds no picture; the file is not in the hub's layout")
        if not isinstance(labels, list) or not labels or machine not in (0, 1):
            raise BadRow(f"{where}: 'label' or 'human_or_machine' is missing; the file is not in the hub's layout")
        kind = KINDS[machine]
        picture = Image(held["bytes"], name=f"{split}-{number}.png")
        yield _sample(f"{split}-{kind}-{number}", kind, picture.digest, picture, row, *map(str, labels), where)


def _sample(identity: str, kind: str, document: str, picture: Image, row: Row, *labels_and_where: str) -> Sample:
    *labels, where = labels_and_where
    return Sample(
        id=identity,
        images=(picture,),
        question=text(row, "query", where),
        targets=tuple(labels),
        document=document,
        slices={"kind": kind},
    )


TASK = ChartQA()
