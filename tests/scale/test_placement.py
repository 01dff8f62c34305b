"""What runs where: decided from numbers alone, with devices that are made up."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import flamingo_lab as fl
from flamingo_lab import families, notes
from flamingo_lab.cli import run
from flamingo_lab.config import Inline
from flamingo_lab.engine.budget import GIB, START_BYTES, Room, taken_bytes
from flamingo_lab.errors import BadSetting
from flamingo_lab.family import Folder
from flamingo_lab.offload.items import in_order
from flamingo_lab.parallel.launched import Place
from flamingo_lab.placement import Placing, needs
from flamingo_lab.placement.devices import DTYPES, Device, Machine, Memory, device_of, is_on_cpu, named
from flamingo_lab.placement.needs import Form, Slice
from flamingo_lab.placement.plan import Plan, plan
from flamingo_lab.quant import FORMS
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import held
from tests.families.tiny_idefics import write_checkpoint
from tests.folders import ROOT
from tests.scale.made_up import TAKEN, cpu, gpu, machine


def on_meta(name: str) -> VLM:
    family, size = next((family, size) for family, size in families.sizes() if size.name == name)
    with torch.device("meta"):
        return VLM(family.architecture(Folder.listed(size)))


@pytest.fixture(scope="module")
def big() -> VLM:
    return on_meta("idefics-80b")


@pytest.fixture(scope="module")
def small() -> VLM:
    return on_meta("idefics-9b")


@pytest.fixture(scope="module")
def tiny() -> VLM:
    return on_meta("flamingo-tiny")


def planned(vlm: VLM, there: Machine, memory: float | None = None, **asked: Any) -> Plan:
    return plan(vlm, Placing(**asked), there, Room.of(memory, None))


def refusal(vlm: VLM, there: Machine, memory: float | None = None, **asked: Any) -> str:
    """The line that says that nothing can be done."""
    with pytest.raises(BadSetting) as said:
        assert planned(vlm, there, memory, **asked).chosen
    return str(said.value)


def taken(vlm: VLM, there: Machine, **asked: Any) -> str:
    """What asks for the way that is taken."""
    return planned(vlm, there, **asked).chosen.options


# What auto takes


def test_one_gpu_where_it_has_room(small: VLM) -> None:
    assert taken(small, machine(500, 80, 80)) == "--device cuda:0 --dtype bfloat16"
    assert taken(small, machine(500, 8, 80)) == "--device cuda:1 --dtype bfloat16"


def test_as_few_gpus_as_hold_it_together_where_one_does_not(big: VLM) -> None:
    found = planned(big, machine(500, *[80] * 8))
    assert found.chosen.options == "--device cuda:0,1,2,3 --dtype bfloat16 --tensor-parallel 4"
    assert (found.slices, found.form, found.offload) == (4, Form(torch.bfloat16), False)
    assert found.devices == [torch.device("cuda", index) for index in range(4)]
    assert [choice.name for choice in found.choices] == ["one GPU", "2 GPUs", "4 GPUs"]
    assert "one GPU in bfloat16 would need 158" in found.reason
    assert found.placing == Placing("cuda:0,1,2,3", "bfloat16", None, 4, False)


def test_the_gpus_with_most_room_are_taken_in_the_order_of_their_numbers(big: VLM) -> None:
    assert "cuda:0,2,3,5 " in taken(big, machine(500, 80, 40, 80, 80, 40, 80))


def test_int8_then_int4_where_no_number_of_gpus_is_enough(big: VLM) -> None:
    assert taken(big, machine(500, 140)) == "--device cuda:0 --quant int8"
    assert taken(big, machine(500, 100)) == "--device cuda:0 --quant int4"
    assert taken(big, machine(500, 100, forms=())) == "--device cpu --dtype bfloat16"


def test_the_cpu_where_gpus_are_too_small(big: VLM, small: VLM) -> None:
    assert taken(big, machine(500, 24)) == "--device cpu --dtype bfloat16"
    assert taken(small, machine(64)) == "--device cpu --dtype bfloat16"


def test_offload_last_on_a_gpu_before_a_cpu(big: VLM) -> None:
    assert taken(big, machine(64, 24)) == "--device cuda:0 --dtype bfloat16 --offload"
    assert taken(big, machine(64, 4)) == "--device cpu --dtype bfloat16 --offload"
    assert taken(big, machine(64)) == "--device cpu --dtype bfloat16 --offload"


def test_a_cpu_without_gpu_is_never_given_fewer_bits(small: VLM) -> None:
    there = Machine(cpu(16, forms=FORMS))
    assert [str(one.form) for one in planned(small, there).choices] == ["bfloat16", "bfloat16"]
    assert planned(small, there).offload


def test_float32_on_a_cpu_without_bfloat16_as_long_as_half_of_its_memory_holds_it(small: VLM) -> None:
    assert planned(small, Machine(cpu(80, has_bfloat16=False))).form == Form(torch.float32)
    assert planned(small, Machine(cpu(60, has_bfloat16=False))).form == Form(torch.bfloat16)


def test_int8_on_a_cpu_computes_in_what_its_kernel_takes(small: VLM, monkeypatch: pytest.MonkeyPatch) -> None:
    there = Machine(cpu(80, forms=FORMS, has_bfloat16=False))
    for is_there, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("flamingo_lab.placement.ways.has_kernel", lambda found=is_there: found)
        assert planned(small, there, quant="int8").form == Form(dtype, "int8")
    monkeypatch.undo()
    assert planned(small, there, quant="int4").form == Form(torch.float32, "int4")
    assert planned(small, there, quant="int8", dtype="float32").form == Form(torch.float32, "int8")


def test_bfloat16_where_float32_would_fit_but_for_what_others_hold(small: VLM) -> None:
    busy = Device("cpu", 0, 128 * GIB, lambda: Memory(30 * GIB, TAKEN), (), has_bfloat16=False)
    found = planned(small, Machine(busy))
    assert found.form == Form(torch.bfloat16)
    assert "CPU in float32 would need" in found.reason
    said = refusal(small, Machine(busy), device="cpu", dtype="float32")
    assert said.endswith("; --device cpu --dtype bfloat16 would do")


def test_part_of_a_model_made_of_several_is_neither_split_nor_offloaded(big: VLM) -> None:
    for there in (machine(64, 80, 80, 80, 80, forms=()), machine(64)):
        found = plan(big, Placing(), there, Room(), is_part=True)
        assert found.taken is None
        assert all(choice.slices == 1 and not choice.offload for choice in found.choices)
    with pytest.raises(BadSetting, match="made of several is not split"):
        plan(big, Placing("cuda:0,1"), machine(64, 80, 80), Room(), is_part=True)


def test_nothing_is_split_unasked_where_others_started_this_process(big: VLM) -> None:
    found = plan(big, Placing(), machine(64, *[80] * 4, forms=()), Room(), Place(0, 4, 0, 4, "host", 1))
    assert all(choice.slices == 1 and not choice.offload for choice in found.choices)


def test_a_further_gpu_is_not_looked_at_where_the_first_is_enough(small: VLM) -> None:
    def refuse() -> Memory:
        raise AssertionError("it takes some of a GPU to look at it")

    second = replace(gpu(1, 80), look=refuse)
    assert planned(small, Machine(cpu(64), [gpu(0, 80), second])).devices == [torch.device("cuda", 0)]


def test_the_fallback_with_least_shortage_is_what_holds_the_weights(small: VLM) -> None:
    """Where no way has room for the planned prompt, weights alone are enough."""
    room = needs.weight_bytes(small, Form(torch.bfloat16)) + START_BYTES + GIB
    found = plan(small, Placing("cpu"), machine(64), Room(memory_bytes=room))
    assert not found.chosen.fits
    assert 0 < found.chosen.tokens < found.chosen.planned
    assert f"about {found.chosen.tokens} tokens" in found.shortness


# What is said is done, or refused with what would do


def test_what_is_said_is_never_decided_otherwise(big: VLM, small: VLM) -> None:
    there = machine(500, 80, 80, 80, 80)
    assert taken(small, there, device="cpu") == "--device cpu --dtype bfloat16"
    assert taken(small, there, device="cuda:2") == "--device cuda:2 --dtype bfloat16"
    assert taken(small, there, dtype="float16") == "--device cuda:0 --dtype float16"
    assert taken(small, there, quant="int4") == "--device cuda:0 --quant int4"
    assert taken(small, there, tensor_parallel=2) == "--device cuda:0,1 --dtype bfloat16 --tensor-parallel 2"
    assert taken(small, there, device="cuda:1,3") == "--device cuda:1,3 --dtype bfloat16 --tensor-parallel 2"
    assert taken(small, there, offload=True) == "--device cuda:0 --dtype bfloat16 --offload"
    assert taken(small, machine(64), tensor_parallel=4) == "--device cpu --dtype bfloat16 --tensor-parallel 4"
    assert "int" not in "".join(str(one.form) for one in planned(big, machine(64, 80), dtype="bfloat16").choices)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"device": "cuda:0"}, r"--device cuda:0 has room for 64\.00 GiB, less than the 148\.9\d GiB"),
        ({"device": "cuda:0,1"}, r"--device cuda:0,1 has room for 64\.00 GiB, less than the 7\d\.\d\d GiB"),
        ({"quant": "int8"}, r"--device cuda:0 has room for 64\.00 GiB, less than the 8\d\.\d\d GiB"),
        (
            {"device": "cpu", "offload": True, "memory": 1.0},
            r"--memory 1\.00 GiB is less than the \d\.\d\d GiB that --off",
        ),
    ],
)
def test_what_does_not_fit_is_one_line_with_what_would(big: VLM, asked: dict[str, Any], line: str) -> None:
    said = refusal(big, machine(500, *[80] * 4), **asked)
    assert re.match(line, said)
    assert "\n" not in said
    if "memory" not in asked:
        assert said.endswith("; --device cuda:0,1,2,3 --dtype bfloat16 --tensor-parallel 4 would do")


def test_where_nothing_fits_the_nearest_is_told(big: VLM) -> None:
    nearest = "no way to run it fits; the nearest is --device cpu --dtype bfloat16 --offload: --device cpu has room for"
    assert refusal(big, machine(1)).startswith(nearest)


def test_options_that_exclude_each_other(small: VLM) -> None:
    for asked, line in (
        ({"tensor_parallel": 2, "offload": True}, "--tensor-parallel and --offload do not go together"),
        ({"tensor_parallel": 2, "quant": "int8"}, "--tensor-parallel and --quant do not go together"),
        ({"device": "cuda:0,1", "quant": "int8"}, "--device cuda:0,1 and --quant do not go together"),
        ({"offload": True, "quant": "int8"}, "leave --quant away"),
        ({"tensor_parallel": 3}, "32 heads evenly: 2, 4, 8, 16, 32 would do"),
        ({"tensor_parallel": 4, "device": "cuda"}, "needs 4 GPUs on this machine, which has 2"),
        ({"tensor_parallel": 2, "device": "cuda:1"}, "cuda:1 is one GPU, and --tensor-parallel 2 takes one a process"),
        ({"tensor_parallel": 4, "device": "cuda:0,1"}, "cuda:0,1 is 2 GPUs, and --tensor-parallel 4"),
        ({"dtype": "int3"}, "dtype 'int3' is none of auto, float32"),
        ({"quant": "int3"}, "int3"),
    ):
        with pytest.raises(BadSetting, match=line):
            planned(small, machine(64, 80, 80), **asked)


def test_more_ranks_than_gpus_are_refused_unless_the_cpu_is_asked_for(small: VLM) -> None:
    line = "--tensor-parallel 2 needs 2 GPUs on this machine, which has 1; --device cpu would do"
    assert refusal(small, machine(64, 80), tensor_parallel=2) == line
    on_cpu = "--device cpu --dtype bfloat16 --tensor-parallel 2"
    assert taken(small, machine(64, 80), tensor_parallel=2, device="cpu") == on_cpu


def test_without_torchao_a_gpu_is_not_left_unsaid(small: VLM, monkeypatch: pytest.MonkeyPatch) -> None:
    there = Machine(cpu(64, forms=FORMS), [gpu(0, 8, ())])
    monkeypatch.setattr("flamingo_lab.quant.lacks_torchao", lambda: True)
    monkeypatch.setattr("flamingo_lab.placement.ways.lacks_torchao", lambda: True)
    needed = "torchao: pip install 'flamingo-lab[quant]'"
    assert refusal(small, there, quant="int8") == f"--quant int8 on cuda needs {needed}; --device cpu would do"
    assert taken(small, there, quant="int8", device="cpu").startswith("--device cpu --quant int8")
    found = planned(small, there)
    assert found.chosen.options == "--device cpu --dtype bfloat16"
    assert found.reason.endswith(f"; int8 and int4 on a GPU need {needed}")
    assert "torchao" not in planned(small, there, dtype="bfloat16").reason


# Names of devices


def test_devices_by_their_names() -> None:
    there = machine(64, 80, 80, 80)
    assert [device.index for device in named("cuda:2,0", there)] == [0, 2]
    assert [device.index for device in named("cuda", there)] == [0, 1, 2]
    assert [device.type for device in named("auto", there)] == ["cuda"] * 3 + ["cpu"]
    assert named("cpu", there) == [there.cpu]


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:a", "cuda:0,", "cuda:-1", "cpu:0", "", "auto:1", "cuda:0;1"])
def test_names_of_no_device(name: str) -> None:
    with pytest.raises(BadSetting, match="is none of auto, cpu, cuda, cuda:N, cuda:N,M"):
        named(name, machine(64, 80))


def test_gpus_that_are_not_there() -> None:
    with pytest.raises(BadSetting, match="this machine has none"):
        named("cuda", machine(64))
    with pytest.raises(BadSetting, match=r"device cuda:1: .* this machine has cuda:0$"):
        named("cuda:1", machine(64, 80))
    with pytest.raises(BadSetting, match=r"device cuda:0,7: .* this machine has cuda:0 to cuda:1$"):
        named("cuda:0,7", machine(64, 80, 80))
    with pytest.raises(BadSetting, match="cuda:1,1 names a GPU twice"):
        named("cuda:1,1", machine(64, 80, 80))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_this_machine_without_a_gpu() -> None:
    assert device_of("auto") == torch.device("cpu")
    assert is_on_cpu("auto") and is_on_cpu("cpu")
    with pytest.raises(BadSetting, match="this machine has none"):
        device_of("cuda:0")


# Processes on several machines


def test_a_rank_that_others_started_looks_at_its_own_gpu_alone(big: VLM) -> None:
    """Eight ranks over two machines with four GPUs each."""
    there = Machine(cpu(64), [replace(gpu(index, 80), look=refused) for index in range(3)] + [gpu(3, 80)])
    found = plan(big, Placing(tensor_parallel=8), there, Room(), Place(7, 8, 3, 4, "host", 1))
    assert found.devices == [torch.device("cuda", 3)]
    assert found.slices == 8
    assert found.chosen.shares[0].needs.weights == needs.weight_bytes(big, Form(torch.bfloat16), Slice(7, 8))


def test_a_rank_that_sees_its_own_gpu_alone_takes_it(big: VLM) -> None:
    """As Ray and Slurm's --gpus-per-task have it. Where one GPU is all that there is, two ranks are refused."""
    place = Place(7, 8, 3, 4, "host", 1, has_own_gpu=True)
    for device in ("auto", "cuda", "cuda:0"):
        found = plan(big, Placing(device, tensor_parallel=8), machine(64, 80), Room(), place)
        assert (found.devices, found.slices) == ([torch.device("cuda", 0)], 8)
    with pytest.raises(BadSetting, match="needs 4 GPUs on this machine, which has 1"):
        plan(big, Placing("cuda", tensor_parallel=8), machine(64, 80), Room(), place._replace(has_own_gpu=False))


