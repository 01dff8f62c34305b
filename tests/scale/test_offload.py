"""Weights that stay in their files: the same answers as with all of them in memory, and no more memory than is said."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as pil
from safetensors.torch import load_file

import flamingo_lab as fl
from flamingo_lab import understanding
from flamingo_lab.cli import run
from flamingo_lab.engine import reference
from flamingo_lab.engine.budget import BATCH_TOKENS, GIB, ROWS, taken_bytes
from flamingo_lab.engine.features import key
from flamingo_lab.errors import BadSetting
from flamingo_lab.offload import streamed
from flamingo_lab.offload.items import Item, in_order
from tests.families import tiny_llava, tiny_llava_parts
from tests.families.goldens import Golden, found
from tests.families.tiny_idefics import write_checkpoint
from tests.folders import GOLDENS, ROOT

CPU = torch.device("cpu")

CLOSE = 1e-4
"""Sums run in another order where weights stand at other addresses."""

OPTIONS = ("yes", "no, it is not", "a red car")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("idefics")
    write_checkpoint(path, {}, seed=5, max_shard_size="30KB")
    return path


def picture(seed: int) -> fl.Image:
    return fl.Image(pil.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)))


def requests(count: int) -> list[fl.Request]:
    """Questions about pictures with a shot or without, in every kind of decoding."""
    shots = [fl.Shot(picture(0), "what is it?", answer="a car")]
    kinds: Sequence[fl.Decoding] = (fl.Greedy(), fl.Rank(OPTIONS), fl.Beam(2), fl.Sample(seed=3))
    return [
        fl.Request(
            str(n),
            fl.Prompt.ask(picture(n % 5), f"what {n}?", shots=shots if n % 3 else ()),
            kinds[n % 4],
            max_new_tokens=3,
        )
        for n in range(count)
    ]


def equal(model: fl.LoadedModel, offloaded: fl.LoadedModel, asked: Sequence[fl.Request]) -> None:
    """Assert that both answer alike, and that there are answers."""
    assert offloaded.digest == model.digest
    expected, ours = ({one.id: one for one in held.answers(asked)} for held in (model, offloaded))
    for request in asked:
        theirs, own = expected[request.id], ours[request.id]
        assert theirs.error is None and own.error is None, (theirs.error, own.error)
        assert (own.text, own.token_ids, own.stopped_by) == (theirs.text, theirs.token_ids, theirs.stopped_by)
        assert own.logprob == pytest.approx(theirs.logprob, abs=CLOSE)


# The same answers


GOLDEN = [golden for golden in found(GOLDENS) if golden.facts["load"]]


@pytest.mark.skipif(not GOLDEN, reason=f"no goldens under FLAB_GOLDENS ({GOLDENS})")
@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.folder.name)
def test_every_family_answers_as_in_memory(golden: Golden) -> None:
    case = next(iter(golden.cases.values()))
    given: dict[str, Any] = {
        part: golden.folder / where if isinstance(where, str) else where for part, where in golden.facts["load"].items()
    }
    path = given.pop("path")
    model, offloaded = (
        fl.load(path, wording=case.template, dtype="float32", device="cpu", offload=is_offloaded, **given)
        for is_offloaded in (False, True)
    )
    asked = [
        fl.Request(f"{kind}", case.rows[0].prompt, decoding, max_new_tokens=3)
        for kind, decoding in enumerate((fl.Greedy(), fl.Beam(2), fl.Rank(OPTIONS)))
    ]
    equal(model, offloaded, asked)
    linear = [one for one in offloaded.vlm.modules() if isinstance(one, torch.nn.Linear)]
    assert linear
    # The one in use last, three where they are published as one, is all that may be there.
    assert sum(not one.weight.is_meta for one in linear) <= 3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("is_tied", [False, True])
def test_every_decoding_in_both_dtypes(dtype: str, is_tied: bool, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {"tie_word_embeddings": is_tied}, seed=7)
    model, offloaded = (fl.load(tmp_path, dtype=dtype, offload=is_offloaded) for is_offloaded in (False, True))
    equal(model, offloaded, requests(12))


def above(more: float) -> float:
    """GiB for --memory: what this process has taken by now, and so much more."""
    return taken_bytes(CPU) / GIB + more


@pytest.mark.parametrize("more", [None, 1.0])
def test_shards_and_any_memory(folder: Path, more: float | None) -> None:
    memory = None if more is None else above(more)
    equal(fl.load(folder, dtype="float32"), fl.load(folder, dtype="float32", offload=True, memory=memory), requests(24))


def test_files_larger_than_the_systems_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fl.load(folder, dtype="float32")
    for module in ("loading", "offload.streamed"):
        monkeypatch.setattr(f"flamingo_lab.{module}.free_bytes", lambda device: 0)
    offloaded = fl.load(folder, dtype="float32", offload=True, memory=above(1.0))
    equal(model, offloaded, requests(4))
    # Where weights lie is known now: mapping a file for it would bring its header into the cache, and cost more than reading.
    assert isinstance(offloaded, fl.LoadedModel) and offloaded.streamed is not None
    passing = {name for name, item in offloaded.streamed._items.items() if name in in_order(offloaded.vlm)}
    mapped: list[str] = []
    read = Item.read

    def seen(item: Item) -> Any:
        mapped.extend(passing.intersection(item.target.names))
        return read(item)

    monkeypatch.setattr(Item, "read", seen)
    equal(model, offloaded, requests(4))
    assert not mapped


def test_what_a_gpu_may_hold_takes_nothing_from_the_cache_of_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = understanding.understand(str(folder)).sources
    monkeypatch.setattr(streamed, "free_bytes", lambda device: 2 * GIB)
    monkeypatch.setattr(streamed, "taken_bytes", lambda device: 0)
    assert streamed._are_cached(sources, torch.device("cuda"), 80 * GIB)
    assert not streamed._are_cached(sources, CPU, 80 * GIB)
    assert streamed._are_cached(sources, CPU, GIB)


def test_bin_files(folder: Path, tmp_path: Path) -> None:
    as_bin(folder, tmp_path)
    equal(fl.load(tmp_path, dtype="float32"), fl.load(tmp_path, dtype="float32", offload=True), requests(4))


@pytest.mark.parametrize("write", [tiny_llava_parts.write_delta, tiny_llava_parts.write_adapters])
def test_what_is_put_together_while_it_loads(
    write: Callable[[tiny_llava.Tiny, Path], tiny_llava_parts.Parts], tmp_path: Path
) -> None:
    tiny = tiny_llava.write(tmp_path / "whole")
    folder, base, _ = write(tiny, tmp_path)
    model, offloaded = (
        fl.load(folder, base=base, vision=tiny.vision, dtype="float32", offload=is_offloaded)
        for is_offloaded in (False, True)
    )
    equal(model, offloaded, requests(4))


def test_the_reference_answers_too(folder: Path) -> None:
    model, offloaded = (fl.load(folder, dtype="float32", offload=is_offloaded) for is_offloaded in (False, True))
    (request,) = requests(1)
    assert reference.answer(offloaded, request).token_ids == reference.answer(model, request).token_ids


def test_pictures_have_the_same_names_and_features(folder: Path, tmp_path: Path) -> None:
    model, offloaded = (
        fl.load(folder, dtype="float32", features=tmp_path, offload=is_offloaded) for is_offloaded in (False, True)
    )
    assert key(offloaded) == key(model)
    assert offloaded.embeds_digest() == model.embeds_digest()
    assert np.allclose(offloaded.embed([picture(1)]), model.embed([picture(1)]), atol=1e-6)
    equal(model, offloaded, requests(8))
    assert (offloaded.work.images_encoded, offloaded.work.images_from_cache) == (0, model.work.images_encoded)


# Few passes


def test_a_pass_takes_what_the_memory_holds(folder: Path) -> None:
    few, many = (fl.load(folder, dtype="float32", offload=True, memory=above(more)).room for more in (0.2, 4.0))
    model = fl.load(folder, dtype="float32", offload=True)
    assert few.budget(model).pass_tokens < many.budget(model).pass_tokens
    assert many.budget(model).pass_tokens > BATCH_TOKENS
    assert many.budget(model).rows > ROWS


def test_weights_are_read_once_a_pass_however_many_questions_there_are(folder: Path) -> None:
    def read(count: int) -> float:
        model = fl.load(folder, dtype="float32", offload=True)
        asked = [
            # Nothing is shared, so that prompts take one pass, and answers as many as they have tokens but one.
            fl.Request(str(n), fl.Prompt.raw(f"{n:03}", picture(n % 5)), max_new_tokens=3, min_new_tokens=3)
            for n in range(count)
        ]
        assert all(answer.error is None for answer in model.answers(asked))
        return model.counters()["weights_bytes"]

    assert read(300) < 1.5 * read(5)


# Memory

ASKED = """
import json, sys
import flamingo_lab as fl
import flamingo_lab.engine.loop
from flamingo_lab.engine.budget import GIB
from flamingo_lab.host import peak_bytes
from tests.scale.test_offload import requests
imports = peak_bytes()
bound = imports + int(sys.argv[2])
model = fl.load(sys.argv[1], dtype="float32", offload=True, memory=bound / GIB)
answers = {one.id: one.token_ids for one in model.answers(requests(24))}
print(json.dumps({"peak": peak_bytes(), "bound": bound, "imports": imports, "answers": answers}))
"""


def test_memory_stays_under_the_bound_and_answers_are_the_same(tmp_path: Path) -> None:
    """A checkpoint of 400 MB with 250 MB for everything; `benchmarks/offload.py` takes 1 GB with 400 MB."""
    config = {
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "cross_layer_interval": 4,
    }
    write_checkpoint(tmp_path, config, seed=3)
    size = sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    more = 250_000_000
    assert size > 1.6 * more
    command = [sys.executable, "-c", ASKED, str(tmp_path), str(more)]
    done = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert done["peak"] < done["bound"]
    expected = {one.id: list(one.token_ids) for one in fl.load(tmp_path, dtype="float32").answers(requests(24))}
    assert done["answers"] == expected


# What cannot be


def test_memory_below_the_two_largest_weights_is_one_line(tmp_path: Path) -> None:
    config = {"hidden_size": 512, "intermediate_size": 8192, "num_hidden_layers": 1, "cross_layer_interval": 1}
    write_checkpoint(tmp_path, config, seed=3)
    bound = taken_bytes(CPU) / GIB + 0.02
    with pytest.raises(
        BadSetting, match=r"--memory \d\.\d\d GiB is less than the \d\.\d\d GiB that --offload takes"
    ) as said:
        fl.load(tmp_path, dtype="float32", offload=True, memory=bound)
    assert "the largest weights, " in str(said.value)
    assert "join.0.mlp." in str(said.value)
    assert "are 0.03 GiB" in str(said.value)


def test_memory_below_what_the_program_takes_is_one_line_of_the_command(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = ["eval", "--model", str(folder), "--tasks", "easy-vqa", "--limit", "2", "--offload", "--memory", "0.1"]
    assert run([*told, "--results", str(tmp_path)]) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()[-1:]
    assert "--memory 0.10 GiB is less than the" in line
    assert not list(tmp_path.glob("runs/*"))


def test_files_that_cannot_be_mapped_are_refused(folder: Path, tmp_path: Path) -> None:
    as_bin(folder, tmp_path, _use_new_zipfile_serialization=False)
    assert fl.load(tmp_path, dtype="float32").vlm.dtype == torch.float32
    with pytest.raises(BadSetting, match=r"--offload: .*pytorch_model\.bin is in a form from before torch 1\.6"):
        fl.load(tmp_path, dtype="float32", offload=True)


@pytest.mark.parametrize(
    ("load", "line"),
    [
        (lambda folder: fl.load("hf:some/model", offload=True), "hf:some/model takes no --offload"),
        (lambda folder: fl.load("openai:model", offload=True), "openai:model takes no --offload"),
        (lambda folder: fl.load("seal", offload=True), "--offload: seal is made of 2 models"),
        (lambda folder: fl.load(folder, offload=True, tensor_parallel=2), "do not go together"),
    ],
)
def test_what_cannot_be_offloaded_says_so(load: Callable[[Path], object], line: str, folder: Path) -> None:
    with pytest.raises(BadSetting, match=line):
        load(folder)


def as_bin(folder: Path, to: Path, **how: Any) -> None:
    """The checkpoint with its shards as one file of torch's own form."""
    tensors = {name: one for file in folder.glob("*.safetensors") for name, one in load_file(file).items()}
    torch.save(tensors, to / "pytorch_model.bin", **how)
    for file in ("config.json", "tokenizer.json", "preprocessor_config.json"):
        (to / file).write_bytes((folder / file).read_bytes())
