"""`text-only`: Flamingo's zero shots, which are two examples without their pictures.

They show a model that is no chat model how to answer, and nothing else (arXiv 2204.14198; the authors of
OpenFlamingo do the same in `open_flamingo/eval/evaluate.py`: two shots, the picture's tag and the picture left out). Such
a run declares two shots, and the pictures of its questions alone.
"""

from __future__ import annotations

from eval_tasks.shots import Selection
from eval_tasks.shots.random import order

SHOTS = 2

SELECTION = Selection("two examples without their pictures: Flamingo's zero shots", order, SHOTS, shows_pictures=False)
