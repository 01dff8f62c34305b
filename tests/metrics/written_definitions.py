"""The scorers' rules once more, step by step as they are written down, slow and plain: what the fast ones are compared with.

M1 to M12 are the sections of `DATASETS.md`, from which each was written.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import eval_tasks

TABLES: Mapping[str, Any] = json.loads((Path(eval_tasks.__file__).parent / "data" / "vqa_tables.json").read_text())
LETTERS = string.ascii_uppercase


# M1, VQA accuracy


def punctuation(text: str) -> str:
    made = text
    for mark in TABLES["punctuation_in_order"]:
        if f"{mark} " in text or f" {mark}" in text or re.search(r"(\d)(\,)(\d)", text) is not None:
            made = made.replace(mark, "")
        else:
            made = made.replace(mark, " ")
    return re.sub(r"(?!<=\d)(\.)(?!\d)", "", made, count=32)


def digits_and_articles(text: str) -> str:
    kept: list[str] = []
    for word in text.lower().split():
        number = TABLES["number_words"].get(word, word)
        if number not in TABLES["articles"]:
            kept.append(number)
    return " ".join(TABLES["contractions"].get(word, word) for word in kept)


def plain(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def leave_one_out(people: Sequence[str], answer: str) -> float:
    scores: list[float] = []
    for left in range(len(people)):
        others = [text for place, text in enumerate(people) if place != left]
        scores.append(min(1.0, sum(text == answer for text in others) / 3))
    return sum(scores) / len(scores)


def gt_vision_lab(answer: str, people: Sequence[str]) -> float:
    answer, people = plain(answer), [plain(text) for text in people]
    if len(set(people)) > 1:
        answer = digits_and_articles(punctuation(answer))
        people = [digits_and_articles(punctuation(text)) for text in people]
    return leave_one_out(people, answer)


def lavis(answer: str, people: Sequence[str]) -> float:
    answer = digits_and_articles(punctuation(plain(answer)))
    if len(set(people)) > 1:
        people = [punctuation(text) for text in people]
    return leave_one_out(people, answer)


def always_normalised(answer: str, people: Sequence[str]) -> float:
    def made(text: str) -> str:
        return digits_and_articles(punctuation(plain(text)))

    return leave_one_out([made(text) for text in people], made(answer))


# M2, the EvalAI processor


def evalai_text(text: str) -> str:
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return digits_and_articles(punctuation(plain(text)))


def evalai(answer: str, people: Sequence[str]) -> float:
    return leave_one_out([evalai_text(text) for text in people], evalai_text(answer))


# VizWiz in OpenFlamingo's files: what has no id is taken away with all that equals it


def vizwiz_openflamingo(answer: str, people: Sequence[tuple[str, str]]) -> float:
    def made(text: str) -> str:
        return digits_and_articles(punctuation(plain(text)))

    held = [{"answer": made(text), "answer_confidence": sure} for text, sure in people]
    scores = [min(1.0, sum(other["answer"] == made(answer) for other in held if other != one) / 3) for one in held]
    return sum(scores) / len(scores)


# M3, ANLS


def levenshtein(one: str, other: str) -> int:
    line = list(range(len(other) + 1))
    for row, sign in enumerate(one, start=1):
        before, line = line, [row]
        for column, there in enumerate(other, start=1):
            line.append(min(before[column] + 1, line[-1] + 1, before[column - 1] + (sign != there)))
    return line[-1]


def anls_rrc(answer: str, targets: Sequence[str]) -> float:
    values: list[float] = []
    for target in targets:
        one, other = " ".join(target.strip().lower().split()), " ".join(answer.strip().lower().split())
        length = max(len(target.upper()), len(answer.upper()))
        values.append(0.0 if length == 0 else levenshtein(one, other) / length)
    score = 1 - min(values)
    return 0.0 if score < 0.5 else score


def anls_st_vqa(answer: str, targets: Sequence[str]) -> float:
    scores: list[float] = []
    for target in targets:
        one, other = target.lower().strip(), answer.lower().strip()
        score = 1 - levenshtein(one, other) / max(len(one), len(other))
        scores.append(score if score >= 0.5 else 0.0)
    return max(scores)


def anls_pix2struct(answer: str, targets: Sequence[str]) -> float:
    scores: list[float] = []
    for target in targets:
        one, other = target.lower(), answer.lower()
        distance = levenshtein(one, other) / max(len(one), len(other))
        scores.append(1 - distance if distance < 0.5 else 0.0)
    return max(scores)


# M4, relaxed accuracy


def to_float(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def relaxed(target: str, prediction: str) -> bool:
    value, right = to_float(prediction), to_float(target)
    if value is not None and right:
        return abs(value - right) / abs(right) <= 0.05
    return prediction.lower() == target.lower()


# M6, MMMU


def mmmu_choice(response: str, options: Sequence[str]) -> str | None:
    for sign in (",", ".", "!", "?", ";", ":", "'"):
        response = response.strip(sign)
    response = f" {response} "
    letters = LETTERS[: len(options)]
    for form in ("({})", " {} "):
        if found := [letter for letter in letters if form.format(letter) in response]:
            return found[int(np.argmax([response.rfind(form.format(letter)) for letter in found]))]
    if len(response.split()) > 5:
        texts = dict(zip(letters, options, strict=True))
        if found := [letter for letter in letters if texts[letter].lower() in response.lower()]:
            return found[int(np.argmax([response.lower().rfind(texts[letter].lower()) for letter in found]))]
    return None


def mmmu_normal(text: str) -> list[str | float]:
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def mmmu_open(response: str, targets: Sequence[str]) -> bool:
    response = response.strip().strip(".").lower()
    indicators = ["could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result "]
    parts, keys = re.split(r"\.\s(?=[A-Z])|\n", response), list[str]()
    for place, part in enumerate(parts):
        if place == len(parts) - 1:
            indicators.append("=")
        tails = [part.split(word)[-1].strip() for word in indicators if word in part]
        shortest = ""
        for tail in tails:
            if not shortest or len(tail) < len(shortest):
                shortest = tail
        if shortest and shortest not in (":", ",", ".", "!", "?", ";", "'"):
            keys.append(shortest)
    keys = keys or [response]
    numbers = (
        r"-?\b\d{1,3}(?:,\d{3})+\b",
        r"-?\d+(?:\.\d+)?[eE][+-]?\d+",
        r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])",
    )
    found = [*keys, *(number for key in keys for pattern in numbers for number in re.findall(pattern, key))]
    predictions = {one for text in found for one in mmmu_normal(text)}
    rights = [one for target in targets for one in mmmu_normal(target)]
    return any(
        any(isinstance(right, str) and right in one for right in rights) if isinstance(one, str) else one in rights
        for one in predictions
    )


# M7, MMBench


def mmbench(answer: str, options: Sequence[str]) -> str | None:
    letters = LETTERS[: len(options)]
    if "Failed to obtain answer via API" not in answer:
        if any(words in answer for words in REFUSALS):
            return "Z"
        words = re.sub(r"[.()\[\],:;!*#{}]", " ", answer).split()
        named = [letter for letter in letters if letter in words]
        if len(named) == 1 and words.index(named[0]) > len(words) - 5:
            return named[0]
        if not named and "Z" in words:
            return "Z"
        match = re.search(r"(?:correct\s+)?answer\s+is\s+\**([ABCD])\**", answer, re.IGNORECASE)
        if match and match[1].upper() in letters:
            return match[1].upper()
    answer = answer.lower()
    if len(answer) > 2 * sum(len(option) for option in options):
        return None
    named = [letter for letter, option in zip(letters, options, strict=True) if option.lower() in answer]
    return named[0] if len(named) == 1 else None


REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)


# M8, POPE; M11, ScienceQA


def pope(text: str) -> str:
    if text.find(".") != -1:
        text = text.split(".")[0]
    words = text.replace(",", "").split(" ")
    return "no" if "No" in words or "not" in words or "no" in words else "yes"


def scienceqa(text: str) -> str | None:
    if text in ("A", "B", "C", "D", "E"):
        return text
    if len(text) >= 3 and text[0] in "ABCDE" and text[1:3] == ". ":
        return text[0]
    found = re.findall(r"The answer is ([A-Z]).", text)
    return found[0] if len(found) == 1 else None


# M9, boxes; M12, the area under a curve


def iou(one: Sequence[float], other: Sequence[float]) -> float:
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def roc_auc(labels: Sequence[int], scores: Sequence[float]) -> float:
    pairs = [
        (one, other)
        for one, is_one in zip(scores, labels, strict=True)
        for other, is_other in zip(scores, labels, strict=True)
        if is_one and not is_other
    ]
    return sum(1.0 if one > other else 0.5 if one == other else 0.0 for one, other in pairs) / len(pairs)


VQA: Mapping[str, Callable[[str, Sequence[str]], float]] = {
    "gt-vision-lab": gt_vision_lab,
    "lavis": lavis,
    "openflamingo": always_normalised,
    "idefics-m4": always_normalised,
    "evalai": evalai,
}
