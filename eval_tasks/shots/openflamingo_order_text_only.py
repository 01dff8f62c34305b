"""`openflamingo-order-text-only`: OpenFlamingo's zero shots, the two examples that its authors draw, without their pictures."""

from __future__ import annotations

from eval_tasks.shots import Selection
from eval_tasks.shots.openflamingo_order import order
from eval_tasks.shots.text_only import SHOTS

SELECTION = Selection(
    "OpenFlamingo's zero shots: two of its own draws without pictures", order, SHOTS, shows_pictures=False
)
