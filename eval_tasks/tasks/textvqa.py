"""TextVQA: questions about what is written in photographs (Singh et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks import parquet
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing import IDEFICS_VQA, OCR_TOKENS, OPEN_FLAMINGO_VQA, PLAIN, QWEN_VL_VQA, SHORT_ANSWER, VERY_BRIEF
from eval_tasks.sources import Row, json_object, label, need, picture, rows_in, seek, size_slice, text, texts
from eval_tasks.task import Hub, Sample
from flamingo_lab.prompt import Image


class TextVQA(FileTask):
    """The wording `ocr-tokens` shows the model what a reader of letters found: one model has 25 without and 64 with it."""

    name = "textvqa"
    title = "Questions about text in photographs"
    paper = "https://arxiv.org/abs/1904.08920"
    source = "TextVQA_0.5.1_SPLIT.json, TextVQA_Rosetta_OCR_v0.2_SPLIT.json and train_images/ of textvqa.org"
    files = "the questions, OCR tokens and train_images of TextVQA 0.5.1 (https://textvqa.org/dataset)"
    hub = Hub("lmms-lab/textvqa", splits={"val": "validation"}, revision="9c0699cd19768ac5ab97568f6b3cbac4c0062884")
    licence = "CC BY 4.0 [unread]"
    split = "val"
    splits = ("train", "val")
    splits_for_shots = ("train",)
    sizes = (34_602, 5_000)
    metrics = (
        MetricName("vqa_accuracy", "evalai"),
        MetricName("vqa_accuracy", "gt-vision-lab"),
        MetricName("vqa_accuracy", "lavis"),
    )
    wordings = (PLAIN, SHORT_ANSWER, OCR_TOKENS, VERY_BRIEF, OPEN_FLAMINGO_VQA, IDEFICS_VQA, QWEN_VL_VQA)
    max_new_tokens = 10
    example = Sample("", (), "what brand is it?", ("nokia",), "", context={"ocr": "NOKIA, 3310"})

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """Pictures of val lie with those of train. The file of OCR tokens is only needed by the wording that shows them."""
        file = need(root, f"TextVQA_0.5.1_{split}.json", origin=self.files)
        images = need(root, "train_images", "train_val_images/train_images", origin=self.files)
        tokens_file = seek(root, f"TextVQA_Rosetta_OCR_v0.2_{split}.json")
        tokens = _tokens(tokens_file) if tokens_file else {}
        for place, row in enumerate(rows_in(json_object(file), "data", str(file))):
            where = f"{file}, question {place}"
            image_id = text(row, "image_id", where)
            yield _sample(where, row, picture(images, f"{image_id}.jpg", where), tokens.get(image_id))

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """One row a question, with its OCR tokens."""
        for place, row in enumerate(rows):
            where = f"{root}, {split} row {place}"
            yield _sample(where, row, parquet.picture(row, "image", where), row.get("ocr_tokens"))


def _tokens(file: Path) -> dict[str, list[str]]:
    """The words that a reader found, by picture."""
    rows = rows_in(json_object(file), "data", str(file))
    return {text(row, "image_id", f"{file}, row {place}"): row.get("ocr_tokens", []) for place, row in enumerate(rows)}


def _sample(where: str, row: Row, image: Image, tokens: list[str] | None) -> Sample:
    return Sample(
        id=label(row, "question_id", where),
        images=(image,),
        question=text(row, "question", where),
        targets=texts(row, "answers", where),
        document=text(row, "image_id", where),
        slices=size_slice(row.get("image_width"), row.get("image_height")),
        context={} if tokens is None else {"ocr": ", ".join(tokens)},
    )


TASK = TextVQA()
