"""Open questions: VQAv2, OK-VQA, GQA, VizWiz, TextVQA, DocVQA, InfographicVQA, OCR-VQA, ChartQA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.tasks import charts
from tests.tasks.benchmarks import FILES, HUB, Tiny, builds, parquet, picture, stored, write

PEOPLE = 10


def people(answer: str, **more: str) -> list[dict[str, Any]]:
    """Ten answers with their ids."""
    return [{"answer": answer, "answer_confidence": "yes", "answer_id": n + 1, **more} for n in range(PEOPLE)]


def vqa(root: Path, questions: str, annotations: str, year: str, **more: str) -> None:
    """Three questions about two photographs in VQA's two files."""
    asked = [
        (9, 9000, "What colour is the cup?", "red"),
        (9, 9001, "Is it full?", "yes"),
        (10, 10000, "Where?", "here"),
    ]
    write(
        root / questions,
        {"questions": [{"image_id": image, "question_id": key, "question": text} for image, key, text, _ in asked]},
    )
    write(
        root / annotations,
        {
            "annotations": [
                {
                    "image_id": image,
                    "question_id": key,
                    "question_type": "what color" if key == 9000 else "none of the above",
                    "answer_type": "yes/no" if answer == "yes" else "other",
                    "answers": people(answer, **more),
                }
                for image, key, _, answer in asked
            ]
        },
    )
    for image in (9, 10):
        picture(root / year / f"COCO_{year}_{image:012d}.jpg", image if year.startswith("val") else 100 + image)


@builds("vqav2", FILES)
def vqav2(root: Path) -> Tiny:
    for year in ("train2014", "val2014"):
        vqa(root, f"v2_OpenEnded_mscoco_{year}_questions.json", f"v2_mscoco_{year}_annotations.json", year)
    # Other photographs are in train, so that shots can be taken from it.
    for kind in ("questions", "annotations"):
        name = {
            "questions": "v2_OpenEnded_mscoco_train2014_questions",
            "annotations": "v2_mscoco_train2014_annotations",
        }
        file = root / f"{name[kind]}.json"
        file.write_text(
            file.read_text().replace('"image_id": 9,', '"image_id": 19,').replace('"image_id": 10,', '"image_id": 20,')
        )
    for image in (19, 20):
        picture(root / "train2014" / f"COCO_train2014_{image:012d}.jpg", image)
    slices = {"question_type": "what color", "answer_type": "other"}
    return Tiny("val", ["9000", "9001", "10000"], "coco-9", slices, shots=True)


@builds("vqav2", HUB)
def vqav2_hub(root: Path) -> Tiny:
    rows = [
        {
            "question_id": 9000 + number,
            "image_id": 9,
            "question": text,
            "question_type": "what color",
            "answer_type": "other",
            "multiple_choice_answer": "red",
            "answers": people("red"),
            "image": stored(9),
        }
        for number, text in enumerate(("What colour is the cup?", "Is it full?", "Where?"))
    ]
    parquet(root / "data" / "validation-00000-of-00002.parquet", rows[:2])
    parquet(root / "data" / "validation-00001-of-00002.parquet", rows[2:])
    return Tiny("val", ["9000", "9001", "9002"], "coco-9", {"question_type": "what color", "answer_type": "other"})


@builds("okvqa", FILES)
def okvqa(root: Path) -> Tiny:
    questions, annotations = "OpenEnded_mscoco_val2014_questions.json", "mscoco_val2014_annotations.json"
    vqa(root, questions, annotations, "val2014", raw_answer="reds")
    return Tiny("val", ["9000", "9001", "10000"], "coco-9", {"question_type": "what color"})


@builds("okvqa", HUB)
def okvqa_hub(root: Path) -> Tiny:
    row = {"question_id": "9000", "question": "What colour is the cup?", "answers": ["red"] * PEOPLE}
    parquet(
        root / "data" / "val2014-00000-of-00001.parquet", [row | {"image": stored(9), "question_type": "what color"}]
    )
    return Tiny("val", ["9000"], None, {"question_type": "what color"})


