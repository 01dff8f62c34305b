"""Data sets are kept in a folder of the test's own, and lm-eval's reach for a network would fail."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

import flamingo_lab as fl
from tests.families.tiny_idefics import write_checkpoint


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny-idefics"
    write_checkpoint(folder, {"max_position_embeddings": 512}, seed=3)
    return folder


@pytest.fixture(scope="session")
def tiny(checkpoint: Path) -> fl.LoadedModel:
    return fl.load(checkpoint, device="cpu", dtype="float32")