def refused() -> Memory:
    raise AssertionError("another rank's GPU")


def test_a_machine_with_fewer_gpus_than_its_ranks_is_refused(big: VLM) -> None:
    with pytest.raises(BadSetting, match="needs 4 GPUs on this machine, which has 2"):
        plan(big, Placing("cuda", tensor_parallel=8), machine(64, 80, 80), Room(), Place(7, 8, 3, 4, "host", 1))
    with pytest.raises(BadSetting, match="but 4 processes were started together; say 4"):
        plan(big, Placing(tensor_parallel=8), machine(64), Room(), Place(0, 4, 0, 4, "host", 1))


def test_several_gpus_say_nothing_of_processes_that_others_started(small: VLM) -> None:
    with pytest.raises(BadSetting, match="say --tensor-parallel 2 too"):
        plan(small, Placing("cuda:0,1"), machine(64, 80, 80), Room(), Place(1, 2, 1, 2, "host", 1))


def test_ranks_on_one_cpu_share_what_is_free(small: VLM) -> None:
    one, two = (planned(small, machine(64), tensor_parallel=ranks or 1).chosen for ranks in (0, 2))
    assert two.shares[0].there - TAKEN == (one.shares[0].there - TAKEN) // 2
    assert len(two.shares) == 2


# Needs


