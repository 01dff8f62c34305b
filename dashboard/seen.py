"""Pictures, prompts and answers of a question as trees of elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard import boxes, pictures
from dashboard.numbers import MISSING, or_why
from dashboard.pictures import Sources
from dashboard.prompts import Part, Piece, elided, parts, pieces
from dashboard.questions import SHOWN_CHARACTERS
from dashboard.tree import Element, Node, cut, element, link

SMALLEST_PX = 320
"""How wide a small picture is shown at least; pictures of 64 pixels cannot be judged at 64."""

UPSCALED = 4

Row = Mapping[str, Any]

MARKS = {
    "right": "right",
    "part": "right in part",
    "wrong": "wrong",
    "unread": "could not be read",
    "error": "no answer",
    "unscored": "not scored",
}


def verdict(score: float | None, error: str | None, problem: str | None) -> str:
    """What a question's score says in a word of `MARKS`."""
    if error:
        return "error"
    if problem:
        return "unread"
    if score is None:
        return "unscored"
    return "right" if score >= 1 else "wrong" if score <= 0 else "part"


def mark(kind: str) -> Element:
    """A verdict as a disc: full, half, empty, dotted."""
    return element("span", kind=f"mark {kind}", role="img", title=MARKS[kind], aria_label=MARKS[kind])


def thumbnail(
    sources: Sources, digest: str, name: str, kind: str = "thumb", px: int = pictures.SMALL_PX * 2
) -> Element:
    """A small picture, or a frame with its digest."""
    found = pictures.picture(sources, digest, name, px)
    if found.src is None:
        return element("span", digest[:6] or "?", kind=f"{kind} frame", title=f"{name}: {found.reason}")
    return element("img", kind=kind, src=found.src, alt=name, title=name, loading="lazy")


def whole(sources: Sources, digest: str, name: str, drawn: Sequence[boxes.Box] = (), now: int | None = None) -> Element:
    """A picture as large as there is room, with boxes on it; the one numbered `now` stands out."""
    found = pictures.picture(sources, digest, name, pictures.FULL_PX)
    if found.src is None:
        texts = (element("b", digest[:16] or "no digest"), element("span", name), element("span", found.reason))
        return element("div", texts, kind="whole frame")
    wide = min(max(found.width, min(SMALLEST_PX, UPSCALED * found.width)), pictures.FULL_PX)
    image = element("img", src=found.src, alt=name, width=found.width, height=found.height)
    marks = [_box(box, is_now=number == now) for number, box in enumerate(drawn)]
    return element("div", image, marks, kind="whole", __wide=f"{wide}px")


def _box(box: boxes.Box, *, is_now: bool) -> Element:
    label = element("span", cut(box.label, 40)) if box.label else None
    kind = f"box {box.whose}" + (" now" if is_now else "")
    return element("div", label, kind=kind, __left=box.left, __top=box.top, __right=box.right, __bottom=box.bottom)


def key(drawn: Sequence[boxes.Box]) -> Element | None:
    """What the lines of the boxes mean."""
    whose = {box.whose for box in drawn}
    said = {"target": "target", "predicted": "predicted"}
    lines = [element("span", element("span", kind=f"dash {one}"), said[one]) for one in said if one in whose]
    return element("p", lines, kind="key") if lines else None


