"""RefCOCO, RefCOCO+ and RefCOCOg: what the three have in common. One question a sentence, boxes in pixels."""

from __future__ import annotations

import io
import math
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from eval_tasks import boxes, coco, parquet
from eval_tasks.errors import BadRow, MissingData
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing.boxes import BOX_FUYU, BOX_IN_PIXELS, BOX_IN_SHARES, BOX_IN_THOUSANDTHS, BOX_QWEN_VL
from eval_tasks.sources import NOT_THE_LAYOUT, Row, json_object, label, need, number, rows_in, size_slice, text, texts
from eval_tasks.task import Sample
from flamingo_lab.prompt import Image

YEAR = "train2014"
"""All three are about photographs of this split of COCO, so shots leak across them too."""


class ReferTask(FileTask):
    """`folder` and `refs` name the original files. `mixed`: splits of the hub's copy that hold more than the papers' do."""

    folder: ClassVar[str]
    refs: ClassVar[str]
    mixed: ClassVar[tuple[str, ...]] = ()
    licence = "Apache-2.0 [unread]; photographs under Flickr's terms"
    split = "val"
    splits_for_shots = ("train",)
    metrics = (MetricName("iou", "xyxy"),)
    wordings = (BOX_IN_SHARES, BOX_QWEN_VL, BOX_IN_THOUSANDTHS, BOX_IN_PIXELS, BOX_FUYU)
    max_new_tokens = 32
    example = Sample(
        "", (), "left dog", ("[10, 20, 110, 220]",), "", facts={"box": (10, 20, 110, 220), "size": (640, 480)}
    )

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """`refs` says which sentences are of the split, `instances.json` where the things that they name are."""
        refs_file = need(root, f"{self.folder}/{self.refs}", self.refs, origin=self.files)
        instances_file = need(refs_file.parent, "instances.json", origin=self.files)
        instances = json_object(instances_file)
        things = {row.get("id"): row for row in rows_in(instances, "annotations", str(instances_file))}
        sizes = {row.get("id"): row for row in rows_in(instances, "images", str(instances_file))}
        kinds = Counter((row.get("image_id"), row.get("category_id")) for row in things.values())
        for place, ref in enumerate(_refs(refs_file)):
            where = f"{refs_file}, ref {place}"
            if text(ref, "split", where) != split:
                continue
            image_id, thing = number(ref, "image_id", where), things.get(ref.get("ann_id"))
            if thing is None or image_id not in sizes:
                raise BadRow(f"{where}: its thing or its picture is not in {instances_file}")
            photograph = coco.photograph(root, YEAR, image_id, where)
            size = number(sizes[image_id], "width", where), number(sizes[image_id], "height", where)
            facts = {"box": _corners(thing.get("bbox"), where), "size": size}
            same = kinds[thing.get("image_id"), thing.get("category_id")]
            slices = {"things of its kind": str(same) if same < 4 else "4 and more"}
            for sentence in rows_in(ref, "sentences", where):
                key = label(sentence, "sent_id", where)
                yield _sample(key, text(sentence, "sent", where), image_id, photograph, facts, slices)

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """A row is a thing with all its sentences, each of which is a question."""
        if split in self.mixed:
            raise MissingData(
                f"{self.name}: {split} of the data set on the hub is not the split of the papers, it holds other "
                f"annotators' too; point --data to {self.files}, or take {', '.join(self._pure())}"
            )
        for place, row in enumerate(rows):
            where = f"{root}, {split} row {place}"
            photograph, file_name = parquet.picture(row, "image", where), text(row, "file_name", where)
            facts = {"box": _corners(row.get("bbox"), where), "size": photograph.size}
            digits = file_name.partition(".")[0].split("_")
            image_id = next((int(part) for part in digits if part.isdecimal() and len(part) == 12), None)
            if image_id is None:
                raise BadRow(
                    f"{where}: the field 'file_name' is {file_name!r}, no photograph of COCO; {NOT_THE_LAYOUT}"
                )
            for turn, sentence in enumerate(texts(row, "answer", where)):
                key = f"{label(row, 'question_id', where)}-{turn}"
                yield _sample(key, sentence, image_id, photograph, facts, {})

    def _pure(self) -> list[str]:
        return [split for split in self.splits if split not in self.mixed and split != "train"]


def _sample(
    key: str, sentence: str, image_id: int, photograph: Image, facts: Mapping[str, Any], slices: Mapping[str, str]
) -> Sample:
    right = boxes.written("xyxy", facts["box"], facts["size"])
    slices = {**slices, **size_slice(*facts["size"])}
    return Sample(key, (photograph,), sentence, (right,), coco.document(image_id), slices=slices, facts=facts)


def _corners(box: Any, where: str) -> tuple[float, ...]:
    """Left, top, right, bottom from left, top, width, height."""
    held: list[Any] = box if isinstance(box, list) else []
    if len(held) != 4 or not all(isinstance(one, int | float) and math.isfinite(one) for one in held):
        raise BadRow(f"{where}: the field 'bbox' is {box!r}, not four numbers; {NOT_THE_LAYOUT}")
    left, top, width, height = held
    return left, top, left + width, top + height


class _Plain(pickle.Unpickler):
    """Reads numbers, texts, lists and dictionaries. Anything that would have to be looked up, and so could run, is refused."""

    def find_class(self, module_name: str, global_name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}, which plain data does not")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it refers to something outside of the file")


def _refs(file: Path) -> list[Row]:
    """The authors' files are pickles of Python 2, of plain data only."""
    try:
        held = _Plain(io.BytesIO(file.read_bytes()), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, OSError, MemoryError) as error:
        raise MissingData(f"{file}: not readable as a pickle of plain data ({error})") from None
    if not isinstance(held, list) or not all(isinstance(row, dict) for row in held):
        raise BadRow(f"{file}: a list of objects is expected")
    return held