@pytest.mark.parametrize(
    "name", ["idefics-80b", "llava-v1.6-34b", "moe-llava-phi2-2.7b-4e", "flamingo-tiny", "seal_vsm_7b"]
)
def test_forms_need_less_the_fewer_bits_they_have(name: str) -> None:
    vlm = on_meta(name)
    weights = held(vlm)
    whole = [needs.weight_bytes(vlm, Form(DTYPES[dtype])) for dtype in ("float32", "bfloat16")]
    assert whole[0] == 2 * whole[1] == 4 * sum(one.numel() for one in weights.values())
    forms = [needs.weight_bytes(vlm, Form(torch.bfloat16, form)) for form in FORMS]
    assert whole[1] > forms[0] > forms[1]
    found = needs.streamed(vlm, torch.bfloat16)
    assert found.stays + found.two < forms[1]
    # A tied head has no weights of its own.
    largest = [weights.get(name, vlm.decoder.embedding.weight) for name in found.names]
    assert sum(one.numel() for one in largest) * 2 == found.two
    others = weights.keys() & set(in_order(vlm)) - set(found.names)
    assert max(weights[name].numel() for name in others) <= min(one.numel() for one in largest)


def test_slices_add_up_to_the_whole_and_what_every_rank_holds(big: VLM) -> None:
    form = Form(torch.bfloat16)
    whole = needs.weight_bytes(big, form)
    of_rank_0 = sum(2 * one.numel() for name, one in held(big).items() if not name.startswith(("decoder.", "join.")))
    for ranks in (2, 4, 8):
        each = [needs.weight_bytes(big, form, Slice(rank, ranks)) for rank in range(ranks)]
        assert whole <= sum(each) < 1.001 * whole
        assert [each[0] - one for one in each[1:]] == [of_rank_0] * (ranks - 1)