def own_pictures(row: Row) -> list[tuple[str, str]]:
    """Digest and name of the question's own pictures, which stand behind those of the shots."""
    names, shots = row["image_paths"] or [], len(row["shot_ids"] or [])
    digests = row["image_digests"] or [""] * len(names)
    first = max(0, len(names) - max(1, len(names) // (shots + 1)))
    return [*zip(digests, names, strict=False)][first:]


def sent(row: Row) -> list[Piece]:
    """The pieces of a question's prompt; a very long one has a gap between its beginning and its end."""
    digests = row["image_digests"] or []
    found = pieces(row["prompt"], digests)
    if not row["prompt_end"]:
        return found
    missing = row["prompt_length"] - len(row["prompt"]) - len(row["prompt_end"])
    placed = 1 + max(piece.number for piece in found)
    return [*found, Piece("gap", "", missing), *pieces(row["prompt_end"], digests, placed)]


def prompt(sources: Sources, row: Row, found: Sequence[Piece], whole_at: str, *, is_whole: bool) -> Element:
    """The prompt as the model saw it: pictures in their places, special tokens as pills, shots folded.

    Of long texts the middle is left out unless the whole is asked for, with a link that asks for it.
    """
    names, digests = row["image_paths"] or [], row["image_digests"] or []
    shot_ids = row["shot_ids"] or []
    placed = {piece.number for piece in found if piece.kind == "picture"}
    unplaced = [number for number in range(len(digests)) if number not in placed]

    def drawn(number: int, kind: str = "inline") -> Element:
        return thumbnail(sources, digests[number], names[number], kind, pictures.THUMBNAIL_PX)

    def told(piece: Piece) -> Element | str:
        mark = " differs" if piece.is_apart else ""
        if piece.kind == "picture":
            return drawn(piece.number, f"inline{mark}")
        if piece.kind == "gap":
            return _gap(piece.number, whole_at, is_whole=is_whole)
        if piece.kind == "token":
            return element("span", piece.text, kind=f"pill{mark}")
        return element("span", piece.text, kind="differs") if mark else piece.text

    def shown(part: Part) -> Element:
        held = part.pieces if is_whole else elided(part.pieces, SHOWN_CHARACTERS)
        inner = element("span", [told(piece) for piece in held], kind="said")
        if part.shot is None:
            return inner
        line = " ".join("".join(piece.text for piece in part.pieces if piece.kind == "text").split())
        first = next((drawn(piece.number) for piece in part.pieces if piece.kind == "picture"), None)
        name = f"shot {part.shot + 1} · {shot_ids[part.shot]}"
        head = element("summary", name, first, element("span", cut(line, 200), kind="line"))
        return element("details", head, inner, id=f"shot-{part.shot}")

    before = [drawn(number) for number in unplaced]
    return element("div", before, [shown(part) for part in parts(found, len(shot_ids))], kind="prompt")


def _gap(missing: int, whole_at: str, *, is_whole: bool) -> Element:
    """What is said where characters of a prompt are left out."""
    said = f"… {missing:,} characters left out"
    if is_whole:
        return element("span", f"{said}; they are in samples.parquet …", kind="gap")
    return element("span", f"{said} · ", link(whole_at, "show all", kind="link"), " …", kind="gap")


def long_text(text: str | None, length: int | None, whole_at: str, *, is_whole: bool) -> Element:
    """A text as it is, white space and all; where it was cut, a link shows the whole."""
    if text is None:
        return element("span", MISSING, kind="grey", title="the question has none")
    if is_whole or len(text) <= SHOWN_CHARACTERS:
        rest = f"… {length:,} characters; the rest is in samples.parquet" if length and length > len(text) else None
        return element("span", element("span", text or "(empty)", kind="verbatim"), rest)
    show = link(whole_at, f"show all {length or len(text):,} characters", kind="link small")
    return element("span", element("span", text[:SHOWN_CHARACTERS] + "…", kind="verbatim"), " ", show)


def targets(held: Sequence[str]) -> Node:
    """What would have been right, each once."""
    return or_why(cut(" or ".join(dict.fromkeys(held)), 200) or MISSING, "no right answer is recorded")


def facts(pairs: Sequence[tuple[str, Element | str | None]]) -> Element:
    """Names and values; those that are None are left away."""
    held = [
        (element("dt", name), element("dd", or_why(value, "not recorded") if isinstance(value, str) else value))
        for name, value in pairs
        if value is not None
    ]
    return element("dl", [one for pair in held for one in pair])
