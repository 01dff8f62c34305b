"""From a repository or a folder in transformers' layout to a model in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import PIL
import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from flamingo_lab import hub
from flamingo_lab.backends.transformers import PretrainedModel
from flamingo_lab.checkpoint import FORMS
from flamingo_lab.errors import BadCheckpoint, BadConfig, BadPrompt, BadSetting, LabError, MissingModel
from flamingo_lab.files import file_digest, read_json
from flamingo_lab.model import Limits
from flamingo_lab.placement.devices import device_of, dtype_of, told
from flamingo_lab.pretrained import handing, processor
from flamingo_lab.pretrained.saying import RUNNING, RunningText, Speech, Template
from flamingo_lab.prompt import Image, Prompt

SETTING_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
"""Besides the weights, what decides an answer; in subfolders too, where some processors keep parts of theirs."""

GENERATION_KEPT = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "bad_words_ids",
    "suppress_tokens",
    "begin_suppress_tokens",
)
"""What is kept of a folder's generation settings. Temperatures and penalties are not: a request says how it is answered."""


def load(name: str, *, device: str, dtype: str, wording: str | None, download: bool) -> PretrainedModel:
    """The model of a folder, or of a repository in the hub's cache. Raises `LabError` kinds."""
    folder = locate(name, download=download)
    with quiet(), reading(folder):
        config = _config(folder)
        place = device_of(device)
        kind = dtype_of(dtype, place, _parameters(config) if dtype == "auto" else 0)
        parts = processor.load(folder, config)
        if getattr(parts, "tokenizer", None) is None:
            raise BadCheckpoint(f"{folder}: its processor has no tokenizer, so it cannot be asked")
        if parts.tokenizer.pad_token is None:
            parts.tokenizer.pad_token = parts.tokenizer.eos_token
        mark = getattr(parts, "image_token", None)
        hands = handing.choose(parts, None if mark is None else str(mark))
        speech, said = _speech(parts, hands, wording)
        _try(speech, folder)
        network = _network(folder, kind).to(place)
    stops = _stops(network, parts.tokenizer)
    network.generation_config = _generation(network.generation_config, stops, parts.tokenizer)
    how = f"{said} {type(hands).__name__} {kind} {transformers.__version__} {PIL.__version__}"
    return PretrainedModel(
        name=f"hf:{folder.resolve().name if Path(name).is_dir() else name}",
        digest=_digest(folder, how),
        about={
            "family": config.model_type,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "backend": "transformers",
            "dtype": str(kind).removeprefix("torch."),
            **told(place),
            "weights": str(folder),
            "wording": said,
        },
        limits=Limits(positions=getattr(config.get_text_config(), "max_position_embeddings", None)),
        network=network,
        processor=parts,
        speech=speech,
        handing=hands,
        stop_ids=frozenset(stops),
        filler=network.generation_config.pad_token_id,
    )


def locate(name: str, *, download: bool) -> Path:
    """The folder of this name, or of the repository of this name in the hub's cache. Raises `LabError` kinds."""
    folder = Path(name)
    if not folder.is_dir():
        found = hub.snapshot(name, download=download)
        if not isinstance(found, Path):
            reason = f"could not be downloaded ({str(found).splitlines()[0]})" if download else "is not on this machine"
            raise MissingModel(
                f"hf:{name} {reason}: there is no folder of that name, and no such repository in the hub's cache; "
                f"get it with --download, or with hf download {name}"
            )
        folder = found
    if not (folder / "config.json").is_file():
        raise BadCheckpoint(f"{folder}: no config.json in it, so it is no folder of transformers")
    return folder


def weight_files(folder: Path) -> Sequence[Path]:
    """The files that transformers reads weights from. Raises `BadCheckpoint` for one that is missing."""
    for index_name, single_name in FORMS:
        index, single = folder / index_name, folder / single_name
        if index_name and index.is_file():
            files = sorted({folder / name for name in read_json(index).get("weight_map", {}).values()})
            for file in files:
                if not file.is_file():
                    raise BadCheckpoint(
                        f"{file}: this shard is missing, though {index.name} names it; download it again"
                    )
            return files
        if single.is_file():
            return [single]
    raise BadCheckpoint(f"{folder}: no weights here; expected one of {', '.join(one for _, one in FORMS)}")


