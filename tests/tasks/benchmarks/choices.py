"""Options, yes or no, and grades: AI2D, ScienceQA, MMMU, MMBench, POPE, SEED-Bench, MathVista, Hateful Memes, MME, V*Bench,
MM-Vet and LLaVA-Bench."""

from __future__ import annotations

import base64
import csv
from pathlib import Path

from eval_tasks.tasks.mme import PARTS
from tests.tasks.benchmarks import FILES, HUB, Tiny, builds, parquet, picture, png, stored, write

STAGES = ["egg", "caterpillar", "pupa", "moth"]


@builds("ai2d", FILES)
def ai2d(root: Path) -> Tiny:
    folder = root / "ai2d"
    for number, name in enumerate(("9", "10", "11")):
        questions = {
            "Which is the larva?": {
                "abcLabel": False,
                "answerTexts": STAGES,
                "correctAnswer": 1,
                "questionId": f"{name}.png-0",
            },
            "Which letter is the moth?": {
                "abcLabel": True,
                "answerTexts": ["A", "B", "C", "D"],
                "correctAnswer": 3,
                "questionId": f"{name}.png-1",
            },
        }
        write(folder / "questions" / f"{name}.png.json", {"imageName": f"{name}.png", "questions": questions})
        picture(folder / "images" / f"{name}.png", number)
        picture(folder / "abc_images" / f"{name}.png", 50 + number)
    (root / "ai2d_test_ids.csv").write_text("9\n10\n")
    ids = ["9.png-0", "9.png-1", "10.png-0", "10.png-1"]
    return Tiny("test", ids, "9.png", {"labels": "words"}, shots=True)


@builds("ai2d", HUB)
def ai2d_hub(root: Path) -> Tiny:
    row = {"question": "Which is the larva?", "options": STAGES, "answer": "1", "image": stored(0)}
    parquet(root / "data" / "test-00000-of-00001.parquet", [row])
    return Tiny("test", ["test-0"])


SCIENCEQA = {
    "question": "Which is north?",
    "choices": ["A town", "B town"],
    "answer": 1,
    "hint": "",
    "task": "closed choice",
    "grade": "grade2",
    "subject": "social science",
    "topic": "geography",
    "category": "Geography",
    "skill": "Read a map",
    "lecture": "",
    "solution": "",
}
SCIENCEQA_SLICES = {"picture": "yes", "hint": "no", "context": "image", "subject": "social science", "grades": "1-6"}


@builds("scienceqa", FILES)
def scienceqa(root: Path) -> Tiny:
    hinted = {"hint": "Moths fly.", "image": None, "grade": "grade10"}
    problems = {
        "9": SCIENCEQA | {"image": "image.png", "split": "test"},
        "12": SCIENCEQA | hinted | {"split": "test"},
        "13": SCIENCEQA | {"image": None, "split": "train"},
    }
    write(root / "problems.json", problems)
    write(root / "pid_splits.json", {"train": ["13"], "val": [], "test": ["9", "12"]})
    picture(root / "images" / "test" / "9" / "image.png", 1)
    return Tiny("test", ["9", "12"], "9", SCIENCEQA_SLICES, shots=True)


@builds("scienceqa", HUB)
def scienceqa_hub(root: Path) -> Tiny:
    rows = [SCIENCEQA | {"image": stored(1, "image.png")}, SCIENCEQA | {"image": None, "hint": "Moths fly."}]
    parquet(root / "data" / "test-00000-of-00001.parquet", rows)
    return Tiny("test", ["test-0", "test-1"], "test-0", SCIENCEQA_SLICES)


def mmmu_row(key: str, **more: object) -> dict[str, object]:
    """A question of multiple choice with two pictures, one of them an option."""
    return {
        "id": key,
        "question": "Which of these is <image 1>?",
        "options": "['a cat', '<image 2>']",
        "explanation": "",
        "image_1": stored(1),
        "image_2": stored(2),
        "image_3": None,
        "answer": "A",
        "question_type": "multiple-choice",
        "subfield": "Renaissance",
        "topic_difficulty": "Easy",
        "img_type": "['Paintings', 'Photographs']",
        **more,
    }


