"""Which node serves which slot, as far as this process has heard; and whether there are nodes and slots at all."""

from __future__ import annotations

import random
import time
from collections.abc import Generator
from typing import Any, Final

from redis.exceptions import RedisError

from resilience.address import Address
from resilience.connections import Maker, Timeouts
from resilience.storage.link import Link
from resilience.storage.wire import PING, Ask, Node, Reload, Step, Unseen, Unsent, complaint, pack, slot_of, unsent

# Its own, for a thread of ours must not move the sequence that a program has seeded for itself.
_draw = random.Random()  # noqa: S311 - it spreads a load, it guards nothing

SLOTS: Final = 16384
ASK_FOR_SLOTS: Final = pack("CLUSTER", "SLOTS")
# Seconds between two full maps. Each call to a dead node asks for one: more often, an outage would double every call's work; less
# often, a fail-over would be seen late. A single moved slot is written down without.
MIN_AGE_S: Final = 0.1
# Nodes asked for the map before giving up: a frozen one costs a whole time-out.
MAX_ASKED: Final = 3


class Routes:
    """From a hash tag to the node to ask; None is the only server there is.

    Shared by threads and loops. Readers take `owners[slot]` without a lock: a map is swapped as a whole, a moved slot is one
    assignment.
    """

    def __init__(self, address: Address, timeout_s: float) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self.is_known = False
        self.is_cluster = False
        self.owners: list[Node] = []
        self._loaded_at = -MIN_AGE_S

    def node(self, tag: str) -> Node | None:
        """Who is to be asked about a tag. Only once `is_known`."""
        return self.owners[slot_of(tag)] if self.owners else None

    def connection(self, node: Node | None) -> Any:
        """A connection of redis-py, not connected yet."""
        return self._maker(self.address if node is None else self.address.at(*node)).connection()

    def _maker(self, address: Address) -> Maker:
        return Maker(address, Timeouts(self.timeout_s, self.timeout_s))

    def find(self) -> None:
        """Asks the server what it is, and a cluster for its slots. Blocks; raises Unsent when nobody says."""
        if self.is_known:
            return
        try:
            is_cluster = self._maker(self.address).is_cluster()
        except (RedisError, OSError) as error:
            raise unsent(error) from error
        # Of threads that make the first call together, one may have loaded the map just now: nobody is asked, and it is there.
        if is_cluster and not (any(self._load_from(node) for node in self.to_ask()) or self.owners):
            raise Unsent("no node of the cluster said who serves which slot")
        self.is_cluster = is_cluster
        self.is_known = True

    def forget(self) -> None:
        """The server is not what it was: the next call asks again."""
        self._maker(self.address).forget()
        self.is_known = self.is_cluster = False
        self.owners = []
        self._loaded_at = -MIN_AGE_S

    def _load_from(self, node: Node) -> bool:
        try:
            link = Link(self.connection(node), self.timeout_s)
        except Unsent:
            return False
        try:
            return self.load(link.ask(ASK_FOR_SLOTS), node)
        except (Unsent, Unseen):
            return False
        finally:
            link.close()

    def moved(self, slot: int, node: Node) -> None:
        if self.owners and 0 <= slot < SLOTS:
            self.owners[slot] = node

    def owner(self, slot: int) -> Node | None:
        return self.owners[slot] if self.owners else None

    def to_ask(self) -> list[Node]:
        """Nodes that may know the map, in random order, so that no node answers for all processes. None while the map is fresh:
        another thread loaded it just now, perhaps for the same reason."""
        if time.monotonic() - self._loaded_at < MIN_AGE_S:
            return []
        known = list({*self.owners, *self.address.hosts})
        _draw.shuffle(known)
        return known[:MAX_ASKED]

    def masters(self) -> list[Node | None]:
        if not self.is_cluster:
            return [None]
        return [*sorted(set(self.owners))]

    def load(self, reply: Any, asked: Node) -> bool:
        """Takes a reply of CLUSTER SLOTS; False if it is none, or says of no slot who serves it."""
        owners: list[Node | None] = [None] * SLOTS
        try:
            for first, last, (host, port, *_), *_replicas in reply:
                # An empty or missing host means the one that was asked; "?" that even it does not know.
                node = (str(host) if host and host != "?" else asked[0], int(port))
                owners[int(first) : int(last) + 1] = [node] * (int(last) - int(first) + 1)
        except (TypeError, ValueError):
            return False
        if len(owners) != SLOTS or not any(owners):
            return False
        # A slot that nobody serves right now: whoever is asked says CLUSTERDOWN, which is the true answer.
        self.owners = [owner or asked for owner in owners]
        self._loaded_at = time.monotonic()
        return True


def checkup(routes: Routes) -> Generator[Step, Any, tuple[str, float]]:
    """Whether every master answers and would take a write: what is wrong, empty if nothing; and seconds the last PING took."""
    took_s = 0.0
    if routes.is_cluster:
        yield Reload(0)
    for node in routes.masters():
        started = time.perf_counter()
        problem = complaint((yield Ask(node, PING)))
        took_s = time.perf_counter() - started
        # An account that may run scripts and not this is as it should be; a slot that moved meanwhile is served elsewhere.
        problem = problem or complaint((yield Ask(node, _write_of_nothing(routes, node))), allowed=("NOPERM", "MOVED", "ASK"))
        if problem:
            return problem, took_s
    return "", took_s


def _write_of_nothing(routes: Routes, node: Node | None) -> bytes:
    """A command that changes nothing and is refused like a write. A server that may not write (a replica after a fail-over, a
    full one) still answers PING: going back to it would fail at the next call, every second anew."""
    tag = next((str(n) for n in range(100_000) if routes.node(str(n)) == node), "0")
    return pack("SETRANGE", f"resilience:{{{tag}}}:health", 0, "")
