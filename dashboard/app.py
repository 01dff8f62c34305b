"""What Streamlit runs: the pages in their order, and what is said where they have nothing to show."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

if __name__ == "__main__":
    # Streamlit puts this file's own folder on the path, where `views` would hide nothing but mislead everyone.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import streamlit as st

from dashboard import views
from dashboard.results import USUAL, opened
from dashboard.shown import ASSETS
from leaderboards.errors import BadStore, ResultsError


def main() -> None:
    """Show the page of the address."""
    st.set_page_config(page_title="flamingo-lab", page_icon=":material/leaderboard:", layout="wide")
    st.html(ASSETS / "page.css")
    st.logo(str(ASSETS / "name.svg"), size="small")
    found = views.found()
    shown = {
        name: st.Page(guarded(name), title=page.TITLE, url_path=name, default=number == 0)
        for number, (name, page) in enumerate(found.items())
    }
    st.navigation(list(shown.values()), position="top").run()


def guarded(name: str) -> views.Show:
    """The page, with expected failures told in a box and an empty results folder explained."""

    def show() -> None:
        page = views.found()[name]
        try:
            results = opened()
            if results.runs:
                page.show(results)
            elif results.problems:
                raise BadStore("\n".join(results.problems))
            else:
                st.title(page.TITLE)
                st.text(f"There are no runs in {results.name} yet. This makes two, in a minute:")
                st.code(_filling(results.store.place.name), language=None, wrap_lines=True)
        except ResultsError as error:
            st.title(page.TITLE)
            with st.container(border=True):
                st.text(f"These results cannot be shown.\n{error}")

    show.__name__ = name
    return show


def _filling(place: str) -> str:
    """What fills the results. At a URL runs are not made, but published."""
    made = "flab eval --model flamingo-tiny --tasks easy-vqa,shapes-binding --limit 200"
    if "://" in place:
        return f"{made}\nflab results merge {USUAL} --results {shlex.quote(place)}"
    return made if place == USUAL else f"{made} --results {shlex.quote(place)}"


if __name__ == "__main__":
    main()
