"""The goldens' format, read: a folder's cases as prompts, and each stored stage with its expectation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import flamingo_lab as fl
from flamingo_lab.family import Folder
from tests.families import seal_prompts

CASE = {
    "name",
    "template",
    "prompt",
    "messages",
    "batch",
    "rendered",
    "input_ids",
    "padded_input_ids",
    "attention_mask",
    "options",
    "generate",
    "classes",
    "expect",
    "authors_cached_logprobs",
    "prompt_utf16_code_units",
}
"""What a case may hold. The last two are the authors' affair, and another form of the prompt."""

READ = {
    "add_end_of_utterance_token",
    "batch",
    "left_pad",
    "max_window_size",
    "gumbel_prefill",
    "gumbel_decode",
    "answer_options",
    "image",
    "mode",
    "parses",
    "patch_scale",
    "question",
    "smallest_size",
    "target",
    "thresholds",
}
"""Options of a case that a prompt or a stage reads, beside `seal_prompts.SWITCHES`."""

OF_RUNS = ("generated_ids", "text", "sequences_score")
"""Stages that every generation of a case has."""


@dataclass(frozen=True)
class Row:
    """One sequence of a case: its prompt and what is expected of it, by stage."""

    prompt: fl.Prompt
    rendered: str | None
    input_ids: list[int] | None
    expect: Mapping[str, Any]

    @property
    def stages(self) -> dict[str, Any]:
        """What is expected, with the text and the ids that stand beside the prompt."""
        beside = {"rendered": self.rendered, "input_ids": self.input_ids}
        return {stage: value for stage, value in beside.items() if value is not None} | dict(self.expect)


@dataclass(frozen=True)
class Case:
    """One call of the authors' code: one row, or several asked together.

    `runs`: generations by name, "" for the only one. `options`: switches of the family, with their tensors read.
    """

    name: str
    template: str | None
    rows: list[Row]
    runs: Mapping[str, Mapping[str, Any]]
    classes: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    padded_input_ids: list[list[int]] | None = None
    attention_mask: list[list[int]] | None = None
    folder: Path = Path()

    @property
    def padding(self) -> int:
        """Positions before the prompt, where the authors' batch puts some and their numbers depend on it."""
        return self.options.get("left_pad", 0)


