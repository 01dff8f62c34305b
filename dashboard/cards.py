"""Questions on which two runs differ, as cards."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard import address, pictures, questions, seen
from dashboard.numbers import one_score
from dashboard.prompts import apart
from dashboard.results import Results
from dashboard.tree import Element, cut, element, link
from leaderboards.compare import Comparison, Difference, Differing

CARDS = 20
"""Questions that are shown at a time."""


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
    pictured = questions.pictured(results.store, comparison.a.run_id, [one.sample_id for one in found])
    total = difference.wins + difference.losses
    ways = [
        link(address.here("compare", skip=max(0, skip - CARDS) or None, prompt=None), "back", kind="link")
        if skip
        else None,
        link(address.here("compare", skip=skip + CARDS, prompt=None), "next", kind="link")
        if skip + CARDS < total
        else None,
    ]
    said = f"{skip + 1:,}–{skip + len(found):,} of {total:,}, the largest difference and the surest answers first"
    cards = [
        _card(results, comparison, one, names, difference.unit, seen.own_pictures(pictured[one.sample_id]))
        for one in found
    ]
    parts = [part for way in ways if way for part in (" · ", way)]
    return element("div", element("p", said, parts, kind="grey small"), element("div", cards, kind="deck"))


def _card(
    results: Results,
    comparison: Comparison,
    one: Differing,
    names: tuple[str, str],
    unit: str,
    own: Sequence[tuple[str, str]],
) -> Element:
    """One question: its pictures, what both said, and what they were sent."""
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
    is_open = address.get("prompt") == one.sample_id
    portraits = [seen.thumbnail(results.sources, *each, "portrait", 2 * pictures.THUMBNAIL_PX) for each in own]
    return element(
        "section",
        element("div", portraits, kind="portraits") if portraits else None,
        element(
            "div",
            element("p", element("b", cut(one.question, 300))),
            element("p", "target: ", seen.targets(one.targets), kind="small grey"),
            element("table", element("tbody", answers)),
            _fold(one, is_open=is_open),
            kind="texts",
        ),
        _prompts(results, comparison, one, names) if is_open else None,
        kind="card open" if is_open else "card",
    )


def _fold(one: Differing, *, is_open: bool) -> Element:
    """Whether both were asked alike, as a link that opens or closes what they were sent."""
    said = "same prompt" if one.has_same_prompt else "different prompts"
    at = address.here("compare", prompt=None if is_open else one.sample_id)
    sign = "▾" if is_open else "▸"
    return element("p", link(at, f"{sign} {said}, as sent", kind="thin", aria_expanded=str(is_open).lower()))


def _prompts(results: Results, comparison: Comparison, one: Differing, names: tuple[str, str]) -> Element:
    """The prompt that both were sent; where theirs are not the same both, with what differs marked."""
    runs = (comparison.a,) if one.has_same_prompt else (comparison.a, comparison.b)
    rows = [row for run in runs if (row := questions.one(results.store, run.run_id, one.sample_id))]
    sent = [seen.sent(row) for row in rows]
    if len(sent) > 1:
        sent = [*apart(*sent)]
    sides = [
        element(
            "div",
            element("h3", name) if len(rows) > 1 else None,
            seen.prompt(results.sources, row, held, _whole_at(row), is_whole=False),
        )
        for name, row, held in zip(names[: len(rows)], rows, sent, strict=True)
    ]
    return element("div", sides, kind="side-by-side")


def _whole_at(row: questions.Row) -> str:
    return address.to("samples", run=row["run_id"], sample=row["sample_id"], whole=1)
