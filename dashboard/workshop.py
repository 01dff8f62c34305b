"""Works things out in the background, so that a page shows at once what is known already, and the rest when it is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

import streamlit as st

PATIENCE_SECONDS = 0.2
"""How long a page waits before it shows what there is."""

WAIT_SECONDS = 1.0
"""How often a page that lacks something looks for it."""

MOST_KEPT = 200
"""Results that a workshop keeps."""

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class Workshop:
    """Works one thing out after the other, and keeps the last ones by what was asked."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._kept: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._lock = Lock()

    def ask(self, wanted: Mapping[Key, Callable[[], Result]]) -> list[Future[Result]]:
        """What is wanted, each now or later, in this order. What this visitor asked for before is not begun before it."""
        with self._lock:
            for future in self._asked_before().values():
                future.cancel()  # what has begun goes on; the rest is asked again here, or is not wanted any more
            found = {key: self._one(key, work) for key, work in wanted.items()}
            st.session_state[f"workshop.{self._name}"] = found
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return [*found.values()]

    def _asked_before(self) -> Mapping[Hashable, Future[Any]]:
        return st.session_state.get(f"workshop.{self._name}", {})

    def _one(self, key: Hashable, work: Callable[[], Any]) -> Future[Any]:
        if key not in self._kept or self._kept[key].cancelled():
            self._kept[key] = self._worker.submit(work)
        self._kept.move_to_end(key)
        return self._kept[key]


@st.cache_resource
def workshop(name: str) -> Workshop:
    """The server's workshop of this name."""
    return Workshop(name)
