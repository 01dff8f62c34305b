"""Each page without a browser: it answers its question, its filters act, and odd results look right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from leaderboards.compare import compare
from leaderboards.records import SCHEMA_VERSION, Score
from leaderboards.store import Store
from tests.dashboard import made
from tests.dashboard.pages import NAMES, every, links, nodes, opened, run, said, shown_at
from tests.leaderboards.test_terms import drawn, pope

Patch = pytest.MonkeyPatch


@pytest.fixture
def results(tmp_path: Path) -> Path:
    made.two_models(tmp_path / "results")
    return tmp_path / "results"


@pytest.mark.parametrize("page", NAMES)
def test_an_empty_folder_is_explained_with_the_command_that_fills_it(
    page: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    at = opened(monkeypatch, page, tmp_path / "nowhere")
    assert "There are no runs in" in said(at)
    assert at.code[0].value.startswith("flab eval --model flamingo-tiny")


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


def test_compare_shows_how_prompts_differ(tmp_path: Path, monkeypatch: Patch) -> None:
    ids = "1" * 16, "2" * 16
    for number, run_id in enumerate(ids):
        score = {made.METRIC: float(number)}
        samples = [made.sample(run_id, 1, prompt=f"the same and {'other' if number else 'some'} words", scores=score)]
        made.write(tmp_path, made.run(run_id, samples, model=f"model-{number}", model_digest=str(number)), samples)
    marked = every(opened(monkeypatch, "compare", tmp_path), "differs")
    assert sorted(node[2][0] for node in marked) == ["other", "some"]


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
