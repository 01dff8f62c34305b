"""A request as an endpoint's chat messages, and its reply as an answer."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from flamingo_lab.errors import BadEndpoint, BadPrompt, BadSetting
from flamingo_lab.model import Answer, Beam, Greedy, Rank, Request, Sample, StoppedBy
from flamingo_lab.prompt import Image, Prompt, Turn

SENT_AS_THEY_ARE = ("PNG", "JPEG")
"""Formats whose files every endpoint reads; pictures in others are sent as PNG, which loses nothing."""

ADDRESSES = ("data:", "http://", "https://")

ORIENTATION = 0x0112
"""The EXIF tag by which some servers turn a picture, and we do not."""

CANDIDATES = 20
"""Likeliest first tokens that are asked for under `Rank`: the most that endpoints give."""

LENGTH = ("length", "max_tokens")
"""What endpoints call the reason that an answer was cut at its largest length."""

NO_ANSWER = ("content_filter", "tool_calls", "function_call", "abort", "error")
"""Reasons of ending behind which there is no answer, or not all of it."""


class Malformed(Exception):
    """A reply that is not what such an endpoint replies."""


def check(request: Request) -> None:
    """Raise `BadPrompt` or `BadSetting` for what no such endpoint can be asked."""
    prompt, decoding = request.prompt, request.decoding
    if prompt.is_raw or prompt.window is not None:
        raise BadPrompt("an endpoint puts every prompt into its model's own template, whole; ask in turns")
    if isinstance(decoding, Beam):
        raise BadSetting("an endpoint has no beam search; decode greedily or at a temperature")
    if request.min_new_tokens or request.forbidden or request.padding:
        raise BadSetting("an endpoint takes no smallest length, no forbidden words and no padding; leave them away")
    if isinstance(decoding, Rank):
        if not decoding.options:
            raise BadSetting("Rank needs at least one option")
        if decoding.ends:
            raise BadSetting("an endpoint scores no stop token; leave `ends` away")


def marked(prompt: Prompt) -> str:
    """The conversation as text, with each picture's digest where it stands."""
    lines: list[str] = []
    for turn in prompt.turns:
        words = (part if isinstance(part, str) else f"<image:{part.digest[:12]}>" for part in turn.parts)
        lines.append(f"{turn.role}: {''.join(words)}")
    return "\n".join(lines)


def body(model: str, request: Request, limit: str) -> dict[str, Any]:
    """The JSON that asks a request. `limit`: how this endpoint calls the largest number of new tokens."""
    decoding = request.decoding
    held: dict[str, Any] = {"model": model, "messages": [message(turn) for turn in request.prompt.turns]}
    match decoding:
        case Rank():
            return held | {limit: 1, "temperature": 0, "logprobs": True, "top_logprobs": CANDIDATES}
        case Sample(temperature=temperature, top_p=top_p):
            held |= {"temperature": temperature, "top_p": top_p, "seed": seed(request, decoding)}
        case _:
            held |= {"temperature": 0}
    return held | {limit: request.max_new_tokens}


def seed(request: Request, decoding: Sample) -> int:
    """A seed of 31 bits from the decoding's seed and the request's id."""
    digest = hashlib.sha256(f"{decoding.seed}/{request.id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def message(turn: Turn) -> dict[str, Any]:
    """A turn; its content is a list only where it holds pictures, since some endpoints want text as a string elsewhere."""
    if not any(isinstance(part, Image) for part in turn.parts):
        return {"role": turn.role, "content": "".join(part for part in turn.parts if isinstance(part, str))}
    content = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": url(part)}}
        for part in turn.parts
    ]
    return {"role": turn.role, "content": content}


