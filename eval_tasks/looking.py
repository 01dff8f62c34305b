"""Pictures of questions read before their turn comes, by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

from eval_tasks.task import Sample
from flamingo_lab.errors import BadImage
from flamingo_lab.prompt import THREADS, Image

AHEAD = 64
"""Questions whose pictures are read before they are needed."""


def ahead(samples: Iterable[Sample]) -> Iterator[Sample]:
    """The samples, each when its pictures' digests are known, as far as they can be read."""
    coming: deque[tuple[Sample, list[Future[str | None]]]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        for sample in samples:
            coming.append((sample, [pool.submit(digest, image) for image in sample.images]))
            if len(coming) > AHEAD:
                yield _next(coming)
        while coming:
            yield _next(coming)


def digest(image: Image) -> str | None:
    """The picture's digest, None where it cannot be read."""
    try:
        return image.digest
    except BadImage:
        return None


def _next(coming: deque[tuple[Sample, list[Future[str | None]]]]) -> Sample:
    sample, reads = coming.popleft()
    wait(reads)
    return sample
