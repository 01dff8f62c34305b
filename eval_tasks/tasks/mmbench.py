"""MMBench: abilities of vision-language models, each question also with its options rotated (Liu et al. 2023)."""

from __future__ import annotations

import base64
import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from eval_tasks.errors import BadRow
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing.options import LETTER, LETTER_IN_CHINESE, LETTER_LMMS_EVAL, RANKED_LETTERS, SELECT
from eval_tasks.sources import Row, cell, json_rows, need, number, text
from eval_tasks.task import OF_ONE_SPLIT, Hub, Sample
from flamingo_lab.prompt import Image

ROTATION = 1_000_000
"""A question's rotations have its index plus a multiple of this."""

FILES = {
    "dev": ("mmbench_dev_20230712.tsv", "MMBench_DEV_EN.tsv", "MMBench_DEV_EN_V11.tsv"),
    "dev-cn": ("mmbench_dev_cn_20231003.tsv", "MMBench_DEV_CN.tsv", "MMBench_DEV_CN_V11.tsv"),
}

LONGEST_INDEX = 64
"""Letters up to which a cell that holds no picture is the index of the row that does."""


def options_of(row: Mapping[str, object]) -> tuple[str, ...]:
    """The texts of the options that a row has; absent cells read as `nan` and `none` in some files."""
    return tuple(option for letter in "ABCDEFGH" if (option := cell(row, letter)))


def rotated(sample: Sample, rotation: int) -> Sample:
    """The question with its options moved on by so many places, the last ones first, as in the authors' files."""
    choices, place = sample.choices, string.ascii_uppercase.index(sample.targets[0])
    return replace(
        sample,
        id=str(int(sample.id) + rotation * ROTATION),
        choices=(*choices[-rotation:], *choices[:-rotation]),
        targets=(string.ascii_uppercase[(place + rotation) % len(choices)],),
        facts={"rotation": rotation},
    )


class MMBench(FileTask):
    """The figure of papers is circular: a question counts where the model is right about all rotations of it."""

    name = "mmbench"
    title = "Abilities, two to four options, asked in every rotation"
    paper = "https://arxiv.org/abs/2307.06281"
    source = "mmbench_dev_20230712.tsv or MMBench_DEV_*.tsv of open-compass/MMBench, pictures inside"
    files = "a table of MMBench's dev set (https://github.com/open-compass/MMBench)"
    hub = Hub(
        "lmms-lab/MMBench",
        splits={"dev-cn": "dev"},
        configs={"dev": "en", "dev-cn": "cn"},
        revision="56ba1af8954932c4804bd3f522e05ed96e63b654",
    )
    licence = "Apache-2.0 [unread]"
    split = "dev"
    splits = ("dev", "dev-cn")
    splits_for_shots = ()
    options = OF_ONE_SPLIT
    sizes = (4_329, 4_329)
    metrics = (MetricName("mmbench", "circular"), MetricName("mmbench", "vanilla"))
    wordings = (LETTER, RANKED_LETTERS, LETTER_LMMS_EVAL, SELECT, LETTER_IN_CHINESE)
    max_new_tokens = 16
    example = Sample("", (), "What is it?", ("A",), "", ("a cat", "a dog"), context={"hint": ""})

    def samples(self, split: str, data: Path | None) -> Sequence[Sample]:
        """The rows in their order, each told how many forms of its question there are.

        Some files hold the first forms alone; the others are made then, behind them, so that every rotation is asked.
        """
        found = list(super().samples(split, data))
        if not any(sample.facts["rotation"] for sample in found):
            found += [rotated(sample, rotation) for sample in found for rotation in range(1, len(sample.choices))]
        forms = Counter(sample.document for sample in found)
        return [replace(one, facts={**one.facts, "rotations": forms[one.document]}) for one in found]

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """A table a language. A picture that stands in another row is told by that row's index."""
        file = need(root, *FILES[split], origin=self.files)
        rows = json_rows(file)
        held = {str(row.get("index")): text(row, "image", f"{file}, row {place}") for place, row in enumerate(rows)}
        for place, row in enumerate(rows):
            where = f"{file}, row {place}"
            encoded = held[str(row["index"])]
            if len(encoded) <= LONGEST_INDEX:
                if encoded not in held:
                    raise BadRow(f"{where}: its picture should be in the row with index {encoded!r}, which is not here")
                encoded = held[encoded]
            yield _sample(where, row, Image(partial(base64.b64decode, encoded), name=f"{row['index']}.jpg"))

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """The same columns, with decoded pictures."""
        from eval_tasks import parquet

        for place, row in enumerate(rows):
            where = f"{root}, {split} row {place}"
            yield _sample(where, row, parquet.picture(row, "image", where))


def kinds_of(row: Row) -> dict[str, str]:
    """The abilities that a question asks for, where the table has them."""
    kinds = {"ability": cell(row, "l2-category") or cell(row, "L2-category"), "category": cell(row, "category")}
    return {name: kind for name, kind in kinds.items() if kind}


def _sample(where: str, row: Row, image: Image) -> Sample:
    index, choices, right = number(row, "index", where), options_of(row), text(row, "answer", where)
    if right not in tuple(string.ascii_uppercase[: len(choices)]):
        raise BadRow(f"{where}: the answer {right!r} is none of its {len(choices)} options")
    rotation, group = divmod(index, ROTATION)
    return Sample(
        id=str(index),
        images=(image,),
        question=text(row, "question", where),
        targets=(right,),
        document=str(group),
        choices=choices,
        slices=kinds_of(row),
        facts={"rotation": rotation},
        context={"hint": cell(row, "hint")},
    )


TASK = MMBench()
