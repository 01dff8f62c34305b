"""What every run keeps, whoever asks its questions: an answer as a line of the journal, and the run's own record."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flamingo_lab.model import Answer, Failure, Holds, Model
from leaderboards.records import Run, SampleRecord, Score

PACKAGES = ("flamingo-lab", "torch", "tokenizers", "safetensors", "pillow", "numpy")
"""Whose versions a record names."""


def to_line(answer: Answer) -> dict[str, Any]:
    """An answer as a line of a journal."""
    return asdict(answer)


def from_line(held: Mapping[str, Any]) -> Answer:
    """The answer of a journal's line."""
    error, options, greedy = held["error"], held["option_logprobs"], held.get("option_is_greedy")
    fields: dict[str, Any] = dict(held) | {
        "token_ids": tuple(held["token_ids"]),
        "option_logprobs": None if options is None else tuple(options),
        "option_is_greedy": None if greedy is None else tuple(greedy),
        "error": None if error is None else Failure(**error),
    }
    return Answer(**fields)


def opened(model: Model, **facts: Any) -> Run:
    """The record of a run that is about to ask; `facts` are fields of `Run` that are not the model's or the machine's."""
    about = model.about
    return Run(
        status="running",
        created=_now(),
        model=model.name,
        model_digest=model.digest,
        family=about.get("family", ""),
        parameters=about.get("parameters"),
        backend=about.get("backend", ""),
        dtype=about.get("dtype", ""),
        quantisation=about.get("quantisation"),
        replicas=about.get("replicas", 1),
        hardware=_machine() | {"device": about.get("device", "")} | ({"gpu": about["gpu"]} if "gpu" in about else {}),
        versions=_versions(),
        **facts,
    )


def closed(
    model: Model, record: Run, samples: Sequence[SampleRecord], scores: Sequence[Score], max_error_rate: float
) -> Run:
    """The record with its scores and counts. What was asked is counted by the answers, as sessions that break off ask again."""
    errors = sum(sample.error_kind is not None for sample in samples)
    prompt_tokens = sum(sample.prompt_tokens for sample in samples)
    generated_tokens = sum(sample.generated_tokens for sample in samples)
    return replace(
        record,
        status="too many errors" if errors > max_error_rate * len(samples) else "complete",
        finished=_now(),
        scores=tuple(scores),
        n=len(samples),
        n_errors=errors,
        prompt_tokens=prompt_tokens,
        generated_tokens=generated_tokens,
        counters={
            **record.counters,
            "prompt_tokens_asked": prompt_tokens,
            "images_referenced": sum(sample.n_images for sample in samples),
            "generated_tokens": generated_tokens,
        },
        peak_memory=(model.peak_bytes() or None) if isinstance(model, Holds) else None,
    )


def _machine() -> dict[str, Any]:
    """The processor with its cores, and the operating system."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
    }


def _processor() -> str:
    """The processor's name; Python knows it only where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor()


def _versions() -> dict[str, str]:
    found: dict[str, str] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
