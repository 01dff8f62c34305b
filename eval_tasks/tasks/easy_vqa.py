"""easy-VQA: one coloured shape, questions about colour and shape (Victor Zhou, 2019)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from eval_tasks.errors import UnknownTask
from eval_tasks.phrasing import PLAIN, SHORT_ANSWER
from eval_tasks.sources import image
from eval_tasks.task import MetricName, Sample, Task

SHAPES = {"circle", "rectangle", "triangle"}
YES_NO = {"yes", "no"}
OTHER = "other-pictures"


class EasyVQA(Task):
    """13 possible answers; the package `easy-vqa` brings 4,000 training and 1,000 test pictures of 64 x 64 pixels."""

    name = "easy-vqa"
    title = "Questions about the colour and shape of one thing"
    paper = "https://victorzhou.com/blog/easy-vqa/"
    source = "PyPI package easy-vqa 1.0"
    licence = "MIT"
    splits = ("train", "test")
    sizes = (38_575, 9_673)
    needs_data = False
    metrics = (MetricName("exact_match", "strip-lower"),)
    wordings = (PLAIN, SHORT_ANSWER)
    max_new_tokens = 4
    options: ClassVar[Mapping[str, str]] = {
        OTHER: "put another picture of the split, drawn at random, in the place of each question's own: a model that "
        "reads the picture falls to what the question alone gives away"
    }

    def samples(self, split: str, data: Path | None) -> Sequence[Sample]:
        """Questions in the package's order; those about one picture share a document."""
        if data is not None:
            raise UnknownTask(f"{self.name} comes with the package easy-vqa; leave --data away")
        import easy_vqa

        of_split = {
            "train": (easy_vqa.get_train_questions, easy_vqa.get_train_image_paths),
            "test": (easy_vqa.get_test_questions, easy_vqa.get_test_image_paths),
        }
        read_questions, read_paths = of_split[split]
        paths = {number: Path(path) for number, path in read_paths().items()}
        return [
            Sample(
                id=f"{split}-{number}",
                images=(image(paths[picture], f"{split}/images/{picture}.png"),),
                question=question,
                targets=(answer,),
                document=f"{split}-{picture}",
                slices={"answer": "yes/no" if answer in YES_NO else "shape" if answer in SHAPES else "colour"},
            )
            for number, (question, answer, picture) in enumerate(zip(*read_questions(), strict=True))
        ]

    def altered(self, samples: Sequence[Sample], seed: int, options: frozenset[str]) -> Sequence[Sample]:
        """With `other-pictures`, each question with the picture of another one; it stays in its own document."""
        if OTHER not in options:
            return samples
        images = {sample.document: sample.images for sample in samples}
        documents = list(images)
        places = {document: place for place, document in enumerate(documents)}
        dealt: list[Sample] = []
        for sample in samples:
            drawn = random.Random(f"{seed}/{OTHER}/{sample.id}").randrange(len(documents) - 1)
            other = drawn + (drawn >= places[sample.document])  # any picture but its own
            dealt.append(replace(sample, images=images[documents[other]]))
        return dealt


TASK = EasyVQA()
