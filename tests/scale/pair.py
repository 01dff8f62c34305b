"""What several processes of one model answer, all of it with one start: run under torchrun, and read by the tests.

Every process runs this file; in those above rank 0 each load follows rank 0 until it lets go of the model.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

import flamingo_lab as fl
from flamingo_lab.engine import loop
from flamingo_lab.engine.plan import job
from flamingo_lab.parallel.launched import launched
from flamingo_lab.parallel.model import SplitModel
from tests.batches import logits_together
from tests.families.goldens import Golden
from tests.families.test_goldens import request
from tests.folders import GOLDENS
from tests.pretended_gpu import pretended

MECHANISMS = {
    "cross-attention": ("idefics_float", "text_first_batch"),
    "cross-attention with vector gates": ("idefics_vector", "chat"),
    "LLaMA": ("llava_hf", "two_images"),
    "LLaMA from .bin": ("llava_v15", "wide"),
    "LLaMA with adapters": ("llava_v15_lora", "wide"),
    "grouped heads": ("llava_bakllava", "wide"),
    "linear biases and norms over all heads": ("open_flamingo_mpt1b", "vqa_batch"),
    "norms of heads, no tower": ("fuyu", "one_image"),
    "parallel branches and experts": ("moe_llava_phi", "two_images_two_turns"),
    "experts with gates": ("moe_llava_qwen", "one_image"),
    "fused projections, log-n": ("qwen_vl_long", "image_beyond_limit"),
}
"""A golden's folder and case for every mechanism."""


NEW_TOKENS = 5


def asked(golden: Golden, name: str) -> list[fl.Request]:
    """The case's prompts, and the first of them by beams too."""
    case = golden.cases[name]
    settings = {**next(iter(case.runs.values())), "num_beams": 1, "max_new_tokens": NEW_TOKENS}
    own = [request(case, row, settings, str(number)) for number, row in enumerate(case.rows)]
    return [*own, replace(own[0], id="beams", decoding=fl.Beam(2))]


def logits(model: fl.LoadedModel, requests: Sequence[fl.Request]) -> Tensor:
    """(tokens, V) of the prompts, one after the other."""
    return logits_together(model, [job(model, replace(one, decoding=fl.Greedy())) for one in requests])


def load(golden: Golden, name: str, ranks: int = 1, device: str = "cpu") -> fl.LoadedModel:
    """The model of a case, through the public loader."""
    given = {
        key: golden.folder / value if isinstance(value, str) else value for key, value in golden.facts["load"].items()
    }
    template = golden.cases[name].template
    path = given.pop("path")
    return fl.load(path, wording=template, dtype="float32", device=device, tensor_parallel=ranks, **given)


def plain(answer: fl.Answer) -> dict[str, Any]:
    """What of an answer is compared."""
    return {
        "token_ids": list(answer.token_ids),
        "text": answer.text,
        "logprob": answer.logprob,
        "error": None if answer.error is None else [answer.error.kind, answer.error.message],
    }


def answered(model: fl.LoadedModel, requests: Sequence[fl.Request]) -> dict[str, Any]:
    """The answers by id."""
    return {answer.id: plain(answer) for answer in model.answers(requests)}


# What rank 1 alone is made to do, or all of them.


def break_at(model: SplitModel, axis: int, most: int, kind: str) -> None:
    """Rank 1 fails in the midst of every pass with more than so many rows (axis 0) or tokens (axis 1)."""
    if model.ranks.rank != 1:
        return
    errors = {"memory": torch.OutOfMemoryError("no room"), "bug": RuntimeError("a bug")}

    def fail(module: object, given: tuple[Tensor, ...]) -> None:
        if given[0].shape[axis] > most:
            raise errors[kind]

    model.vlm.decoder.layers[1].register_forward_pre_hook(fail)


def small_windows(model: SplitModel) -> None:
    """Requests are handed over two by two."""
    loop.WINDOW = 2


def as_usual(model: SplitModel) -> None:
    """And in thousands again."""
    loop.WINDOW = 4096


SCENES = ("idefics_float", "text_first_batch")


