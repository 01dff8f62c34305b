"""Files of real predictions get the scores that were printed for them, or computed by their authors' code."""

from __future__ import annotations

from typing import Any

import pytest

from tests.folders import DATA
from tests.tasks import oracles

FOUND = oracles.entries()

pytestmark = pytest.mark.skipif(not FOUND, reason=f"no ORACLES.json under FLAB_DATA ({DATA})")


@pytest.mark.parametrize("oracle", FOUND)
def test_oracle(oracle: dict[str, Any]) -> None:
    """Within the entry's own tolerance."""
    assert oracle["expected"]
    for name, expected, found in oracles.figures(oracle, oracle["expected"]):
        tolerance = oracles.TOLERANCE_METEOR if name.upper().endswith(oracles.METEOR) else oracle["tolerance"]
        assert found == pytest.approx(expected, rel=0, abs=tolerance * (1 + 1e-9)), name


@pytest.mark.parametrize("oracle", [one for one in FOUND if "computed" in one.values[0]])
def test_oracle_to_the_digits_shown(oracle: dict[str, Any]) -> None:
    """What the official code printed with all its digits."""
    for name, expected, found in oracles.figures(oracle, oracle["computed"]):
        assert found == pytest.approx(expected, rel=0, abs=oracles.digits(expected)), name
