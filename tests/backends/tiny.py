"""Random tiny models in transformers' layout, made on the spot by its own classes: configurations, tokenizers, weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
"""Padding; the beginning and the end of a turn."""

POSITIONS = 1024

SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
TEXT: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": POSITIONS,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def template(picture: str) -> str:
    """A chat template in ChatML; `picture` is what it puts for a picture."""
    content = "{% if part['type'] == 'image' %}" + picture + "{% else %}{{ part['text'] }}{% endif %}"
    return (
        "{% for turn in messages %}<|im_start|>{{ turn['role'] }}\n"
        "{% for part in turn['content'] %}" + content + "{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def tokenizer(specials: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level pairs with a few merges; the special tokens are the first ids."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([END, START, STOP, *specials, *letters])}
    merges = [("t", "h"), ("th", "e"), ("Ġ", "a"), ("i", "n"), ("o", "n"), ("Ġ", "t"), ("e", "r")]
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))
    built = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in (END, START, STOP, *specials)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=built, eos_token=STOP, pad_token=END)


def write(
    folder: Path, network: Any, words: Any, picture: str, processor: dict[str, Any], images: dict[str, Any]
) -> Path:
    """The model's folder, with weights drawn so that pictures and words matter to what is said."""
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():
        scale = 0.3 if parameter.ndim == 1 else 1.6 / parameter.shape[-1] ** 0.5
        parameter.data = torch.randn_like(parameter) * scale + (parameter.ndim == 1 and name.endswith("weight"))
    network.tie_weights()
    network.generation_config = transformers.GenerationConfig(
        eos_token_id=[2], pad_token_id=0, do_sample=True, temperature=0.7, repetition_penalty=1.3
    )
    network.save_pretrained(folder)
    words.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template(picture))
    (folder / "processor_config.json").write_text(json.dumps(processor))
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    return folder


def llava_onevision(folder: Path) -> Path:
    """LLaVA-OneVision: one picture in tiles, several without; its processor insists on a part for video."""
    words = tokenizer(["<image>", "<video>"])
    grid = [[28, 56], [56, 28], [56, 56]]
    config = transformers.LlavaOnevisionConfig(
        vision_config=SIGLIP,
        text_config=TEXT | {"model_type": "qwen2", "vocab_size": len(words)},
        image_token_index=3,
        video_token_index=4,
        image_token_id=3,
        video_token_id=4,
        image_grid_pinpoints=grid,
        vision_feature_layer=-1,
    )
    processor = {
        "processor_class": "LlavaOnevisionProcessor",
        "num_image_tokens": 4,
        "vision_feature_select_strategy": "full",
        "image_token": "<image>",
        "video_token": "<video>",
        "vision_aspect_ratio": "anyres_max_9",
    }
    images = {
        "image_processor_type": "LlavaOnevisionImageProcessor",
        "size": {"height": 28, "width": 28},
        "image_grid_pinpoints": grid,
    }
    network = transformers.LlavaOnevisionForConditionalGeneration(config)
    return write(folder, network, words, "<image>", processor, images)


def llava_next(folder: Path) -> Path:
    """LLaVA-NeXT, as LLaVA-1.6 is converted: every picture in tiles and whole, rows of tiles ended by a token."""
    words = tokenizer(["<image>"])
    grid = [[28, 56], [56, 28], [56, 56]]
    config = transformers.LlavaNextConfig(
        vision_config={**SIGLIP, "model_type": "clip_vision_model"},
        text_config=TEXT | {"model_type": "llama", "vocab_size": len(words)},
        image_token_index=3,
        image_token_id=3,
        image_grid_pinpoints=grid,
    )
    processor = {
        "processor_class": "LlavaNextProcessor",
        "patch_size": 14,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
        "image_token": "<image>",
    }
    images = {
        "image_processor_type": "LlavaNextImageProcessor",
        "size": {"shortest_edge": 28},
        "crop_size": {"height": 28, "width": 28},
        "image_grid_pinpoints": grid,
    }
    network = transformers.LlavaNextForConditionalGeneration(config)
    return write(folder, network, words, "<image>", processor, images)


def qwen2_5_vl(folder: Path) -> Path:
    """Qwen2.5-VL: a picture's tokens follow its size, positions have three axes, attention has windows."""
    words = tokenizer(["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"])
    config = transformers.Qwen2_5_VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_heads": 2,
            "out_hidden_size": 16,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        text_config=TEXT
        | {
            "vocab_size": len(words),
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
        },
        image_token_id=5,
        video_token_id=6,
        vision_start_token_id=3,
        vision_end_token_id=4,
    )
    images = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "min_pixels": 28 * 28 * 2,
        "max_pixels": 28 * 28 * 8,
    }
    network = transformers.Qwen2_5_VLForConditionalGeneration(config)
    mark = "<|vision_start|><|image_pad|><|vision_end|>"
    return write(folder, network, words, mark, {"processor_class": "Qwen2_5_VLProcessor"}, images)


def idefics3(folder: Path) -> Path:
    """Idefics3: every picture in rows and columns of tiles, padded to the most of a batch."""
    places = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    words = tokenizer(["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *places])
    config = transformers.Idefics3Config(
        vision_config={**SIGLIP, "model_type": "idefics3_vision"},
        text_config=TEXT | {"model_type": "llama", "vocab_size": len(words)},
        image_token_id=4,
        scale_factor=2,
        pad_token_id=0,
    )
    processor = {"processor_class": "Idefics3Processor", "image_seq_len": 1}
    images = {
        "image_processor_type": "Idefics3ImageProcessor",
        "size": {"longest_edge": 56},
        "max_image_size": {"longest_edge": 28},
    }
    network = transformers.Idefics3ForConditionalGeneration(config)
    return write(folder, network, words, "<image>", processor, images)


def git(folder: Path) -> Path:
    """GIT: its processor takes one picture beside the text, and its folder holds no chat template."""
    words = tokenizer([])
    vision = {key: value for key, value in SIGLIP.items() if key != "model_type"}
    text = {key: value for key, value in TEXT.items() if key not in ("num_key_value_heads", "bos_token_id")}
    config = transformers.GitConfig(vision_config=vision, vocab_size=len(words), bos_token_id=1, **text)
    images = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 28},
        "crop_size": {"height": 28, "width": 28},
    }
    written = write(folder, transformers.GitForCausalLM(config), words, "", {"processor_class": "GitProcessor"}, images)
    (folder / "chat_template.jinja").unlink()
    return written


MAKERS: dict[str, Callable[[Path], Path]] = {
    "llava_onevision": llava_onevision,
    "qwen2_5_vl": qwen2_5_vl,
    "idefics3": idefics3,
}