def test_the_planned_prompt_shows_its_picture_where_that_takes_places(small: VLM) -> None:
    llava = on_meta("llava-v1.5-7b")
    assert isinstance(llava.architecture.join, Inline)
    assert needs.planned_tokens(llava.architecture) == needs.TEXT_TOKENS + 576
    assert needs.planned_tokens(small.architecture) == needs.TEXT_TOKENS
    assert needs.planned_tokens(small.architecture, 100) == 100


GIBS = st.floats(0.5, 700)


@settings(deadline=None, max_examples=40)
@given(GIBS, GIBS, st.integers(0, 4), st.floats(0, 100), st.floats(0, 100))
def test_more_memory_never_makes_a_way_that_fits_not_fit(
    tiny: VLM, small: VLM, memory: float, of_gpu: float, gpus: int, more: float, more_of_gpu: float
) -> None:
    for vlm in (tiny, small):
        few, many = (
            plan(vlm, Placing(), machine(memory + a, *[of_gpu + b] * gpus), Room(), is_whole=True)
            for a, b in ((0, 0), (more, more_of_gpu))
        )
        assert [one.options for one in few.choices] == [one.options for one in many.choices]
        for less, now in zip(few.choices, many.choices, strict=True):
            assert now.fits or not less.fits
            assert now.tokens >= less.tokens
        places = [None if one.taken is None else one.choices.index(one.taken) for one in (few, many)]
        if places[0] is not None and few.choices[places[0]].fits:
            assert places[1] is not None and places[1] <= places[0]


