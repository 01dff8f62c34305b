"""The programs in `examples/` run, and show what they say."""

from __future__ import annotations

import re
import runpy

import pytest

from tests.folders import ROOT


def test_words_are_learnt_from_the_examples_alone(capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(ROOT / "examples" / "few_shot.py"))["main"]
    main()
    taught: list[tuple[str, str]] = []
    for line in capsys.readouterr().out.splitlines():
        if found := re.match(r"taught: a red circle is a (\w+), a blue triangle is a (\w+)", line):
            taught.append((found[1], found[2]))
        elif found := re.match(r"  (\d) shots  new (circle|triangle) +(\w+)", line):
            if found[1] != "0":
                assert found[3] == taught[-1][found[2] == "triangle"], line
        else:
            pytest.fail(f"an unexpected line: {line}")
    assert taught == [("boki", "zumo"), ("zumo", "boki")]
