"""How many replicas there are, and what each one takes, from what the nodes have."""

from __future__ import annotations

import pytest
import torch

from flamingo_lab import host
from flamingo_lab.engine.budget import FREE_SHARE, GIB
from flamingo_lab.errors import BadSetting
from flamingo_lab.replicas.cluster import Node, Shape, shape
from flamingo_lab.replicas.replica import load_beside

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
    "a GPU for each rank": (GPUS, None, None, "auto", Shape(4, 16, 4, 2), 4),
    "more GPUs than ranks": (GPUS, None, 4, "auto", Shape(4, 16, 4, 2), 2),
    "ranks on CPUs share the cores": (CPUS, None, None, "auto", Shape(4, 8, 0, 2), 2),
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
        "--devices-per-replica 2: --tensor-parallel 4 takes a GPU for each of its processes; say 4 or leave it away",
        4,
    ),
    "no node": ([], None, None, "auto", "room for 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_room_is_refused(case: str) -> None:
    nodes, replicas, devices, device, message, *ranks = REFUSED[case]
    with pytest.raises(BadSetting, match=message):
        shape(nodes, replicas, devices, device, *ranks)


def test_replicas_of_a_node_and_their_ranks_share_its_memory_and_their_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, object] = {}
    threads: list[int] = []
    monkeypatch.setattr("flamingo_lab.load", lambda path, **options: told.update(options))
    monkeypatch.setattr(host, "free_bytes", lambda: 80 * GIB)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 9)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    load_beside(2, "some-model", device="cpu", memory=None, tensor_parallel=4)
    assert told["memory"] == pytest.approx(FREE_SHARE * 80 / 8)
    assert threads == [2]