def several(golden: Golden) -> list[fl.Request]:
    """Requests of which some share their beginning and one shows no picture at all."""
    own = [replace(one, max_new_tokens=3) for one in asked(golden, SCENES[1])[:3]]
    broken = fl.Request("broken", fl.Prompt.raw(fl.Image("no-such.png"), "what is it?"))
    return [*(replace(one, id=f"{one.id}/{n}") for n in range(2) for one in own), broken]


def scene_windows(model: SplitModel, golden: Golden) -> object:
    model.everywhere(small_windows)
    found = answered(model, several(golden))
    model.everywhere(as_usual)
    return found


def scene_given_up(model: SplitModel, golden: Golden) -> object:
    for _ in range(3):
        next(iter(model.answers(several(golden))))
    return answered(model, several(golden))


def scene_another_call(model: SplitModel, golden: Golden) -> object:
    first = model.answers(several(golden))
    found = [next(first)]
    try:
        next(model.answers(several(golden)))
    except fl.LabError as error:
        found += first
        return [str(error), {answer.id: plain(answer) for answer in found}, answered(model, several(golden))]
    return None


def scene_memory(model: SplitModel, golden: Golden) -> object:
    model.everywhere(break_at, 0, 2, "memory")
    found = answered(model, several(golden))
    return {"answers": found, "halved": model.counters()["halved_budgets"]}


def scene_bug(model: SplitModel, golden: Golden) -> object:
    three = several(golden)[:3]
    lengths = sorted(len(job(model, one).ids) for one in three)
    assert lengths[-2] < lengths[-1]
    model.everywhere(break_at, 1, lengths[-2], "bug")
    return answered(model, three)


def scene_broken(model: SplitModel, golden: Golden) -> object:
    model.everywhere(break_at, 0, 0, "bug")
    try:
        answered(model, several(golden))
    except fl.LabError as error:
        return str(error)
    return None


def scene_refused(model: SplitModel, golden: Golden) -> object:
    tiny = replace(model, room=replace(model.room, memory_bytes=1 << 20))
    try:
        answered(tiny, several(golden))
    except fl.LabError as error:
        return [str(error), answered(model, several(golden))]
    return None


def scene_features(model: SplitModel, golden: Golden) -> object:
    asked = several(golden)
    with TemporaryDirectory() as folder:
        keeping = replace(model, room=replace(model.room, features=Path(folder)))
        found = [answered(keeping, asked) for _ in range(2)]
    vectors = model.embed([asked[0].prompt.images[0]])
    return {"answers": found, "kept": model.counters()["images_from_cache"], "vectors": vectors.tolist()}


SCENE_FUNCTIONS: dict[str, Callable[[SplitModel, Golden], object]] = {
    "windows": scene_windows,
    "given up": scene_given_up,
    "another call": scene_another_call,
    "memory": scene_memory,
    "bug": scene_bug,
    "refused": scene_refused,
    "features": scene_features,
    "broken": scene_broken,
}
"""Some questions under difficulties. The last one ends rank 1."""


def main(out: Path, device: str, names: Sequence[str]) -> None:
    torch.set_num_threads(1)
    place = launched()
    assert place is not None
    if device == "cpu":
        answer(out, place.ranks, device, names)
    else:
        with pretended(place.local_rank, place.local_ranks):
            answer(out, place.ranks, device, names)


def answer(out: Path, ranks: int, device: str, names: Sequence[str]) -> None:
    found: dict[str, object] = {}
    tensors: dict[str, Tensor] = {}
    for mechanism in names:
        golden, name = Golden(GOLDENS / MECHANISMS[mechanism][0]), MECHANISMS[mechanism][1]
        with suppress(SystemExit):
            model = load(golden, name, ranks, device)
            assert isinstance(model, SplitModel)
            requests = asked(golden, name)
            tensors[mechanism] = model.everywhere(logits, requests).clone()
            found[mechanism] = answered(model, requests)
            found["facts"] = {"digest": model.digest, "about": dict(model.about)}
            del model
            gc.collect()
    golden = Golden(GOLDENS / SCENES[0])
    for scene, function in SCENE_FUNCTIONS.items() if list(names) == list(MECHANISMS) else ():
        with suppress(SystemExit):
            model = load(golden, SCENES[1], ranks, device)
            assert isinstance(model, SplitModel)
            found[scene] = function(model, golden)
            del model
            gc.collect()
    if tensors:
        save_file(tensors, out / "logits.safetensors")
        (out / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