def counted(messages: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """How many pictures and how many shown answers messages hold."""
    contents = [one["content"] for one in messages if isinstance(one["content"], list)]
    images = sum(part["type"] == "image_url" for content in contents for part in content)
    return images, sum(one["role"] == "assistant" for one in messages)


def url(image: Image) -> str:
    """The picture as a `data:` URL. Raises `BadImage`."""
    from PIL import Image as pil

    held = _file(image)
    if held is not None:
        _ = image.digest  # one that cannot be decoded is told here, by its name
        with pil.open(io.BytesIO(held)) as picture:
            is_plain = picture.format in SENT_AS_THEY_ARE and not getattr(picture, "is_animated", False)
            if is_plain and picture.getexif().get(ORIENTATION, 1) == 1:
                return _data(pil.MIME[str(picture.format)], held)
    picture = image.load()
    stream = io.BytesIO()
    (picture if picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA") else picture.convert("RGB")).save(stream, "PNG")
    return _data("image/png", stream.getvalue())


def _file(image: Image) -> bytes | None:
    """The picture's file as it is, None where it is none on this machine."""
    source = image.source
    if isinstance(source, bytes):
        return source
    if isinstance(source, PathLike) or (isinstance(source, str) and not source.startswith(ADDRESSES)):
        return Path(source).read_bytes() if Path(source).is_file() else None
    return None


def _data(kind: str, held: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(held).decode()}"


def answer(request: Request, reply: Any, images: int) -> Answer:
    """The answer that a reply is. Raises `Malformed`, and `BadEndpoint` or `BadSetting` where it holds none."""
    try:
        choice, usage = reply["choices"][0], reply.get("usage") or {}
        said, reason = choice["message"], choice.get("finish_reason")
        # A model that thinks first may end before it has said anything; one that refuses says it elsewhere.
        text = next((held for held in (said.get("content"), said.get("refusal")) if held is not None), "")
        tokens = [int(usage.get(key) or 0) for key in ("prompt_tokens", "completion_tokens")]
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise Malformed(f"there is no choices[0].message in it ({type(error).__name__}: {error})") from None
    held = Answer(request.id, prompt_tokens=tokens[0], counted_tokens=tokens[1], images=images)
    if isinstance(request.decoding, Rank):
        return _ranked(held, request.decoding, choice)
    if reason in NO_ANSWER:
        raise BadEndpoint(f"the endpoint ended the answer by {reason!r}")
    if not isinstance(text, str):
        raise Malformed(f"its content is {text!r}, not text")
    stopped_by: StoppedBy = "length" if reason in LENGTH else "stop token"
    cut = min((place for stop in request.stop if (place := text.find(stop)) >= 0), default=None)
    return replace(held, text=text[:cut], stopped_by=stopped_by if cut is None else "stop text")


def gives_logprobs(reply: Any) -> bool:
    """Whether a reply tells the log-probabilities that it was asked for."""
    try:
        return bool(reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"])
    except (LookupError, TypeError):
        return False


def _ranked(held: Answer, decoding: Rank, choice: Any) -> Answer:
    """The likeliest option, by the log-probability of the first token, which each option has to be."""
    try:
        first = choice["logprobs"]["content"][0]["top_logprobs"]
        candidates = [(one["token"].strip(), float(one["logprob"])) for one in first]
    except (LookupError, TypeError, AttributeError, ValueError):
        raise BadSetting("the endpoint tells no log-probabilities, so it cannot rank options") from None
    scores: list[float] = []
    for option in decoding.options:
        found = [logprob for token, logprob in candidates if token == option.strip()]
        if not found:
            raise BadSetting(
                f"option {option!r} is none of the {len(candidates)} likeliest first tokens; an endpoint ranks options of "
                "one token each, letters for example"
            )
        scores.append(max(found))
    best = max(range(len(scores)), key=scores.__getitem__)
    return replace(
        held,
        text=decoding.options[best],
        logprob=scores[best],
        option_logprobs=tuple(scores),
        stopped_by="rank",
    )


def trial(*, has_picture: bool = True) -> Request:
    """A request, with a picture or without, by which an endpoint is tried before anything is asked of it."""
    from PIL import Image as pil

    pictures = [Image(pil.new("RGB", (64, 64), "white"))] if has_picture else []
    return Request("trial", Prompt.ask(*pictures, "Which colour?"), Greedy(), 16)
