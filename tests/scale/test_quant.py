"""Matrices in one byte or half a byte: the arithmetic, what multiplies with it, and models that are quantised while they load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import flamingo_lab as fl
from flamingo_lab.engine import reference
from flamingo_lab.engine.features import key
from flamingo_lab.errors import BadSetting
from flamingo_lab.quant import FORMS, GROUP, check_kernels, is_quantised, stored_bytes
from flamingo_lab.quant.forms import dequantise, quantise
from flamingo_lab.quant.linear import FEW, QuantisedLinear, has_kernel, tiles
from tests.families.goldens import Golden, found
from tests.families.tiny_idefics import write_checkpoint
from tests.folders import GOLDENS, ROOT
from tests.scale.test_offload import requests

CPU = torch.device("cpu")
SHAPES = ((96, 64), (40, 24), (17, 33), (300, 200))


def matrix(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 0.02


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("idefics")
    write_checkpoint(path, {}, seed=5, max_shard_size="30KB")
    return path


# The arithmetic


@pytest.mark.parametrize("shape", SHAPES)
def test_int8_is_within_half_a_step_of_each_row(shape: tuple[int, int]) -> None:
    whole = matrix(*shape)
    packed = quantise(whole, "int8")
    step = packed.scales.float()[:, None]
    assert torch.allclose(step, whole.abs().amax(1, keepdim=True) / 127, rtol=2**-8)
    # The largest one of a row may lie a little beyond the last step, since steps are kept in 16 bits.
    assert ((dequantise(packed, shape[1], "int8") - whole).abs() <= 0.76 * step).all()
    assert ((dequantise(packed, shape[1], "int8") - whole).abs() <= 0.501 * step).float().mean() > 0.98


@pytest.mark.parametrize("shape", SHAPES)
def test_int4_is_within_a_step_of_each_group(shape: tuple[int, int]) -> None:
    whole = matrix(*shape)
    packed = quantise(whole, "int4")
    found = dequantise(packed, shape[1], "int4")
    for first in range(0, shape[1], GROUP):
        own, back = whole[:, first : first + GROUP], found[:, first : first + GROUP]
        step = (own.amax(1, keepdim=True) - own.amin(1, keepdim=True)) / 15
        assert ((own - back).abs() <= 0.6 * step).all()
        assert all(len(row.unique()) <= 16 for row in back)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_matrix_takes_what_is_planned(form: str, shape: tuple[int, int]) -> None:
    assert sum(one.nbytes for one in quantise(matrix(*shape), form)) == stored_bytes(shape, form)


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_zeros_and_of_one_value(form: str) -> None:
    whole = torch.zeros(3, 70)
    whole[1] = 0.5
    whole[2] = -3.0
    assert torch.allclose(dequantise(quantise(whole, form), 70, form), whole, rtol=4e-3)


@pytest.mark.parametrize("form", FORMS)
def test_the_dtype_of_the_file_does_not_matter_where_it_holds_the_same(form: str) -> None:
    whole = matrix(40, 128).bfloat16()
    for ours, theirs in zip(quantise(whole, form), quantise(whole.double(), form), strict=True):
        assert torch.equal(ours, theirs)


# What multiplies


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [*SHAPES, (128, 192)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_a_layer_multiplies_with_what_the_integers_stand_for(
    form: str, dtype: torch.dtype, shape: tuple[int, int], has_bias: bool
) -> None:
    rows, columns = shape
    packed = quantise(matrix(rows, columns), form)
    whole = nn.Linear(columns, rows, bias=has_bias, dtype=dtype)
    layer = QuantisedLinear(whole, packed, form, CPU)
    stood_for = dequantise(packed, columns, form)
    bias = whole.bias.float() if has_bias else None
    for tokens in (0, 1, FEW, FEW + 1):
        x = matrix(2 * tokens, columns, seed=1).view(2, tokens, columns).to(dtype) * 50
        expected = F.linear(x.float(), stood_for, bias)
        found = layer(x)
        assert found.dtype == dtype and found.shape == expected.shape
        assert torch.allclose(found.float(), expected, atol=1e-5 if dtype == torch.float32 else 2e-2)


def test_the_kernel_for_few_rows_is_used_where_it_is_right() -> None:
    if not has_kernel():
        pytest.skip("this torch has no int8 kernel on this CPU")
    packed = quantise(matrix(128, 192), "int8")
    layer = QuantisedLinear(nn.Linear(192, 128, bias=False), packed, "int8", CPU)
    x = matrix(3, 192, seed=2).bfloat16() * 50
    assert torch.equal(layer(x), torch.ops.aten._weight_int8pack_mm(x, packed.weight, packed.scales))


def test_a_tokens_numbers_do_not_depend_on_its_neighbours() -> None:
    """As they would where activations share a scale: a neighbour a thousand times as large changes nothing."""
    layer = QuantisedLinear(nn.Linear(192, 128, bias=False), quantise(matrix(128, 192), "int8"), "int8", CPU)
    x = matrix(40, 192, seed=3)
    alone = layer(x)
    loud = layer(torch.cat((x, 1000 * x)))[: len(x)]
    assert torch.allclose(alone, loud, atol=1e-6)


def test_a_matrix_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[40, 24\] in int8; \[40, 25\] is expected"):
        QuantisedLinear(nn.Linear(25, 40), quantise(matrix(40, 24), "int8"), "int8", CPU)


def test_torchaos_int8_tensor_means_the_same() -> None:
    """On CUDA it multiplies; made on the CPU it does the same arithmetic."""
    quantization = pytest.importorskip("torchao.quantization")
    packed = quantise(matrix(96, 200), "int8")
    theirs = quantization.Int8Tensor(packed.weight, packed.scales[:, None], [1, 200], torch.float32)
    x = matrix(5, 200, seed=4)
    layer = QuantisedLinear(nn.Linear(200, 96, bias=False), packed, "int8", CPU)
    assert torch.allclose(F.linear(x, theirs), layer(x), atol=1e-6)
    assert torch.allclose(layer._through_torchao()(x), layer(x), atol=1e-6)


def test_int4_as_the_gpus_kernel_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padded as torchao's tensor pads, an even column above the odd one, scales and zeros by group first."""
    given: list[torch.Tensor] = []

    def convert(weight: torch.Tensor, depth: int) -> torch.Tensor:
        given.append(weight)
        return weight

    monkeypatch.setattr(torch.ops.aten, "_convert_weight_to_int4pack", convert)
    packed = quantise(matrix(17, 200), "int4")
    weight, scales = tiles(packed, 200, CPU)
    assert weight is given[0] and weight.shape == (24, 512) and scales.shape == (16, 24, 2)
    integers = torch.stack((weight >> 4, weight & 15), -1).flatten(1)[:17, :200]
    scale, zero = (one.T.repeat_interleave(GROUP, 1)[:17, :200].float() for one in scales.unbind(-1))
    assert torch.allclose((integers.float() - 8) * scale + zero, dequantise(packed, 200, "int4"), atol=1e-6)


