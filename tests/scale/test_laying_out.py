"""How many replicas there are, and what each one takes, from what the nodes have."""

from __future__ import annotations

import pytest

from flamingo_lab import host
from flamingo_lab.engine.budget import FREE_SHARE, GIB
from flamingo_lab.errors import BadSetting
from flamingo_lab.parallel.launched import Place
from flamingo_lab.replicas.cluster import Node, Shape, shape
from flamingo_lab.replicas.replica import Seat, load_beside, place_of

CPUS = [Node("a", 8, 0), Node("b", 8, 0), Node("c", 16, 0)]
GPUS = [Node("head", 4, 0), Node("a", 32, 8), Node("b", 32, 8)]

CASES = {
    "one a node, all the cores of the smallest": (CPUS, None, None, "auto", Shape(4, 8, 0, 2)),
    "as many cores as leave room": (CPUS, 8, None, "auto", Shape(8, 4, 0, 4)),
    "two on one machine": ([Node("a", 2, 0)], 2, None, "auto", Shape(2, 1, 0, 2)),
    "cores as they are told": (CPUS, None, 2, "auto", Shape(16, 2, 0, 8)),
    "fewer than have room": (CPUS, 3, 2, "auto", Shape(3, 2, 0, 3)),
    "one a GPU": (GPUS, None, None, "auto", Shape(16, 4, 1, 8)),
    "several GPUs each": (GPUS, None, 4, "cuda", Shape(4, 16, 4, 2)),
    "CPUs though there are GPUs": (GPUS, None, None, "cpu", Shape(17, 4, 0, 8)),
    "a head without cores": ([Node("head", 0, 0), Node("a", 4, 0)], None, None, "auto", Shape(1, 4, 0, 1)),
    "a GPU for each rank": (GPUS, None, None, "auto", Shape(4, 16, 4, 8, 4), 4),
    "ranks on CPUs share the cores": (CPUS, None, None, "auto", Shape(4, 8, 0, 4, 2), 2),
    "ranks have as many cores each": (CPUS, None, 7, "auto", Shape(4, 6, 0, 6, 3), 3),
    "more ranks than cores": (CPUS, 32, None, "auto", Shape(32, 1, 0, 48, 3), 3),
    "more GPUs than a node has": (GPUS, None, None, "auto", Shape(1, 64, 16, 8, 16, is_spread=True), 16),
    "GPUs of several small nodes": (
        [Node(name, 8, 2) for name in "abcde"],
        None,
        None,
        "auto",
        Shape(2, 16, 4, 2, 4, True),
        4,
    ),
    "more cores than a node has": (CPUS, None, 32, "auto", Shape(1, 32, 0, 2, 4, is_spread=True), 4),
    "GPUs and few cores": ([Node("a", 2, 4)], 2, 1, "auto", Shape(2, 1, 1, 2)),
}


@pytest.mark.parametrize("case", CASES)
def test_replicas_are_laid_over_nodes(case: str) -> None:
    nodes, replicas, devices, device, expected, *ranks = CASES[case]
    assert shape(nodes, replicas, devices, device, *ranks) == expected


REFUSED = {
    "more replicas than cores": (
        CPUS,
        33,
        None,
        "auto",
        "33 with 1 core each: the cluster has 32 cores on 3 nodes, room for 32",
    ),
    "more GPUs than a node has": (
        GPUS,
        None,
        9,
        "cuda",
        "1 with 9 GPUs each: the cluster has 16 GPUs on 3 nodes, room for 0",
    ),
    "more replicas than GPUs": (
        GPUS,
        5,
        4,
        "auto",
        "5 with 4 GPUs each: the cluster has 16 GPUs on 3 nodes, room for 4",
    ),
    "no GPU at all": (CPUS, None, None, "cuda", "no node of the cluster has a GPU"),
    "a GPU by its number": (GPUS, None, None, "cuda:1", "names one GPU"),
    "fewer GPUs than ranks": (
        GPUS,
        None,
        2,
        "auto",
        "--devices-per-replica 2: --tensor-parallel 4 takes one GPU for each of its processes; say 4 or leave it away",
        4,
    ),
    "more GPUs than ranks": (GPUS, None, 4, "auto", "say 2 or leave it away", 2),
    "more ranks than GPUs": (
        GPUS,
        None,
        None,
        "auto",
        "1 with 32 GPUs over several nodes each: the cluster has 16 GPUs on 3 nodes, room for 0",
        32,
    ),
    "no node": ([], None, None, "auto", "room for 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_room_is_refused(case: str) -> None:
    nodes, replicas, devices, device, message, *ranks = REFUSED[case]
    with pytest.raises(BadSetting, match=message):
        shape(nodes, replicas, devices, device, *ranks)


def test_processes_of_a_node_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, object] = {}
    monkeypatch.setattr("flamingo_lab.load", lambda path, **options: told.update(options))
    monkeypatch.setattr(host, "free_bytes", lambda: 80 * GIB)
    load_beside(8, "some-model", device="cpu", memory=None)
    assert told["memory"] == pytest.approx(FREE_SHARE * 80 / 8)


def seat(node: str, port: int) -> Seat:
    return Seat(node, f"host of {node}", f"address of {node}", port, port, {})


def test_processes_of_a_replica_meet_at_the_first_one() -> None:
    over_two = [seat("a", 1), seat("b", 2), seat("a", 3)]
    assert [place_of(rank, over_two) for rank in range(3)] == [
        Place(0, 3, 0, 2, "address of a", 1),
        Place(1, 3, 0, 1, "address of a", 1),
        Place(2, 3, 1, 2, "address of a", 1),
    ]
    assert place_of(1, [seat("a", 1), seat("a", 2)]) == Place(1, 2, 1, 2, "127.0.0.1", 1)
