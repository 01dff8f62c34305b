"""The authors' scores beside measured ones, with what differs named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eval_tasks import metrics, task
from leaderboards import boards, published, reported
from leaderboards.records import POINTS, Run, Score
from tests.leaderboards.test_store import RUN

LLAVA = replace(
    RUN,
    model="llava-v1.5-7b",
    task="vqav2",
    split="val",
    decoding="greedy",
    scores=(
        Score("vqa_accuracy", "gt-vision-lab-uploaded", "all", 0.78, 0.775, 0.79, 0.004, n=100),
        Score("vqa_accuracy", "evalai", "all", 0.70, 0.69, 0.71, 0.004, n=100),
    ),
)


def test_a_score_is_joined_with_its_variant_and_the_split_is_told() -> None:
    (found,) = reported.beside(LLAVA)
    assert (found.metric, found.reported) == ("vqa_accuracy/gt-vision-lab-uploaded", 78.5)
    assert found.measured == pytest.approx(78.0) and found.difference == pytest.approx(-0.5) and found.is_inside
    assert found.differences == ["split: test-dev reported, val measured"]


def test_another_variant_is_told() -> None:
    (found,) = reported.beside(replace(LLAVA, scores=LLAVA.scores[1:]))
    assert found.metric == "vqa_accuracy/evalai" and not found.is_inside
    assert found.differences[0] == "metric: variant gt-vision-lab-uploaded reported, evalai measured"


def test_other_shots_decoding_and_a_part_of_the_questions_are_told() -> None:
    run = replace(LLAVA, num_fewshot=4, limit=200, n=200, decoding="beam(beams=3, length_penalty=1.0)")
    assert reported.beside(run)[0].differences == [
        "shots: 0 reported, 4 measured",
        "split: test-dev reported, val measured",
        "questions: all reported, the first 200 measured",
        "decoding: greedy reported, beam(beams=3, length_penalty=1.0) measured",
    ]


def flamingo(shots: int, selection: str = "random") -> Run:
    score = Score("vqa_accuracy", "gt-vision-lab-normalised", "all", 0.5, 0.4, 0.6, 0.05, n=100)
    return replace(
        LLAVA,
        model="openflamingo-9b-vitl-mpt7b",
        num_fewshot=shots,
        shot_selection=selection,
        decoding="beam(beams=3, length_penalty=0.0)",
        scores=(score,),
    )


def test_the_rows_of_the_same_number_of_shots_are_taken() -> None:
    for shots, score in ((0, 52.7), (4, 54.8)):
        found = reported.beside(flamingo(shots))
        assert [one.reported for one in found if one.published.source.endswith("Table 11")] == [score]


def test_zero_shots_with_examples_in_text_are_told() -> None:
    notes = [note for one in reported.beside(flamingo(0)) for note in one.differences]
    assert "shots: 0 reported with two examples in text alone, none measured" in notes
    notes = [note for one in reported.beside(flamingo(4)) for note in one.differences]
    assert not [note for note in notes if note.startswith(("shots", "choice"))]


def test_points_stay_points_and_a_slice_is_its_own_score() -> None:
    score = Score("mme", "official", "part=perception", 1500.0, 1450.0, 1550.0, 25.0, n=100, unit=POINTS)
    (found,) = reported.beside(replace(LLAVA, task="mme", split="test", scores=(score,)))
    assert (found.reported, found.measured, found.slice) == (1510.7, 1500.0, "part=perception")
    assert found.differences == []


def test_a_model_of_which_nothing_is_published_has_none() -> None:
    assert reported.beside(replace(LLAVA, model="flamingo-tiny")) == []
    assert reported.beside(replace(LLAVA, scores=())) == []


def test_the_sheet_says_what_differs_and_the_reported_prompt() -> None:
    sheet = boards.published_sheet([LLAVA], reported.beside(LLAVA))
    (line,) = sheet.lines
    assert [cell.text for cell in line[:7]] == [
        "llava-v1.5-7b",
        "vqav2",
        "0",
        "vqa_accuracy/gt-vision-lab-uploaded",
        "78.0 [77.5, 79.0]",
        "78.5",
        "-0.5",
    ]
    assert "split: test-dev reported" in line[7].text and "prompt reported: vicuna_v1" in line[7].text


def test_every_printed_metric_is_one_of_ours_on_a_task_of_ours() -> None:
    printed = {(row.task, row.metric) for row in published.scores()}
    for line in reported._printed():
        assert (line.task in task.names() and (line.task, line.printed) in printed) or line.task == "infovqa"
        variants = metrics.variants(line.metric.partition(".")[0])
        assert not line.variant or line.variant in variants
        assert {*line.papers} <= {row.paper for row in published.scores()}
