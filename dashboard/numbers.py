"""Numbers as the pages print them: one decimal for percent, a dash for what is missing."""

from __future__ import annotations

from dashboard.tree import Node, element
from leaderboards.records import SHARE, Run, Score

MISSING = "–"


def or_why(text: str, reason: str) -> Node:
    """The text; a dash says on hover why there is none."""
    return element("span", text, title=reason) if text == MISSING else text


def percent(value: float | None, digits: int = 1) -> str:
    """A share in percent, without the sign, which stands in the header."""
    return MISSING if value is None else f"{100 * value:.{digits}f}"


def scored(value: float | None, unit: str) -> str:
    """A score in its unit."""
    if value is None:
        return MISSING
    return percent(value) if unit == SHARE else f"{value:,.1f}"


def one_score(value: float | None, unit: str) -> str:
    """What a single question scored: 1, 0, or something between."""
    if value is None:
        return MISSING
    return f"{value:g}" if value in (0, 1) else f"{value:.2f}" if unit == SHARE else f"{value:,.2f}"


def bracket(low: float | None, high: float | None, unit: str) -> str:
    """An interval as `[low, high]`."""
    return f"[{scored(low, unit)}, {scored(high, unit)}]" if low is not None and high is not None else ""


def official(run: Run) -> Score | None:
    """The task's own metric on all questions, where the run has been scored."""
    return run.scores[0] if run.scores else None


def metric_of(run: Run) -> str:
    """The key of the official metric in the samples' scores."""
    score = official(run)
    return f"{score.metric}/{score.variant}" if score else ""


def duration(seconds: float | None) -> str:
    """Seconds in the unit that suits them."""
    if seconds is None:
        return MISSING
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def amount(count: float | None) -> str:
    """A large count in millions or billions: 2.3 M, 9.6 B."""
    if count is None:
        return MISSING
    for size, sign in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f} {sign}"
    return f"{count:g}"


def size(count: float | None) -> str:
    """Bytes in GiB or MiB."""
    if count is None:
        return MISSING
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def date(iso: str | None) -> str:
    """Day and minute of an ISO date."""
    return (iso or "")[:16].replace("T", " ") or MISSING


def quantity(value: float | None) -> str:
    """A speed or a time with two figures at least; a dash for none."""
    if not value:
        return MISSING
    if value < 1:
        return f"{value:.2g}"
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"