MMMU_SLICES = {
    "discipline": "Art and Design",
    "subject": "Art_Theory",
    "kind": "multiple-choice",
    "topic_difficulty": "Easy",
    "subfield": "Renaissance",
    "Paintings": "yes",
    "Photographs": "yes",
}


@builds("mmmu", FILES)
def mmmu(root: Path) -> Tiny:
    folders = {"Art_Theory": "A", "Math": "['24/7', '3.43']"}
    for split in ("validation", "dev"):
        for number, (subject, answer) in enumerate(folders.items()):
            first = 2 * number + (10 if split == "dev" else 1)
            row = mmmu_row(f"{split}_{subject}_1", image_1=stored(first), image_2=stored(first + 1))
            if subject == "Math":
                row |= {"question_type": "open", "options": "[]", "answer": answer, "image_2": None}
            if split == "dev":  # a text is asked once in MMMU
                row["question"] = f"And {subject}: {row['question']}"
            parquet(root / subject / f"{split}-00000-of-00001.parquet", [row])
    return Tiny(
        "validation",
        ["validation_Art_Theory_1", "validation_Math_1"],
        "validation_Art_Theory_1",
        MMMU_SLICES,
        shots=True,
    )


@builds("mmmu", HUB)
def mmmu_hub(root: Path) -> Tiny:
    parquet(root / "data" / "validation-00000-of-00001.parquet", [mmmu_row("validation_Art_Theory_1")])
    return Tiny("validation", ["validation_Art_Theory_1"], "validation_Art_Theory_1", MMMU_SLICES)


MMBENCH = {"question": "What is it?", "hint": "nan", "A": "cat", "B": "dog", "C": "", "D": "nan", "answer": "A"}