GQA = {
    "imageId": "n55",
    "question": "Is the cup red?",
    "answer": "yes",
    "fullAnswer": "Yes, the cup is red.",
    "isBalanced": True,
    "groups": {"global": None, "local": "10c-cup_color"},
    "entailed": ["2002"],
    "equivalent": ["2001"],
    "types": {"structural": "verify", "semantic": "attr", "detailed": "verifyAttr"},
    "annotations": {"question": {"2": "701"}, "answer": {}, "fullAnswer": {"2": "701"}},
    "semantic": [{"operation": "select", "dependencies": [], "argument": "cup (701)"}],
    "semanticStr": "select: cup (701)",
}
GQA_SLICES = {"structural": "verify", "semantic": "attr", "steps": "1", "words": "4"}


@builds("gqa", FILES)
def gqa(root: Path) -> Tiny:
    write(root / "testdev_balanced_questions.json", {"2001": GQA, "2002": GQA | {"answer": "no"}})
    picture(root / "images" / "n55.jpg", 1)
    return Tiny("testdev", ["2001", "2002"], "n55", GQA_SLICES)


@builds("gqa", HUB)
def gqa_hub(root: Path) -> Tiny:
    kept = {key: value for key, value in GQA.items() if key not in ("annotations",)}
    rows = [{"id": "2001", **kept}, {"id": "2002", **kept, "answer": "no"}]
    parquet(root / "testdev_balanced_instructions" / "testdev-00000-of-00001.parquet", rows)
    parquet(root / "testdev_balanced_images" / "testdev-00000-of-00001.parquet", [{"id": "n55", "image": stored(1)}])
    return Tiny("testdev", ["2001", "2002"], "n55", GQA_SLICES)


@builds("vizwiz", FILES)
def vizwiz(root: Path) -> Tiny:
    for split in ("train", "val"):
        names = [f"VizWiz_{split}_{number:08d}.jpg" for number in (9, 10)]
        rows = [
            {
                "image": name,
                "question": "What is this?",
                "answers": people(answer),
                "answer_type": "other",
                "answerable": 1,
            }
            for name, answer in zip(names, ("soup", "beans"), strict=True)
        ]
        for row in rows:
            for answer in row["answers"]:
                del answer["answer_id"]
        write(root / "Annotations" / f"{split}.json", rows)
        for number, name in enumerate(names):
            picture(root / split / name, number + (50 if split == "train" else 0))
    ids = ["VizWiz_val_00000009.jpg", "VizWiz_val_00000010.jpg"]
    return Tiny("val", ids, ids[0], {"answer_type": "other", "answerable": "yes"}, shots=True)


@builds("vizwiz", HUB)
def vizwiz_hub(root: Path) -> Tiny:
    row = {"question_id": "VizWiz_val_00000009", "question": "What is this?", "answers": ["soup"] * PEOPLE}
    parquet(root / "data" / "val-00000-of-00001.parquet", [row | {"category": "other", "image": stored(0)}])
    return Tiny("val", ["VizWiz_val_00000009.jpg"], "VizWiz_val_00000009.jpg", {"answer_type": "other"})


TEXTVQA = {
    "question": "what brand is it?",
    "image_id": "00a1",
    "image_classes": ["Phone"],
    "image_width": 1024,
    "image_height": 768,
    "answers": ["nokia"] * PEOPLE,
    "question_id": 34602,
    "set_name": "val",
}


@builds("textvqa", FILES)
def textvqa(root: Path) -> Tiny:
    rows = [TEXTVQA, TEXTVQA | {"question_id": 34603, "question": "what year?", "answers": ["2001"] * PEOPLE}]
    write(root / "TextVQA_0.5.1_val.json", {"dataset_type": "val", "data": rows})
    tokens = {"image_id": "00a1", "ocr_tokens": ["NOKIA", "3310"]}
    write(root / "TextVQA_Rosetta_OCR_v0.2_val.json", {"data": [tokens]})
    picture(root / "train_images" / "00a1.jpg", 1)
    return Tiny("val", ["34602", "34603"], "00a1", {"picture size": "0.3 to 1 MP"})


@builds("textvqa", HUB)
def textvqa_hub(root: Path) -> Tiny:
    row = TEXTVQA | {"ocr_tokens": ["NOKIA", "3310"], "image": stored(1)}
    parquet(root / "data" / "validation-00000-of-00001.parquet", [row])
    return Tiny("val", ["34602"], "00a1", {"picture size": "0.3 to 1 MP"})


