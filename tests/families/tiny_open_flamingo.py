"""Random tiny OpenFlamingo checkpoints in the published layout, and their logits by transformers' classes.

Language model and tower are transformers' own; resampler and gated blocks are the formulas of the facts, written down here a
second time. MPT-1b, which transformers lacks, is its MPT with query and key norms and plain slopes put in.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.nn import functional as F

import flamingo_lab as fl
from tests.families.tiny_clip import IMAGE_PX, VISION, shaken, tiny_clip, write_clip

INNER = 512
ADDED = ("<|endofchunk|>", "<image>", "<PAD>")
LAYERS = {
    "mosaic_gpt": "transformer.blocks",
    "mpt": "transformer.blocks",
    "gpt_neox": "gpt_neox.layers",
}
PADDING_ROWS = 20
"""Rows that a language model's vocabulary has beyond its tokenizer's."""


def tokenizer_json() -> dict[str, Any]:
    """A tokenizer in the form of GPT-NeoX's: bytes, specials first, runs of blanks added behind."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

    specials = ["<|endoftext|>", "<|padding|>"]
    merges = [("t", "h"), ("Ġ", "a"), ("e", "r"), ("o", "n"), ("Ġ", "t"), ("n", "o"), ("y", "e"), ("ye", "s")]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: n for n, token in enumerate([*specials, *letters])}
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    tokenizer.add_tokens([AddedToken("    ", normalized=True), AddedToken("  ", normalized=True)])
    return json.loads(tokenizer.to_str())


VOCAB = len(tokenizer_json()["model"]["vocab"]) + 2 + len(ADDED)


def language_config(kind: str, heads: int, head_width: int, layers: int, **more: Any) -> dict[str, Any]:
    """config.json of a language model, with the keys of 2023."""
    width = heads * head_width
    if kind == "gpt_neox":
        return {
            "hidden_size": width,
            "num_attention_heads": heads,
            "num_hidden_layers": layers,
            "intermediate_size": 3 * width,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
            "max_position_embeddings": 256,
            "rotary_pct": 1.0,
            "rotary_emb_base": 10000,
            "use_parallel_residual": False,
            "tie_word_embeddings": False,
        } | more
    common = {"d_model": width, "n_heads": heads, "n_layers": layers, "max_seq_len": 256, "no_bias": True}
    if kind == "mpt":
        attention = {"alibi": True, "alibi_bias_max": 8, "qk_ln": False, "clip_qkv": None, "softmax_scale": None}
        return common | {"expansion_ratio": 4, "attn_config": attention | more}
    return common | {"mlp_ratio": 4, "alibi": True, "alibi_bias_max": 8, "attn_qk_ln": True} | more


def language_model(kind: str, config: dict[str, Any]) -> Any:
    """transformers' language model with the vocabulary that the authors' loader leaves."""
    if kind == "gpt_neox":
        return shaken(transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(vocab_size=VOCAB, **config)))
    own = ("d_model", "n_heads", "n_layers", "max_seq_len", "no_bias")
    attention = config.get("attn_config", {"alibi": True, "alibi_bias_max": config.get("alibi_bias_max")})
    known = {key: config[key] for key in own} | {"expansion_ratio": 4, "attn_config": attention, "vocab_size": VOCAB}
    model: Any = shaken(transformers.MptForCausalLM(transformers.MptConfig(**known)))
    model.tie_weights()
    if kind == "mosaic_gpt":
        return as_mpt_1b(model)
    # transformers passes over the setting.
    build, bias_max = model.transformer.build_mpt_alibi_tensor, attention["alibi_bias_max"]
    model.transformer.build_mpt_alibi_tensor = lambda heads, length, device: build(heads, length, bias_max, device)
    return model


def as_mpt_1b(model: Any) -> Any:
    """MPT-7b made MPT-1b: queries and keys normalised over the whole width, slopes by the plain formula."""
    for block in model.transformer.blocks:
        width = block.norm_1.weight.shape[0]
        norms = [torch.nn.LayerNorm(width, bias=False) for _ in "qk"]
        block.attn.q_ln, block.attn.k_ln = (shaken(norm) for norm in norms)
        for norm in norms:
            norm.weight.data = 1 + 0.3 * torch.randn(width)

        def normed(module: Any, inputs: Any, output: Tensor, norms: Sequence[Any] = norms) -> Tensor:
            q, k, v = output.chunk(3, -1)
            return torch.cat((norms[0](q), norms[1](k), v), -1)

        block.attn.Wqkv.register_forward_hook(normed)

    def alibi(heads: int, length: int, bias_max: float = 8, device: Any = None) -> Tensor:
        slopes = torch.tensor([2.0 ** (-bias_max * (head + 1) / heads) for head in range(heads)])
        return slopes[:, None, None] * torch.arange(1 - length, 1)

    model.transformer.build_mpt_alibi_tensor = alibi
    return model