@settings(deadline=None, max_examples=40)
@given(st.floats(0.1, 40), st.sampled_from(["cpu", "cuda"]))
def test_a_bound_that_the_user_gives_is_what_there_is(small: VLM, gib: float, device: str) -> None:
    choice = plan(small, Placing(device), machine(64, 80), Room.of(gib, None)).choices[0]
    assert choice.tightest.there == int(gib * GIB)
    assert choice.fits == (choice.tightest.needs.total <= int(gib * GIB))


# The plan and what is done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of 130 MB in float32."""
    path = tmp_path_factory.mktemp("idefics")
    config = {
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "cross_layer_interval": 3,
    }
    write_checkpoint(path, config, seed=3)
    return path


def test_weights_take_what_was_planned_and_the_engine_has_that_room(folder: Path) -> None:
    model = fl.load(folder, dtype="float32", device="cpu")
    real = sum(one.nbytes for one in held(model.vlm).values())
    with torch.device("meta"):
        vlm = VLM(model.vlm.architecture)
    assert needs.weight_bytes(vlm, Form(torch.float32)) == real
    choice = plan(vlm, Placing("cpu", "float32"), machine(8), Room(memory_bytes=4 * GIB)).chosen
    budget = Room(memory_bytes=4 * GIB).budget(model)
    if taken_bytes(torch.device("cpu")) < real + START_BYTES:
        assert choice.tokens == min(budget.most_tokens, budget.kv_tokens)
    assert budget.most_tokens > choice.planned