def _config(folder: Path) -> Any:
    file = folder / "config.json"
    kind = read_json(file).get("model_type")
    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise BadConfig(
            f"{file}: model_type {kind!r} is no model for pictures and text in transformers {transformers.__version__}"
        )
    weight_files(folder)
    return transformers.AutoConfig.from_pretrained(folder, **processor.HOW)


def _parameters(config: Any) -> int:
    with torch.device("meta"):
        built = transformers.AutoModelForImageTextToText.from_config(config, trust_remote_code=False)
    return sum(parameter.numel() for parameter in built.parameters())


def _network(folder: Path, dtype: torch.dtype) -> Any:
    """The model with its weights. Raises `BadCheckpoint` where a parameter has none, which transformers would draw."""
    read: Any = transformers.AutoModelForImageTextToText.from_pretrained
    network, info = read(folder, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, **processor.HOW)
    # Those of another shape come with both shapes.
    unfit = [key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]]
    for what, names in (("missing", sorted(info["missing_keys"])), ("of another shape", sorted(unfit))):
        if names:
            raise BadCheckpoint(f"{folder}: {len(names)} tensors are {what}, {names[0]} for one; download it again")
    return network.eval()


def _speech(parts: Any, hands: handing.Handing, wording: str | None) -> tuple[Speech, str]:
    """How the model is spoken to, and what that is called. Raises `BadSetting` for a template that it lacks."""
    held = parts.chat_template or parts.tokenizer.chat_template or {}
    templates: Mapping[str, str] = {"default": held} if isinstance(held, str) else held
    if not isinstance(hands, handing.Marked):
        templates = {}  # a template's marks would not be understood
    chosen = wording or ("default" if "default" in templates else next(iter(templates), RUNNING))
    if chosen == RUNNING:
        return RunningText(), RUNNING
    if chosen not in templates or not isinstance(hands, handing.Marked):
        raise BadSetting(f"template {chosen!r} is none of this model's: {', '.join((*sorted(templates), RUNNING))}")
    return Template(parts, templates[chosen], hands.mark), f"template {chosen}"


def _try(speech: Speech, folder: Path) -> None:
    """Raise `BadCheckpoint` where not even a question about a picture can be said."""
    try:
        speech.say(Prompt.ask(Image(handing.trial()), "what?"))
    except BadPrompt as error:
        raise BadCheckpoint(f"{folder}: {error}; --template {RUNNING} does without") from None


def _stops(network: Any, tokenizer: Any) -> Sequence[int]:
    """The ids at which an answer ends, as the folder says it; the tokenizer's own end where it does not."""
    found = network.generation_config.eos_token_id
    if found is None:
        found = tokenizer.eos_token_id
    if found is None:
        raise BadCheckpoint(f"{network.name_or_path}: nothing says which token ends an answer")
    return [found] if isinstance(found, int) else list(found)


def _generation(held: Any, stops: Sequence[int], tokenizer: Any) -> Any:
    """Generation settings that say which tokens are special, and nothing of how an answer is searched for."""
    kept = {name: getattr(held, name, None) for name in GENERATION_KEPT}
    ends: dict[str, Any] = {"eos_token_id": list(stops)}
    if kept["pad_token_id"] is None:
        ends["pad_token_id"] = stops[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return transformers.GenerationConfig(**kept | ends)


def _digest(folder: Path, how: str) -> str:
    """Hex SHA-256 over the contents of all files that decide an answer, and over how they are used."""
    settings = sorted({file for form in SETTING_FILES for file in folder.rglob(form)})
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(file_digest, [*settings, *weight_files(folder)]))
    return hashlib.sha256(json.dumps([how, digests]).encode()).hexdigest()


@contextmanager
def quiet() -> Generator[None]:
    """Without transformers' bars and warnings, which are about choices that are made here."""
    log = transformers.logging
    verbosity, has_bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if has_bars:
            log.enable_progress_bar()


@contextmanager
def reading(folder: Path) -> Generator[None]:
    """Turn whatever transformers raises at a folder that it cannot read into one clear line."""
    try:
        yield
    except LabError:
        raise
    except Exception as error:  # each of its parts raises its own
        told = " ".join(str(error).split())[:300] or type(error).__name__
        raise BadCheckpoint(f"{folder}: transformers {transformers.__version__} cannot read it: {told}") from None