DOCVQA = {
    "questionId": 4901,
    "question": "What is the date?",
    "question_types": ["form", "handwritten"],
    "docId": 881,
    "ucsf_document_id": "abcd0001",
    "ucsf_document_page_no": "3",
    "answers": ["May 1, 1990", "5/1/90"],
    "data_split": "val",
}
FORM = {"form": "yes", "handwritten": "yes"}


@builds("docvqa", FILES)
def docvqa(root: Path) -> Tiny:
    page = {"image": "documents/abcd0001_3.png"}
    other = {"questionId": 4902, "question": "Who signed?", "answers": ["Leo"]}
    write(root / "val" / "val_v1.0.json", {"dataset_name": "SP-DocVQA", "data": [DOCVQA | page, DOCVQA | page | other]})
    picture(root / "val" / "documents" / "abcd0001_3.png", 1)
    return Tiny("val", ["4901", "4902"], "abcd0001", FORM)


@builds("docvqa", HUB)
def docvqa_hub(root: Path) -> Tiny:
    row = DOCVQA | {"questionId": "4901", "image": stored(1)}
    parquet(root / "DocVQA" / "validation-00000-of-00001.parquet", [row])
    return Tiny("val", ["4901"], "abcd0001", FORM)


INFOVQA = {
    "questionId": 65718,
    "question": "What percent own a phone?",
    "image_url": "https://example.org/37313.jpeg",
    "answers": ["50%"],
    "answer_type": ["image span"],
    "evidence": ["Table/list"],
    "operation/reasoning": ["arithmetic"],
    "data_split": "val",
}
GROUPS = {"image span": "yes", "Table/list": "yes", "arithmetic": "yes"}


@builds("infovqa", FILES)
def infovqa(root: Path) -> Tiny:
    row = INFOVQA | {"image_local_name": "37313.jpeg", "ocr_output_file": "37313.json"}
    write(root / "infographicsVQA_val_v1.0.json", {"dataset_name": "infographicVQA", "data": [row]})
    picture(root / "infographicsvqa_images" / "37313.jpeg", 1)
    return Tiny("val", ["65718"], "37313.jpeg", GROUPS)


@builds("infovqa", HUB)
def infovqa_hub(root: Path) -> Tiny:
    row = INFOVQA | {"questionId": "65718", "image": stored(1), "ocr": "{}"}
    parquet(root / "InfographicVQA" / "validation-00000-of-00001.parquet", [row])
    return Tiny("val", ["65718"], "https://example.org/37313.jpeg", GROUPS)


COVER = {
    "questions": ["Who wrote this book?", "What is the title of this book?"],
    "answers": ["Leo Example", "A Book"],
    "title": "A Book",
    "authorName": "Leo Example",
    "genre": "Travel",
}


@builds("ocrvqa", FILES)
def ocrvqa(root: Path) -> Tiny:
    url = {"imageURL": "https://example.org/1.jpg"}
    write(root / "dataset.json", {"0761183272": COVER | url | {"split": 3}, "0761183273": COVER | url | {"split": 1}})
    picture(root / "images" / "0761183272.jpg", 1)
    picture(root / "images" / "0761183273.png", 2)
    return Tiny("test", ["0761183272-0", "0761183272-1"], "0761183272", {"genre": "Travel"}, shots=True)


@builds("ocrvqa", HUB)
def ocrvqa_hub(root: Path) -> Tiny:
    parquet(root / "data" / "test-00000-of-00001.parquet", [COVER | {"image_id": "0761183272", "image": stored(1)}])
    return Tiny("test", ["0761183272-0", "0761183272-1"], "0761183272", {"genre": "Travel"})


@builds("chartqa", FILES)
def chartqa(root: Path) -> Tiny:
    charts.write(root)
    ids = [f"test-{kind}-{number}" for kind, count in charts.TEST.items() for number in range(count)]
    return Tiny("test", ids, "human-0.png", {"kind": "human"}, shots=True)


@builds("chartqa", HUB)
def chartqa_hub(root: Path) -> Tiny:
    rows = [
        {"image": stored(number), "query": f"how much is {number}?", "label": [str(number)], "human_or_machine": number}
        for number in (0, 1)
    ]
    parquet(root / "data" / "test-00000-of-00001.parquet", rows)
    return Tiny("test", ["test-human-0", "test-augmented-1"], None, {"kind": "human"})
