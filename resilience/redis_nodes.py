"""The servers of one address: which of them lives, tried in turn; the nodes of a cluster even when its URL names few."""

from __future__ import annotations

import random
from typing import Any, Final

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from resilience.address import Address
from resilience.connections import Maker, Timeouts

# Its own, for a thread of ours must not move the sequence that a program has seeded for itself.
_draw = random.Random()  # noqa: S311 - it spreads a load, it guards nothing

# Seconds that one server may take to answer before the next is tried: chosen, so that a listener passes two frozen nodes and
# still hears again well within five seconds.
TIMEOUT_S: Final = 0.5


class Nodes:
    """The servers of one address, in the order in which to try them."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._maker = Maker(address, TIMEOUTS)
        self._known: tuple[tuple[str, int], ...] = ()
        self._silent: tuple[str, int] | None = None

    @property
    def are_several(self) -> bool:
        return len(set(self.address.hosts) | set(self._known)) > 1

    def _places(self) -> list[Address]:
        """Raises RedisError when it is not known yet what the server is, and nobody answers."""
        if not self._maker.is_cluster():
            return [self.address if self.address.kind != "cluster" else self.address.at(*self.address.hosts[0])]
        hosts = list({*self.address.hosts, *self._known})
        _draw.shuffle(hosts)  # the listeners of many processes spread over the nodes
        hosts.sort(key=lambda host: host == self._silent)  # the one that failed last comes last
        return [self.address.at(*host) for host in hosts]

    def first_live(self, *command: str | bytes) -> Any:
        """A connection to the first node that answers, to the command if one is given. Raises what the first one raised."""
        first: RedisError | None = None
        for place in self._places():
            try:
                connection = self._connect(place)
                if command:
                    answer(connection, *command)
            except RedisError as error:
                first = first or error
            else:
                return connection
        raise first or RedisConnectionError("the address names no server")

    def _connect(self, place: Address) -> Any:
        """Raises RedisError unless the server answers: a frozen one accepts connections too."""
        connection = Maker(place, TIMEOUTS).connection()
        try:
            connection.connect()
            if self._maker.is_cluster():
                self._learn(answer(connection, "CLUSTER", "SLOTS"), place)
            else:
                answer(connection, "PING")
        except RedisError as error:
            connection.disconnect()
            self._silent = place.hosts[0] if place.hosts else None
            if isinstance(error, ResponseError):
                self._maker.forget()  # it may have become another kind of server
            raise
        return connection

    def _learn(self, slots: Any, place: Address) -> None:
        """All nodes, so that the death of every one that the URL names does not matter."""
        if not isinstance(slots, list):
            return
        found = {
            # A node that knows no name of its own tells an empty one: it is where we found it.
            ((node[0] or b"").decode() or place.hosts[0][0], int(node[1]))
            for _first, _last, *nodes in slots
            for node in nodes
        }
        self._known = tuple(found)


def answer(connection: Any, *command: str | bytes) -> Any:
    connection.send_command(*command)
    return connection.read_response()


TIMEOUTS: Final = Timeouts(TIMEOUT_S, TIMEOUT_S)