@dataclass(frozen=True)
class Golden:
    """A golden's folder."""

    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        return json.loads((self.folder / "golden.json").read_text(encoding="utf-8"))

    @cached_property
    def tolerance(self) -> float:
        return float(self.facts.get("tolerance", 1e-4))

    def model(self, case: Case) -> fl.LoadedModel:
        """The model with the case's template and options, through the public loader."""
        from tests.families.stages import acting, adapted

        changes = self._changes(case)
        unknown = case.options.keys() - {key for key, _ in changes} - READ - seal_prompts.SWITCHES - acting()
        assert not unknown, f"options that no test knows: {sorted(unknown)}"
        return adapted(_loaded(self.folder, case.template, changes), case)

    def _changes(self, case: Case) -> tuple[tuple[str, Any], ...]:
        """The case's options that stand in config.json too, whose values there they override."""
        config = self.folder / self.facts["load"]["path"] / "config.json"
        known = _keys(json.loads(config.read_text(encoding="utf-8"))) if config.is_file() else set()
        return tuple((key, value) for key, value in case.options.items() if key in known)

    @cached_property
    def fault(self) -> str | None:
        """Why it cannot be read, None where it can: a golden in another form fails by itself, not all tests with it."""
        try:
            assert self.kind and self.cases
        except Exception as error:
            return f"{self.folder.name}: {type(error).__name__}: {error}"
        return None

    @property
    def kind(self) -> str:
        """What is loaded, one of `KINDS`."""
        load = self.facts["load"]
        if not load:
            return "search"
        if load.keys() >= {"vqa", "vsm"}:
            return "composed"
        if "path" not in load:
            return f"only {sorted(load)}"
        main = self.folder / load["path"]
        has_weights = any(True for form in ("*.safetensors", "*.bin", "*.pt") for _ in main.glob(form))
        return "model" if has_weights else f"{self.facts['family']} without weights"

    @cached_property
    def tensors(self) -> dict[str, np.ndarray]:
        return load_file(self.folder / "expected.safetensors")

    @cached_property
    def cases(self) -> dict[str, Case]:
        return {case["name"]: self._case(case) for case in self.facts["cases"]}

    def _case(self, case: dict[str, Any]) -> Case:
        assert case.keys() <= CASE, f"keys of a case that no test knows: {sorted(case.keys() - CASE)}"
        expect = {stage: self._value(value) for stage, value in case["expect"].items()}
        options = {name: self._value(value) for name, value in case.get("options", {}).items()}
        batch = case.get("batch") or options.get("batch")
        generate = dict(case.get("generate", {}))
        runs = generate.pop("runs", {"": {}} if generate else {})
        case, expect = _padded(case, expect, batch)
        return Case(
            case["name"],
            case.get("template"),
            list(self._rows(case, expect, options, batch)),
            {name: generate | run for name, run in runs.items()},
            tuple(case.get("classes", ())),
            options,
            case.get("padded_input_ids"),
            case.get("attention_mask"),
            self.folder,
        )

    def _value(self, value: Any) -> Any:
        return self.tensors[value["tensor"]] if isinstance(value, dict) and "tensor" in value else value

    def _rows(
        self, case: dict[str, Any], expect: dict[str, Any], options: dict[str, Any], batch: list[Any] | None
    ) -> Iterator[Row]:
        def of_row(key: str, number: int) -> Any:
            held = case.get(key)
            return held[number] if batch and held is not None else held

        for number, parts in enumerate(batch or [case.get("prompt")]):
            prompt = self._raw(parts, options) if parts is not None else self._chat(case.get("messages", []), options)
            if options.keys() & seal_prompts.SWITCHES:
                prompt = seal_prompts.prepared(prompt, options, self._tower_px)
            ids = of_row("input_ids", number)
            yield Row(
                prompt=prompt,
                rendered=of_row("rendered", number),
                # The ids of padding are the authors' affair: nothing looks at them.
                input_ids=ids and ids[options.get("left_pad", 0) :],
                expect=dict(_of_row(expect, number, len(batch))) if batch else expect,
            )

    @property
    def _tower_px(self) -> int:
        """The side of the pictures that the tower takes."""
        settings = Folder(self.folder / self.facts["load"]["vision"]).config
        return settings.get("vision_config", settings)["image_size"]

    def _parts(self, parts: list[dict[str, str]]) -> list[fl.Image | str]:
        return [
            # Named as the authors named it: some families write the name into the prompt.
            fl.Image(self.folder / part["image"], name=part["image"]) if "image" in part else part["text"]
            for part in parts
        ]

    def _raw(self, parts: list[dict[str, str]], options: dict[str, Any]) -> fl.Prompt:
        return fl.Prompt.raw(*self._parts(parts), ends_utterances=options.get("add_end_of_utterance_token"))

    def _chat(self, messages: list[dict[str, Any]], options: dict[str, Any]) -> fl.Prompt:
        turns = tuple(fl.Turn(turn["role"], tuple(self._parts(turn["content"]))) for turn in messages)
        return fl.Prompt(turns, window=options.get("max_window_size"))


