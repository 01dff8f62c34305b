"""Every request gets exactly one answer, whatever is lost and in whatever order things happen."""

from __future__ import annotations

import random
from collections import Counter

import pytest

import flamingo_lab as fl
from flamingo_lab.errors import BadPrompt
from flamingo_lab.replicas.schedule import IN_FLIGHT, LEAST, LOSSES, MOST, PARTS, Schedule, Shard


def requests(count: int) -> list[fl.Request]:
    return [fl.Request(f"q{number}", fl.Prompt.raw(f"question {number}")) for number in range(count)]


def answer(id: str, text: str = "yes") -> fl.Answer:
    return fl.Answer(id, text=text)


def finish(schedule: Schedule, shard: Shard) -> list[fl.Answer]:
    """Everything that is left of a shard is answered, and it ends."""
    return [*schedule.answered(shard, [answer(id) for id in list(shard.left)]), *schedule.ended(shard)]


def work_off(schedule: Schedule, *replicas: str) -> list[fl.Answer]:
    """The replicas take turns until all is done."""
    found: list[fl.Answer] = []
    while not schedule.done:
        for replica in replicas:
            while schedule.next(replica):
                pass
        for shard in schedule.in_flight():
            found += finish(schedule, shard)
    return found


def test_each_replica_has_two_shards_in_flight() -> None:
    schedule = Schedule(requests(5000), 2)
    assert [schedule.next("a") is not None for _ in range(3)] == [True] * IN_FLIGHT + [False]


def test_shards_begin_large_and_end_small() -> None:
    schedule = Schedule(requests(10_000), 4)
    sizes: list[int] = []
    while (shard := schedule.next("a")) is not None:
        sizes.append(len(shard.left))
        finish(schedule, shard)
    assert sizes[0] > MOST / 2 and sizes[-1] <= 2 * LEAST
    assert sum(sizes) == 10_000 and schedule.done


def test_an_empty_run_is_done_at_once() -> None:
    schedule = Schedule([], 1)
    assert schedule.next("a") is None and schedule.done


def test_a_lost_replicas_questions_go_to_others() -> None:
    schedule = Schedule(requests(100), 2)
    first = schedule.next("a")
    assert first is not None
    some = list(first.left)[:5]
    kept = list(schedule.answered(first, map(answer, some)))
    assert list(schedule.lost("a", "gone")) == []
    rest = work_off(schedule, "b")
    assert sorted(one.id for one in [*kept, *rest]) == sorted(one.id for one in requests(100))
    assert all(one.error is None for one in rest)


def test_a_replica_thought_dead_may_still_answer_first() -> None:
    schedule = Schedule(requests(10), 1)
    shard = schedule.next("a")
    assert shard is not None
    list(schedule.lost("a", "silent"))
    late = list(schedule.answered(shard, [answer("q3", "late but first")]))
    assert [one.text for one in late] == ["late but first"]
    found = work_off(schedule, "b")
    assert Counter(one.id for one in [*late, *found]) == Counter(one.id for one in requests(10))


def test_a_question_that_kills_replicas_ends_alone_as_an_error() -> None:
    schedule = Schedule(requests(300), 1)
    found: list[fl.Answer] = []
    replicas = 0
    while not schedule.done:
        replica = f"replica {replicas}"
        shard = schedule.next(replica)
        if shard is None:
            continue
        if "q77" in shard.left:
            replicas += 1
            found += schedule.lost(replica, "OutOfMemoryError: killed")
        else:
            found += finish(schedule, shard)
    failed = [one for one in found if one.error is not None]
    assert [one.id for one in failed] == ["q77"]
    error = failed[0].error
    assert error is not None and error.kind == "ReplicaLost" and "OutOfMemoryError: killed" in error.message
    assert len(found) == 300
    assert LOSSES <= replicas <= LOSSES + 1


def test_losses_without_blame_are_not_counted() -> None:
    schedule = Schedule(requests(1), 1)
    for number in range(3 * LOSSES):
        assert schedule.next(f"replica {number}") is not None
        assert list(schedule.lost(f"replica {number}", "its node has other pictures", is_blamed=False)) == []
    assert [one.error for one in work_off(schedule, "last")] == [None]


