"""What a Redis says of itself: a connection test for people and probes, that never raises and never shows a password."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError

from resilience.address import Address, Url, masked, resolve
from resilience.connections import Maker, Timeouts

# A person waits for it, so a server that is slow today still gets its answer through: chosen.
TIMEOUTS: Final = Timeouts(1.0, 1.0)
MIN_VERSION: Final = (6, 2)


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """`mode`: standalone, sentinel or cluster, as found; `server`: redis or valkey; `error`: empty when all is well."""

    ok: bool
    mode: str = ""
    server: str = ""
    version: str = ""
    latency_ms: float | None = None
    cluster_enabled: bool | None = None
    cluster_state: str = ""
    error: str = ""


def check_connection(url: Url | None = None) -> ConnectionReport:
    """Connects, pings, and asks which server it is. Blocking; at most a few time-outs of one second."""
    return _check(url)[0]


def connection_info(url: Url | None = None) -> dict[str, Any]:
    """The report, and what a person wants to know next; what the server did not tell is absent or None."""
    report, address, told = _check(url)
    info: dict[str, Any] = {**asdict(report), "url": masked(url) if address is None else str(address)}
    if address is None or not report.version:
        return info
    info["role"] = told.get("role")
    info["memory_bytes"] = _number(told.get("used_memory"))
    info["max_memory_bytes"] = _number(told.get("maxmemory"))
    info["maxmemory_policy"] = told.get("maxmemory_policy")
    info["connections"] = _number(told.get("connected_clients"))
    info["max_connections"] = _number(told.get("maxclients"))
    info["nodes"] = _nodes(address) if report.cluster_enabled else []
    return info


def _check(url: Url | None) -> tuple[ConnectionReport, Address | None, dict[str, str]]:
    try:
        address = resolve(url)
    except ValueError as error:
        return ConnectionReport(False, error=str(error)), None, {}
    mode = "standalone" if address.kind == "unix" else address.kind
    try:
        cluster = Maker(address, TIMEOUTS).is_cluster()
        mode = "sentinel" if address.kind == "sentinel" else "cluster" if cluster else "standalone"
        report, told = _ask(address, cluster=cluster, mode=mode)
    except (RedisError, OSError) as error:
        return ConnectionReport(False, mode, error=_explained(error)), address, {}
    return report, address, told


def _ask(address: Address, *, cluster: bool, mode: str) -> tuple[ConnectionReport, dict[str, str]]:
    connection = _first_live(address)
    try:
        began = time.perf_counter()
        connection.send_command("PING")
        connection.read_response()
        latency_ms = (time.perf_counter() - began) * 1000
        told = _fields(connection, "INFO")
        state = _fields(connection, "CLUSTER", "INFO").get("cluster_state", "") if cluster else ""
    finally:
        connection.disconnect()
    is_valkey = "valkey_version" in told
    version = told.get("valkey_version") or told.get("redis_version", "")
    problem = ""
    if not version:
        problem = "the server answers, but our login may not ask for INFO"
    elif not is_valkey and _parts(version) < MIN_VERSION:
        problem = f"Redis {version} is too old: 6.2 or later, or Valkey"
    elif cluster and state != "ok":
        problem = f"the cluster is not whole: cluster_state is {state or 'unknown'}"
    report = ConnectionReport(True, mode, "valkey" if is_valkey else "redis", version, latency_ms, cluster, state)
    return replace(report, ok=not problem, error=problem), told


def _first_live(address: Address) -> Any:
    places: list[Address] = [address]
    if address.kind == "cluster":
        places = [address.at(*host) for host in address.hosts]
    first: RedisError | None = None
    for place in places:
        connection = Maker(place, TIMEOUTS).connection()
        try:
            connection.connect()
            connection.send_command("PING")
            connection.read_response()
        except RedisError as error:
            connection.disconnect()
            first = first or error
        else:
            return connection
    raise first or RedisError("the address names no server")


def _fields(connection: Any, *command: str) -> dict[str, str]:
    """The lines `name:value` of a reply; none where the server refuses the command."""
    try:
        connection.send_command(*command)
        reply = connection.read_response()
    except ResponseError:
        return {}
    lines = reply.decode(errors="replace").splitlines() if isinstance(reply, bytes) else []
    return {name: value for name, mark, value in (line.partition(":") for line in lines) if mark}


def _nodes(address: Address) -> list[dict[str, Any]]:
    try:
        connection = _first_live(address)
    except RedisError:
        return []
    try:
        connection.send_command("CLUSTER", "NODES")
        reply = connection.read_response()
    except RedisError:
        return []
    finally:
        connection.disconnect()
    return [_node(line.split()) for line in reply.decode(errors="replace").splitlines() if len(line.split()) >= 8]


def _node(words: list[str]) -> dict[str, Any]:
    flags = words[2].split(",")
    slots = [word for word in words[8:] if not word.startswith("[")]  # in brackets: slots on their way
    return {
        "address": words[1].partition("@")[0],
        "role": "replica" if "slave" in flags else "master",
        "ok": not any(flag.startswith("fail") for flag in flags) and words[7] == "connected",
        "slots": slots,
        "slot_count": _count(slots),
    }


def _count(slots: Iterable[str]) -> int:
    ends = [word.partition("-") for word in slots]
    return sum(int(last or first) - int(first) + 1 for first, _, last in ends)


def _explained(error: Exception) -> str:
    """The driver's text names host and port, never the login. Only the kind, where there is no text."""
    return str(error) or type(error).__name__


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
