"""One Ray cluster of three nodes on this machine, for all tests that need one."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from flamingo_lab.replicas import cluster, fleet

STORE_BYTES = 80 * 2**20
NODES = 3

SLOW_MACHINE = {"prestart_worker_first_driver": False, "worker_register_timeout_seconds": 300}
"""So that a machine that is busy with other things only makes these tests slower."""

AGENTS = ("metrics_agent", "metrics_export", "dashboard_agent_listen", "runtime_env_agent")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("", 0))
    ports: list[int] = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def patient_with_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell a node its agents' ports: it gives them 15 seconds to find theirs, too few on a busy machine, and dies."""
    from ray._private.node import Node

    start = Node.start_ray_processes

    def with_ports(self: Any) -> None:
        for name, port in zip(AGENTS, free_ports(len(AGENTS)), strict=True):
            setattr(self._ray_params, f"{name}_port", port)
            (Path(self._session_dir) / f"{name}_port_{self._node_id}").write_text(str(port))
        start(self)

    monkeypatch.setattr(Node, "start_ray_processes", with_ports)


class ThreeNodes:
    """A cluster on this machine. Each node has one core, so that it holds one replica."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"include_dashboard": False, "_system_config": {**cluster.HEALTH, **SLOW_MACHINE}}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args={**self._each(), **head})
        self.address: str = self._cluster.address
        self._nodes: list[Any] = []
        self.mend()

    def mend(self) -> None:
        """Bring back nodes that are missing."""
        while len(self._nodes) < NODES - 1:
            self.add()
        self.settle()

    def settle(self) -> None:
        """Wait until the cluster knows which nodes it has."""
        self._cluster.wait_for_nodes()

    def add(self, gpus: int = 0, **variables: str) -> Any:
        """Another node, with these variables in its environment, which says that it has so many GPUs."""
        node = self._cluster.add_node(**self._each(), num_gpus=gpus, env_vars=variables)
        self._nodes.append(node)
        return node

    def kill(self, node: Any = None) -> None:
        """End a node and all on it at once; the last one if nothing else is said."""
        node = node or self._nodes[-1]
        self._nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    @contextmanager
    def silenced(self, among: Sequence[str] = ()) -> Generator[None]:
        """The last node (of those with these ids) stands still with all on it, its connections open, as where a machine hangs.

        It ends afterwards.
        """
        node = next(node for node in reversed(self._nodes) if not among or node.node_id in among)
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        still = [raylet, *raylet.children(recursive=True)]
        for one in still:
            one.suspend()
        try:
            yield
        finally:
            for one in still:
                one.kill()
            self.kill(node)

    def shutdown(self) -> None:
        self._cluster.shutdown()

    @staticmethod
    def _each() -> dict[str, Any]:
        return {"num_cpus": 1, "object_store_memory": STORE_BYTES}


@pytest.fixture(scope="session")
def nodes() -> Iterator[ThreeNodes]:
    """The cluster."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {**cluster.CONNECTING, "RAY_memory_monitor_refresh_ms": "0", "OMP_NUM_THREADS": "1"}.items():
            patched.setitem(os.environ, name, value)
        patient_with_agents(patched)
        made = ThreeNodes()
        yield made
        made.shutdown()


@pytest.fixture
def three(nodes: ThreeNodes, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreeNodes]:
    """The cluster with three nodes and nothing running; this process is let go of it afterwards."""
    import ray

    monkeypatch.setattr(fleet, "MEND_SECONDS", 0.2)
    nodes.mend()
    yield nodes
    ray.shutdown()
