"""The page of the metrics names each of them, and what it says of lm-eval's ChartQA is what lm-eval does."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

import pytest
from lm_eval.tasks.chartqa import utils

from eval_tasks import metrics
from tests.folders import ROOT

DOCS = ROOT / "docs"
PAGE = (DOCS / "metrics.md").read_text(encoding="utf-8")
DISAGREEMENTS: list[dict[str, Any]] = json.loads((DOCS / "disagreements.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", metrics.names())
def test_every_metric_has_its_section_with_all_variants(name: str) -> None:
    section = PAGE.partition("## Every metric")[2].partition(f"### {name}\n")[2].partition("\n### ")[0]
    assert section
    for variant, metric in metrics.variants(name).items():
        assert f"| `{variant}` | " in section and metric.about
    assert metrics.definition(name)


@pytest.mark.parametrize("case", json.loads((DOCS / "lm_eval_chartqa.json").read_text(encoding="utf-8")))
def test_lm_evals_chartqa_scores_what_the_page_says(case: dict[str, Any]) -> None:
    found: dict[str, float] = {}
    for metric in (utils.exact_match, utils.relaxed_accuracy, utils.anywhere_accuracy):
        found |= metric([case["target"]], [case["prediction"]])
    assert found == case["lm_eval"]


@pytest.mark.parametrize("case", DISAGREEMENTS, ids=lambda case: f"{case['metric']}-{case.get('prediction', '')[:20]}")
def test_a_case_shows_a_disagreement(case: dict[str, Any]) -> None:
    """Of our variants, or of another harness that the page names."""
    if "labels" in case:
        pairs = zip(case["scores"], case["labels"], strict=True)
        items = [metrics.Item(metrics.Prediction(str(said)), metrics.Targets((str(right),))) for said, right in pairs]
        chosen = metrics.variants(case["metric"]).values()
        assert len({one.figures(items, one.outcomes(items))[metrics.HEADLINE].value for one in chosen}) > 1
        return
    targets = tuple(text for text, count in case["targets"].items() for _ in range(count))
    given = metrics.Targets(targets, tuple(case.get("choices", ())), case.get("facts", {}))
    shown = case.get("variants") or list(metrics.variants(case["metric"]))
    prediction = metrics.Prediction(case["prediction"])
    scores = {metrics.get(case["metric"], variant).outcome(prediction, given).score for variant in shown}
    assert len(scores) > 1 or case.get("elsewhere")


@pytest.mark.skipif(shutil.which("java") is None, reason="no Java runtime here")
def test_captions_score_what_the_page_says() -> None:
    section = PAGE.partition("### captions: ours is `ptb`")[2].partition("\n## ")[0]
    rows = [re.findall("`([^`]*)`", line) for line in section.splitlines() if line.startswith("| `")]
    items = [metrics.Item(metrics.Prediction(row[-1]), metrics.Targets(tuple(row[:-1])), row[-1]) for row in rows]
    assert len(items) == 2
    for variant in ("ptb", "raw"):
        metric = metrics.get("captions", variant)
        outcomes = metric.outcomes(items)
        assert f"| {metric.figures(items, outcomes)[metrics.HEADLINE].value:.3f} |" in section
        assert variant == "raw" or all(f"| {outcome.score:.3f} |" in section for outcome in outcomes)


def test_every_file_of_answers_has_its_line_and_none_differs() -> None:
    table = PAGE.partition("## Files of real answers")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(lines) > 60
    assert all(line.endswith("| equal |") for line in lines)
