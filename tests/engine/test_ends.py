"""Only the last tokens of prompts go through what stands behind the last layer's keys and values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import flamingo_lab as fl
from flamingo_lab.engine.kv import Fresh, Level, Span
from flamingo_lab.engine.passes import Row
from flamingo_lab.engine.plan import job
from flamingo_lab.nn.experts import Mixture
from tests.batches import passes_of
from tests.families.goldens import Golden, found
from tests.folders import GOLDENS

CLOSE = 1e-5
GOLDEN = [golden for golden in found(GOLDENS) if golden.facts["load"]]


@pytest.mark.skipif(not GOLDEN, reason=f"no goldens under FLAB_GOLDENS ({GOLDENS})")
@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.folder.name)
@torch.inference_mode()
def test_ends_are_those_of_whole_passes(golden: Golden) -> None:
    case = next(iter(golden.cases.values()))
    given: dict[str, Any] = {
        part: golden.folder / where if isinstance(where, str) else where for part, where in golden.facts["load"].items()
    }
    model = fl.load(given.pop("path"), wording=case.template, dtype="float32", device="cpu", **given)
    assert isinstance(model, fl.LoadedModel)
    asked = job(model, fl.Request("0", case.rows[0].prompt, max_new_tokens=2))
    passes = passes_of(model, [asked])
    rows = [Row.of(asked, 0, end, ()) for end in (len(asked.ids), len(asked.ids) - 2)]
    fed: list[int] = []

    def counted(module: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        fed.append(given[0].shape[:-1].numel())

    last = model.vlm.decoder.layers[-1]
    hook = last.mlp.register_forward_pre_hook(counted)
    kept = [Level([Span(0, len(row.tokens.ids)) for row in rows], model.vlm.device) for _ in range(2)]
    whole, ends = passes.prompts(rows, Fresh(kept[0])), passes.ends(rows, Fresh(kept[1]))
    hook.remove()
    expected = torch.stack([states[len(row.tokens.ids) - 1] for states, row in zip(whole, rows, strict=True)])
    assert torch.allclose(ends, expected, atol=CLOSE, rtol=CLOSE)
    for one, other in zip(*(level.heads for level in kept), strict=True):
        assert torch.allclose(one.keys, other.keys, atol=CLOSE) and torch.allclose(one.values, other.values, atol=CLOSE)
    tokens = len(rows) * max(len(row.tokens.ids) for row in rows)
    assert fed == [tokens, tokens if isinstance(last.mlp, Mixture) else len(rows)]
