"""What is told of a listed model: its parts, how it is prompted, where its files are, and its authors' scores."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from flamingo_lab import families
from flamingo_lab.config import Inline, TwoLengths
from flamingo_lab.family import Folder, flag
from flamingo_lab.prompt import Image, Prompt, Shot

if TYPE_CHECKING:
    from flamingo_lab.composed import Composed
    from flamingo_lab.config import Architecture
    from flamingo_lab.family import Family, Size

ASKED = "What animal is this?"

SIZES = ((336, 336), (640, 480), (1920, 1080))
"""Of pictures whose tokens are counted, (width, height), where they differ in number."""


def of_model(family: Family, size: Size, *, whole: bool) -> dict[str, object]:
    """All facts of a listed model; `whole`: also the parts' settings that are as the core has them by default."""
    from flamingo_lab import hub

    built = family.architecture(Folder.listed(size))
    parts = {
        "tower": built.vision,
        "patches": built.patching,
        "tiles": built.tiling,
        "connector": built.connector,
        "decoder": built.decoder,
        "locator": built.locator,
    }
    told = {name: described(part, whole=whole) for name, part in parts.items() if part is not None}
    if built.connector:
        told["connector"] = {"kind": kind(built.connector)} | told["connector"]
    joined = "in the sequence" if isinstance(built.join, Inline) else "gated cross-attention"
    return {
        "name": size.name,
        "family": family.title,
        "paper": family.paper,
        "from": size.hub or "bundled with this package",
        "further folders": further(family, size),
        "licence": size.licence,
        "parameters": size.parameters,
        "memory": hub.memory_needed(built),
        "style": size.wording,
        "other templates": [name for name in family.wordings if name != size.wording],
        "recommended": dict(size.recommended),
        "tokens per image": tokens(built),
        **told,
        "join": {"how": joined} | described(built.join, whole=whole),
        "prompt": example(family, size, built),
        "published": published(size.name),
    }


def of_composed(made: Composed) -> dict[str, object]:
    """All facts of a model that is made of others."""
    from flamingo_lab import hub

    return {
        "name": made.name,
        "family": made.title,
        "paper": made.paper,
        "from": " + ".join(str(size.hub) for size in made.sizes),
        "licence": "; ".join(dict.fromkeys(size.licence for size in made.sizes)),
        "parameters": made.parameters,
        "memory": hub.memory_needed(*(_built(size) for size in made.sizes)),
        "made of": dict(made.models),
        "shown in full by": [f"flab show model {size.name}" for size in made.sizes],
        "tokens per image": {size.name: tokens(_built(size)) for size in made.sizes},
        "published": published(made.name),
    }


def _built(size: Size) -> Architecture:
    """A listed model's parts, as its published configuration says."""
    return families.listing(size).architecture(Folder.listed(size))


def further(family: Family, size: Size) -> dict[str, str]:
    """Where the parts are that a model's own files lack: the option that names a folder, and what is taken without it."""
    found: dict[str, str] = {}
    for part, where in {**family.parts(Folder.listed(size)), **size.part_hubs}.items():
        if where is None:
            found[part] = f"{flag(part)}, for {SELDOM[part]}"
        else:
            found[part] = f"{where} in the folder" if where.startswith("./") else f"{where}, or {flag(part)}"
    return found


SELDOM = {
    "base": "a folder of differences, adapters or a projector alone",
    "owlvit": "other settings than google/owlvit-base-patch16's",
}
"""What folders are needed for that most models of a family do without."""


def tokens(built: Architecture) -> str | int:
    """How many tokens a picture becomes."""
    if isinstance(built.connector, TwoLengths):
        return f"{built.tower.tokens} or {built.connector.short.latents}"
    if built.patching or built.tiling:
        return ", ".join(f"{built.tokens_of(size):,} at {size[0]} x {size[1]}" for size in SIZES)
    return built.tokens_per_view


def described(part: Any, *, whole: bool) -> dict[str, Any]:
    """A part's settings, those that are not the core's defaults or all of them."""
    if whole:
        return asdict(part)
    told = ((one.name, getattr(part, one.name)) for one in fields(part) if not _is_default(part, one))
    return {name: _said(value) for name, value in told if name != "pipeline"}


def kind(part: object) -> str:
    """What a part is called, in words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(part).__name__).lower()


def _is_default(part: Any, one: Any) -> bool:
    return one.default is not MISSING and getattr(part, one.name) == one.default


def _said(value: Any) -> Any:
    """A setting as people read it."""
    if is_dataclass(value):
        inner = ", ".join(f"{key} {_said(one)}" for key, one in described(value, whole=False).items())
        return kind(value) + (f" ({inner})" if inner else "")
    if isinstance(value, tuple):
        return ", ".join(" x ".join(map(str, one)) if isinstance(one, tuple) else str(_said(one)) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value


def example(family: Family, size: Size, built: Architecture) -> str:
    """A question in the model's own template, behind a worked example where it takes two pictures; newlines as \\n."""
    takes_one = built.most_pictures == 1
    shots = () if takes_one else (Shot(Image("cat.png"), ASKED, answer="cat"),)
    prompt = Prompt.ask(Image("dog.png"), ASKED, shots=shots)
    markup = family.markup(Folder.listed(size))
    said = family.wordings[size.wording].say(prompt, markup.picture)
    return "".join(part if isinstance(part, str) else markup.mark for part in said).replace("\n", "\\n")


def published(name: str) -> list[str]:
    """The authors' scores of a model: a line for each benchmark and protocol, over the numbers of shots."""
    from leaderboards.published import of

    lines: dict[tuple[str, str], dict[str, float]] = {}
    for one in of(name):
        what = " ".join(filter(None, (one.benchmark, one.split, one.metric)))
        protocol = "protocol not published" if one.protocol == "not published" else one.protocol
        where = "; ".join(filter(None, (protocol, one.source if one.is_checked else "from memory")))
        lines.setdefault((what, where), {})[one.shots] = one.score
    return [f"{what}: {_over_shots(scores)} ({where})" for (what, where), scores in lines.items()]


def _over_shots(scores: Mapping[str, float]) -> str:
    """Scores by numbers of shots, which are said where there are any."""
    is_zero = scores.keys() <= {"", "0"}
    return ", ".join(f"{score:g}" if is_zero else f"{score:g} at {shots} shots" for shots, score in scores.items())
