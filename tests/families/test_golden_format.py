"""Nothing that a golden stores is passed over: kinds of folders, rows of batches, names of stages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.families.goldens import KINDS, Golden, Row, apart, every, found
from tests.families.goldens import _of_row as of_row  # pyright: ignore[reportPrivateUsage] - told by its results
from tests.families.stages import PARTS, compute
from tests.folders import GOLDENS

FOUND = every(GOLDENS)


@pytest.mark.skipif(not FOUND, reason=f"no goldens under FLAB_GOLDENS ({GOLDENS})")
@pytest.mark.parametrize("golden", FOUND, ids=lambda one: one.folder.name)
def test_every_golden_is_read_by_the_tests_of_its_kind(golden: Golden) -> None:
    assert golden.fault is None
    assert golden.kind in KINDS


@pytest.mark.parametrize(
    "facts",
    [
        "{",
        '{"load": {}}',
        '{"load": {}, "cases": []}',
        '{"load": {}, "cases": [{"name": "odd", "expect": {}, "mood": "sad"}]}',
        '{"load": {}, "cases": [{"name": "odd", "expect": {"logits": {"tensor": "odd/logits"}}}]}',
    ],
)
def test_a_golden_that_cannot_be_read_fails_alone(facts: str, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "golden.json").write_text(facts)
    (odd,) = every(tmp_path)
    assert odd.fault is not None and odd.fault.startswith("odd: ")
    assert not found(tmp_path, "search")


def test_a_stage_that_no_test_knows_is_a_failure() -> None:
    row: Any = Row(prompt=None, rendered=None, input_ids=None, expect={})  # pyright: ignore[reportArgumentType]
    absent: Any = None
    for name in ("perceived", "mystery_tail", "mystery_every_3rd", "logits.greedy"):
        with pytest.raises(AssertionError, match="a stored stage that no test knows"):
            compute(name, absent, absent, row)


def test_parts_of_stages_are_taken_with_any_number() -> None:
    whole = np.arange(2 * 30 * 4).reshape(2, 30, 4)

    def taken(name: str, of: np.ndarray, stored: Any = ()) -> np.ndarray:
        pattern = next(pattern for pattern in PARTS if re.fullmatch(pattern, name))
        match = re.fullmatch(pattern, name)
        assert match is not None and match["whole"] == "x"
        return PARTS[pattern](of, stored, match)

    for name, step in {"x_every_1st": 1, "x_every_2nd": 2, "x_every_3rd": 3, "x_every_17th": 17}.items():
        assert np.array_equal(taken(name, whole), whole[:, ::step])
    for count in (1, 4, 11):
        assert np.array_equal(taken("x_tail", whole[0], stored=[0] * count), whole[0, -count:])
    assert np.array_equal(taken("x_last", whole[0]), whole[0, -1])
    assert np.array_equal(taken("last_x", whole[0]), whole[0, -1])
    assert np.array_equal(taken("x_argmax", whole[0]), np.full(30, 3))


def test_stages_of_a_batch_belong_to_their_rows() -> None:
    expect = {
        "logits.0": "a",
        "logits.11": "b",
        "pixel_values_11": "c",
        "run.generated_ids": list(range(12)),
        "scores": np.arange(12),
        "capacity": 7,
    }
    assert dict(of_row(expect, 0, 12)) == {"logits": "a", "run.generated_ids": 0, "scores": 0, "capacity": 7}
    own = {"logits": "b", "pixel_values": "c", "run.generated_ids": 11, "scores": 11, "capacity": 7}
    assert dict(of_row(expect, 11, 12)) == own
    with pytest.raises(AssertionError, match=r"a row that there is not: logits\.11"):
        dict(of_row(expect, 0, 11))


@pytest.mark.parametrize(
    ("computed", "expected", "difference"),
    [
        (np.array([1.0, 2.5]), np.array([1.0, 2.0], np.float32), 0.5),
        (np.ones((2, 3, 1)), np.ones((3, 2)), 0.0),
        ([1.25, 2], [1.0, 2], 0.25),
        ([[1.0], [2.0, 3.5]], [[1.0], [2.0, 3.0]], 0.5),
        ({"a": 1.0, "b": "x"}, {"a": 1.5, "b": "x"}, 0.5),
        ([{"box": None, "score": 1.0}], [{"box": None, "score": 1.0}], 0.0),
        (np.array([-np.inf, 1.0]), np.array([-np.inf, 1.0]), 0.0),
        (np.array([3, 4]), [3, 4], 0.0),
        (3, 3.0, 0.0),
    ],
)
def test_differences_of_floats_are_found_wherever_they_stand(computed: Any, expected: Any, difference: float) -> None:
    assert apart(computed, expected) == difference


@pytest.mark.parametrize(
    ("computed", "expected"),
    [
        (np.ones(3), np.ones(4)),
        ([1, 2], [1, 3]),
        ("a", "b"),
        ({"a": 1.0}, {"b": 1.0}),
        ([[1.0]], [[1.0], [1.0]]),
        (np.array([1, 2]), np.array([1, 3])),
        (None, [1.0, 2.0]),
    ],
)
def test_whatever_is_no_float_has_to_be_equal(computed: Any, expected: Any) -> None:
    with pytest.raises((AssertionError, TypeError)):
        apart(computed, expected)


def test_what_is_no_number_is_never_near() -> None:
    assert not apart(np.array([np.nan]), np.array([1.0])) <= 1.0


@pytest.mark.skipif(not FOUND, reason=f"no goldens under FLAB_GOLDENS ({GOLDENS})")
def test_what_no_test_knows_of_a_case_is_a_failure(tmp_path: Path) -> None:
    folder = tmp_path / "golden"
    folder.mkdir()
    for file in FOUND[0].folder.iterdir():
        (folder / file.name).symlink_to(file)
    facts = json.loads((FOUND[0].folder / "golden.json").read_text())
    case = {"name": "odd", "prompt": [{"text": "a"}], "expect": {}}

    def golden(**more: Any) -> Golden:
        (folder / "golden.json").unlink()
        (folder / "golden.json").write_text(json.dumps(facts | {"cases": [case | more]}))
        return Golden(folder)

    with pytest.raises(AssertionError, match=r"keys of a case that no test knows: \['mood'\]"):
        _ = golden(mood="sad").cases
    odd = golden(options={"mood": "sad"})
    with pytest.raises(AssertionError, match=r"options that no test knows: \['mood'\]"):
        odd.model(odd.cases["odd"])


@pytest.mark.skipif(not FOUND, reason=f"no goldens under FLAB_GOLDENS ({GOLDENS})")
@pytest.mark.parametrize("golden", found(GOLDENS), ids=lambda one: one.folder.name)
def test_every_case_is_known(golden: Golden) -> None:
    for case in golden.cases.values():
        golden.model(case)