# Models

GOLDEN = [golden for golden in found(GOLDENS) if golden.facts["load"]]


@pytest.mark.skipif(not GOLDEN, reason=f"no goldens under FLAB_GOLDENS ({GOLDENS})")
@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.folder.name)
def test_every_family_answers_as_with_the_matrices_that_the_integers_stand_for(golden: Golden) -> None:
    case = next(iter(golden.cases.values()))
    given: dict[str, Any] = {
        part: golden.folder / where if isinstance(where, str) else where for part, where in golden.facts["load"].items()
    }
    path = given.pop("path")
    load = dict(wording=case.template, dtype="float32", device="cpu", **given)
    whole, quantised = fl.load(path, **load), fl.load(path, quant="int8", **load)
    names = [name for name, one in whole.vlm.named_parameters() if is_quantised(name, one)]
    layers = {name for name, one in quantised.vlm.named_modules() if isinstance(one, QuantisedLinear)}
    assert layers == {name.removesuffix(".weight") for name in names}
    assert {name.split(".")[0] for name in layers} <= {"decoder", "tower"} and any("decoder" in one for one in layers)
    with torch.no_grad():
        for name in names:
            one = whole.vlm.get_parameter(name)
            one.data = dequantise(quantise(one, "int8"), one.shape[1], "int8")
    asked = [fl.Request("0", case.rows[0].prompt, fl.Rank(("yes", "a red car")))]
    (expected,), (answer,) = list(whole.answers(asked)), list(quantised.answers(asked))
    assert answer.error is None
    assert answer.option_logprobs == pytest.approx(expected.option_logprobs, abs=2e-3)


@pytest.mark.parametrize("form", FORMS)
def test_the_engine_and_the_reference_answer_alike(folder: Path, form: str) -> None:
    model = fl.load(folder, dtype="float32", quant=form)
    asked = requests(8)
    answers = {one.id: one for one in model.answers(asked)}
    for request in asked:
        assert answers[request.id].error is None
        assert answers[request.id].token_ids == reference.answer(model, request).token_ids