NAMES = {
    "mpt": (),
    "gpt_neox": (("lm_head.", "embed_out."),),
    "mosaic_gpt": (
        (".norm_1.", ".ln_1."),
        (".norm_2.", ".ln_2."),
        (".norm_f.", ".ln_f."),
        (".ffn.up_proj.", ".mlp.mlp_up."),
        (".ffn.down_proj.", ".mlp.mlp_down."),
    ),
}
"""transformers' names against the published ones."""


def published(kind: str, model: Any) -> dict[str, Tensor]:
    """The language model's tensors under their own names."""
    tensors = dict(model.state_dict())
    for old, new in NAMES[kind]:
        tensors = {name.replace(old, new): tensor for name, tensor in tensors.items()}
    tensors.pop("lm_head.weight", None)  # MPT's is the embedding
    return tensors


def trained(kind: str, width: int, layers: int, every: int, depth: int, latents: int, see: int) -> dict[str, Tensor]:
    """Random tensors of what was trained, without the embeddings."""

    def norm(name: str, width: int) -> dict[str, Tensor]:
        return {f"{name}.weight": 1 + 0.3 * torch.randn(width), f"{name}.bias": 0.3 * torch.randn(width)}

    def matrix(*shape: int) -> Tensor:
        return 0.15 * torch.randn(shape)

    held = {"perceiver.latents": torch.randn(latents, see), **norm("perceiver.norm", see)}
    for number in range(depth):
        at = f"perceiver.layers.{number}"
        held |= norm(f"{at}.0.norm_media", see) | norm(f"{at}.0.norm_latents", see) | norm(f"{at}.1.0", see)
        held |= {f"{at}.0.to_q.weight": matrix(INNER, see), f"{at}.0.to_kv.weight": matrix(2 * INNER, see)}
        held |= {f"{at}.0.to_out.weight": matrix(see, INNER)}
        held |= {f"{at}.1.1.weight": matrix(4 * see, see), f"{at}.1.3.weight": matrix(see, 4 * see)}
    for layer in range(every - 1, layers, every):
        at = f"lang_encoder.{LAYERS[kind]}.{layer}.gated_cross_attn_layer"
        held |= {f"{at}.attn_gate": torch.randn(1), f"{at}.ff_gate": torch.randn(1)}
        held |= norm(f"{at}.attn.norm", width) | norm(f"{at}.ff.0", width)
        held |= {f"{at}.attn.to_q.weight": matrix(INNER, width), f"{at}.attn.to_kv.weight": matrix(2 * INNER, see)}
        held |= {f"{at}.attn.to_out.weight": matrix(width, INNER)}
        held |= {f"{at}.ff.1.weight": matrix(4 * width, width), f"{at}.ff.3.weight": matrix(width, 4 * width)}
    return held


