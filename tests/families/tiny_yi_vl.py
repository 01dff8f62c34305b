"""Random tiny Yi-VL checkpoints in the published layout, the tower in a folder inside, with transformers' own parts."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from sentencepiece import SentencePieceTrainer
from torch import Tensor, nn

from tests.families.tiny_towers import randomised, write_clip

VIT = "vit/clip-tiny-448"

SENTENCES = (
    "### Human: what is it? ### Assistant: it is a red car.",
    "Describe the image in detail. How many dogs are on the sofa?",
    "这是一个好奇的人类和一个人工智能助手之间的对话。",
)

CONFIG: dict[str, Any] = {
    "model_type": "llava",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "rope_theta": 5e6,
    "mm_vision_tower": f"./{VIT}",
    "mm_projector_type": "mlp2x_gelu_Norm",
    "image_aspect_ratio": "pad",
}


class Theirs(NamedTuple):
    """The same model, of transformers' towers and decoder and torch's own layers."""

    tower: transformers.CLIPVisionModel
    projector: nn.Module
    decoder: transformers.LlamaForCausalLM

    def picture(self, pixels: Tensor, layer: int) -> Tensor:
        """Picture tokens (P, D) of pixels (1, 3, H, W)."""
        states = self.tower(pixels, output_hidden_states=True).hidden_states
        return self.projector(states[layer][:, 1:])[0]


def sentencepiece_model() -> bytes:
    """A byte-level model in the form of Yi's: no word-start mark before the text, specials of its own."""
    written = io.BytesIO()
    SentencePieceTrainer.Train(
        sentence_iterator=iter(SENTENCES * 5),
        model_writer=written,
        vocab_size=420,
        model_type="bpe",
        byte_fallback=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        split_digits=True,
        bos_piece="<|startoftext|>",
        eos_piece="<|endoftext|>",
        user_defined_symbols=["<|Human|>", "<|Assistant|>"],
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return written.getvalue()


def projector(width: int, out_width: int, layers: int) -> nn.Sequential:
    """As the authors build it: a norm behind every linear layer, the activation behind the norm."""
    steps: list[nn.Module] = [nn.Linear(width, out_width), nn.LayerNorm(out_width)]
    for _ in range(layers - 1):
        steps += [nn.GELU(), nn.Linear(out_width, out_width), nn.LayerNorm(out_width)]
    return nn.Sequential(*steps)


def write_checkpoint(
    folder: Path, config: dict[str, Any] | None = None, vision: dict[str, Any] | None = None, seed: int = 0
) -> Theirs:
    """A checkpoint with random weights under `folder`, and the same weights in others' modules."""
    from sentencepiece import SentencePieceProcessor

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(sentencepiece_model())
    vocab = SentencePieceProcessor(model_file=str(folder / "tokenizer.model")).GetPieceSize()
    config = CONFIG | {"vocab_size": vocab} | (config or {})
    tower = write_clip(
        folder / VIT, seed, **({"hidden_size": 12, "intermediate_size": 20, "hidden_act": "gelu"} | (vision or {}))
    )
    llama = {key: value for key, value in config.items() if not key.startswith(("mm_", "image_", "model_type"))}
    decoder = transformers.LlamaForCausalLM(transformers.LlamaConfig(**llama)).eval()
    layers = int(config["mm_projector_type"].removeprefix("mlp")[0])
    between = projector(tower.config.hidden_size, config["hidden_size"], layers)
    randomised(decoder, seed + 1)
    randomised(between, seed + 2)
    tensors = decoder.state_dict() | {f"model.mm_projector.{k}": v for k, v in between.state_dict().items()}
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(2)
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": False, "legacy": True}))
    return Theirs(tower, between, decoder)
