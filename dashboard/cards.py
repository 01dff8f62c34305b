"""Questions on which two runs differ, as cards."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

from dashboard import address, pictures, questions, seen
from dashboard.numbers import one_score
from dashboard.results import Results
from dashboard.tree import Element, Node, cut, element, link
from leaderboards.compare import Comparison, Difference, Differing

CARDS = 20
"""Questions that are shown at a time."""

WORDS = re.compile(r"\s+|[^\s]+")


def cards(
    results: Results,
    comparison: Comparison,
    found: Sequence[Differing],
    difference: Difference,
    names: tuple[str, str],
    skip: int,
) -> Element:
    """`CARDS` questions from the one numbered `skip` on; `names` are those of the two models."""
    if not found:
        return element("p", "On these questions both score the same.", kind="grey")
    ids = comparison.a.run_id, comparison.b.run_id
    other = [one.sample_id for one in found if not one.has_same_prompt]
    prompts = questions.prompts(results.store, ids, other)
    total = difference.wins + difference.losses
    ways = [
        link(address.here("compare", skip=max(0, skip - CARDS) or None), "back", kind="link") if skip else None,
        link(address.here("compare", skip=skip + CARDS), "next", kind="link") if skip + CARDS < total else None,
    ]
    said = f"{skip + 1:,}–{skip + len(found):,} of {total:,}, the largest difference and the surest answers first"
    cards = [_card(results, comparison, one, names, difference.unit, prompts) for one in found]
    parts = [part for way in ways if way for part in (" · ", way)]
    return element("div", element("p", said, parts, kind="grey small"), element("div", cards, kind="deck"))


def _card(
    results: Results,
    comparison: Comparison,
    one: Differing,
    names: tuple[str, str],
    unit: str,
    prompts: Mapping[tuple[str, str], str],
) -> Element:
    """One question: its picture, what both said, and whether they were asked alike."""
    own = one.image_digests[-1] if one.image_digests else "", one.image_paths[-1] if one.image_paths else ""
    sides = (
        (comparison.a, names[0], one.answer_a, one.score_a),
        (comparison.b, names[1], one.answer_b, one.score_b),
    )
    answers = [
        element(
            "tr",
            element("td", seen.mark(seen.verdict(score, None, None))),
            element(
                "td",
                link(address.to("samples", run=run.run_id, sample=one.sample_id), cut(answer or "(empty)", 160)),
                kind="said",
            ),
            element("td", one_score(score, unit), kind="number"),
            element("td", name, kind="thin"),
        )
        for run, name, answer, score in sides
    ]
    pair = [prompts.get((run.run_id, one.sample_id), "") for run in (comparison.a, comparison.b)]
    return element(
        "section",
        seen.thumbnail(results.sources, *own, "portrait", 2 * pictures.THUMBNAIL_PX),
        element(
            "div",
            element("p", element("b", cut(one.question, 300))),
            element("p", "target: ", cut(" or ".join(dict.fromkeys(one.targets)), 200) or "–", kind="small grey"),
            element("table", element("tbody", answers)),
            element("p", "same prompt", kind="thin") if one.has_same_prompt else _apart(*pair),
            kind="texts",
        ),
        kind="card",
    )


def _apart(a: str, b: str) -> Element:
    """Two prompts with what only one of them holds marked."""
    left, right = WORDS.findall(a), WORDS.findall(b)
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    sides: tuple[list[Node], list[Node]] = ([], [])
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        for side, words in zip(sides, ("".join(left[i1:i2]), "".join(right[j1:j2])), strict=True):
            if words:
                side.append(words if kind == "equal" else element("span", words, kind="differs"))
    shown = [element("div", side, kind="verbatim prompt") for side in sides]
    return element(
        "details", element("summary", "other prompts", kind="thin"), element("div", shown, kind="side-by-side")
    )