@dataclass(frozen=True)
class Written:
    """A checkpoint on disk, with the classes and tensors that it was written from."""

    folder: Path
    kind: str
    every: int
    language: Any
    clip: Any
    held: dict[str, Tensor]

    def load(self, vision: str = "vision", **more: Any) -> fl.LoadedModel:
        """Through the public loader."""
        parts = {"vision": self.folder / vision, "language_model": self.folder / "language_model"}
        return fl.load(self.folder / "checkpoint", dtype="float32", device="cpu", **(parts | more))

    def copied(self, to: Path) -> Written:
        """The same on other disk space, to be changed: files that were loaded are mapped."""
        return replace(self, folder=Path(shutil.copytree(self.folder, to)))

    def save(self, held: Any) -> None:
        """Write checkpoint.pt anew."""
        torch.save(held, self.folder / "checkpoint" / "checkpoint.pt")

    @torch.no_grad()
    def logits(self, ids: Tensor, real: Tensor, pixels: Sequence[Tensor]) -> Tensor:
        """Logits (B, T, V) of a padded batch; pixels: each row's pictures (I, 3, px, px)."""
        images = max(1, max(map(len, pixels)))
        padded = torch.zeros(len(ids), images, 3, IMAGE_PX, IMAGE_PX)
        for row, held in enumerate(pixels):
            padded[row, : len(held)] = held
        # transformers gives what leaves the last layer, before the norm behind it.
        patches = self.clip.vision_model(padded.flatten(0, 1)).last_hidden_state[:, 1:]
        media = self._resampled(patches).unflatten(0, (len(ids), images))
        text_time = (ids == VOCAB - 2).cumsum(-1)  # <image> is the last token but one
        *home, last = LAYERS[self.kind].split(".")
        layers = getattr(self.language.get_submodule(".".join(home)), last)

        def hook(number: int) -> Any:
            def before(module: Any, args: Any, kwargs: Any) -> Any:
                x, *rest = args
                return (self._gated(number, x, media, text_time), *rest), kwargs

            return layers[number].register_forward_pre_hook(before, with_kwargs=True)

        hooks = [hook(number) for number in range(self.every - 1, len(layers), self.every)]
        try:
            return self.language(input_ids=ids, attention_mask=real.long()).logits
        finally:
            for one in hooks:
                one.remove()

    def _normed(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.held[f"{name}.weight"], self.held[f"{name}.bias"])

    def _fed(self, x: Tensor, norm: str, up: str, down: str) -> Tensor:
        return F.gelu(self._normed(norm, x) @ self.held[up].T) @ self.held[down].T

    def _attended(self, at: str, x: Tensor, other: Tensor, mask: Tensor | None) -> Tensor:
        """8 heads of 64; mask (B, T, S) bool, a row without any key gets nothing."""
        q = (x @ self.held[f"{at}.to_q.weight"].T).unflatten(-1, (8, 64)) / 8
        k, v = (part.unflatten(-1, (8, 64)) for part in (other @ self.held[f"{at}.to_kv.weight"].T).chunk(2, -1))
        scores = torch.einsum("bthd,bshd->bhts", q, k)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.finfo(scores.dtype).max)
        shares = scores.softmax(-1)
        if mask is not None:
            shares = shares * mask.any(-1)[:, None, :, None]
        return torch.einsum("bhts,bshd->bthd", shares, v).flatten(-2) @ self.held[f"{at}.to_out.weight"].T

    def _resampled(self, patches: Tensor) -> Tensor:
        latents = self.held["perceiver.latents"].expand(len(patches), -1, -1)
        for number in range(sum(name.endswith(".0.to_q.weight") for name in self.held)):
            at = f"perceiver.layers.{number}"
            x, asked = self._normed(f"{at}.0.norm_media", patches), self._normed(f"{at}.0.norm_latents", latents)
            latents = latents + self._attended(f"{at}.0", asked, torch.cat((x, asked), 1), None)
            latents = latents + self._fed(latents, f"{at}.1.0", f"{at}.1.1.weight", f"{at}.1.3.weight")
        return self._normed("perceiver.norm", latents)

    def _gated(self, number: int, x: Tensor, media: Tensor, text_time: Tensor) -> Tensor:
        at = f"lang_encoder.{LAYERS[self.kind]}.{number}.gated_cross_attn_layer"
        times = torch.arange(1, media.shape[1] + 1).repeat_interleave(media.shape[2])
        mask = text_time[..., None] == times
        seen = self._attended(f"{at}.attn", self._normed(f"{at}.attn.norm", x), media.flatten(1, 2), mask)
        x = x + self.held[f"{at}.attn_gate"].tanh() * seen
        fed = self._fed(x, f"{at}.ff.0", f"{at}.ff.1.weight", f"{at}.ff.3.weight")
        return x + self.held[f"{at}.ff_gate"].tanh() * fed


def write_checkpoint(
    folder: Path,
    kind: str = "mpt",
    *,
    config: dict[str, Any] | None = None,
    every: int = 2,
    depth: int = 1,
    latents: int = 3,
    vision: dict[str, Any] | None = None,
    seed: int = 0,
) -> Written:
    """Folders at `folder`: checkpoint, language_model, and the same tower in vision and vision_open_clip."""
    torch.manual_seed(seed)
    config = config or language_config(kind, heads=2, head_width=8, layers=4)
    model = language_model(kind, config)
    seen = VISION | (vision or {})
    clip = tiny_clip(seen)
    layers = config.get("num_hidden_layers", config.get("n_layers"))
    width = config.get("hidden_size", config.get("d_model"))
    held = trained(kind, width, layers, every, depth, latents, seen["hidden_size"])
    own = published(kind, model)
    ends = [name for name in own if name.endswith(("wte.weight", "embed_in.weight", "embed_out.weight"))]
    held |= {f"lang_encoder.{name}": own[name] for name in ends}
    for name in ("checkpoint", "language_model"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    torch.save(held, folder / "checkpoint" / "checkpoint.pt")
    untrained = {name: torch.randn(VOCAB + PADDING_ROWS, width) for name in ends}
    torch.save(own | untrained, folder / "language_model" / "pytorch_model.bin")
    settings = config | {"model_type": kind, "vocab_size": VOCAB + PADDING_ROWS}
    (folder / "language_model" / "config.json").write_text(json.dumps(settings))
    (folder / "language_model" / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    write_clip(clip, folder)
    return Written(folder, kind, every, model, clip, held)
