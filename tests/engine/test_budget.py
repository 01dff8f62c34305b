"""What the engine may take, what it keeps on disk, and what it does where that is too little or broken."""

from __future__ import annotations

import dataclasses
import errno
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from PIL import Image as pil

import flamingo_lab as fl
from flamingo_lab import notes
from flamingo_lab.cli import run
from flamingo_lab.engine.budget import GIB, Room, taken_bytes
from flamingo_lab.engine.features import key
from flamingo_lab.engine.images import PictureStore
from flamingo_lab.engine.plan import job
from flamingo_lab.engine.work import Work
from flamingo_lab.errors import BadSetting
from tests.families.tiny_idefics import write_checkpoint
from tests.folders import ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("idefics")
    write_checkpoint(path, {}, seed=5)
    return path


class Said:
    """What is noted; nothing counts as said before."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        notes.forget()
        self._caplog = caplog

    @property
    def lines(self) -> list[str]:
        return [record.message for record in self._caplog.records if record.name == "flamingo_lab"]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Said:
    return Said(caplog)


def requests(count: int = 6) -> list[fl.Request]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 9, 9, 3), dtype=np.uint8)
    return [
        fl.Request(str(n), fl.Prompt.ask(fl.Image(pil.fromarray(one)), "what?"), max_new_tokens=3)
        for n, one in enumerate(pixels)
    ]


def texts(model: fl.LoadedModel) -> dict[str, str]:
    found = {answer.id: answer for answer in model.answers(requests())}
    assert all(answer.error is None for answer in found.values())
    return {name: answer.text for name, answer in found.items()}


def test_kept_features_save_the_tower_and_change_nothing(folder: Path, tmp_path: Path) -> None:
    first, second = (fl.load(folder, dtype="float32", features=tmp_path) for _ in range(2))
    expected = texts(first)
    assert texts(second) == expected
    assert (first.work.images_encoded, first.work.images_from_cache) == (6, 0)
    assert (second.work.images_encoded, second.work.images_from_cache) == (0, 6)


def test_half_the_budget_holds_for_pictures_that_are_there_already(folder: Path) -> None:
    model = fl.load(folder, dtype="float32")
    images = [image for request in requests() for image in request.prompt.images]
    work = Work()
    store = PictureStore(model, work, GIB)
    for _ in range(2):
        store.bring(images)
    assert work.images_encoded == 6
    store.shrink(3 * store.tokens(images[0]).nbytes, 8)
    store.bring(images)
    assert work.images_encoded == 9


def test_features_of_other_weights_are_left_alone(
    folder: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, said: Said
) -> None:
    other = tmp_path_factory.mktemp("other")
    write_checkpoint(other, {}, seed=6)
    texts(fl.load(other, dtype="float32", features=tmp_path))
    expected = texts(fl.load(folder, dtype="float32"))
    model = fl.load(folder, dtype="float32", features=tmp_path)
    assert texts(model) == expected
    assert model.work.images_encoded == 6
    assert [line for line in said.lines if "other weights" in line]


@pytest.mark.parametrize("damage", [b"", b"\x10\x00\x00\x00\x00\x00\x00\x00{torn", None])
def test_damaged_features_are_made_again_and_said_once(
    folder: Path, tmp_path: Path, damage: bytes | None, said: Said
) -> None:
    expected = texts(fl.load(folder, dtype="float32", features=tmp_path))
    files = sorted(tmp_path.glob("*/*.safetensors"))
    assert len(files) == 6
    for file in files[:3]:
        file.write_bytes(file.read_bytes()[:-8] if damage is None else damage)
    for encoded in (3, 0):
        model = fl.load(folder, dtype="float32", features=tmp_path)
        assert texts(model) == expected
        assert model.work.images_encoded == encoded
    assert said.lines == [f"{files[0].parent}: damaged files are made again"]


def test_a_folder_that_cannot_be_written_is_gone_on_without(folder: Path, tmp_path: Path, said: Said) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    model = fl.load(folder, dtype="float32", features=blocked)
    assert texts(model) == texts(fl.load(folder, dtype="float32"))
    assert said.lines == [f"{blocked}: pictures' features cannot be kept (Not a directory); going on without"]


def refuse(*told: object, **named: object) -> NoReturn:
    raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize(
    ("refused", "verb"),
    [
        ("pathlib.Path.iterdir", "read"),
        ("flamingo_lab.engine.features.load_file", "read"),
        ("tempfile.NamedTemporaryFile", "kept"),
    ],
    ids=["folder not readable", "file not readable", "read-only"],
)
def test_permissions_that_lack_are_gone_on_without(
    refused: str, verb: str, folder: Path, tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = texts(fl.load(folder, dtype="float32"))
    model = fl.load(folder, dtype="float32", features=tmp_path)
    monkeypatch.setattr(refused, refuse)
    assert texts(model) == expected
    assert said.lines == [f"{tmp_path}: pictures' features cannot be {verb} (Permission denied); going on without"]


def test_a_disk_that_fills_up_is_gone_on_without(folder: Path, tmp_path: Path, said: Said) -> None:
    expected = texts(fl.load(folder, dtype="float32"))
    model = fl.load(folder, dtype="float32", features=tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # as if no file found room for more
    try:
        found = texts(model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert found == expected
    assert said.lines == [f"{tmp_path}: pictures' features cannot be kept (File too large); going on without"]
    assert not [file for file in tmp_path.rglob("*") if file.is_file()], "something half written"


def test_the_key_names_weights_preprocessing_and_dtype(folder: Path) -> None:
    model = fl.load(folder, dtype="float32")
    assert key(model) == key(fl.load(folder, dtype="float32"))
    assert key(model) != key(fl.load(folder, dtype="bfloat16"))
    with torch.no_grad():
        next(iter(model.vlm.connector.parameters())).add_(1)
    assert key(model) != key(fl.load(folder, dtype="float32"))


def test_memory_below_what_the_program_takes_is_one_line(folder: Path) -> None:
    said = r"--memory 0\.10 GiB is less than the .* GiB that the weights and the program"
    with pytest.raises(BadSetting, match=said):
        fl.load(folder, device="cpu", dtype="float32", memory=0.1)
    model = fl.load(folder, device="cpu", dtype="float32")
    with pytest.raises(BadSetting, match=said):
        list(dataclasses.replace(model, room=Room.of(0.1, None)).answers(requests()))


def test_memory_below_what_a_question_takes_is_one_line(folder: Path) -> None:
    model = fl.load(folder, dtype="float32")
    few = dataclasses.replace(model, room=Room(memory_bytes=max(taken_bytes(model.vlm.device), 2**29) + 2**29))
    bytes_a_token = 2**20
    budget = few.room.budget(few)
    assert budget.kv_tokens > 1000
    tight = dataclasses.replace(budget, kv_tokens=20)
    with pytest.raises(BadSetting, match=r"question 0 takes .* tokens, too many for 0\.00 GiB"):
        tight.check(job(model, requests()[0]), few.room, bytes_a_token)


def test_a_batch_below_one_prompt_is_one_line(folder: Path) -> None:
    model = fl.load(folder, dtype="float32", batch_tokens=5)
    with pytest.raises(BadSetting, match=r"question 0 takes \d+ tokens, and --batch-tokens lets 5 pass"):
        list(model.answers(requests()))


def test_a_batch_of_one_prompt_is_enough(folder: Path) -> None:
    whole = fl.load(folder, dtype="float32")
    longest = max(len(job(whole, request).ids) for request in requests())
    assert texts(fl.load(folder, dtype="float32", batch_tokens=longest)) == texts(whole)


def test_the_command_says_it_in_one_line(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told = ["eval", "--model", str(folder), "--tasks", "easy-vqa", "--limit", "2", "--memory", "0.1"]
    assert run([*told, "--results", str(tmp_path)]) == 2
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert "--memory 0.10 GiB is less than" in error


MANY = """
import json, sys
import numpy as np
from PIL import Image as pil
import flamingo_lab as fl
from flamingo_lab.host import peak_bytes
model = fl.load(sys.argv[1], dtype="float32", memory=float(sys.argv[2]))
def picture(n):
    drawn = np.random.default_rng(n).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    return lambda: to_jpeg(drawn)
def to_jpeg(drawn):
    import io
    held = io.BytesIO()
    pil.fromarray(drawn).resize((800, 600)).save(held, "JPEG")
    return held.getvalue()
pictures = [fl.Image(picture(n)) for n in range(500)]
shots = [fl.Shot(pictures[n], "what is it?", answer="a car") for n in range(4)]
asked = (fl.Request(str(n), fl.Prompt.ask(pictures[n % 500], f"what {n}?", shots=shots), max_new_tokens=4) for n in range(2000))
errors = sum(answer.error is not None for answer in model.answers(asked))
print(json.dumps({"errors": errors, "peak": peak_bytes(), "encoded": model.work.images_encoded}))
"""


def test_two_thousand_questions_stay_under_the_bound(folder: Path) -> None:
    bound = 0.9
    command = [sys.executable, "-c", MANY, str(folder), str(bound)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["errors"] == 0
    assert found["encoded"] == 500
    assert found["peak"] < bound * GIB
