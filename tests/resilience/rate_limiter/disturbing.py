"""A slot that moves from master to master while it is asked."""

from __future__ import annotations

import time
from typing import Any

import redis
from redis.crc import key_slot


def node(port: int) -> Any:
    return redis.Redis(host="127.0.0.1", port=port, socket_timeout=10, decode_responses=True)


def ports_of(cluster_url: str) -> list[int]:
    return [int(address.rpartition(":")[2]) for address in cluster_url.removeprefix("redis+cluster://").rstrip("/").split(",")]


def masters(cluster_url: str) -> dict[str, int]:
    """Ports by node id."""
    with node(ports_of(cluster_url)[0]) as any_node:
        nodes = any_node.execute_command("CLUSTER NODES")
    return {facts["node_id"]: int(address.rpartition(":")[2]) for address, facts in nodes.items() if "master" in facts["flags"]}


class Slot:
    """One slot of a cluster, to be moved as an operator's tool moves it."""

    def __init__(self, cluster_url: str, key: str) -> None:
        self.slot = key_slot(key.encode())
        self.masters = masters(cluster_url)
        self.nodes = {node_id: node(port) for node_id, port in self.masters.items()}

    def owner(self) -> str:
        """Once all masters agree on it and on each other's epochs: two moves under one epoch would never be settled."""
        for _ in range(2_000):
            views = [self._view(client) for client in self.nodes.values()]
            if views.count(views[0]) == len(views):
                return views[0][0]
            time.sleep(0.005)
        raise AssertionError(f"the masters do not agree on slot {self.slot}: {views}")

    def _view(self, client: Any) -> tuple[str, dict[str, str]]:
        """Who owns the slot, and each master's epoch, as one of them sees it."""
        nodes = client.execute_command("CLUSTER NODES").values()
        owner = ""
        for facts in nodes:
            if any(int(span[0]) <= self.slot <= int(span[-1]) for span in facts["slots"]):
                owner = facts["node_id"]
        return owner, {facts["node_id"]: facts["epoch"] for facts in nodes if facts["node_id"] in self.masters}

    def wait_for_a_key(self) -> None:
        while not any(client.execute_command("CLUSTER COUNTKEYSINSLOT", self.slot) for client in self.nodes.values()):
            time.sleep(0.001)

    def move(self) -> None:
        """To the next master, round and round."""
        source = self.owner()
        names = sorted(self.nodes)
        target = names[(names.index(source) + 1) % len(names)]
        here, there = self.nodes[source], self.nodes[target]
        there.execute_command("CLUSTER SETSLOT", self.slot, "IMPORTING", source)
        here.execute_command("CLUSTER SETSLOT", self.slot, "MIGRATING", target)
        while keys := here.execute_command("CLUSTER GETKEYSINSLOT", self.slot, 100):
            here.execute_command("MIGRATE", "127.0.0.1", self.masters[target], "", 0, 10_000, "KEYS", *keys)
        for client in (there, here, *self.nodes.values()):
            client.execute_command("CLUSTER SETSLOT", self.slot, "NODE", target)

    def close(self) -> None:
        for client in self.nodes.values():
            client.close()
