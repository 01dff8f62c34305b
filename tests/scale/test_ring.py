"""Memory that is given out and given back in the same order."""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from flamingo_lab.offload.ring import Ring

SIZE = 100


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(1, SIZE))))
def test_places_never_overlap_and_stay_inside(steps: list[int | None]) -> None:
    """A number asks for a place, None gives the oldest one back."""
    ring, held = Ring(SIZE), deque[range]()
    for nbytes in steps:
        if nbytes is None:
            if held:
                held.popleft()
                ring.take_back()
            continue
        start = ring.give(nbytes)
        if start is None:
            assert held, "an empty ring has room for whatever is not larger than it"
            continue
        place = range(start, start + nbytes)
        assert place.start >= 0 and place.stop <= SIZE
        assert not any(place.start < other.stop and other.start < place.stop for other in held)
        held.append(place)


def test_two_of_the_largest_follow_each_other() -> None:
    ring = Ring(2 * SIZE)
    assert [ring.give(SIZE), ring.give(SIZE), ring.give(1)] == [0, SIZE, None]
    for expected in (0, SIZE, 0):
        ring.take_back()
        assert ring.give(SIZE) == expected
