"""AI2D: questions about diagrams from grade school science, with four options (Kembhavi et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks import parquet
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing.options import GENERATED_TEXT, LETTER, RANKED, SELECT
from eval_tasks.sources import Row, json_object, letter, need, picture, seek, text, texts
from eval_tasks.task import Hub, Sample


class AI2D(FileTask):
    """Some questions ask for a letter drawn on the diagram: their diagrams have letters instead of words."""

    name = "ai2d"
    title = "Questions about diagrams, four options"
    paper = "https://arxiv.org/abs/1603.07396"
    source = "ai2d-all.zip and ai2d_test_ids.csv of allenai.org/data/diagrams"
    files = "the folder ai2d and ai2d_test_ids.csv (https://allenai.org/data/diagrams)"
    hub = Hub("lmms-lab/ai2d", revision="c83a9b9692933aff8349157c88a413df9d02c4e5", lacks=("train",))
    licence = "CC BY-SA [unread]"
    splits = ("train", "test")
    splits_for_shots = ("train",)
    sizes = (12_413, 3_088)
    metrics = (MetricName("choice", "letter"), MetricName("choice", "llava"), MetricName("rank", "mean"))
    wordings = (LETTER, RANKED, GENERATED_TEXT, SELECT)
    max_new_tokens = 16
    example = Sample("", (), "Which is the larva?", ("B",), "", ("egg", "caterpillar", "pupa", "moth"))

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """A file of questions a diagram; the test set is a list of diagrams."""
        folder = seek(root, "ai2d") or root
        listed = need(root, "ai2d_test_ids.csv", "ai2d/ai2d_test_ids.csv", origin=self.files)
        test = {line.strip() for line in listed.read_text(encoding="utf-8-sig").split("\n")}
        questions = need(folder, "questions", origin=self.files)
        for file in sorted(questions.glob("*.json"), key=lambda file: (len(file.name), file.name)):
            if (file.name.removesuffix(".png.json") in test) == (split == "test"):
                yield from _of_diagram(folder, file, self.files)

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """Diagrams with letters in the place of words; nothing names them, so their digests stand for the documents."""
        for place, row in enumerate(rows):
            where = f"{root}, {split} row {place}"
            diagram = parquet.picture(row, "image", where)
            yield Sample(
                id=f"{split}-{place}",
                images=(diagram,),
                question=text(row, "question", where),
                targets=(letter(row, "answer", where),),
                document=diagram.digest,
                choices=texts(row, "options", where),
            )


def _of_diagram(folder: Path, file: Path, origin: str) -> Iterator[Sample]:
    """The questions about one diagram, by their words."""
    row = json_object(file)
    name = text(row, "imageName", str(file))
    for asked, held in row.get("questions", {}).items():
        where = f"{file}, {asked!r}"
        has_letters = bool(held.get("abcLabel"))
        images = need(folder, "abc_images" if has_letters else "images", origin=origin)
        yield Sample(
            id=text(held, "questionId", where),
            images=(picture(images, name, where),),
            question=asked,
            targets=(letter(held, "correctAnswer", where),),
            document=name,
            choices=texts(held, "answerTexts", where),
            slices={"labels": "letters" if has_letters else "words"},
        )


TASK = AI2D()