def test_what_only_waited_in_a_lost_replica_is_not_blamed() -> None:
    schedule = Schedule(requests(2 * LEAST), 1)
    first, second = schedule.next("a"), schedule.next("a")
    assert first is not None and second is not None
    waiting = set(second.left)
    list(schedule.lost("a", "gone"))
    part = schedule.next("b")  # of the one that was being answered
    assert part is not None and len(part.left) == -(-len(first.left) // PARTS)
    whole = [shard for shard in iter(lambda: schedule.next(f"c{random.random()}"), None) if set(shard.left) == waiting]
    assert len(whole) == 1


def test_an_idle_replica_takes_over_what_waits_elsewhere() -> None:
    schedule = Schedule(requests(2 * LEAST), 1)
    first, second = schedule.next("a"), schedule.next("a")
    assert first is not None and second is not None
    taken = schedule.next("b")
    assert taken is not None and taken.left.keys() == second.left.keys()
    assert schedule.withdrawn() == [second] and schedule.withdrawn() == []


def test_an_idle_replica_takes_over_half_of_what_is_being_answered() -> None:
    schedule = Schedule(requests(LEAST), 1)
    first = schedule.next("a")
    assert first is not None
    taken = schedule.next("b")
    assert taken is not None and list(taken.left) == list(first.left)[LEAST // 2 :]
    # Whoever is first counts, and the other one need not answer.
    id = next(iter(taken.left))
    assert [one.text for one in schedule.answered(first, [answer(id, "first")])] == ["first"]
    assert list(schedule.answered(taken, [answer(id, "second")])) == []
    assert id not in taken.left


def test_a_run_ends_though_one_replica_hangs() -> None:
    schedule = Schedule(requests(3 * LEAST), 2)
    hung = schedule.next("hung"), schedule.next("hung")
    assert all(hung)
    found: list[fl.Answer] = []
    while not schedule.done:
        shard = schedule.next("b")
        assert shard is not None
        found += finish(schedule, shard)
    assert len(found) == 3 * LEAST


def test_a_withdrawn_shard_whose_new_replica_is_lost_is_asked_again() -> None:
    schedule = Schedule(requests(2 * LEAST), 1)
    _, second = schedule.next("a"), schedule.next("a")
    assert second is not None and schedule.next("b") is not None
    list(schedule.lost("b", "gone"))
    assert list(schedule.ended(second)) == []  # its replica was told not to begin it
    assert len(work_off(schedule, "a")) == 2 * LEAST


def test_a_model_that_leaves_a_question_out_does_not_stop_the_run() -> None:
    schedule = Schedule(requests(5), 1)
    found: list[fl.Answer] = []
    while not schedule.done:
        if shard := schedule.next("a"):
            found += schedule.answered(shard, [answer(id) for id in list(shard.left) if id != "q2"])
            found += schedule.ended(shard)
    assert {one.id: one.error is None for one in found} == {f"q{n}": n != 2 for n in range(5)}


def test_two_requests_of_one_name_are_refused() -> None:
    schedule = Schedule([*requests(2), *requests(1)], 1)
    with pytest.raises(BadPrompt, match="'q0'"):
        schedule.next("a")


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_each_request_gets_one_answer(seed: int) -> None:
    """Replicas come, answer in any order, die, hang and come back with late answers."""
    drawn = random.Random(seed)
    made = requests(drawn.randint(1, 1500))
    schedule = Schedule(made if drawn.random() < 0.5 else iter(made), drawn.randint(1, 6))
    replicas = [f"r{number}" for number in range(drawn.randint(1, 6))]
    named = len(replicas)
    dead: list[Shard] = []
    found: list[fl.Answer] = []
    while not schedule.done:
        for replica in replicas:
            schedule.next(replica)
        withdrawn = set(schedule.withdrawn())
        happens = drawn.random()
        if happens < 0.04:
            lost = drawn.choice(replicas)
            dead += [shard for shard in schedule.in_flight() if shard.replica == lost]
            found += schedule.lost(lost, "gone", is_blamed=drawn.random() < 0.5)
            replicas.remove(lost)
            replicas.append(f"r{named}")
            named += 1
        elif happens < 0.06 and dead:
            late = drawn.choice(dead)
            found += schedule.answered(late, [answer(id) for id in list(late.left)[:3]])
        elif shards := schedule.in_flight():
            shard = drawn.choice(shards)
            ids = drawn.sample(list(shard.left), drawn.randint(0, len(shard.left)))
            found += schedule.answered(shard, map(answer, ids))
            if not shard.left or shard in withdrawn:
                found += schedule.ended(shard)
    assert Counter(one.id for one in found) == Counter(one.id for one in made)
    assert all(one.error is None or one.error.kind == "ReplicaLost" for one in found)