def _padded(
    case: dict[str, Any], expect: dict[str, Any], batch: list[Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The case with its padding told apart: some folders hold a batch's ids only padded, and the mask among the stages."""
    if not batch or "attention_mask" not in expect:
        return case, expect
    mask, ids = expect["attention_mask"], case["input_ids"]
    real = [[token for token, is_real in zip(*row, strict=True) if is_real] for row in zip(ids, mask, strict=True)]
    stages = {stage: value for stage, value in expect.items() if stage != "attention_mask"}
    return case | {"padded_input_ids": ids, "attention_mask": mask, "input_ids": real}, stages


NUMBERED = re.compile(r"(.+)[._](\d+)")


def _of_row(expect: dict[str, Any], number: int, rows: int) -> Iterator[tuple[str, Any]]:
    """The stages of one row of several: those with its number behind a dot or a low line, its entry of what is by row."""
    for stage, value in expect.items():
        match = NUMBERED.fullmatch(stage)
        if match is None:
            yield stage, value[number] if isinstance(value, list | np.ndarray) else value
            continue
        assert int(match[2]) < rows, f"a stage of a row that there is not: {stage}"
        if int(match[2]) == number:
            yield match[1], value


@cache
def _loaded(folder: Path, template: str | None, changes: tuple[tuple[str, Any], ...]) -> fl.LoadedModel:
    facts = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    given = {key: folder / value if isinstance(value, str) else value for key, value in facts["load"].items()}
    with TemporaryDirectory() as scratch:
        path = _changed(given.pop("path"), Path(scratch), dict(changes)) if changes else given.pop("path")
        return fl.load(path, wording=template, dtype="float32", device="cpu", **given)


def _changed(folder: Path, copy: Path, changes: Mapping[str, Any]) -> Path:
    """A folder of links to the other's files, with values in its config.json changed wherever their keys stand."""
    for file in folder.iterdir():
        if file.name != "config.json":
            (copy / file.name).symlink_to(file.resolve())
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps(_replaced(config, changes)))
    return copy


def _keys(held: Any) -> set[str]:
    """Every key of an object and of the objects in it."""
    return set(held).union(*map(_keys, held.values())) if isinstance(held, dict) else set()


def _replaced(held: Any, changes: Mapping[str, Any]) -> Any:
    """The object with these values, at whatever depth."""
    if not isinstance(held, dict):
        return held
    return {key: changes[key] if key in changes else _replaced(value, changes) for key, value in held.items()}


KINDS = {
    "model": "test_goldens.py",
    "composed": "test_seal_bench_goldens.py",
    "search": "test_seal_search_goldens.py",
    "fuyu without weights": "test_fuyu_goldens.py",
    "qwen_vl without weights": "test_qwen_vl_tokenizer_goldens.py",
}
"""Which file's tests read the goldens of each kind. A golden of another kind is a failure (test_golden_format.py)."""


def found(root: Path, kind: str = "model") -> list[Golden]:
    """The goldens of a kind under a folder. One that no family knows, or two, fails where it is loaded.

    Those that cannot be read at all are told by test_golden_format.py.
    """
    return [golden for golden in every(root) if golden.fault is None and golden.kind == kind]


def every(root: Path) -> list[Golden]:
    """All goldens under a folder."""
    return [Golden(file.parent) for file in sorted(root.glob("*/golden.json"))]


def apart(computed: Any, expected: Any) -> float:
    """The largest difference of the floats, however they are nested; `AssertionError` where anything else differs."""
    if isinstance(expected, dict):
        assert computed.keys() == expected.keys(), f"{list(computed)} against {list(expected)}"
        return max((apart(computed[key], value) for key, value in expected.items()), default=0.0)
    stored = _floats(expected)
    if stored is not None:
        found = np.asarray(computed, dtype=np.float64)
        assert found.size == stored.size, f"{found.shape} against {stored.shape}"
        found = found.reshape(stored.shape)
        with np.errstate(invalid="ignore"):  # infinities that are equal
            differences = np.where(found == stored, 0.0, np.abs(found - stored))
        return float(differences.max()) if stored.size else 0.0
    if isinstance(expected, list) and any(isinstance(one, dict | list | float) for one in expected):
        assert len(computed) == len(expected), f"{len(computed)} against {len(expected)}"
        return max(apart(one, other) for one, other in zip(computed, expected, strict=True))
    assert plain(computed) == plain(expected)
    return 0.0


def _floats(expected: Any) -> np.ndarray | None:
    """The array that a stage is, where it is one of floats."""
    if isinstance(expected, float):
        return np.array(expected)
    if isinstance(expected, list) and expected and all(type(one) in (int, float) for one in expected):
        expected = np.array(expected)
    is_float = isinstance(expected, np.ndarray) and np.issubdtype(expected.dtype, np.floating)
    return expected if is_float else None


def plain(value: Any) -> Any:
    """Arrays, tensors and tuples as lists, however ragged."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def params(goldens: list[Golden], each: Any) -> list[Any]:
    """A test parameter for each item that `each(golden, case)` gives, named after all three."""
    return [
        pytest.param(golden, case.name, item, id=f"{golden.folder.name}-{case.name}-{item}")
        for golden in goldens
        for case in golden.cases.values()
        for item in each(case)
    ]
