"""The address says all that a page shows: selections are read from it, and choosing something writes it there.

A link therefore opens the same view, and the browser's Back returns to the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal
from urllib.parse import urlencode

import streamlit as st


def get(name: str, default: str = "") -> str:
    """A parameter of the address."""
    return st.query_params.get(name, default)


def to(page: str, **parameters: object) -> str:
    """The address of a page; parameters that are None or empty are left away. The leaderboard is the root."""
    held = [(name, value) for name, value in parameters.items() if value not in (None, "", (), [])]
    asked = urlencode(held, doseq=True)
    return (page or "./") + (f"?{asked}" if asked else "")


def here(page: str, **changes: object) -> str:
    """The address of what is shown now, with changes."""
    held: dict[str, object] = {name: st.query_params.get_all(name) for name in st.query_params}
    return to(page, **held | changes)


def number(name: str, least: int = 0) -> int:
    """A whole number in the address; `least` where there is none."""
    text = get(name)
    return max(least, int(text)) if text.isascii() and text.isdecimal() and len(text) < 10 else least


def counted(label: str, *names: str) -> str:
    """The label of filters that are folded away: it says how many of these parameters are set."""
    held = sum(get(name) != "" for name in names)
    return f"{label} · {held} set" if held else label


def one_of(
    label: str,
    name: str,
    options: Sequence[str],
    default: str | None = None,
    *,
    says: Callable[[str], str] = str,
    forgets: Sequence[str] = (),
    width: int | Literal["stretch"] = "stretch",
) -> str:
    """A choice among options, the first by default. Choosing another one clears the parameters that it `forgets`."""
    usual = options[0] if default is None else default
    key = _key(name)
    st.session_state[key] = get(name) if get(name) in options else usual
    keep = _keeper(name, usual, forgets)
    return st.selectbox(label, options, key=key, format_func=says, on_change=keep, width=width) or usual


def switch(
    label: str,
    name: str,
    options: Sequence[str],
    *,
    says: Callable[[str], str] = str,
    forgets: Sequence[str] = (),
) -> str:
    """A choice among few options that are all seen, the first by default."""
    key = _key(name)
    st.session_state[key] = get(name) if get(name) in options else options[0]
    keep = _keeper(name, options[0], forgets)
    return st.segmented_control(label, options, key=key, format_func=says, on_change=keep, required=True) or options[0]


def several(
    label: str,
    name: str,
    options: Sequence[str],
    default: Sequence[str] = (),
    *,
    says: Callable[[str], str] = str,
    most: int | None = None,
    placeholder: str = "all",
) -> list[str]:
    """A choice of several options."""
    key = _key(name)
    held = [one for one in st.query_params.get_all(name) if one in options]
    st.session_state[key] = (held or [*default])[:most]
    return st.multiselect(
        label,
        options,
        key=key,
        format_func=says,
        on_change=_keeper(name, [*default]),
        max_selections=most,
        placeholder=placeholder,
    )


def text(label: str, name: str, *, placeholder: str = "", forgets: Sequence[str] = ()) -> str:
    """A text that is searched for."""
    key = _key(name)
    st.session_state[key] = get(name)
    keep = _keeper(name, "", forgets)
    return st.text_input(label, key=key, placeholder=placeholder, on_change=keep, max_chars=500)


def is_on(label: str, name: str, *, default: bool = False, help: str | None = None) -> bool:
    """A switch."""
    key = _key(name)
    st.session_state[key] = get(name, str(int(default))) == "1"
    return st.toggle(label, key=key, on_change=_keeper(name, default), help=help)


def _key(name: str) -> str:
    return f"address.{name}"


def _keeper(name: str, default: object, forgets: Sequence[str] = ()) -> Callable[[], None]:
    """What writes a widget's value into the address; a value that is the default leaves it."""

    def keep() -> None:
        value = st.session_state[_key(name)]
        for other in forgets:
            st.query_params.pop(other, None)
        if value is None or value == default:
            st.query_params.pop(name, None)
        else:
            st.query_params[name] = str(int(value)) if isinstance(value, bool) else value

    return keep