MEASURED = """
import json, sys
import torch
import flamingo_lab as fl
from flamingo_lab.engine.budget import Room, taken_bytes
from flamingo_lab.host import peak_bytes
from flamingo_lab.loading import How, prepare
from flamingo_lab.placement import Placing
CPU = torch.device("cpu")
prepared = prepare(sys.argv[1], None, {}, How(Placing("cpu", "bfloat16"), False, Room()))
before = taken_bytes(CPU)
needs = prepared.plan.chosen.shares[0].needs
model = prepared.read()
after = taken_bytes(CPU)
text = "a" * 180
answers = list(model.answers([fl.Request("0", fl.Prompt.raw(text), max_new_tokens=2)]))
assert answers[0].error is None, answers[0].error
print(json.dumps({"grown": after - before, "peak": peak_bytes(), **needs._asdict(), "total": needs.total}))
"""


def test_a_process_takes_about_what_was_planned(folder: Path) -> None:
    command = [sys.executable, "-c", MEASURED, str(folder)]
    found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert found["grown"] == pytest.approx(found["weights"], rel=0.1, abs=20e6)
    assert found["weights"] < found["peak"] < found["total"]


def test_followers_are_told_what_was_decided(folder: Path) -> None:
    from flamingo_lab.loading import How, prepare

    prepared = prepare(str(folder), None, {}, How(Placing("cpu", tensor_parallel=2), False, Room()))
    how = prepared.asked[3]
    assert how.placing == Placing("cpu", str(prepared.dtype).removeprefix("torch."), None, 2, False)
    assert prepared.device == torch.device("cpu")


