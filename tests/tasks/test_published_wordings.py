"""Every wording that published evaluations used can be chosen, as far as `prompts.csv` beside the cases lists them."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from PIL import Image as pil

import flamingo_lab as fl
from eval_tasks import task
from eval_tasks.task import Sample
from eval_tasks.wording import PICTURE, Wording
from flamingo_lab.families import idefics, open_flamingo
from flamingo_lab.wording import Running
from tests.folders import SHARED

FILE = SHARED / "tasks" / "prompts.csv"

MARKS = re.compile(
    r"<[^<>]*>|\{[^{}]*\}|User:|Assistant:|USER:|ASSISTANT:|\([A-C]\)( \.\.)?|\b[A-D]\. |\.\.\.|Context: |Hint: |\s+"
)
"""What belongs to a model's template, or is filled in: the letters of options, and what is asked."""

ELSEWHERE = {("vstar-bench", "seal"), ("mathvista", "mathvista authors"), ("pope", "pope authors")}
"""What a model asks by itself (guided search), and what stands in the benchmarks' own fields."""


def words(text: str) -> list[str]:
    """The fixed words of a template, in their order."""
    return MARKS.sub(" ", text.replace("\\n", "\n")).split()


def said(wording: Wording) -> list[str]:
    absent = [absent for _, absent in wording.optional.values() if absent]
    return words(" ".join([wording.form, wording.running, wording.answer, *absent]))


def rows() -> list[dict[str, str]]:
    if not FILE.is_file():
        return []
    with FILE.open(newline="", encoding="utf-8") as stream:
        held = list(csv.DictReader(stream))
    return [row for row in held if row["task"] in task.names() and (row["task"], row["family"]) not in ELSEWHERE]


@pytest.mark.skipif(not FILE.is_file(), reason=f"no {FILE}")
@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row['task']}-{row['family']}-{row['role']}")
def test_a_published_wording_can_be_chosen(row: dict[str, str]) -> None:
    wanted = [word for word in words(row["template"]) if word not in ("|", "'", '"')]
    found = {
        wording.name: missing
        for wording in task.get(row["task"]).wordings
        if not (missing := [word for word in wanted if word not in said(wording)])
    }
    assert found, f"{wanted} of {row['source']}: none of {[w.name for w in task.get(row['task']).wordings]}"


BASES: Mapping[str, Running] = {"openflamingo": open_flamingo.BASE, "idefics": idefics.BASE}
"""How the base models of those families say a running text."""

FILLED = {"question": "is it?", "text": "is it?", "answer": "yes", "caption": "yes", "yes|no": "yes", "class_name": ""}
FILLED |= {"most_common_answer": "yes", "random_reference_caption": "yes", "bos": ""}


def filled(template: str) -> str:
    return re.sub(r"\{([^{}]*)\}", lambda slot: FILLED[slot[1]], template.replace("\\n", "\n"))


@pytest.mark.skipif(not FILE.is_file(), reason=f"no {FILE}")
@pytest.mark.parametrize(
    ("name", "family"), sorted({(row["task"], row["family"]) for row in rows() if row["family"] in BASES})
)
def test_a_base_model_reads_the_published_prompt_to_the_letter(name: str, family: str) -> None:
    of_role = {row["role"]: row["template"] for row in rows() if (row["task"], row["family"]) == (name, family)}
    shot = filled(of_role["shot"])
    published = filled(of_role.get("instruction", "")) + 2 * shot + filled(of_role["query"]).rstrip(" ")
    wording = next(one for one in task.get(name).wordings if one.name == family)
    sample = Sample("1", (fl.Image(pil.new("RGB", (2, 2))),), "is it?", ("yes",), "a document", answer="yes")
    shots = [replace(sample, id=str(number)).shot(wording) for number in range(2)]
    prompt = fl.Prompt.ask(
        *wording.parts(sample), shots=shots, system=wording.system, running=wording.running, separator=wording.separator
    )
    said = "".join(part if isinstance(part, str) else PICTURE for part in BASES[family].say(prompt, ("", "")))
    assert said == published
