"""A run is named by all that can change it, asks nothing twice, loses nothing, and counts what could not be answered."""

from __future__ import annotations

import json
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import flamingo_lab as fl
from eval_tasks import plan as plans
from eval_tasks import runner, session, task
from eval_tasks.errors import PromptMismatch, UnknownTask
from eval_tasks.plan import Settings
from flamingo_lab.errors import BadPrompt
from leaderboards.errors import BadStore, RunLocked
from leaderboards.records import Run
from leaderboards.store import Store
from tests.doubles import Scripted
from tests.folders import ROOT
from tests.tasks import charts

CHARTQA = task.get("chartqa")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return charts.write(tmp_path / "data")


def answer_of(request: fl.Request) -> str:
    """The number in the question, which is its answer."""
    question = request.prompt.turns[-1].parts[-1]
    assert isinstance(question, str)
    return question.split()[-1].strip("?")


def run(model: Scripted, settings: Settings, results: Path) -> Run:
    return runner.run(model, CHARTQA, settings, Store(results))


def samples(results: Path, run_id: str) -> list[dict[str, Any]]:
    found = Store(results).samples(run_id)
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def test_a_run_is_scored_recorded_and_not_asked_again(data: Path, tmp_path: Path) -> None:
    model, settings = Scripted(answer_of), Settings(num_fewshot=2, data=data)
    made = run(model, settings, tmp_path / "results")
    assert (made.status, made.n, made.n_errors) == ("complete", 7, 0)
    whole = made.scores[0]
    assert (whole.metric, whole.variant, whole.slice) == ("relaxed_accuracy", "pix2struct", "all")
    assert whole.value == 1.0
    assert whole.low is not None and whole.low < 1.0 and whole.stderr is not None and whole.stderr > 0
    assert {score.slice for score in made.scores} == {"all", "kind=human", "kind=augmented"}
    assert len(model.asked) == 7
    assert run(model, settings, tmp_path / "results") == made
    assert len(model.asked) == 7


def test_every_record_is_complete(data: Path, tmp_path: Path) -> None:
    made = run(Scripted(answer_of), Settings(num_fewshot=2, data=data), tmp_path)
    records = samples(tmp_path, made.run_id)
    assert [record["sample_id"] for record in records][:2] == ["test-human-0", "test-human-1"]
    for record in records:
        assert len(record["image_digests"]) == len(record["image_paths"]) == record["n_images"] == 3
        assert len(record["shot_ids"]) == 2
        # The prompt as sent holds the text, and every picture as its digest.
        assert all(digest[:12] in record["prompt"] for digest in record["image_digests"])
        assert record["question"] in record["prompt"]
        assert record["scores"]["relaxed_accuracy/pix2struct"] == 1.0
        assert record["error"] is None
    assert made.hardware["system"] == platform.platform() and made.hardware["processor"]


def test_the_overall_score_is_the_mean_of_the_parts(data: Path, tmp_path: Path) -> None:
    made = run(Scripted(lambda request: "0"), Settings(data=data), tmp_path)
    value = {score.slice: score.value for score in made.scores if score.variant == "pix2struct"}
    assert value == {"kind=human": 1 / 4, "kind=augmented": 1 / 3, "all": pytest.approx((1 / 4 + 1 / 3) / 2)}


