"""The decoder against transformers' `Qwen2ForCausalLM`, the resampler against torch's own attention, on random models.

No library has this family: Qwen2's decoder is Qwen's without dynamic NTK and log-n attention.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import flamingo_lab as fl
from flamingo_lab.config import QueryResampler
from flamingo_lab.engine import reference
from flamingo_lab.markup import NONE, Expanded
from flamingo_lab.nn.positions import Places, log_n, ntk_factor
from flamingo_lab.nn.query_resampler import AttentionPool
from tests.families.tiny_qwen_vl import CONFIG, VOCAB, write_checkpoint

SETTINGS = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def qwen2(tensors: dict[str, Tensor], config: dict[str, Any], base: float) -> Any:
    """transformers' model with the decoder's weights."""
    model = transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(
            vocab_size=VOCAB,
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"] // 2,
            num_hidden_layers=config["num_hidden_layers"],
            num_attention_heads=config["num_attention_heads"],
            num_key_value_heads=config["num_attention_heads"],
            rms_norm_eps=config["layer_norm_epsilon"],
            rope_parameters={"rope_type": "default", "rope_theta": base},
            tie_word_embeddings=False,
        )
    ).eval()
    named = {
        "model.embed_tokens.weight": tensors["transformer.wte.weight"],
        "lm_head.weight": tensors["lm_head.weight"],
    }
    named["model.norm.weight"] = tensors["transformer.ln_f.weight"]
    for number in range(config["num_hidden_layers"]):
        at, to = f"transformer.h.{number}", f"model.layers.{number}"
        for kind in ("weight", "bias"):
            for part, tensor in zip("qkv", tensors[f"{at}.attn.c_attn.{kind}"].chunk(3), strict=True):
                named[f"{to}.self_attn.{part}_proj.{kind}"] = tensor
        named[f"{to}.self_attn.o_proj.weight"] = tensors[f"{at}.attn.c_proj.weight"]
        for ours, theirs in (("w2", "gate"), ("w1", "up"), ("c_proj", "down")):
            named[f"{to}.mlp.{theirs}_proj.weight"] = tensors[f"{at}.mlp.{ours}.weight"]
        named[f"{to}.input_layernorm.weight"] = tensors[f"{at}.ln_1.weight"]
        named[f"{to}.post_attention_layernorm.weight"] = tensors[f"{at}.ln_2.weight"]
    model.load_state_dict(named)
    return model


@SETTINGS
@given(
    heads=st.sampled_from([2, 4, 8]),
    layers=st.integers(1, 2),
    inner=st.integers(8, 40),
    base=st.sampled_from([10_000, 500]),
    is_stretched=st.booleans(),
    length=st.integers(1, 90),
    seed=st.integers(0, 1000),
)
def test_logits_are_those_of_qwen2_with_a_stretched_base(
    tmp_path_factory: Any, heads: int, layers: int, inner: int, base: int, is_stretched: bool, length: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("qwen_vl")
    changes: dict[str, Any] = {
        "num_attention_heads": heads,
        "kv_channels": CONFIG["hidden_size"] // heads,
        "num_hidden_layers": layers,
        "intermediate_size": 2 * inner,
        "rotary_emb_base": base,
        "seq_length": 20,
        "use_dynamic_ntk": is_stretched,
        "use_logn_attn": False,
    }
    tensors = write_checkpoint(folder, seed, **changes)
    # 1 up to 20 tokens, 3 up to 40, 7 up to 80, 15 up to 160.
    alpha = (1 if length <= 20 else 3 if length <= 40 else 7 if length <= 80 else 15) if is_stretched else 1
    width = changes["kv_channels"]
    model = qwen2(tensors, CONFIG | changes, base * alpha ** (width / (width - 2)))
    ids = np.random.default_rng(seed).integers(0, VOCAB, length).tolist()
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    loaded = fl.load(folder, dtype="float32", device="cpu")
    ours = reference.logits(loaded, Expanded(tuple(ids), (NONE,) * length, ()), []).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-4, rtol=0)


def test_factors_are_those_of_the_authors_formulas() -> None:
    length = 2048
    counts = torch.tensor([1, 1024, 2048, 2049, 4096, 4097, 8192, 8193])
    keys = torch.arange(8200).expand(len(counts), -1)
    places = Places(keys, prompts=counts)
    expected = [max(2 ** math.ceil(math.log(count / length, 2) + 1) - 1, 1) for count in counts.tolist()]
    assert ntk_factor(places, length).tolist() == expected == [1, 1, 1, 3, 3, 7, 7, 15]
    scale = log_n(places, length, torch.float32)[0, 0, :, 0]
    authors = torch.tensor([math.log(count, length) if count > length else 1.0 for count in range(1, 8201)])
    torch.testing.assert_close(scale, authors, atol=1e-6, rtol=0)


@SETTINGS
@given(
    in_width=st.sampled_from([6, 16]),
    heads=st.integers(1, 3),
    side=st.integers(1, 6),
    grid=st.integers(2, 4),
    pictures=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_resampler_is_torchs_attention_between_placed_queries_and_keys(
    in_width: int, heads: int, side: int, grid: int, pictures: int, seed: int
) -> None:
    torch.manual_seed(seed)
    width = 8 * heads
    pool = AttentionPool(QueryResampler(in_width, width, heads, grid * grid))
    for parameter in pool.parameters():
        parameter.data = torch.randn_like(parameter)
    own = pool.attention
    theirs = nn.MultiheadAttention(width, heads, batch_first=True)
    theirs.in_proj_weight.data = torch.cat((own.q.weight, own.k.weight, own.v.weight))
    theirs.in_proj_bias.data = torch.cat((own.q.bias, own.k.bias, own.v.bias))
    theirs.out_proj.load_state_dict(own.out.state_dict())
    patches = torch.randn(pictures, side * side, in_width)
    with torch.no_grad():
        x = pool.patches_norm(patches if in_width == width else patches @ pool.get_submodule("project").weight.T)
        table = pool.positions.T.reshape(1, width, grid, grid)
        placed = nn.functional.interpolate(table, size=(side, side), mode="bicubic", align_corners=False)
        queries = (pool.latents_norm(pool.latents) + pool.positions).expand(pictures, -1, -1)
        expected = pool.out(pool.norm(theirs(queries, x + placed.flatten(2).transpose(1, 2), x)[0]))
        torch.testing.assert_close(pool(patches), expected, atol=1e-4, rtol=1e-5)
