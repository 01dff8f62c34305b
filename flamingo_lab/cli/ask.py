"""`flab ask`: one question with pictures, in the order in which they are typed."""

from __future__ import annotations

import json as jsons
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flamingo_lab.cli import options

if TYPE_CHECKING:
    from flamingo_lab.prompt import Part

EXAMPLE = options.example('flab ask --model flamingo-tiny --image circle.png "what shape is in the image?"')

OPTION = re.compile(r"-(-|[A-Za-z])\S*")
"""What an option looks like; text that begins so holds a blank."""


def register(app: typer.Typer) -> None:
    """Add the verb. Text and `--image` are kept as they were typed, which declared options would not be."""
    in_order = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command("ask", epilog=EXAMPLE, context_settings=in_order)(options.with_model(ask))


def ask(
    context: typer.Context,
    chosen: options.Chosen,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    raw: Annotated[
        bool, typer.Option("--raw", help="Send the sequence as it stands, without the family's wording.")
    ] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Of the answer.")] = 32,
    json: options.Json = False,
) -> None:
    """Ask one question: text and `--image FILE`, any number of each, in any order."""
    from flamingo_lab.errors import BadPrompt
    from flamingo_lab.prompt import Image, Prompt

    parts = interleaved(context.args)
    if not parts:
        raise typer.BadParameter(
            "nothing is asked; give text and --image FILE in the order in which they should be read"
        )
    if not raw and not any(isinstance(part, Image) for part in parts):
        raise BadPrompt("a question without a picture; add --image FILE, or --raw to send text alone")
    if not raw and not any(isinstance(part, str) and part.strip() for part in parts):
        raise BadPrompt("a picture without a question; add its text, or --raw to send pictures alone")
    loaded = chosen.load(device, dtype)
    prompt = Prompt.raw(*parts) if raw else Prompt.ask(*parts)
    answer = loaded.generate(prompt, max_new_tokens=max_new_tokens)
    print(jsons.dumps(asdict(answer), ensure_ascii=False) if json else answer.text.strip())


def interleaved(arguments: Sequence[str]) -> list[Part]:
    """Text and pictures as typed. Anything else that looks like an option is refused."""
    from flamingo_lab.prompt import Image

    parts: list[Part] = []
    words = iter(arguments)
    for word in words:
        if word == "--image" or word.startswith("--image="):
            file = word.partition("=")[2] or next(words, "")
            if not file:
                raise typer.BadParameter("--image needs a file")
            parts.append(Image(file))
        elif OPTION.fullmatch(word):
            raise typer.BadParameter(f"No such option: {word} (text that begins so needs a blank in it)")
        else:
            parts.append(word)
    return parts