BASE = Settings(num_fewshot=1)
OTHERS = {
    "shots": replace(BASE, num_fewshot=2),
    "selection": replace(BASE, shot_selection="fixed"),
    "seed": replace(BASE, seed=1),
    "limit": replace(BASE, limit=3),
    "wording": replace(BASE, wording="short-answer"),
    "decoding": replace(BASE, decoding=fl.Beam(3)),
    "penalty": replace(BASE, decoding=fl.Beam(3, 0.0)),
    "tokens": replace(BASE, max_new_tokens=5),
    "least tokens": replace(BASE, min_new_tokens=5),
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_can_change_an_answer_makes_another_run(other: str, data: Path) -> None:
    def run_id(settings: Settings) -> str:
        return plans.plan(Scripted(), CHARTQA, replace(settings, data=data)).run_id

    assert run_id(BASE) == run_id(BASE)
    assert run_id(BASE) != run_id(OTHERS[other])


def test_answers_are_as_long_as_is_asked(data: Path) -> None:
    asked = plans.plan(Scripted(), CHARTQA, Settings(data=data, min_new_tokens=3, max_new_tokens=7)).asked
    assert {(one.request.min_new_tokens, one.request.max_new_tokens) for one in asked} == {(3, 7)}
    with pytest.raises(UnknownTask, match="chartqa: no answer has 8 new tokens at least and 7 at most"):
        plans.plan(Scripted(), CHARTQA, Settings(data=data, min_new_tokens=8, max_new_tokens=7))


def test_another_split_makes_another_run(data: Path) -> None:
    ids = {plans.plan(Scripted(), CHARTQA, Settings(data=data, split=split)).run_id for split in ("test", "train")}
    assert len(ids) == 2


def test_another_model_or_another_label_makes_another_run(data: Path) -> None:
    first = plans.plan(Scripted(), CHARTQA, Settings(data=data)).run_id
    assert first != plans.plan(Scripted(digest="retrained"), CHARTQA, Settings(data=data)).run_id
    file = data / "ChartQA Dataset" / "test" / "test_human.json"
    file.write_text(file.read_text().replace('"label": "2"', '"label": "20"'))
    assert first != plans.plan(Scripted(), CHARTQA, Settings(data=data)).run_id


@pytest.mark.parametrize("split", ["test", "train"])
def test_one_changed_pixel_makes_another_run(split: str, data: Path, tmp_path: Path) -> None:
    """In the question's own picture, or in a picture of its shots."""
    other = charts.write(tmp_path / "other")
    for picture in (other / "ChartQA Dataset" / split / "png").iterdir():
        with Image.open(picture) as opened:
            changed = opened.copy()
        red, green, blue = changed.getpixel((3, 4))
        changed.putpixel((3, 4), (red, green ^ 1, blue))
        changed.save(picture)
    settings = Settings(num_fewshot=1)
    ids = {plans.plan(Scripted(), CHARTQA, replace(settings, data=root)).run_id for root in (data, other)}
    assert len(ids) == 2


def test_a_picture_saved_anew_with_the_same_pixels_is_the_same_run(data: Path, tmp_path: Path) -> None:
    other = charts.write(tmp_path / "other")
    for picture in (other / "ChartQA Dataset" / "test" / "png").iterdir():
        with Image.open(picture) as opened:
            opened.save(picture, compress_level=0)
    ids = {plans.plan(Scripted(), CHARTQA, Settings(data=root)).run_id for root in (data, other)}
    assert len(ids) == 1


@pytest.mark.parametrize("lost", ["images_lost", "shots_lost"])
def test_a_prompt_that_loses_pictures_or_shots_is_not_asked(lost: str, data: Path, tmp_path: Path) -> None:
    model = Scripted(**{lost: 1})
    with pytest.raises(PromptMismatch, match="would reach double"):
        run(model, Settings(num_fewshot=2, data=data), tmp_path / "results")
    assert not model.asked
    assert not (tmp_path / "results").exists()


def fails_on_the_first(request: fl.Request) -> str:
    if request.id == "test-human-0":
        raise BadPrompt("too long")
    return answer_of(request)


def test_a_failed_question_is_counted_and_not_scored(data: Path, tmp_path: Path) -> None:
    made = run(Scripted(fails_on_the_first), Settings(data=data, max_error_rate=0.2), tmp_path)
    assert (made.status, made.n_errors) == ("complete", 1)
    human = next(score for score in made.scores if score.slice == "kind=human")
    assert (human.n, human.n_errors, human.value) == (3, 1, 1.0)
    first = samples(tmp_path, made.run_id)[0]
    assert (first["error_kind"], first["error"], first["answer"]) == ("BadPrompt", "too long", None)


def test_too_many_errors_are_a_status_of_their_own(data: Path, tmp_path: Path) -> None:
    made = run(Scripted(fails_on_the_first), Settings(data=data), tmp_path)
    assert made.status == "too many errors"


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n cut"])
def test_an_unreadable_picture_is_an_error_record(content: bytes, data: Path, tmp_path: Path) -> None:
    (data / "ChartQA Dataset" / "test" / "png" / "human-2.png").write_bytes(content)
    made = run(Scripted(answer_of), Settings(data=data, max_error_rate=0.5), tmp_path)
    assert (made.n_errors, made.scores[0].n) == (1, 6)
    (record,) = [record for record in samples(tmp_path, made.run_id) if record["error"]]
    assert record["error_kind"] == "BadImage"
    assert "human-2.png" in record["error"]


def test_an_unreadable_picture_of_a_shot_spoils_its_questions_only(data: Path, tmp_path: Path) -> None:
    (data / "ChartQA Dataset" / "train" / "png" / "human-1.png").write_bytes(b"")
    made = run(Scripted(answer_of), Settings(num_fewshot=1, data=data, max_error_rate=1.0), tmp_path)
    assert 0 < made.n_errors < made.n


@pytest.mark.parametrize("side", [10_000, 20_000])  # Pillow warns of the one and refuses the other
def test_a_decompression_bomb_is_an_error_record(side: int, data: Path, tmp_path: Path) -> None:
    bomb = data / "ChartQA Dataset" / "test" / "png" / "human-2.png"
    Image.new("1", (side, side)).save(bomb)
    made = run(Scripted(answer_of), Settings(data=data, max_error_rate=0.5), tmp_path)
    (record,) = [record for record in samples(tmp_path, made.run_id) if record["error"]]
    assert "more than 89,478,485 pixels" in record["error"]


def test_a_second_process_on_the_same_run_is_refused(data: Path, tmp_path: Path) -> None:
    settings = Settings(data=data)
    run_id = plans.plan(Scripted(), CHARTQA, settings).run_id
    with Store(tmp_path).begin(run_id), pytest.raises(RunLocked, match=r"is being written by process \d+"):
        run(Scripted(), settings, tmp_path)
    assert run(Scripted(), settings, tmp_path).status == "complete"


def test_a_torn_last_line_is_asked_again(data: Path, tmp_path: Path) -> None:
    settings = Settings(data=data)
    expected = run(Scripted(answer_of), settings, tmp_path / "whole")
    interrupted(data, settings, tmp_path / "torn", after=3)
    journal = next((tmp_path / "torn").glob("runs/*/journal.jsonl"))
    journal.write_bytes(journal.read_bytes()[:-20])
    model = Scripted(answer_of)
    found = run(model, settings, tmp_path / "torn")
    assert model.asked == ["test-human-2", "test-human-3", "test-augmented-0", "test-augmented-1", "test-augmented-2"]
    assert found.scores == expected.scores


def interrupted(data: Path, settings: Settings, results: Path, after: int, model: Scripted | None = None) -> None:
    def stop(done: int, total: int, errors: int) -> None:
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run(model or Scripted(answer_of), CHARTQA, settings, Store(results), progress=stop)


@dataclass
class Counting(Scripted):
    """Counts what it is asked at once, as an engine that sorts its requests does, and what it computes as it answers."""

    steps: int = 0
    told: int = 0

    def counters(self) -> Mapping[str, float]:
        steps = self.steps
        told = {"prompt_tokens_asked": 7 * self.told, "decode_steps": steps}
        return told | {"positions_fed": 4 * steps, "positions_padding": steps}

    def stages(self) -> Mapping[str, float]:
        return {"answers": 0.5 * self.steps}

    def answers(self, requests: Iterable[fl.Request]) -> Iterator[fl.Answer]:
        asked = list(requests)
        self.told += len(asked)
        for answer in super().answers(asked):
            self.steps += 1
            yield answer


@pytest.mark.parametrize("is_killed", [False, True], ids=["interrupted", "killed"])
@pytest.mark.parametrize("after", [3, 7])
def test_a_resumed_run_has_the_counts_of_all_its_sessions(
    after: int, is_killed: bool, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing is left to ask. A killed session leaves what it kept before."""
    settings, results = Settings(num_fewshot=1, data=data), tmp_path / "resumed"
    monkeypatch.setattr(session, "KEEP_SECONDS", 0.0)

    def copied(done: int, total: int, errors: int) -> None:
        if is_killed and done == after:
            shutil.copytree(tmp_path / "whole", results)

    whole = Store(tmp_path / "whole")
    expected = runner.run(Counting(answer_of), CHARTQA, settings, whole, progress=copied)
    if not is_killed:
        interrupted(data, settings, results, after, Counting(answer_of))
    found = run(Counting(answer_of), settings, results)
    assert found.counters == expected.counters
    assert (found.counters["prompt_tokens_asked"], found.counters["images_referenced"]) == (49, 14)
    assert (found.counters["generated_tokens"], found.counters["padding_share"]) == (14, 0.25)
    assert found.stages.keys() == expected.stages.keys()
    assert found.stages["answer: answers"] == 3.5
    assert found.seconds == pytest.approx(sum(found.stages[name] for name in ("plan", "answer", "score")), abs=0.05)


def test_a_damaged_journal_is_told(data: Path, tmp_path: Path) -> None:
    settings = Settings(data=data)
    interrupted(data, settings, tmp_path, after=3)
    journal = next(tmp_path.glob("runs/*/journal.jsonl"))
    lines = journal.read_bytes().split(b"\n")
    journal.write_bytes(b"\n".join([lines[0], b"{not json", *lines[2:]]))
    with pytest.raises(BadStore, match="line 2 is damaged"):
        run(Scripted(), settings, tmp_path)


LIMIT = 300
KILLS = 20


def double_run(results: Path, log: Path, delay_seconds: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.tasks.double_run", str(results), str(log), str(delay_seconds), str(LIMIT)]
    return subprocess.Popen(command, cwd=ROOT)


def journaled(results: Path) -> list[str]:
    """Ids in the whole lines of the journal."""
    files = list(results.glob("runs/*/journal.jsonl"))
    content = files[0].read_bytes() if files else b""
    return [json.loads(line)["id"] for line in content.split(b"\n")[:-1]]


def test_killed_at_twenty_moments_the_run_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    assert double_run(whole, tmp_path / "whole.log", 0).wait() == 0
    results, moments = tmp_path / "killed", random.Random(0)
    kept_before_kills: list[int] = []
    for number in range(KILLS):
        kept = set(journaled(results))
        log = tmp_path / f"{number}.log"
        process = double_run(results, log, 0.02)
        is_early = number % 5 == 0  # while it starts or plans
        while not is_early and not log.exists():
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.8 if is_early else 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        asked = log.read_text().split() if log.exists() else []
        assert not kept & set(asked), "asked again, although its answer was kept"
        assert kept <= set(journaled(results)), "an answer was lost"
        kept_before_kills.append(len(kept))
    assert kept_before_kills[-1] > kept_before_kills[5] > 0
    assert double_run(results, tmp_path / "last.log", 0).wait() == 0
    names = journaled(results)
    assert len(names) == len(set(names)) == LIMIT

    def comparable(folder: Path) -> tuple[Any, ...]:
        (found,) = Store(folder).runs()
        records = [{**record, "seconds": 0} for record in samples(folder, found.run_id)]
        return found.run_id, found.status, found.scores, records

    assert comparable(results) == comparable(whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a few answers."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_one_line_and_costs_nothing(data: Path, tmp_path: Path, small_disk: Path) -> None:
    def long_winded(request: fl.Request) -> str:
        return answer_of(request) + " " * 3_000  # stripped before it is scored

    settings = Settings(data=data)
    expected = run(Scripted(long_winded), settings, tmp_path / "whole")
    with pytest.raises(BadStore, match=r"cannot be written \(No space left on device\)"):
        run(Scripted(long_winded), settings, small_disk)
    (folder,) = small_disk.glob("runs/*")
    assert {file.name for file in folder.iterdir()} == {"run.json", "journal.jsonl", "lock"}, "something half written"
    kept = len(journaled(small_disk))
    assert 0 < kept < expected.n
    roomy = tmp_path / "roomy"
    shutil.copytree(small_disk, roomy)
    model = Scripted(long_winded)
    found = run(model, settings, roomy)
    assert len(model.asked) == expected.n - kept
    assert found.scores == expected.scores


def test_what_is_no_journal_is_refused(data: Path, tmp_path: Path) -> None:
    settings = Settings(data=data)
    folder = tmp_path / "runs" / plans.plan(Scripted(), CHARTQA, settings).run_id
    folder.mkdir(parents=True)
    (folder / "journal.jsonl").symlink_to("/dev/zero")
    with pytest.raises(BadStore, match="not a file"):
        run(Scripted(), settings, tmp_path)