# What is said


@pytest.fixture
def noted(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    notes.forget()
    return lambda: [record.message for record in caplog.records if record.name == "flamingo_lab"]


def test_what_is_plain_is_not_noted(small: VLM, noted: Callable[[], list[str]]) -> None:
    for there in (machine(64), machine(64, 80), machine(64, 80, 80)):
        planned(small, there).say("idefics-9b")
    assert noted() == []


def test_what_is_not_plain_is_one_line_with_the_reason(big: VLM, noted: Callable[[], list[str]]) -> None:
    planned(big, machine(500, 100)).say("idefics-80b")
    (line,) = noted()
    assert line.startswith("idefics-80b runs with --device cuda:0 --quant int4: needed with one GPU: ")
    assert "one GPU in bfloat16 would need 158.1 GiB of 80.0 GiB" in line
    assert "one GPU in int8 + bfloat16 would need" in line
    assert "\n" not in line


# The command line

FLAB = ["check", "flamingo-tiny", "--plan"]


def test_the_command_shows_all_ways_and_reads_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flamingo_lab.placement.devices.here", lambda: machine(500, 80, 80, 80, 80))
    capsys.readouterr()
    assert run(["check", "idefics-80b", "--plan"]) == 0
    out = capsys.readouterr().out
    assert "4 GPUs (each)" in out and "taken" in out and "lacks" in out and "offload on CPU" in out
    assert run(["check", "idefics-80b", "--plan", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    rows = json.loads(line)["choices"]
    assert [row["choice"] for row in rows] == [
        "one GPU",
        "2 GPUs",
        "4 GPUs",
        "one GPU",
        "one GPU",
        "CPU",
        "offload on one GPU",
        "offload on CPU",
    ]
    assert [row["options"] for row in rows if row["taken"]] == [
        "--device cuda:0,1,2,3 --dtype bfloat16 --tensor-parallel 4"
    ]
    assert [len(row["devices"]) for row in rows] == [1, 2, 4, 1, 1, 1, 1, 1]
    for row in rows:
        assert row["fits"] == all(one["needs"] <= one["there"] for one in row["devices"])


def test_a_model_made_of_others_is_planned_model_by_model(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    run(["check", "seal", "--plan", "--json", "--memory", "100"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["model"] for row in rows] == ["seal_vqa_7b", "seal_vsm_7b"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--device", "tpu"], "device 'tpu' is none of"),
        (["--device", "cuda:0,9"], "device cuda:0,9: of the GPUs that torch can use this machine has"),
        (["--dtype", "int3"], "dtype 'int3' is none of"),
        (["--quant", "int3"], "int3"),
        (["--tensor-parallel", "3"], "cannot share the model's 4 heads evenly: 2, 4 would do"),
        (["--tensor-parallel", "2", "--offload"], "do not go together"),
        (["--quant", "int8", "--offload"], "leave --quant away"),
        (["--device", "cpu", "--memory", "0.1"], "--memory 0.10 GiB is less than the"),
        (["--offload", "--memory", "0.1"], "--memory 0.10 GiB is less than the"),
        (["--memory", "0.1"], "--memory 0.10 GiB is less than the"),
    ],
)
def test_what_cannot_be_is_one_line_of_both_commands(
    options: list[str], line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    capsys.readouterr()
    asked = ["eval", "--model", "flamingo-tiny", "--tasks", "easy-vqa", "--limit", "2", "--results", str(tmp_path)]
    for command in ([*FLAB, *options], [*asked, *options]):
        assert run(command) == 2
        err = capsys.readouterr().err
        assert line in err and err.startswith("error: ") and err.count("\n") == 1, err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_model_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    capsys.readouterr()
    assert run(["check", "idefics-8b", "--plan"]) == 2
    assert "did you mean idefics-80b" in capsys.readouterr().err
    assert run(["check", "idefics-80b", "--weights", str(tmp_path), "--plan"]) == 2
    assert "no config.json" in capsys.readouterr().err
