"""Who holds what of a model, and which of several processes one is: from configurations and variables alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flamingo_lab import families
from flamingo_lab.config import Alibi, Architecture
from flamingo_lab.errors import BadSetting
from flamingo_lab.family import Folder
from flamingo_lab.nn.positions import slopes
from flamingo_lab.parallel import plan
from flamingo_lab.parallel.launched import Place, first_host, launched
from flamingo_lab.vlm import VLM

SIZES = {"idefics-80b": 8, "llava-v1.6-mistral-7b": 16, "moe-llava-phi2-2.7b-4e": 4, "qwen-vl-chat": 2}
"""Listed models, and over how many ranks they are split."""


def built(name: str) -> Architecture:
    family, size = next((family, size) for family, size in families.sizes() if size.name == name)
    return family.architecture(Folder.listed(size))


@pytest.fixture(scope="module", params=SIZES)
def shared(request: pytest.FixtureRequest) -> tuple[Architecture, dict[str, tuple[int, ...]], int]:
    """A listed model, the shapes of its parameters, and the number of ranks."""
    architecture = built(request.param)
    with torch.device("meta"):
        vlm = VLM(architecture)
    return architecture, {name: tuple(one.shape) for name, one in vlm.named_parameters()}, SIZES[request.param]


Shared = tuple[Architecture, dict[str, tuple[int, ...]], int]


def test_every_row_and_column_is_held_as_often_as_it_is_needed(shared: Shared) -> None:
    architecture, shapes, ranks = shared
    for name, shape in shapes.items():
        slices = [plan.held(name, shape, architecture, rank, ranks) for rank in range(ranks)]
        kept = [one for one in slices if one is not None]
        assert kept, name
        covered = [0] * shape[kept[0].axis]
        for one in kept:
            covered[one.first : one.end] = [count + 1 for count in covered[one.first : one.end]]
        assert len(set(covered)) == 1, name
        is_split = any(one.end - one.first < shape[one.axis] for one in kept)
        copies = plan.copies(architecture, ranks) if ".attention.k." in name or ".attention.v." in name else 1
        assert covered[0] == (copies if is_split else len(kept)), name


def test_a_rank_holds_its_part_and_little_else(shared: Shared) -> None:
    architecture, shapes, ranks = shared
    size = {name: torch.Size(shape).numel() for name, shape in shapes.items()}
    of_decoder = sum(count for name, count in size.items() if name.startswith(("decoder.", "join.")))
    held = 0
    for name, shape in shapes.items():
        own = plan.held(name, shape, architecture, ranks - 1, ranks)
        held += 0 if own is None else size[name] * (own.end - own.first) // shape[own.axis]
    assert of_decoder / ranks <= held <= 1.06 * of_decoder / ranks


def test_heads_of_keys_stay_with_the_queries_that_ask_them() -> None:
    architecture = built("llava-v1.6-mistral-7b")
    decoder, ranks = architecture.decoder, 16
    assert (decoder.heads, decoder.kv_heads) == (32, 8)
    for rank in range(ranks):
        width = decoder.width
        query = plan.held("decoder.layers.3.attention.q.weight", (width, width), architecture, rank, ranks)
        key = plan.held("decoder.layers.3.attention.k.weight", (width // 4, width), architecture, rank, ranks)
        assert query is not None and key is not None
        asked = {head // 4 for head in range(query.first // decoder.head_width, query.end // decoder.head_width)}
        assert asked == set(range(key.first // decoder.head_width, key.end // decoder.head_width))


def test_what_follows_a_sum_is_added_by_rank_0_alone() -> None:
    architecture = built("moe-llava-phi2-2.7b-4e")
    shape = (architecture.decoder.width,)
    for name in ("attention.out.bias", "mlp.down.bias", "mlp.experts.2.down.bias"):
        holders = [plan.held(f"decoder.layers.0.{name}", shape, architecture, rank, 4) for rank in range(4)]
        assert [one is not None for one in holders] == [True, False, False, False]


@pytest.mark.parametrize(
    ("name", "ranks", "message"),
    [
        ("llava-v1.5-7b", 3, "32 heads evenly: 2, 4, 8, 16, 32 would do"),
        ("llava-v1.6-mistral-7b", 64, "32 heads, 8 of keys and values evenly: 2, 4, 8, 16, 32 would do"),
        ("openflamingo-4b-vitl-rpj3b", 16, "32 heads, 8 that look at pictures evenly: 2, 4, 8 would do"),
    ],
)
def test_a_number_of_ranks_that_cannot_share_the_heads_is_refused(name: str, ranks: int, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        plan.check(built(name), ranks)


def test_a_number_of_heads_that_nothing_divides_is_told() -> None:
    architecture = built("llava-v1.5-7b")
    with pytest.raises(BadSetting, match="1 heads evenly: no number would do"):
        plan.check(replace(architecture, decoder=replace(architecture.decoder, heads=1, kv_heads=None)), 2)


@pytest.mark.parametrize("kind", ["plain", "interleaved"])
def test_linear_biases_of_a_share_are_those_of_its_heads(kind: str) -> None:
    alibi = Alibi(slopes="plain" if kind == "plain" else "interleaved")
    parts = [slopes(alibi, 6, (part, 3)) for part in range(3)]
    assert torch.equal(torch.cat(parts), slopes(alibi, 6))


def test_a_share_names_no_other_model() -> None:
    decoder = built("llava-v1.5-7b").decoder
    assert repr(replace(decoder, share=(1, 2))) == repr(decoder)


def test_a_process_knows_its_place_from_torchrun_or_from_a_step_of_slurm() -> None:
    torchrun = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert launched(torchrun | {"MASTER_ADDR": "a", "MASTER_PORT": "7"}) == Place(5, 8, 1, 4, "a", 7)
    slurm = {"SLURM_JOB_ID": "123456", "SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1"}
    step = slurm | {"SLURM_STEP_NODELIST": "gpu[03-04]"}
    assert launched(step) == Place(5, 8, 1, 2, "gpu03", 20_000 + 123456 % 20_000)
    assert launched(step | torchrun) == Place(5, 8, 1, 4, "127.0.0.1", 29500)
    assert launched(step | {"CUDA_VISIBLE_DEVICES": "3"}) == Place(5, 8, 1, 2, "gpu03", 20_000 + 123456 % 20_000, True)
    assert launched(torchrun | {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}) == Place(5, 8, 1, 4, "127.0.0.1", 29500)
    assert launched(launched(torchrun).variables) == launched(torchrun)
    batch_script = {"SLURM_JOB_ID": "123456", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    assert launched(batch_script) is None
    assert launched({}) is None


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("login", "login"),
        ("a1,a2", "a1"),
        ("gpu[03-05,9],login", "gpu03"),
        ("n[7,9]-ib", "n7-ib"),
        ("rack2-node[1-2]", "rack2-node1"),
    ],
)
def test_the_first_of_slurms_nodes_is_found(nodes: str, first: str) -> None:
    assert first_host(nodes) == first
