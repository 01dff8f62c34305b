"""What the descendants of LLaVA share: the projector by its published name, its tensors, and padding to a square."""

from __future__ import annotations

import re

from flamingo_lab.config import Connector, Projector
from flamingo_lab.errors import BadConfig
from flamingo_lab.pixels import RGB, OneView, PadSquare
from flamingo_lab.weights import Rule

PROJECTOR = re.compile(r"mlp(\d+)x_gelu(_Norm)?")


def projector(kind: str, width: int, out_width: int) -> Projector:
    """The projector of this published name, from the tower's width to the decoder's."""
    if kind == "linear":
        return Projector((width, out_width))
    if kind == "identity":
        return Projector((width,))
    match = PROJECTOR.fullmatch(kind)
    if match is None:
        raise BadConfig(
            f"config.json: the projector's type {kind!r} is none of linear, identity, mlpNx_gelu, mlpNx_gelu_Norm"
        )
    return Projector((width, *(out_width,) * int(match[1])), has_norms=match[2] is not None)


def projector_rules(
    connector: Connector | None, prefix: str = "model.mm_projector", ours: str = "connector"
) -> tuple[Rule, ...]:
    """Names of a projector's layers, which stand in a sequence with the norms and activations between them.

    A single one stands alone where its type is "linear", and in a sequence of one where it is "mlp1x_gelu".
    """
    assert isinstance(connector, Projector)
    layers, has_norms = len(connector.widths) - 1, connector.has_norms
    each = 2 + has_norms
    rules: list[Rule] = []
    if layers == 1 and not has_norms:
        rules.append((f"{prefix}.{{weight|bias}}", f"{ours}.layers.0.{{weight|bias}}"))
    for number in range(layers):
        rules.append((f"{prefix}.{number * each}.{{weight|bias}}", f"{ours}.layers.{number}.{{weight|bias}}"))
        if has_norms:
            rules.append((f"{prefix}.{number * each + 1}.{{weight|bias}}", f"{ours}.norms.{number}.{{weight|bias}}"))
    return tuple(rules)


def padded(plain: OneView) -> OneView:
    """A tower's pipeline with the picture padded to a square first, in its mean's colour, whole numbers cut."""
    red, green, blue = (int(255 * mean) for mean in plain.normalise.mean)
    return OneView((RGB(), PadSquare((red, green, blue)), *plain.steps[1:]), plain.normalise)
