"""One question of a run: as it was asked and answered, with its pictures, scores, and what other runs said."""

from __future__ import annotations

from typing import Any

from dashboard import address, boxes, pictures, questions, seen, steps
from dashboard.models import run_label
from dashboard.numbers import duration, metric_of, official, one_score
from dashboard.questions import Row
from dashboard.results import Results
from dashboard.shown import show as put
from dashboard.tree import Element, cut, element, link
from leaderboards.records import Run

LONGEST_HEAD = 400
"""Characters of a question that stand above its picture."""


def question(results: Results, run: Run, sample_id: str, listed: list[str]) -> None:
    """One question with everything about it."""
    is_whole = address.get("whole") == "1"
    row = questions.one(results.store, run.run_id, sample_id, whole=is_whole) if sample_id else None
    if row is None:
        missing = "This run has no question with this id." if run.scores else "This run is not finished."
        put(element("p", missing if sample_id else "", kind="grey"), "question")
        return
    own = seen.own_pictures(row)
    size = _size(results, own)
    variants = [name.partition("/")[2] for name in row["scores"] if name.startswith("iou/")]
    drawn = boxes.answered(row["answer"] or "", row["targets"] or [], variants, size)
    searches = boxes.searches(row["trace"], size)
    put(_head(run, row, listed, is_whole=is_whole), "head")
    if searches and own:
        steps.show(results, own[-1], searches)
    elif own:
        put(element("div", [seen.whole(results.sources, *one, drawn) for one in own], seen.key(drawn)), "picture")
    put(_told(results, run, row, is_whole=is_whole), "told")


def _size(results: Results, own: list[tuple[str, str]]) -> tuple[int, int]:
    if not own:
        return 0, 0
    found = pictures.picture(results.sources, *own[-1], pictures.FULL_PX)
    return found.width, found.height


def _head(run: Run, row: Row, listed: list[str], *, is_whole: bool) -> Element:
    """The question with its answer and target, and the ways to the questions beside it."""
    metric = metric_of(run)
    verdict = seen.verdict(row["scores"].get(metric), row["error_kind"], row["problems"].get(metric))
    said = f"no answer: {row['error_kind']}" if row["error_kind"] else row["answer"] or "(empty)"
    return element(
        "div",
        element(
            "div",
            _asked(row, is_whole=is_whole),
            _beside(listed, row["sample_id"]),
            kind="steps",
        ),
        element(
            "p",
            seen.mark(verdict),
            " ",
            element("span", cut(said, 200), kind="answer"),
            element("span", "  target: ", kind="grey"),
            seen.targets(row["targets"] or []),
        ),
    )


def _asked(row: Row, *, is_whole: bool) -> Element:
    """The question; a long one's beginning with a link to the rest."""
    text, length = row["question"], row["question_length"]
    if is_whole or length <= LONGEST_HEAD:
        return element("span", text, kind="big")
    show = link(_whole_at(row), f"show all {length:,} characters", kind="link small")
    return element("span", cut(text, LONGEST_HEAD), " ", show, kind="big")


def _whole_at(row: Row) -> str:
    return address.here("samples", sample=row["sample_id"], whole=1)


def _beside(listed: list[str], sample_id: str) -> list[Element | str]:
    if sample_id not in listed:
        return []
    at = listed.index(sample_id)
    ways = (("previous", at - 1), ("next", at + 1))
    held = [
        link(
            address.here("samples", sample=listed[place], whole=None, step=None, search=None),
            name,
            kind="link small nowrap",
        )
        for name, place in ways
        if 0 <= place < len(listed)
    ]
    return [*held]


def _told(results: Results, run: Run, row: Row, *, is_whole: bool) -> Element:
    """The prompt, the answer as it came, how it was scored, what it took, and what other runs answered."""

    def long(text: str | None, length: int | None = None) -> Element:
        return seen.long_text(text, length, whole_at, is_whole=is_whole)

    whole_at = _whole_at(row)
    pictured = "1 picture" if row["n_images"] == 1 else f"{row['n_images']} pictures"
    asked = f"{pictured} · {row['prompt_tokens']:,} tokens"
    return element(
        "div",
        element("h3", f"The prompt as the model saw it · {asked}"),
        seen.prompt(results.sources, row, seen.sent(row), whole_at, is_whole=is_whole),
        element("h3", "Answer"),
        seen.facts(
            (
                ("error", element("span", row["error_kind"], kind="failed") if row["error_kind"] else None),
                ("it says", long(row["error"], row["error_length"]) if row["error"] else None),
                ("as it came", long(row["answer_raw"], row["answer_raw_length"])),
                ("as scored", long(row["answer"], row["answer_length"])),
                ("targets", long(" · ".join(row["targets"] or []) or None)),
                ("choices", long(" · ".join(row["choices"])) if row["choices"] else None),
                *_scores(run, row),
                ("slices", " · ".join(f"{name}: {value}" for name, value in row["slices"].items()) or None),
                ("took", _took(row)),
                ("question", f"{row['sample_id']} · about {row['document']}"),
            )
        ),
        _others(results, run, row),
    )


def _scores(run: Run, row: Row) -> list[tuple[str, str]]:
    """Each score with the rule that gave it, and why an answer could not be read."""
    first = official(run)
    unit = first.unit if first else "share"
    return [
        ("score", " · ".join(filter(None, (one_score(value, unit), name, row["problems"].get(name)))))
        for name, value in row["scores"].items()
    ]


def _took(row: Row) -> str:
    sure = "" if row["logprob"] is None else f" · log-probability {row['logprob']:.2f}"
    return f"{row['generated_tokens']:,} tokens · {duration(row['seconds'])}{sure}"


def _others(results: Results, run: Run, row: Row) -> Element | None:
    """What other runs of the same task answered to this question."""
    same = {
        other.run_id: other
        for other in results.runs
        if other.run_id != run.run_id and (other.task, other.split) == (run.task, run.split) and other.scores
    }
    metric = metric_of(run)
    found = questions.others(results.store, [*same], row["sample_id"], metric)
    if not found:
        return None
    order = {run_id: place for place, run_id in enumerate(same)}

    def line(one: dict[str, Any] | Row) -> Element:
        other = same[one["run_id"]]
        said = f"no answer: {one['error_kind']}" if one["error_kind"] else one["answer"] or "(empty)"
        at = address.to("samples", run=one["run_id"], sample=row["sample_id"])
        return element(
            "tr",
            element("td", seen.mark(seen.verdict(one["score"], one["error_kind"], None)), kind="narrow"),
            element("td", cut(said, 120)),
            element("td", link(at, run_label(other, results.names), kind="link small")),
        )

    rows = [line(one) for one in sorted(found, key=lambda one: order[one["run_id"]])]
    return element(
        "div", element("h3", "Other runs on this question"), element("table", element("tbody", rows), kind="others")
    )