@pytest.mark.parametrize("form", FORMS)
def test_every_decoding_in_bfloat16(folder: Path, form: str) -> None:
    model = fl.load(folder, dtype="bfloat16", quant=form)
    asked = requests(8)
    alone = [next(iter(model.answers([request]))).token_ids for request in asked[:2]]
    answers = {one.id: one for one in model.answers(asked)}
    assert all(one.error is None for one in answers.values())
    assert [answers[request.id].token_ids for request in asked[:2]] == alone


def test_the_form_is_part_of_the_digest_of_about_and_of_the_features_name(folder: Path) -> None:
    models = [fl.load(folder, dtype="float32", quant=form) for form in (None, *FORMS)]
    assert len({model.digest for model in models}) == len({key(model) for model in models}) == 3
    assert len({model.embeds_digest() for model in models}) == 3
    assert [model.about.get("quantisation") for model in models] == [None, *FORMS]


def test_another_weight_gives_another_name_of_the_features(folder: Path) -> None:
    model, other = (fl.load(folder, dtype="float32", quant="int8") for _ in range(2))
    assert key(model) == key(other)
    layer = other.vlm.get_submodule("tower.layers.0.mlp.up")
    layer.weight = nn.Parameter(-layer.weight, requires_grad=False)
    assert key(model) != key(other)


def test_bin_files_and_what_is_published_as_one(folder: Path, tmp_path: Path) -> None:
    from tests.scale.test_offload import as_bin

    as_bin(folder, tmp_path)
    ours, theirs = (fl.load(path, dtype="float32", quant="int4").vlm.state_dict() for path in (folder, tmp_path))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_int4_on_a_cpu_says_that_it_saves_memory_and_no_time(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    from flamingo_lab.notes import forget

    forget()
    fl.load(folder, quant="int8")
    assert not caplog.messages
    fl.load(folder, quant="int4")
    assert any("int4" in text and "memory" in text for text in caplog.messages)


# Memory

LOADED = """
import json, sys
import flamingo_lab as fl
import flamingo_lab.engine.loop
import flamingo_lab.quant.reading
from flamingo_lab.host import peak_bytes
fl.load("flamingo-tiny", dtype="float32", quant=sys.argv[2])  # brings the code that loading takes
before = peak_bytes()
model = fl.load(sys.argv[1], dtype="float32", quant=sys.argv[2])
held = sum(one.nbytes for one in model.vlm.parameters())
for one in model.vlm.parameters():
    one.data.sum()
print(json.dumps({"rise": peak_bytes() - before, "held": held}))
"""

MORE = 48 * 2**20
"""What allocators and pages of files on their way take besides."""


@pytest.mark.parametrize("form", FORMS)
def test_the_peak_is_the_quantised_model_and_one_layer(form: str, wide: Path) -> None:
    size = sum(file.stat().st_size for file in wide.glob("*.safetensors"))
    command = [sys.executable, "-c", LOADED, str(wide), form]
    done = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    layer = 4 * (4 * WIDE["hidden_size"] ** 2 + 3 * WIDE["hidden_size"] * WIDE["intermediate_size"])
    assert done["held"] < (0.45 if form == "int8" else 0.4) * size
    assert done["rise"] < done["held"] + layer + MORE
    assert done["held"] + layer + MORE < 0.7 * size


WIDE: dict[str, int] = {
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "cross_layer_interval": 12,
}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of 400 MB in float32."""
    path = tmp_path_factory.mktemp("wide")
    write_checkpoint(path, WIDE, seed=3)
    return path


# What cannot be


def test_a_form_that_is_none(folder: Path) -> None:
    with pytest.raises(BadSetting, match="--quant int3 is none of int8, int4"):
        fl.load(folder, quant="int3")


def test_a_device_without_kernels() -> None:
    with pytest.raises(BadSetting, match="no kernels for it on mps"):
        check_kernels("int8", "mps")


def test_cuda_without_torchao_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadSetting, match=r"pip install 'flamingo-lab\[quant\]'"):
        check_kernels("int8", "cuda")


@pytest.mark.parametrize("other", [{"offload": True}, {"tensor_parallel": 2}])
def test_neither_offloaded_nor_split(folder: Path, other: dict[str, Any]) -> None:
    with pytest.raises(BadSetting, match="--quant"):
        fl.load(folder, quant="int8", **other)
