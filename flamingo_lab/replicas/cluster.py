"""The Ray cluster: how it is reached, what its nodes have, and how replicas are laid over them."""

from __future__ import annotations

import importlib
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flamingo_lab.errors import BadCluster, BadSetting, MissingPackage

LOCAL = "auto"
"""As an address: start Ray on this machine."""

PORT = 6379
"""Where a cluster listens if nothing else is said."""

REACHED_SECONDS = 5.0

NODE_LABEL = "ray.io/node-id"
"""The label by which Ray knows every node."""

ROUNDING = 1e-4
"""The smallest part of a core that Ray counts."""

HEALTH = {
    "health_check_initial_delay_ms": 5000,
    "health_check_period_ms": 2000,
    "health_check_timeout_ms": 5000,
    "health_check_failure_threshold": 3,
}
"""A silent node is dead after 3 checks of at most 2 + 5 s. Only who starts a cluster can set this; else it is over a minute."""

CONNECTING = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_IGNORE_UNHANDLED_ERRORS": "1"}
"""Ray's settings for this process: it reports nothing, and does not tell of losses beside us. A user's own come first."""


AUTHENTICATION = "RAY_AUTH_MODE"
TOKEN = "token"
"""Whether this process shows a cluster the user's token. Ray leaves it to the user, since any address would be shown it."""

OPEN_TO_ALL = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""What a cluster's head tells whoever asks, unless it asks for a token."""


class Node(NamedTuple):
    """What a living node has in all, used or not."""

    name: str
    cpus: int
    gpus: int
    id: str = ""


