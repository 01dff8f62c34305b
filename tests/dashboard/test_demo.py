"""The results that come with the package: real, small, whole, and of the model that comes with it."""

from __future__ import annotations

import zipfile

import pytest

import flamingo_lab as fl
import leaderboards
from dashboard.pictures import KEPT, pixels_digest
from leaderboards.compare import compare
from tests.dashboard.pages import NAMES, nodes, opened
from tests.folders import ROOT

DEMO = ROOT / "dashboard" / "demo"
MOST_BYTES = 3_000_000


def test_it_is_small() -> None:
    assert sum(file.stat().st_size for file in DEMO.rglob("*")) <= MOST_BYTES


def test_it_holds_two_models_at_several_numbers_of_shots_and_all_runs_are_whole() -> None:
    store = leaderboards.open(DEMO)
    runs = store.runs()
    assert store.problems() == []
    assert {run.model for run in runs} == {"flamingo-tiny", "flamingo-tiny-short"}
    assert {run.num_fewshot for run in runs if run.task == "easy-vqa"} == {0, 4, 8}
    assert all(run.status == "complete" and run.n_errors == 0 for run in runs)
    assert all(score.interval for run in runs for score in run.scores)


def test_it_names_no_machine() -> None:
    for record in DEMO.glob("runs/*/run.json"):
        text = record.read_text()
        assert "/work" not in text and "/tmp" not in text and "/root" not in text and "/home" not in text


def test_it_is_of_the_weights_that_come_with_the_package() -> None:
    runs = [run for run in leaderboards.open(DEMO).runs() if run.model == "flamingo-tiny"]
    assert {run.model_digest for run in runs} == {fl.load("flamingo-tiny", dtype=run.dtype).digest for run in runs}, (
        "flamingo-tiny has changed: python docs/demo.py makes them again"
    )


def test_every_picture_of_every_run_is_there() -> None:
    named = leaderboards.open(DEMO).samples().select("unnest(image_digests) as digest").fetchall()
    with zipfile.ZipFile(DEMO / KEPT) as archive:
        held = set(archive.namelist())
        assert {digest for (digest,) in named} == held
        some = sorted(held)[::500]
        assert [pixels_digest(archive.read(digest)) for digest in some] == some


def test_the_longer_training_is_surely_better() -> None:
    store = leaderboards.open(DEMO)
    runs = {
        run.model: run.run_id for run in store.runs() if (run.task, run.num_fewshot, run.seed) == ("easy-vqa", 4, 0)
    }
    found = compare(store, runs["flamingo-tiny-short"], runs["flamingo-tiny"])
    whole = found.differences[0]
    assert whole.is_sure and (whole.difference or 0) > 0


@pytest.mark.parametrize("page", NAMES)
def test_every_page_shows_it(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at = opened(monkeypatch, page, DEMO)
    if page in ("samples", "compare"):
        assert [node for node in nodes(at) if node[0] == "img"]
        assert not [node for node in nodes(at) if "frame" in node[1].get("class", "").split()]


def test_pictures_of_the_documents_are_there_and_small() -> None:
    for name in ("leaderboard", "compare", "samples", "curves"):
        file = ROOT / "docs" / "pictures" / f"dashboard-{name}.png"
        assert 20_000 < file.stat().st_size < 200_000, file
