"""Models for replicas: made in the workers by functions of this module, which they import."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import flamingo_lab as fl
from flamingo_lab.errors import BadSetting, LostRank
from flamingo_lab.parallel.launched import launched
from flamingo_lab.replicas import driver
from flamingo_lab.replicas.driver import Replicas
from flamingo_lab.replicas.replica import load_beside
from tests.doubles import Scripted, last_word
from tests.pretended_gpu import pretended

WEIGHTS = "FLAB_TEST_WEIGHTS"
"""The variable that says which weights a node holds."""

POISON = "poison"
KILLER = "killer"


def dangerous(request: fl.Request) -> str:
    """The last word; some questions raise, or end the process as the kernel does where memory is short."""
    word = last_word(request)
    if word == POISON:
        raise MemoryError("no room for this picture")
    if word == KILLER:
        os.kill(os.getpid(), signal.SIGKILL)
    return word


def scripted(delay_seconds: float = 0.0, log: Path | None = None, losses: Path | None = None) -> Scripted:
    """A model whose weights are those of the node that it is on. `losses`: a rank is lost for each line that is taken."""
    if losses is not None and (lines := losses.read_text().splitlines()):
        losses.write_text("\n".join(lines[1:]))
        raise LostRank(lines[0])
    if launched() is not None:
        raise BadSetting("a replica takes itself for one of the processes that Ray was started by")
    return Scripted(dangerous, digest=os.environ.get(WEIGHTS, "weights"), delay_seconds=delay_seconds, log=log)


def build(how: dict[str, Any], beside: int) -> partial[Scripted]:
    return partial(scripted, **how)


def split(beside: int) -> partial[fl.Model]:
    """What loads a model that is split over two processes."""
    told = {"device": "cpu", "dtype": "float32", "memory": 2.0, "batch_tokens": 64}
    return partial(load_beside, beside, "flamingo-tiny", tensor_parallel=2, **told)


def on_gpus(beside: int) -> partial[fl.Model]:
    """The same on pretended GPUs."""
    return partial(there, beside)


_for_good = ExitStack()


def there(beside: int) -> fl.Model:
    """The thread that loads a replica answers too, so that it stays where it was put."""
    _for_good.enter_context(pretended())
    assert os.environ["CUDA_VISIBLE_DEVICES"] in ("0", "1"), "Ray gives each process a GPU of its own"
    return load_beside(beside, "flamingo-tiny", tensor_parallel=2, device="cuda", dtype="float32", memory=None)


def start(address: str, replicas: int | None = None, **how: Any) -> Replicas:
    """Replicas of `scripted` on the cluster."""
    return driver.start(partial(build, how), address, replicas=replicas)


def requests(count: int, *more: str) -> list[fl.Request]:
    """Questions whose answers are their numbers, then those that end with these words."""
    words = [*(f"word{number}" for number in range(count)), *more]
    return [fl.Request(word, fl.Prompt.ask(f"say {word}")) for word in words]