class Shape(NamedTuple):
    """How many replicas there are, and what each one takes for its `ranks`, the processes that share its weights.

    beside: how many processes may stand side by side on a node. is_spread: no node holds a whole replica, so that each goes
    over several.
    """

    replicas: int
    cpus: int
    gpus: int
    beside: int
    ranks: int = 1
    is_spread: bool = False

    def fits(self, nodes: Sequence[Node]) -> int:
        """How many of such replicas these nodes have room for."""
        if self.is_spread:
            return sum(self.processes(node) for node in nodes) // self.ranks
        return sum(self.processes(node) // self.ranks for node in nodes)

    def processes(self, node: Node) -> int:
        """How many of their processes a node has room for."""
        by_cpus = int(node.cpus / self.cores_of_process + ROUNDING)
        return min(by_cpus, node.gpus // self.gpus_of_process) if self.gpus else by_cpus

    @property
    def gpus_of_process(self) -> int:
        """GPUs of each of a replica's processes."""
        return self.gpus // self.ranks

    @property
    def cores_of_process(self) -> float:
        """Cores of each of a replica's processes: a part of one where it has fewer cores than processes."""
        return self.cpus // self.ranks or int(self.cpus / self.ranks / ROUNDING) * ROUNDING

    @property
    def each(self) -> str:
        """What a replica takes, in words."""
        takes = counted(self.gpus, "GPU") if self.gpus else counted(self.cpus, "core")
        return f"{takes} over several nodes" if self.is_spread else takes


def counted(count: int, what: str) -> str:
    """So many things, in words."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def package(name: str = "ray") -> Any:
    """Ray itself, or what comes with it. Raises `MissingPackage`."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingPackage("--ray needs Ray, which is not installed: pip install 'flamingo-lab[ray]'") from None


def connect(address: str) -> str | None:
    """Reach or start the cluster; the address of its dashboard, where it has one. Raises `BadCluster`.

    A connection that the process has already is used as it is.
    """
    for name, value in CONNECTING.items():
        os.environ.setdefault(name, value)
    ray = package()
    if ray.is_initialized():
        return _dashboard(ray.get_runtime_context())
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    # Ray prints what its nodes complain of on stdout, whatever it is told; there results are. Losses are told by us.
    ray._private.worker.print_to_stdstream = _say_nothing
    try:
        if address == LOCAL:
            context = ray.init("local", _system_config=HEALTH, **quiet)
        else:
            context = ray.init(_reached(address), **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        said = str(error).strip().partition("\n")[0]
        where = "Ray cannot be started here" if address == LOCAL else f"--ray {address}: no Ray cluster answers there"
        hint = "; is the token in RAY_AUTH_TOKEN or ~/.ray/auth_token the cluster's?" if _shows_token() else ""
        raise BadCluster(f"{where} ({said}){hint}") from None
    return _dashboard(context)


def nodes() -> list[Node]:
    """The nodes that are alive."""
    found: list[Mapping[str, Any]] = package().nodes()
    return [
        Node(
            one["NodeManagerHostname"],
            int(one["Resources"].get("CPU", 0)),
            int(one["Resources"].get("GPU", 0)),
            one["NodeID"],
        )
        for one in found
        if one["Alive"]
    ]


def node_id() -> str:
    """The id of the node on which a worker runs."""
    return package().get_runtime_context().get_node_id()


def meeting_place() -> tuple[str, int]:
    """The address of the node on which a worker runs, and a port that is free there."""
    with socket.socket() as free:
        free.bind(("", 0))
        return package().util.get_node_ip_address(), free.getsockname()[1]


def here() -> str:
    """The name of the node on which a worker runs."""
    return f"{socket.gethostname()} ({node_id()[:8]})"


def shape(there: Sequence[Node], replicas: int | None, devices: int | None, device: str, ranks: int = 1) -> Shape:
    """How replicas are laid over the nodes. Raises `BadSetting` where there is no room for them.

    devices: GPUs of each replica, by default one for each of its `ranks`; on nodes without GPUs its cores, by default as
    many as leave room for the replicas that are asked for. Without `replicas` there are as many as have room, on nodes
    without GPUs one a node. A replica stays on one node where any node can hold one, and goes over several otherwise.
    """
    if device.startswith("cuda:"):
        raise BadSetting(f"--device {device} names one GPU; with --ray each replica is given its own: say cuda")
    has_gpus = any(node.gpus for node in there)
    if device == "cuda" and not has_gpus:
        raise BadSetting("--device cuda: no node of the cluster has a GPU")
    if device != "cpu" and has_gpus:
        gpus = devices or ranks
        if gpus != ranks > 1:
            raise BadSetting(
                f"--devices-per-replica {gpus}: --tensor-parallel {ranks} takes one GPU for each of its processes; "
                f"say {ranks} or leave it away"
            )
        cores = min(node.cpus * gpus // node.gpus for node in there if node.gpus)
    else:
        gpus, cores = 0, devices or _cores(there, replicas)
    alike = max(1, cores) if cores < ranks else cores - cores % ranks
    chosen = Shape(0, alike, gpus, 0, ranks)
    if ranks > 1 and not chosen.fits(there):
        chosen = chosen._replace(is_spread=True)
    room = chosen.fits(there)
    if room < (replicas or 1):
        gpus, cpus = sum(node.gpus for node in there), sum(node.cpus for node in there)
        has = counted(gpus, "GPU") if chosen.gpus else counted(cpus, "core")
        raise BadSetting(
            f"--replicas {replicas or 1} with {chosen.each} each: the cluster has {has} on "
            f"{counted(len(there), 'node')}, room for {room}"
        )
    count = room if replicas is None else replicas
    most = max(chosen.processes(node) for node in there)
    whole = most if chosen.is_spread else most // ranks * ranks
    return chosen._replace(replicas=count, beside=min(count * ranks, whole))


def _cores(there: Sequence[Node], replicas: int | None) -> int:
    """The most cores that each replica can have: all of the smallest node's, or fewer where more replicas need room."""
    most = min((node.cpus for node in there if node.cpus), default=1)
    if replicas is None:
        return most
    return next((cores for cores in range(most, 0, -1) if Shape(0, cores, 0, 0).fits(there) >= replicas), 1)


def _reached(address: str) -> str:
    """The address, once something like Ray answers there. Ray itself would try for many minutes."""
    grpc = package("grpc")
    host, _, port = address.partition(":")
    if "//" in address or not host or not (port or str(PORT)).isdecimal():
        raise BadSetting(
            f"--ray {address}: auto or HOST:PORT of a cluster's head is expected, from one of the cluster's own nodes"
        )
    reached = f"{host}:{port or PORT}"
    try:
        socket.create_connection((host, int(port or PORT)), timeout=REACHED_SECONDS).close()
        if os.environ.get("RAY_USE_TLS", "0") == "0":
            with grpc.insecure_channel(reached) as channel:
                grpc.channel_ready_future(channel).result(timeout=REACHED_SECONDS)
                asks_for_token = _asks_for_token(channel)
            if asks_for_token != _shows_token():
                asked, how = ("a", "set") if asks_for_token else ("no", "leave away")
                raise BadCluster(
                    f"--ray {address}: the cluster asks for {asked} token: {how} {AUTHENTICATION}={TOKEN} in the "
                    "environment of this command"
                )
    except (OSError, OverflowError) as error:
        raise BadCluster(f"--ray {address}: nothing answers there ({error}); is the cluster's head up?") from None
    except grpc.FutureTimeoutError:
        raise BadCluster(f"--ray {address}: what answers there is no Ray cluster; the head's port is {PORT}") from None
    return reached


def _asks_for_token(channel: Any) -> bool:
    grpc = package("grpc")
    try:
        channel.unary_unary(OPEN_TO_ALL)(b"", timeout=REACHED_SECONDS)
    except grpc.RpcError as error:
        return error.code() == grpc.StatusCode.UNAUTHENTICATED
    return False


def _shows_token() -> bool:
    return os.environ.get(AUTHENTICATION, "").lower() == TOKEN


def _say_nothing(*given: Any, **named: Any) -> None:
    """Stands for a printer of log lines."""


def _dashboard(context: Any) -> str | None:
    url = getattr(context, "dashboard_url", None)
    return f"http://{url}" if url else None
