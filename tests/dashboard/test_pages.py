"""Each page without a browser: it answers its question, its filters act, and odd results look right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import ranks
from dashboard.views import compare as view
from leaderboards import table
from leaderboards.compare import Comparison, compare
from leaderboards.places import LocalPlace
from leaderboards.records import SCHEMA_VERSION, Score
from leaderboards.store import Store
from tests.dashboard import made, pages
from tests.dashboard.pages import NAMES, every, links, nodes, opened, run, said, shown_at
from tests.leaderboards.test_terms import drawn, pope

Patch = pytest.MonkeyPatch


def asked(href: str) -> dict[str, str]:
    """The parameters of a link."""
    return {name: values[0] for name, values in parse_qs(urlsplit(href).query).items()}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    made.two_models(tmp_path / "results")
    return tmp_path / "results"


@pytest.mark.parametrize("page", NAMES)
def test_an_empty_folder_is_explained_with_the_command_that_fills_it(
    page: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    at = opened(monkeypatch, page, tmp_path / "no where")
    assert "There are no runs in" in said(at)
    assert at.code[0].value.startswith("flab eval --model flamingo-tiny")
    assert at.code[0].value.endswith(f"--results '{tmp_path}/no where'")


def test_the_command_that_fills_results_fits_where_they_lie(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.chdir(tmp_path)
    at = opened(monkeypatch, "leaderboard", "results")
    assert at.code[0].value.endswith("--limit 200")
    at = opened(monkeypatch, "leaderboard", "memory://nothing-here/far")
    assert at.code[0].value.endswith("\nflab results merge results --results memory://nothing-here/far")


@pytest.mark.parametrize("page", NAMES)
def test_one_run_is_enough_for_every_page(page: str, tmp_path: Path, monkeypatch: Patch) -> None:
    samples = [made.sample("1" * 16, number) for number in range(4)]
    made.write(tmp_path, made.run("1" * 16, samples), samples)
    shown = said(opened(monkeypatch, page, tmp_path))
    if page == "compare":
        assert "needs two models" in shown
    else:
        assert "model-a" in shown or "thing" in shown


@pytest.mark.parametrize("page", NAMES)
def test_a_run_under_way_and_a_failed_one_are_no_obstacle(page: str, tmp_path: Path, monkeypatch: Patch) -> None:
    made.failed(tmp_path)
    folder = tmp_path / "runs" / ("7" * 16)
    folder.mkdir()
    record = made.run("7" * 16, [], status="running", scores=(), seconds=0.0, questions_per_second=None, finished=None)
    (folder / "run.json").write_text(record.to_json())
    opened(monkeypatch, page, tmp_path)
    opened(monkeypatch, page, tmp_path, run="7" * 16)


@pytest.mark.parametrize("page", NAMES)
def test_a_folder_that_cannot_be_read_is_one_clear_box(page: str, tmp_path: Path, monkeypatch: Patch) -> None:
    (tmp_path / "runs").write_text("")
    shown = said(opened(monkeypatch, page, tmp_path))
    assert "These results cannot be shown." in shown
    assert "a file stands where a folder should be" in shown


@pytest.mark.parametrize("page", NAMES)
def test_a_folder_of_which_nothing_can_be_read_is_one_clear_box(page: str, tmp_path: Path, monkeypatch: Patch) -> None:
    (tmp_path / "letter.txt").write_text("")
    assert "no results folder" in said(opened(monkeypatch, page, tmp_path))
    for name in "ab":
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("{")
    at = opened(monkeypatch, page, tmp_path)
    assert "These results cannot be shown." in said(at) and said(at).count("not a run's record") == 2
    assert not at.expander


@pytest.mark.parametrize("page", NAMES)
def test_markup_of_models_and_data_stays_text(page: str, tmp_path: Path, monkeypatch: Patch) -> None:
    run_id = made.hostile(tmp_path / "results", tmp_path / "images")
    made.two_models(tmp_path / "results")
    at = opened(monkeypatch, page, tmp_path / "results", tmp_path / "images", run=run_id)
    for tag, attributes, _ in nodes(at):
        assert tag not in ("script", "iframe", "object", "style")
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("href", "?").startswith(("?", "./", *NAMES)), attributes
        assert attributes.get("src", "data:image/").startswith("data:image/")
    assert not at.markdown and not at.get("html")  # nothing of Streamlit's that reads markup


def test_a_picture_outside_of_the_allowed_folders_is_a_frame(tmp_path: Path, monkeypatch: Patch) -> None:
    run_id = made.hostile(tmp_path / "results", tmp_path / "images")
    at = opened(monkeypatch, "samples", tmp_path / "results", tmp_path / "images", run=run_id)
    assert not [node for node in nodes(at) if node[0] == "img"]
    assert "leads out of the folders" in said(at)


def test_the_leaderboard_ranks_marks_and_leads_on(results: Path, monkeypatch: Patch) -> None:
    at = opened(monkeypatch, "leaderboard", results)
    shown = said(at)
    assert "model-a" in shown and "model-b" in shown
    assert "may be first on average" in shown or "surely first" in shown
    assert len(every(at, "axis")) == 2
    to_run = [href for text, href in links(at).items() if text == "66.7"]
    assert parse_qs(urlsplit(to_run[0]).query)["run"] == ["a" * 16]
    marks = [node[1]["href"] for node in every(at, "axis-link")]
    assert all(mark.startswith("compare?a=") for mark in marks)


def test_a_best_cell_is_marked_only_where_the_test_says_so(tmp_path: Path, monkeypatch: Patch) -> None:
    made.two_models(tmp_path)
    assert not every(opened(monkeypatch, "leaderboard", tmp_path), "best")
    always = [made.sample("2" * 16, number, scores={made.METRIC: 1.0}) for number in range(60)]
    made.write(tmp_path, made.run("2" * 16, always, model="model-c", model_digest="c" * 64), always)
    best = every(opened(monkeypatch, "leaderboard", tmp_path), "best")
    assert [node[2] for node in best] == [["100.0"]]


def test_rows_that_are_hidden_are_counted(results: Path, monkeypatch: Patch) -> None:
    other = [made.sample("3" * 16, number) for number in range(4)]
    made.write(results, made.run("3" * 16, other, task="other"), other)
    at = opened(monkeypatch, "leaderboard", results)
    assert "1 row lacks a column and is hidden" in said(at)
    assert "hidden" not in said(opened(monkeypatch, "leaderboard", results, complete="0"))


def test_points_have_a_mark_on_an_axis_of_their_own(tmp_path: Path, monkeypatch: Patch) -> None:
    for number, run_id in enumerate(("1" * 16, "2" * 16)):
        samples = [made.sample(run_id, one, slices={}) for one in range(6)]
        points = Score("exact_match", "strip-lower", "all", 1200.0 + 50 * number, None, None, None, n=6, unit="points")
        record = made.run(run_id, samples, model=f"model-{number}", model_digest=str(number), scores=[points])
        made.write(tmp_path, record, samples)
    at = opened(monkeypatch, "compare", tmp_path)
    (dot,) = every(at, "dot")
    assert float(dot[1]["--at"]) > 0.9
    assert "its own axis, ±54.0 points" in said(at)


def test_the_leaderboard_says_what_intervals_are_and_why_parameters_lack(tmp_path: Path, monkeypatch: Patch) -> None:
    samples = [made.sample("1" * 16, number) for number in range(4)]
    made.write(tmp_path, made.run("1" * 16, samples, parameters=None), samples)
    drawn = [replace(one, interval="bootstrap") for one in made.run("", samples).scores]
    made.write(tmp_path, made.run("2" * 16, samples, task="other", scores=drawn), samples)
    older = [replace(one, interval=None) for one in drawn]
    made.write(tmp_path, made.run("3" * 16, samples, task="third", scores=older), samples)
    at = opened(monkeypatch, "leaderboard", tmp_path)
    titles = [node[1].get("title", "") for node in nodes(at)]
    for kind in ("Wilson, by cluster", "bootstrap", "kind not recorded (flab results rescore adds it)"):
        assert sum(f"], {kind} · n 4" in one for one in titles) == 1
    assert any("do not record how many parameters" in one for one in titles)
    assert "95 % intervals: " in said(at) and "bootstrap (other)" in said(at)
    assert "Wilson, by cluster" in said(opened(monkeypatch, "runs", tmp_path, run="1" * 16))
    assert "Wilson, by cluster" in said(
        opened(monkeypatch, "curves", tmp_path, task="things/test/exact_match/strip-lower", against="seconds")
    )


@pytest.mark.parametrize("page", ["leaderboard", "runs", "slices", "curves", "samples"])
def test_models_that_share_a_name_are_called_as_in_the_tables(page: str, tmp_path: Path, monkeypatch: Patch) -> None:
    ids = made.two_models(tmp_path)
    same = [made.sample("3" * 16, number) for number in range(60)]
    made.write(tmp_path, made.run("3" * 16, same, model_digest="c" * 64), same)
    rows = table.rows(Store(tmp_path).runs())
    names = {line[0].text for line in table.sheet(rows).lines}
    assert names == {"model-a (aaaaaa)", "model-a (cccccc)", "model-b"}
    at = opened(monkeypatch, page, tmp_path, run=ids[0])
    told = said(at) + "".join(str(option) for box in at.selectbox for option in box.options)
    assert {name for name in names if name in told} >= names - {"model-b"}
    assert "model-a · aaaaaa" not in told


def test_a_run_that_no_process_is_at_is_stopped_here_too(tmp_path: Path, monkeypatch: Patch) -> None:
    record = made.run("7" * 16, [], status="running", scores=(), seconds=0.0, finished=None, n=9)
    with Store(tmp_path).begin("7" * 16) as folder:
        folder.state(record)
        folder.journal.append({"id": "0"})
        assert "under way: running, 1 of 9 questions answered" in said(
            opened(monkeypatch, "runs", tmp_path, run="7" * 16)
        )
    shown = said(opened(monkeypatch, "runs", tmp_path, run="7" * 16))
    assert "No process is at this run: stopped, 1 of 9 questions answered" in shown and "running" not in shown


def board_of_many(results: Path) -> None:
    """Models that differ in each thing that the leaderboard can be filtered by, each on a task of its own."""
    for number, (family, size, dtype, day) in enumerate(
        [
            ("one", 5e8, "float32", "2024-01-02"),
            ("one", 7e9, "bfloat16", "2024-01-03"),
            ("two", 13e9, "bfloat16", "2024-01-04"),
            ("two", 80e9, "bfloat16", "2024-01-05"),
        ]
    ):
        samples = [made.sample(f"{number}" * 16, one) for one in range(4)]
        record = made.run(
            f"{number}" * 16,
            samples,
            model=f"model-{number}",
            model_digest=str(number),
            family=family,
            parameters=int(size),
            dtype=dtype,
            created=f"{day}T00:00:00+00:00",
            task=f"task-{number}",
            questions_per_second=1.0,
            seconds=float(10 - number),
        )
        made.write(results, record, samples)


def shown_models(at: AppTest) -> list[str]:
    """The leaderboard's models from above."""
    return [node[2][0] for node in every(at, "name")][::-1]


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("family", "two", "23"),
        ("size", "1", "0"),
        ("size", "10", "1"),
        ("size", "40", "2"),
        ("size", "x", "3"),
        ("dtype", "float32", "0"),
        ("since", "2024-01-04", "23"),
        ("task", "task-1", "1"),
        ("task", "group: some", "12"),
    ],
)
def test_each_filter_of_the_leaderboard_keeps_what_passes_it(
    name: str, value: str, found: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    board_of_many(tmp_path)
    at = opened(monkeypatch, "leaderboard", tmp_path, complete="0")
    if name == "task":
        at.multiselect(key="address.task").select(value)
    else:
        at.selectbox(key=f"address.{name}").select(value)
    run(at)
    assert shown_at(at, name) == value
    assert sorted(shown_models(at)) == [f"model-{number}" for number in found]


def test_heads_of_the_leaderboard_sort_by_their_column(results: Path, monkeypatch: Patch) -> None:
    other = [made.sample("3" * 16, number) for number in range(60)]
    made.write(results, made.run("3" * 16, other, model="model-0", model_digest="0", seconds=1.0), other)
    ways = links(opened(monkeypatch, "leaderboard", results))
    for head, first in {"model": "model-0", "things": "model-b", "q/s": "model-0"}.items():
        at = opened(monkeypatch, "leaderboard", results, **asked(ways[head]))
        assert shown_models(at)[0] == first
        assert f"{head} ↓" in links(at)


def test_leaderboard_filters_stand_in_the_address_and_act(results: Path, monkeypatch: Patch) -> None:
    at = opened(monkeypatch, "leaderboard", results, shots="4")
    assert "model-b" in said(at) and "model-a" not in said(at)
    at.selectbox(key="address.shots").select("0")
    run(at)
    assert "model-a" in said(at) and "model-b" not in said(at)
    assert shown_at(at, "shots") == "0"


def test_compare_says_who_is_better_and_shows_where_they_differ(results: Path, monkeypatch: Patch) -> None:
    at = opened(monkeypatch, "compare", results)
    shown = said(at)
    assert "not distinguishable on 1" in shown
    assert "+13.3" in shown
    cards = every(at, "card")
    assert len(cards) == 20
    first = [node for node in nodes(at) if node[0] == "a" and node[1]["href"].startswith("samples?")]
    assert parse_qs(urlsplit(first[0][1]["href"]).query).keys() == {"run", "sample"}
    assert "of 28" in shown or "of 24" in shown


def test_compare_begins_with_a_model_that_may_share_most_questions(results: Path, monkeypatch: Patch) -> None:
    few = [made.sample("0" * 16, number, sample_id=f"other{number}") for number in range(2)]
    made.write(results, made.run("0" * 16, few, model="a-model", model_digest="0" * 64, num_fewshot=4), few)
    assert "+13.3" in said(opened(monkeypatch, "compare", results))


def test_tasks_that_lack_a_model_still_are_told_until_they_are_compared(tmp_path: Path, monkeypatch: Patch) -> None:
    for model in "abc":
        for task in ("task-1", "task-2"):
            samples = [made.sample(f"{model}-{task}", number) for number in range(4)]
            record = made.run(f"{model}-{task}", samples, model=model, model_digest=model, task=task)
            made.write(tmp_path, record, samples)
    keys = {one.model: key for key, one in ranks.entrants(Store(tmp_path).runs()).items()}
    of_two = {"a": keys["a"], "b": [keys["b"]]}
    assert "being compared" not in said(opened(monkeypatch, "compare", tmp_path, **of_two))
    go = Event()

    def held_up(store: Store, base: str, other: str, **chosen: Any) -> Comparison:
        if other == "c-task-2":
            assert go.wait(60)
        return compare(store, base, other, **chosen)

    monkeypatch.setattr(view, "compare", held_up)
    of_three = {"a": keys["a"], "b": [keys["b"], keys["c"]]}
    with monkeypatch.context() as impatient:
        impatient.setattr(pages, "PATIENCE_SECONDS", 0.1)
        at = opened(monkeypatch, "compare", tmp_path, **of_three)
    assert "1 of 2 tasks" in said(at)
    assert "task-1" in said(at)
    go.set()
    assert "being compared" not in said(opened(monkeypatch, "compare", tmp_path, **of_three))


def test_compare_shows_how_prompts_differ(tmp_path: Path, monkeypatch: Patch) -> None:
    ids = "1" * 16, "2" * 16
    for number, run_id in enumerate(ids):
        score = {made.METRIC: float(number)}
        samples = [made.sample(run_id, 1, prompt=f"the same and {'other' if number else 'some'} words", scores=score)]
        made.write(tmp_path, made.run(run_id, samples, model=f"model-{number}", model_digest=str(number)), samples)
    at = opened(monkeypatch, "compare", tmp_path)
    assert not every(at, "prompt")
    at = opened(monkeypatch, "compare", tmp_path, **asked(links(at)["▸ different prompts, as sent"]))
    assert len(every(at, "prompt")) == 2
    assert sorted(node[2][0] for node in every(at, "differs")) == ["other", "some"]
    assert "prompt" not in asked(links(at)["▾ different prompts, as sent"])


def test_a_card_shows_all_pictures_of_its_question_and_on_demand_the_prompt(tmp_path: Path, monkeypatch: Patch) -> None:
    results, images = tmp_path / "results", tmp_path / "images"
    held = made.pictures(images, 4)
    for number, run_id in enumerate(("1" * 16, "2" * 16)):
        sample = made.sample(
            run_id,
            1,
            image_digests=[digest for digest, _ in held],
            image_paths=[name for _, name in held],
            prompt="".join(f"<image:{digest[:12]}>" for digest, _ in held) + "which is red?",
            shot_ids=["train-1"],
            scores={made.METRIC: float(number)},
        )
        made.write(results, made.run(run_id, [sample], model=f"model-{number}", model_digest=str(number)), [sample])
    at = opened(monkeypatch, "compare", results, images)
    assert sorted(node[1]["alt"] for node in every(at, "portrait")) == ["2.png", "3.png"]
    at = opened(monkeypatch, "compare", results, images, **asked(links(at)["▸ same prompt, as sent"]))
    (prompt,) = every(at, "prompt")
    assert "which is red?" in json.dumps(prompt)
    assert sorted({node[1]["alt"] for node in every(at, "inline")}) == ["0.png", "1.png", "2.png", "3.png"]


def test_figures_that_are_no_means_are_compared_with_interval_and_test(tmp_path: Path, monkeypatch: Patch) -> None:
    kinds = ["adversarial", "popular", "random"] * 100
    for run_id, seed, share in (("a" * 16, 1, 0.6), ("b" * 16, 2, 0.9)):
        pope(Store(tmp_path), run_id, *drawn(seed, share), kinds, model=f"model-{seed}", model_digest=f"{seed}" * 64)
    at = opened(monkeypatch, "compare", tmp_path, slice="kind=popular")
    found = compare(Store(tmp_path), "a", "b").of("pope/official")
    assert f"{100 * (found.difference or 0):+.1f}" in said(at)
    assert "better on 1 of 1 task" in said(at)
    assert said(at).count("(sign flips") == 4
    assert len(every(at, "card")) == 20


def test_samples_show_the_prompt_with_pictures_in_their_places(tmp_path: Path, monkeypatch: Patch) -> None:
    run_id = made.with_pictures(tmp_path / "results", tmp_path / "images")
    at = opened(monkeypatch, "samples", tmp_path / "results", tmp_path / "images", run=run_id, sample="q00001")
    (prompt,) = [node for node in every(at, "prompt") if node[0] == "div"]
    shot, question = prompt[2]
    assert shot[0] == "details"
    assert "shot 1 · train-7" in shot[2][0][2]
    kinds = [child if isinstance(child, str) else child[1]["class"] for child in question[2]]
    assert kinds == ["pill", "inline", "pill", "Question: asked? Answer:"]
    assert len([node for node in every(at, "whole") if node[2][0][0] == "img"]) == 1


def test_a_long_prompt_is_never_cut_at_its_end(tmp_path: Path, monkeypatch: Patch) -> None:
    picture = "0" * 64
    shot = f"<image:{picture[:12]}>" + "word " * 150 + "\n"
    prompts = {
        "many shots": 32 * shot + f"<image:{picture[:12]}>what is asked?",
        "one long text": "document " * 4_000 + "what is asked?",
        "endless": "document " * 40_000 + "what is asked?",
    }
    samples = [
        made.sample(
            "1" * 16,
            number,
            sample_id=name,
            prompt=prompt,
            shot_ids=["train-1"] * 32 if name == "many shots" else [],
            image_digests=[picture] * 33 if name == "many shots" else [],
            image_paths=["0.png"] * 33 if name == "many shots" else [],
        )
        for number, (name, prompt) in enumerate(prompts.items())
    ]
    made.write(tmp_path, made.run("1" * 16, samples), samples)
    for name, prompt in prompts.items():
        at = opened(monkeypatch, "samples", tmp_path, sample=name)
        (shown,) = every(at, "prompt")
        text = json.dumps(shown)
        assert "what is asked?" in text
        if name == "many shots":
            assert len([node for node in nodes(at) if node[1].get("id", "").startswith("shot-")]) == 32
        else:
            assert "characters left out" in text and len(text) < 10_000
            whole = opened(monkeypatch, "samples", tmp_path, **asked(links(at)["show all"]))
            text = json.dumps(every(whole, "prompt"))
            assert text.count("document ") >= min(prompt.count("document "), 22_000)
            assert ("samples.parquet" in text) == (name == "endless")


def test_sample_filters_stand_in_the_address_and_act(results: Path, monkeypatch: Patch) -> None:
    at = opened(monkeypatch, "samples", results, run="a" * 16, score="wrong", slice="kind=odd")
    assert "10 questions" in said(at)
    at.text_input(key="address.text").input("thing 3?")
    run(at)
    assert "1 question " in said(at)
    assert shown_at(at, "text") == "thing 3?"
    at.selectbox(key="address.run").select("b" * 16)
    run(at)
    assert shown_at(at, "run") == "b" * 16
    assert "slice" not in at.query_params


def test_two_splits_of_a_task_have_lines_and_links_of_their_own(tmp_path: Path, monkeypatch: Patch) -> None:
    made.two_splits(tmp_path)
    at = opened(monkeypatch, "compare", tmp_path)
    ways = links(at)
    assert asked(ways["things:testA"])["task"] == "things:testA" and "things" not in ways
    assert at.selectbox(key="address.task").options == ["things:testA", "things:val"]
    at.selectbox(key="address.task").select("things:val")
    run(at)
    shown = {asked(href)["sample"] for href in links(at).values() if href.startswith("samples?")}
    assert shown and all(one.startswith("val") for one in shown)
    board = opened(monkeypatch, "leaderboard", tmp_path)
    assert {asked(node[1]["href"])["task"] for node in every(board, "axis-link")} == {"things:testA", "things:val"}
    assert {"things:testA", "things:val"} <= {node[1].get("data-label") for node in every(board, "cell")}


def test_slices_and_samples_tell_the_splits_of_a_task_apart(tmp_path: Path, monkeypatch: Patch) -> None:
    made.two_splits(tmp_path)
    at = opened(monkeypatch, "slices", tmp_path, task="things:val")
    runs = {asked(node[2][0][1]["href"])["run"] for node in every(at, "heat") if node[0] == "td"}
    assert runs == {"a1" * 8, "b1" * 8}
    assert "things:testA" in at.selectbox(key="address.task").options
    names = opened(monkeypatch, "samples", tmp_path).selectbox(key="address.run").options
    assert sum("things:val" in one for one in names) == 2


FILTERS: dict[str, tuple[str, int]] = {
    "kind": ("BadImage", 5),
    "low": ("0.5", 295),
    "high": ("0.5", 150),
    "short": ("4", 150),
    "long": ("3", 295),
    "text": ("thing 44", 11),
}
"""A value of each of Samples' filters that is typed or chosen, and how many of the questions pass it."""


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_that_is_set_on_a_later_page_shows_the_first_of_what_passes(
    name: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    lost = {"answer": None, "scores": {}, "error_kind": "BadImage", "error": "no such picture"}
    samples = [made.sample("1" * 16, number, **(lost if number % 90 == 1 else {})) for number in range(450)]
    made.write(tmp_path, made.run("1" * 16, samples), samples)
    at = opened(monkeypatch, "samples", tmp_path, skip="200")
    assert "201–400 of 450" in said(at)
    value, found = FILTERS[name]
    if name == "kind":
        at.selectbox(key="address.kind").select(value)
    else:
        at.text_input(key=f"address.{name}").input(value)
    run(at)
    assert f"1–200 of {found}" in said(at) if found > 200 else f"{found} questions" in said(at)
    assert shown_at(at, name) == value and "skip" not in at.query_params


def test_a_page_behind_the_last_leads_back(results: Path, monkeypatch: Patch) -> None:
    at = opened(monkeypatch, "samples", results, run="a" * 16, skip="200", score="wrong")
    assert "No question passes" not in said(at)
    assert links(at)["back to the first"] == f"samples?run={'a' * 16}&score=wrong"


def test_samples_show_other_runs_answers(results: Path, monkeypatch: Patch) -> None:
    at = opened(monkeypatch, "samples", results, run="a" * 16, sample="q00005")
    assert "Other runs on this question" in said(at)
    ways = [href for text, href in links(at).items() if text.startswith("model-b")]
    assert parse_qs(urlsplit(ways[0]).query) == {"run": ["b" * 16], "sample": ["q00005"]}


def test_a_long_answer_is_shown_whole_only_when_asked_for(tmp_path: Path, monkeypatch: Patch) -> None:
    run_id = made.long_answer(tmp_path, 30_000)
    at = opened(monkeypatch, "samples", tmp_path, run=run_id)
    assert len(said(at)) < 12_000
    way = links(at)["show all 30,000 characters"]
    address = {name: values[0] for name, values in parse_qs(urlsplit(way).query).items()}
    assert len(said(opened(monkeypatch, "samples", tmp_path, **address))) > 60_000


def test_a_score_range_and_a_length_act_and_the_closed_filters_say_so(results: Path, monkeypatch: Patch) -> None:
    at = opened(monkeypatch, "samples", results, run="a" * 16)
    assert "60 questions" in said(at)
    assert folded(at) == ["More filters"]
    for name, value, found in (("low", "0.5", 40), ("long", "3", 40), ("short", "3", 40), ("high", "0.9", 0)):
        at.text_input(key=f"address.{name}").input(value)
        run(at)
        assert f"{found} questions" in said(at) if found else "No question passes" in said(at)
    assert folded(at) == ["More filters · 4 set"]


def folded(at: AppTest) -> list[str]:
    """The labels of what opens on demand."""
    return [one.proto.popover.label for one in at.get("popover")]


def test_long_questions_targets_and_errors_are_shown_whole_when_asked_for(tmp_path: Path, monkeypatch: Patch) -> None:
    texts = {"question": "q" * 3_000, "error": "e" * 3_001}
    samples = [
        made.sample("1" * 16, 0, error_kind="Bad", scores={}, answer=None, targets=["t" * 1_500, "u" * 1_500], **texts)
    ]
    made.write(tmp_path, made.run("1" * 16, samples), samples)
    at = opened(monkeypatch, "samples", tmp_path)
    ways = links(at)
    assert {f"show all {length:,} characters" for length in (3_000, 3_001, 3_003)} <= ways.keys()
    shown = said(opened(monkeypatch, "samples", tmp_path, **asked(ways["show all 3,000 characters"])))
    assert texts["question"] in shown and texts["error"] in shown and "u" * 1_500 in shown


def test_a_search_is_shown_step_by_step(tmp_path: Path, monkeypatch: Patch) -> None:
    run_id = made.with_search(tmp_path / "results", tmp_path / "images")
    at = opened(monkeypatch, "samples", tmp_path / "results", tmp_path / "images", run=run_id, sample="q00000")
    assert "Search for blue cup: found in 2 steps" in said(at)
    assert len(every(at, "looked")) == 2 and len(every(at, "predicted")) >= 1
    at.slider(key="address.step").set_value(1)
    run(at)
    assert shown_at(at, "step") == "1"
    assert len(every(at, "looked")) == 1 and not every(at, "predicted")


def test_boxes_of_answer_and_target_lie_on_the_picture(tmp_path: Path, monkeypatch: Patch) -> None:
    run_id = made.with_search(tmp_path / "results", tmp_path / "images")
    at = opened(monkeypatch, "samples", tmp_path / "results", tmp_path / "images", run=run_id, sample="q00001")
    boxes = {node[1]["class"]: node[1] for node in every(at, "box")}
    assert boxes.keys() == {"box target", "box predicted"}
    assert (boxes["box target"]["--left"], boxes["box predicted"]["--left"]) == (str(10 / 64), str(8 / 64))


def dots(at: AppTest) -> list[dict[str, Any]]:
    """The points of a page's plot."""
    spec = json.loads(at.get("vega_lite_chart")[0].proto.spec)
    (points,) = [layer["data"]["values"] for layer in spec["layer"] if layer.get("name") == "points"]
    return points


def test_curves_draw_every_run_and_list_it(results: Path, monkeypatch: Patch) -> None:
    at = opened(monkeypatch, "curves", results)
    assert {(point["name"], point["run_id"]) for point in dots(at)} == {("model-a", "a" * 16), ("model-b", "b" * 16)}
    assert "n = 60" in said(at) and "Band:" in said(at)
    for against in ("parameters", "seconds", "tokens", "memory"):
        assert "Bars: 95 % interval" in said(opened(monkeypatch, "curves", results, against=against))


def test_a_curve_says_how_its_shots_were_chosen_and_leaves_out_older_repeats(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    for run_id, shots, selection, created in (
        ("0" * 16, 0, "random", "2026-01-02"),
        ("1" * 16, 4, "random", "2026-01-02"),
        ("2" * 16, 4, "rices", "2026-01-02"),
        ("3" * 16, 4, "rices", "2026-01-01"),
    ):
        samples = [made.sample(run_id, number) for number in range(4)]
        facts = {"num_fewshot": shots, "shot_selection": selection, "created": created}
        made.write(tmp_path, made.run(run_id, samples, **facts), samples)
    found = {(point["name"], point["run_id"][0]) for point in dots(opened(monkeypatch, "curves", tmp_path))}
    assert found == {("model-a", "0"), ("model-a", "1"), ("model-a, rices shots", "0"), ("model-a, rices shots", "2")}


def test_the_points_in_the_address_mark_their_runs(results: Path, monkeypatch: Patch) -> None:
    assert not every(opened(monkeypatch, "curves", results), "current")
    at = opened(monkeypatch, "curves", results, point=["b" * 16, "nonsense"])
    (row,) = every(at, "current")
    assert "model-b" in json.dumps(row) and "the chosen ones are marked" in said(at)


def test_a_dash_says_why_there_is_nothing(tmp_path: Path, monkeypatch: Patch) -> None:
    samples = [made.sample("1" * 16, number, targets=[]) for number in range(4)]
    bare = {"parameters": None, "seconds": 0.0, "questions_per_second": None, "family": ""}
    made.write(tmp_path, made.run("1" * 16, samples, **bare), samples)
    made.write(tmp_path, made.run("2" * 16, samples, task="other", model="m", model_digest="m"), samples)
    folder = tmp_path / "runs" / ("7" * 16)
    folder.mkdir()
    (folder / "run.json").write_text(made.run("7" * 16, [], status="running", scores=(), finished=None).to_json())
    for page in NAMES:
        for node in nodes(opened(monkeypatch, page, tmp_path, run="1" * 16, complete="0")):
            assert node[2] != ["–"] or node[1].get("title"), (page, node)


def test_slices_lead_to_their_questions(results: Path, monkeypatch: Patch) -> None:
    at = opened(monkeypatch, "slices", results)
    cells = [node[2][0] for node in every(at, "heat") if node[0] == "td"]
    assert len(cells) == 6
    heads = [node[2][0] for node in nodes(at) if node[0] == "th"][::-1]
    assert heads == ["model", "shots", "all", "even", "odd"]
    held = [parse_qs(urlsplit(cell[1]["href"]).query) for cell in cells]
    assert {one.get("slice", [""])[0] for one in held} == {"", "kind=even", "kind=odd"}
    assert "Every question of these runs has an answer" in said(at)


def test_the_heads_of_seeds_stand_over_seeds(tmp_path: Path, monkeypatch: Patch) -> None:
    for seed, run_id in enumerate(("1" * 16, "2" * 16)):
        samples = [made.sample(run_id, number) for number in range(4)]
        made.write(tmp_path, made.run(run_id, samples, seed=seed), samples)
    at = opened(monkeypatch, "slices", tmp_path)
    rows = [node[2] for node in nodes(at) if node[0] == "tr"]
    assert {len(cells) for cells in rows} == {6}
    heads = [node[2][0] for node in nodes(at) if node[0] == "th"][::-1]
    assert heads == ["model", "shots", "seed", "all", "even", "odd"]


def test_errors_are_counted_by_kind_and_lead_to_their_questions(tmp_path: Path, monkeypatch: Patch) -> None:
    made.failed(tmp_path)
    at = opened(monkeypatch, "slices", tmp_path)
    assert "BadImage" in said(at) and "no letter" in said(at)
    way = parse_qs(urlsplit(links(at)["10"]).query)
    assert (way["score"], way["kind"]) == (["error"], ["BadImage"])


def test_a_failed_run_is_first_and_shows_its_error_first(tmp_path: Path, monkeypatch: Patch) -> None:
    made.two_models(tmp_path)
    run_id = made.failed(tmp_path)
    rows = [node for node in nodes(opened(monkeypatch, "runs", tmp_path)) if node[0] == "tr"]
    assert any("too many errors" in json.dumps(row) or "failed" in json.dumps(row) for row in rows)
    at = opened(monkeypatch, "runs", tmp_path, run=run_id)
    assert "10 of 20 questions have no answer, more than the run allows." in said(at)
    assert "12.png: no such picture" in said(at)


def test_shares_of_work_are_in_percent(tmp_path: Path, monkeypatch: Patch) -> None:
    samples = [made.sample("1" * 16, number) for number in range(4)]
    made.write(tmp_path, made.run("1" * 16, samples, counters={"padding_share": 0.137, "passes": 1234.0}), samples)
    shown = said(opened(monkeypatch, "runs", tmp_path, run="1" * 16))
    assert "padding share 13.7 %" in shown and "passes 1,234" in shown


def test_stages_of_replicas_stand_under_each_replica(tmp_path: Path, monkeypatch: Patch) -> None:
    """Also where a run went on with other replicas."""
    of_replicas = {"replica 0 on east": (6.0, 2.0), "replica 1 on west": (3.0, 4.0)}
    stages = {"plan": 1.0}
    for place, (prompts, tokens) in of_replicas.items():
        stages[f"answer: {place}: prompts"] = prompts
        stages["answer"], stages["score"] = 9.0, 0.5
        stages[f"answer: {place}: tokens"] = tokens
    samples = [made.sample("1" * 16, number) for number in range(4)]
    made.write(tmp_path, made.run("1" * 16, samples, stages=stages), samples)
    at = opened(monkeypatch, "runs", tmp_path, run="1" * 16)
    rows = [node[2] for node in nodes(at) if node[0] == "tr" and "stage" in node[2][0][1].get("class", "")]
    assert [(name[1]["--depth"], name[2][0], spent[2][0]) for name, spent, _ in reversed(rows)] == [
        ("0", "plan", "1.0 s"),
        ("0", "answer", "9.0 s"),
        ("1", "replica 0 on east", "8.0 s"),
        ("2", "prompts", "6.0 s"),
        ("2", "tokens", "2.0 s"),
        ("1", "replica 1 on west", "7.0 s"),
        ("2", "prompts", "3.0 s"),
        ("2", "tokens", "4.0 s"),
        ("0", "score", "500 ms"),
    ]
    shares = [float(bar[2][0][1]["--share"]) for _, _, bar in reversed(rows)]
    assert shares[1] == 9 / 10.5 and shares[2] == 8 / 10.5


def test_two_runs_settings_stand_side_by_side(results: Path, monkeypatch: Patch) -> None:
    at = opened(monkeypatch, "runs", results, run="a" * 16, beside="b" * 16)
    marked = [node[2][0] for node in every(at, "differs")]
    assert {"model-a", "model-b"} <= set(marked)
    assert at.code[0].value == "flab eval --model model-a --tasks things --seed a"


@pytest.mark.parametrize("page", NAMES)
def test_any_address_opens_the_page(page: str, results: Path, monkeypatch: Patch) -> None:
    for value in ("", "nonsense", "-1", "9" * 30, made.MARKUP, "٣"):
        names = ("run", "sample", "skip", "shots", "task", "slice", "score", "a", "b", "sort", "step", "low", "short")
        opened(monkeypatch, page, results, **dict.fromkeys(names, value))


def test_a_newer_schema_is_told(results: Path, monkeypatch: Patch) -> None:
    file = results / "runs" / ("a" * 16) / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": SCHEMA_VERSION + 1}))
    at = opened(monkeypatch, "runs", results)
    assert at.expander[0].label == "1 of the folder's runs cannot be read and are left out"
    assert "update flamingo-lab" in said(at) and "model-b" in said(at)


@pytest.mark.parametrize("page", NAMES)
def test_half_copied_samples_are_named_and_the_rest_is_shown(page: str, results: Path, monkeypatch: Patch) -> None:
    (results / "runs" / ("a" * 16) / "samples.parquet").write_bytes(b"PAR1 half of a file")
    at = opened(monkeypatch, page, results)
    assert "cut or damaged" in said(at)
    assert "cut or damaged" in said(opened(monkeypatch, page, results, run="a" * 16))


def test_samples_that_may_not_be_read_are_one_clear_box(results: Path, monkeypatch: Patch) -> None:
    reading = LocalPlace.samples

    def samples(place: LocalPlace, run_id: str) -> str:
        if run_id == "a" * 16:
            raise PermissionError(13, "Permission denied")
        return reading(place, run_id)

    monkeypatch.setattr(LocalPlace, "samples", samples)
    shown = said(opened(monkeypatch, "samples", results, run="a" * 16))
    assert f"samples of run {'a' * 16} not readable (Permission denied)" in shown
    assert "60 questions" in said(opened(monkeypatch, "samples", results, run="b" * 16))


def test_published_scores_stand_beside_measured_ones(tmp_path: Path, monkeypatch: Patch) -> None:
    samples = [made.sample("1" * 16, number) for number in range(6)]
    score = Score("vqa_accuracy", "llava", "all", 0.6, 0.5, 0.7, 0.05, n=6)
    record = made.run("1" * 16, samples, model="llava-v1.5-7b", task="textvqa", split="val", scores=[score])
    made.write(tmp_path, record, samples)
    at = opened(monkeypatch, "leaderboard", tmp_path, published="1")
    assert "published 58.2 (+1.8" in said(at)
    assert "haotian-liu/LLaVA docs/MODEL_ZOO.md" in said(at)


@pytest.mark.parametrize("page", NAMES)
def test_results_at_a_url_are_shown_and_listed_once_a_page(page: str, results: Path, monkeypatch: Patch) -> None:
    from leaderboards.remote import RemotePlace, publish

    publish([Store(results)], RemotePlace(f"memory://{page}"))
    asked: list[str] = []
    listing = RemotePlace.records
    monkeypatch.setattr(RemotePlace, "records", lambda place: asked.append(place.name) or listing(place))
    monkeypatch.setattr("dashboard.results.LISTED_FOR_SECONDS", 60.0)
    shown = said(opened(monkeypatch, page, f"memory://{page}"))
    assert "2 runs" in shown
    assert len(asked) == 1
