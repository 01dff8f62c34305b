"""The pages on results in object storage."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from leaderboards.remote import RemotePlace, publish
from leaderboards.store import Store
from tests.dashboard import made
from tests.dashboard.pages import NAMES, every, opened, said
from tests.s3 import empty_bucket, serving

URL = "s3://team/flab"


@pytest.fixture(scope="module")
def server() -> Generator[str]:
    with serving() as address:
        yield address


@pytest.fixture(autouse=True)
def published(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_bucket(server, "team", monkeypatch)
    made.two_models(tmp_path)
    publish([Store(tmp_path)], RemotePlace(URL))


@pytest.mark.parametrize("page", NAMES)
def test_every_page_reads_a_bucket(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at = opened(monkeypatch, page, URL)
    assert "results: s3://team/flab · 2 runs" in said(at)
    if page == "compare":
        assert "+13.3" in said(at) and len(every(at, "card")) == 20
    if page == "samples":
        assert "60 questions" in said(at)