@builds("mmbench", FILES)
def mmbench(root: Path) -> Tiny:
    encoded = base64.b64encode(png(1)).decode()
    about = {"category": "object_localization", "l2-category": "finegrained_perception", "split": "dev"}
    rows = [
        {"index": 9, **MMBENCH, "image": encoded, **about},
        {"index": 1_000_009, **MMBENCH, "A": "dog", "B": "cat", "answer": "B", "image": "9", **about},
    ]
    with (root / "mmbench_dev_20230712.tsv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    slices = {"ability": "finegrained_perception", "category": "object_localization"}
    return Tiny("dev", ["9", "1000009"], "9", slices)


@builds("mmbench", HUB)
def mmbench_hub(root: Path) -> Tiny:
    row = {"index": 9, **MMBENCH, "image": stored(1), "L2-category": "finegrained_perception"}
    parquet(root / "en" / "dev-00000-of-00001.parquet", [row])
    return Tiny("dev", ["9", "1000009"], "9", {"ability": "finegrained_perception"})


PHOTOGRAPH = "COCO_val2014_000000000009.jpg"


@builds("pope", FILES)
def pope(root: Path) -> Tiny:
    for category in ("random", "popular", "adversarial"):
        rows = [
            {"question_id": 1, "image": PHOTOGRAPH, "text": "Is there a cup in the image?", "label": "yes"},
            {"question_id": 2, "image": PHOTOGRAPH, "text": "Is there a dog in the image?", "label": "no"},
        ]
        write(root / "output" / "coco" / f"coco_pope_{category}.jsonl", rows)
        (root / "output" / "coco" / f"coco_pope_{category}.jsonl").rename(
            root / "output" / "coco" / f"coco_pope_{category}.json"
        )
    picture(root / "val2014" / PHOTOGRAPH, 1)
    ids = [f"{category}-{number}" for category in ("random", "popular", "adversarial") for number in (1, 2)]
    return Tiny("test", ids, PHOTOGRAPH, {"category": "random"})


@builds("pope", HUB)
def pope_hub(root: Path) -> Tiny:
    row = {"id": "0", "question_id": "1", "question": "Is there a cup in the image?", "answer": "yes"}
    row |= {"image_source": "COCO_val2014_000000000009", "category": "random"}
    rows = [row | {"category": category, "image": stored(1)} for category in ("random", "popular", "adversarial")]
    parquet(root / "data" / "test-00000-of-00001.parquet", rows)
    return Tiny("test", ["random-1", "popular-1", "adversarial-1"], "COCO_val2014_000000000009", {"category": "random"})


SEED = {
    "answer": "B",
    "choice_a": "One",
    "choice_b": "Two",
    "choice_c": "Three",
    "choice_d": "Four",
    "data_id": "1454_25",
    "data_type": "image",
    "question": "How many?",
    "question_id": "101669",
    "question_type_id": 5,
}


@builds("seed-bench", FILES)
def seed_bench(root: Path) -> Tiny:
    video = SEED | {"data_type": "video", "question_id": "1", "question_type_id": 10}
    write(root / "SEED-Bench.json", {"questions": [video, SEED], "question_type": {"Instances Counting": 5}})
    picture(root / "SEED-Bench-image" / "1454_25", 1)
    return Tiny("image", ["101669"], "1454_25", {"kind": "Instances Counting"})


@builds("seed-bench", HUB)
def seed_bench_hub(root: Path) -> Tiny:
    video = SEED | {"data_type": "video", "question_id": "1", "image": [stored(2), stored(3)]}
    parquet(root / "data" / "test-00000-of-00001.parquet", [video, SEED | {"image": [stored(1)]}])
    return Tiny("image", ["101669"], "1454_25", {"kind": "Instances Counting"})


MATHVISTA = {
    "question": "what is the total volume?",
    "image": "images/9.jpg",
    "choices": None,
    "unit": "g",
    "precision": None,
    "answer": "1000",
    "question_type": "free_form",
    "answer_type": "integer",
    "pid": "9",
    "metadata": {
        "split": "testmini",
        "source": "PlotQA",
        "language": "english",
        "img_width": 10,
        "img_height": 10,
        "category": "general-vqa",
        "task": "figure question answering",
        "context": "bar chart",
        "grade": "high school",
        "skills": ["numeric commonsense"],
    },
    "query": "Hint: .. what is the total volume?",
}
CHOSEN = {
    "pid": "10",
    "choices": ["cat", "dog"],
    "answer": "dog",
    "question_type": "multi_choice",
    "answer_type": "text",
    "unit": None,
}
DECIMAL = {"pid": "11", "answer": "1.5", "answer_type": "float", "precision": 1.0}
MATHVISTA_SLICES = {
    "task": "figure question answering",
    "category": "general-vqa",
    "context": "bar chart",
    "grade": "high school",
    "question_type": "free_form",
    "answer_type": "integer",
    "source": "PlotQA",
    "language": "english",
    "numeric commonsense": "yes",
    "picture size": "below 0.3 MP",
}


@builds("mathvista", FILES)
def mathvista(root: Path) -> Tiny:
    write(root / "data" / "testmini.json", {"9": MATHVISTA, "10": MATHVISTA | CHOSEN, "11": MATHVISTA | DECIMAL})
    picture(root / "images" / "9.jpg", 1)
    return Tiny("testmini", ["9", "10", "11"], "images/9.jpg", MATHVISTA_SLICES)


@builds("mathvista", HUB)
def mathvista_hub(root: Path) -> Tiny:
    rows = [MATHVISTA | more | {"decoded_image": stored(1)} for more in ({}, CHOSEN, DECIMAL)]
    parquet(root / "data" / "testmini-00000-of-00001.parquet", rows)
    return Tiny("testmini", ["9", "10", "11"], "images/9.jpg", MATHVISTA_SLICES)


def meme(number: int, label: int) -> dict[str, object]:
    """A picture with words on it."""
    return {"id": number, "img": f"img/{number:05d}.png", "label": label, "text": f"some Words {number}"}


@builds("hateful-memes", FILES)
def hateful_memes(root: Path) -> Tiny:
    write(root / "test_seen.jsonl", [meme(42953, 0), meme(42954, 1)])
    write(root / "train.jsonl", [meme(1, 0), meme(2, 1)])
    for number in (42953, 42954, 1, 2):
        picture(root / "img" / f"{number:05d}.png", number % 101)
    return Tiny("test_seen", ["42953", "42954"], "some words 42953", shots=True)


@builds("hateful-memes", HUB)
def hateful_memes_hub(root: Path) -> Tiny:
    rows: list[dict[str, object]] = [
        {"id": number, "text": meme(number, label)["text"], "label": label, "split": "test", "image": stored(label + 1)}
        for number, label in ((42953, 0), (42954, 1))
    ]
    parquet(root / "data" / "test-00000-of-00001.parquet", rows)
    return Tiny("test_seen", ["42953", "42954"], "some words 42953")


DOG, CAT = (f"Is there a {thing} in this image? Please answer yes or no." for thing in ("dog", "cat"))


@builds("mme", FILES)
def mme(root: Path) -> Tiny:
    for number, category in enumerate(PARTS):
        file = root / "eval_tool" / "Your_Results" / f"{category}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"1.jpg\t{DOG}\tYes\n1.jpg\t{CAT}\tNo\n", encoding="utf-8")
        picture(root / category / ("images" if category == "scene" else "") / "1.jpg", number)
    ids = [f"{category}/1.jpg/{question}" for category in PARTS for question in (DOG, CAT)]
    return Tiny("test", ids, "existence/1.jpg", {"part": "perception", "category": "existence"})


@builds("mme", HUB)
def mme_hub(root: Path) -> Tiny:
    rows = [
        {
            "question_id": "existence/1.jpg",
            "image": stored(1),
            "question": question,
            "answer": right,
            "category": "existence",
        }
        for question, right in ((DOG, "Yes"), (CAT, "No"))
    ]
    parquet(root / "data" / "test-00000-of-00001.parquet", rows)
    ids = [f"existence/1.jpg/{question}" for question in (DOG, CAT)]
    return Tiny("test", ids, "existence/1.jpg", {"part": "perception", "category": "existence"})


GLOVE = ["The material is cotton.", "The material is rubber."]


@builds("vstar-bench", FILES)
def vstar_bench(root: Path) -> Tiny:
    names = ["direct_attributes/a", "direct_attributes/b", "relative_position/c"]
    for number, name in enumerate(names):
        held = {
            "target_object": ["glove"],
            "bbox": [[10, 20, 30, 40]],
            "question": "What is it made of?",
            "options": GLOVE,
        }
        write(root / f"{name}.json", held)
        picture(root / f"{name}.jpg", number)
    return Tiny("test", names, names[0], {"kind": "direct_attributes", "objects": "1"})


@builds("vstar-bench", HUB)
def vstar_bench_hub(root: Path) -> Tiny:
    text = f"What is it made of?\n(A) {GLOVE[1]}\n(B) {GLOVE[0]}\nAnswer with the option's letter."
    row = {"image": stored(0), "text": text, "label": "B", "category": "direct_attributes", "question_id": "0"}
    parquet(root / "data" / "test-00000-of-00001.parquet", [row])
    return Tiny("test", ["0"], "0", {"kind": "direct_attributes"})


@builds("mmvet", FILES)
def mmvet(root: Path) -> Tiny:
    row = {"imagename": "v1_0.png", "question": "What is x?", "answer": "-1<AND>-5", "capability": ["ocr", "math"]}
    write(root / "mm-vet.json", {"v1_0": row})
    picture(root / "images" / "v1_0.png", 1)
    return Tiny("test", ["v1_0"], "v1_0.png", {"ocr": "yes", "math": "yes"}, right=["0.5"])


@builds("mmvet", HUB)
def mmvet_hub(root: Path) -> Tiny:
    row = {"question_id": "v1_0", "question": "What is x?", "answer": "-1<AND>-5", "capability": "ocr,math"}
    parquet(root / "data" / "test-00000-of-00001.parquet", [row | {"image": stored(1)}])
    return Tiny("test", ["v1_0"], "v1_0", {"ocr": "yes", "math": "yes"})


@builds("llava-bench", FILES)
def llava_bench(root: Path) -> Tiny:
    write(
        root / "questions.jsonl", [{"question_id": 0, "image": "001.jpg", "text": "Where is it?", "category": "conv"}]
    )
    write(root / "answers_gpt4.jsonl", [{"question_id": 0, "text": "On Oahu."}])
    picture(root / "images" / "001.jpg", 1)
    return Tiny("test", ["0"], "001.jpg", {"category": "conv"})


@builds("llava-bench", HUB)
def llava_bench_hub(root: Path) -> Tiny:
    row = {"question_id": 0, "question": "Where is it?", "gpt_answer": "On Oahu.", "category": "conv", "image_id": "1"}
    parquet(root / "data" / "train-00000-of-00001.parquet", [row | {"image": stored(1)}])
    return Tiny("test", ["0"], None, {"category": "conv"})
