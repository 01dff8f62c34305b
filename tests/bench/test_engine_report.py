"""`benchmarks/engine.py` says which rows fall short, what bounds them, and fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flamingo_lab.bench.turns import Turns
from flamingo_lab.engine.work import Work
from tests.folders import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import engine


@pytest.mark.parametrize(("ratio", "code"), [(2.0, 1), (3.0, 0)])
def test_a_row_that_falls_short_is_told(
    ratio: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(work: engine.Workload, questions: int, repeats: int, folder: Path) -> engine.Measured:
        seconds = {"softmax": 1.0} if ratio < work.at_least else {}
        turns = Turns(1.0, ratio, ratio, 8, 0.0, 0.0, 0.5)
        counters = Work().counters()
        return engine.Measured(work.name, work.title, work.at_least, 0.5, turns, 1, counters, seconds, seconds, "here")

    monkeypatch.setattr(engine, "measure", measured)
    monkeypatch.setattr(sys, "argv", ["engine.py", "--rows", "idefics-8-random", "--out", str(tmp_path)])
    assert engine.main() == code
    is_short = bool(code)
    assert ("pool of 64: 2.00 x, 3 x asked for" in capsys.readouterr().err) == is_short
    assert (engine.BOUNDS["idefics-8-random"] in (tmp_path / "engine.md").read_text()) == is_short
