"""From a folder of published files to a `LoadedModel`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from flamingo_lab import backends, composed, hub, noise
from flamingo_lab.asking import Askable
from flamingo_lab.checkpoint import Tensors
from flamingo_lab.composed import Composed
from flamingo_lab.engine.budget import Room, free_bytes
from flamingo_lab.errors import BadSetting
from flamingo_lab.family import Folder
from flamingo_lab.files import file_digest
from flamingo_lab.loaded import LoadedModel, no_noise
from flamingo_lab.notes import note
from flamingo_lab.parallel.launched import is_first_here, launched
from flamingo_lab.placement import Placing
from flamingo_lab.placement.devices import here, told
from flamingo_lab.placement.plan import plan
from flamingo_lab.prepared import Prepared, Seats
from flamingo_lab.quant import copy
from flamingo_lab.render import Renderer
from flamingo_lab.understanding import understand
from flamingo_lab.weights import check
from flamingo_lab.wording import Running

if TYPE_CHECKING:
    from flamingo_lab.search.vstar import VStar

SETTING_FILES = ("*.json", "tokenizer.model", "*.tiktoken", "merges.txt")
"""Besides the weights, what decides an answer."""


def load(
    path: str | PathLike[str] | None = None,
    *,
    weights: str | PathLike[str] | None = None,
    vision: str | PathLike[str] | None = None,
    language_model: str | PathLike[str] | None = None,
    base: str | PathLike[str] | None = None,
    owlvit: str | PathLike[str] | None = None,
    cross_attn_every_n_layers: int | None = None,
    router_noise: int | None = None,
    vqa: str | PathLike[str] | None = None,
    vqa_vision: str | PathLike[str] | None = None,
    vsm: str | PathLike[str] | None = None,
    vsm_vision: str | PathLike[str] | None = None,
    wording: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    quant: str | None = None,
    tensor_parallel: int = 1,
    offload: bool = False,
    download: bool = False,
    base_url: str | None = None,
    api_key_env: str | None = None,
    concurrency: int | None = None,
    requests_per_minute: float | None = None,
    timeout_seconds: float | None = None,
    retries: int | None = None,
    memory: float | None = None,
    batch_tokens: int | None = None,
    features: str | PathLike[str] | None = None,
) -> LoadedModel | VStar | Askable:
    """The model of a listed name, of a folder in its family's published layout, or of a name with a backend's prefix.

    `weights` points to the files of a listed model, the next four to further folders where a family keeps parts
    elsewhere; `vqa` and the three with it to the models that a composed one is made of and to their parts, from which it
    is known without a name. `cross_attn_every_n_layers` is OpenFlamingo's, and otherwise read from its tensors' names;
    `router_noise` seeds the authors' noise on the choice of experts (MoE-LLaVA), which is left out otherwise. `wording`
    names one of the family's, its own by default. Nothing is downloaded unless `download` is set.

    `device`: auto, cpu, cuda, cuda:N or cuda:N,M; `quant`: int8 or int4 for the frozen matrices; `tensor_parallel`: processes
    that share the weights; `offload`: these stay in their files. What is said is done or refused; `device` auto leaves what
    is not said to `placement.plan`, which takes the first way that fits. `dtype` auto is bfloat16 on a GPU, on a CPU that
    multiplies it natively, and beside int8; float32 on other CPUs where the machine has room for it.

    `base_url` and what follows it are an endpoint's, see `backends/openai.py`. The last three change no answer: `memory`,
    in GiB, bounds what the process takes, 80 % of what is free by default; `batch_tokens` the tokens of a pass;
    `features` is a folder where pictures' tokens are kept for later runs. Raises `LabError` kinds.
    """
    folders = _told(
        vision=vision,
        language_model=language_model,
        base=base,
        owlvit=owlvit,
        vqa=vqa,
        vqa_vision=vqa_vision,
        vsm=vsm,
        vsm_vision=vsm_vision,
    )
    settings = _told(cross_attn_every_n_layers=cross_attn_every_n_layers, router_noise=router_noise)
    endpoint = _told(
        base_url=base_url,
        api_key_env=api_key_env,
        concurrency=concurrency,
        requests_per_minute=requests_per_minute,
        timeout_seconds=timeout_seconds,
        retries=retries,
    )
    backend = None if path is None else backends.find(str(path))
    if backend is not None:
        placing = Placing(device, dtype, quant, tensor_parallel, offload)
        chosen = {name: value for name, value in placing._asdict().items() if value != Placing._field_defaults[name]}
        own = _told(weights=weights, wording=wording, download=download or None)
        of_engine = _told(memory=memory, batch_tokens=batch_tokens, features=features)
        return backend.load(str(path), own | chosen | folders | settings | endpoint | of_engine)
    for setting in endpoint:
        raise BadSetting(f"{setting}: {path} is no endpoint; leave it away")
    room = Room.of(memory, batch_tokens, features)
    how = How(Placing(device, dtype, quant, tensor_parallel, offload), download, room)
    given = {part: Path(where) for part, where in folders.items()}
    made = composed.find(None if path is None else str(path), given)
    if made is not None:
        if weights or wording or settings:
            raise BadSetting(f"{made.name} is made of {' and '.join(made.models.values())}: name their folders instead")
        if offload:
            raise BadSetting(
                f"--offload: {made.name} is made of {len(made.models)} models, and only one may be offloaded"
            )
        if tensor_parallel > 1:
            raise BadSetting(f"{made.name} is made of several models, which take no --tensor-parallel: leave it away")
        return made.build(made.name, Seats(prepare_all(made, given, how)))
    return prepare(str(path), Path(weights) if weights else None, given, how, wording, settings).read()


def _told(**options: Any) -> dict[str, Any]:
    """Those of the options that are told."""
    return {name: value for name, value in options.items() if value is not None}


class How(NamedTuple):
    """Where the weights go, whether missing files may be fetched, and what the engine may take; see `load`."""

    placing: Placing
    download: bool
    room: Room = Room()


def prepare(
    name: str,
    weights: Path | None,
    parts: Mapping[str, Path],
    how: How,
    wording: str | None = None,
    settings: Mapping[str, int] | None = None,
    *,
    is_part: bool = False,
) -> Prepared:
    """A model ready to be read into memory: its files found, checked against what they describe, and digested.

    Where it goes is planned before. is_part: of a model made of several.
    """
    found = understand(name, weights, parts, settings, wording, download=how.download)
    folder, family, vlm, said = found.folder, found.family, found.vlm, found.wording
    built, tokenizer, pipeline = vlm.architecture, found.tokenizer, found.pipeline
    listed = hub.listed(name)
    called = listed.name if listed else folder.path.resolve().name
    if listed and listed.parameters != found.parameters:
        note(f"{folder.path} has {found.parameters:,} parameters, {called} as listed {listed.parameters:,}")
    placed = plan(vlm, copy.placing(folder.path, how.placing), here(), how.room, launched(), is_part=is_part)
    placed.say(called)
    kind, quant = placed.form
    if how.placing.dtype in family.poor_in:
        note(f"{name} in {how.placing.dtype}: {family.poor_in[how.placing.dtype]}")
    check(vlm, found.sources)
    stop_ids = (tokenizer.id_of(token) for token in said.stop_tokens)
    unread = LoadedModel(
        name=called,
        # Of the ranks on one machine, which read the same files, one is enough to know them by.
        digest=_digest(
            folder,
            found.tensors,
            f"{family.name} {said!r} {found.markup!r} {pipeline!r} {found.finish!r} {built!r} {family.beam_counts} {kind}"
            f"{f' {quant}' if quant else ''}",
        )
        if placed.slices == 1 or is_first_here()
        else "",
        vlm=vlm,
        tokenizer=tokenizer,
        renderer=Renderer(
            found.markup,
            said,
            tokenizer,
            lambda image: built.tokens_of(image.size),
            family.answers_apart,
            built.most_pictures,
        ),
        pipeline=pipeline,
        stop_ids=found.eos.union(token for token in stop_ids if token is not None),
        forbidden=family.forbidden,
        beam_counts=family.beam_counts,
        finish=found.finish,
        noise=noise.router_noise(built.decoder) or no_noise,
        room=how.room,
        about={
            "family": family.name,
            "parameters": found.parameters,
            "backend": "flamingo-lab",
            "dtype": str(kind).removeprefix("torch."),
            **({"quantisation": quant} if quant else {}),
            **told(placed.devices[0]),
            "weights": str(folder.path),
            "wording": found.chosen,
            "reads": "running text" if isinstance(said, Running) else "turns",
            "boxes": family.boxes,
            "cuts": dict(said.cuts) if isinstance(said, Running) else {},
        },
    )
    asked = (name, weights, parts, how._replace(placing=placed.placing), wording, settings)
    return Prepared(unread, found.sources, placed, asked)


def prepare_all(made: Composed, given: Mapping[str, Path], how: How) -> dict[str, Prepared]:
    """The models that one is made of, by role."""
    parts = made.parts(given)
    prepared: dict[str, Prepared] = {}
    for role, listed in made.models.items():
        with composed.as_part(role):
            prepared[role] = prepare(listed, given.get(role), parts[role], how, is_part=True)
    return prepared


def _digest(folder: Folder, tensors: Mapping[str, Tensors], how: str) -> str:
    """Hex SHA-256 over the contents of all files that decide an answer, and over how they are used.

    Pillow's version counts: its resampling has changed between versions.
    """
    import PIL

    folders = [folder, *(folder.parts[name] for name in sorted(folder.parts))]
    settings = [file for one in folders for form in SETTING_FILES for file in sorted(one.path.glob(form))]
    files = [file for part in sorted(tensors) for file in tensors[part].files]
    # A cache that is too small for all of the files is of no use.
    is_cached = sum(file.stat().st_size for file in files) <= free_bytes(torch.device("cpu"))
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(lambda file: file_digest(file, is_cached=is_cached), [*settings, *files]))
    return hashlib.sha256(json.dumps([how, PIL.__version__, digests]).encode()).hexdigest()
