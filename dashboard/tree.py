"""What a page shows as a tree of elements. Text stays text on its whole way: the browser makes text nodes of it.

`assets/shown.js` builds the elements, from the tags and attributes that it knows alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Element:
    """A tag with its attributes and what stands inside. Attributes that begin with `--` are CSS variables."""

    tag: str
    attributes: dict[str, str]
    children: tuple[Node, ...]

    def as_json(self) -> list[object]:
        """`[tag, attributes, children]`, texts as they are."""
        inner = [child if isinstance(child, str) else child.as_json() for child in self.children]
        return [self.tag, self.attributes, inner]

    @property
    def text(self) -> str:
        """All text inside, in order."""
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


Node: TypeAlias = Element | str


def element(tag: str, *children: Node | Iterable[Node] | None, **attributes: object) -> Element:
    """An element. A child may be a sequence of children or None; an attribute that is None or False is left away.

    `kind` becomes `class`; `_` in other names becomes `-`, so that `aria_label` is `aria-label` and `__x` is `--x`.
    """
    flat: list[Node] = []
    for child in children:
        if isinstance(child, Element | str):
            flat.append(child)
        elif child is not None:
            flat += child
    named = {
        "class" if name == "kind" else name.replace("_", "-"): "" if value is True else str(value)
        for name, value in attributes.items()
        if value is not None and value is not False
    }
    return Element(tag, named, tuple(flat))


def link(target: str, *children: Node | Iterable[Node] | None, **attributes: object) -> Element:
    """A link to a page of this app, as `address.to` writes it."""
    return element("a", *children, href=target, **attributes)


def cut(text: str, most: int, length: int | None = None) -> str:
    """The text, or its beginning with a sign that it goes on. `length` is how long the whole was, where it was cut before."""
    return text if len(text) <= most and (length is None or length <= most) else text[: most - 1] + "…"
