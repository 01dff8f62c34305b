"""Colours of models: Okabe and Ito's eight, which colour-blind readers tell apart (https://jfly.uni-koeln.de/color/).

A model keeps its colour on every page, whatever is filtered away.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboard.models import models
from leaderboards.entrants import Model
from leaderboards.records import Run

LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
DARK = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#FFFFFF", "#F0E442")
"""The same eight in an order that begins with those that stand out on a dark ground; white for black."""


def is_dark() -> bool:
    """Whether the page is shown in its dark theme."""
    return st.context.theme.type == "dark"


def of_models(runs: Sequence[Run]) -> dict[Model, str]:
    """A colour for each model of all runs of a results folder."""
    palette = DARK if is_dark() else LIGHT
    return {model: palette[number % len(palette)] for number, model in enumerate(models(runs))}
