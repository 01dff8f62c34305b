"""Every wording that published evaluations used can be chosen, as far as `prompts.csv` beside the cases lists them."""

from __future__ import annotations

import csv
import re

import pytest

from eval_tasks import task
from eval_tasks.wording import Wording
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
