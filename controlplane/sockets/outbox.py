"""What waits to be written to one socket: bounded, the oldest dropped and counted; and how fast its other end may speak."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from controlplane.metrics import SOCKET_DROPPED
from controlplane.sockets.messages import Message
from resilience import telemetry

# Four minutes of frames: who reads again after that wants the page's snapshot, not more of them (the design's number).
SIZE: Final = 256
# Messages in a second that are listened to: a page sends two when it opens, and one each time it is hidden or shown.
INBOUND: Final = 10


class Outbox:
    """Used on one event loop."""

    def __init__(self, size: int = SIZE) -> None:
        self._held: deque[Message] = deque(maxlen=size)
        self._size = size
        self._news = asyncio.Event()
        self._dropped = 0
        self._last = ""

    def __len__(self) -> int:
        return len(self._held)

    def put(self, message: Message) -> None:
        if len(self._held) >= self._size:
            oldest = self._held.popleft()
            if oldest.weight:
                self._dropped += oldest.weight
                self._last = oldest.last or self._last
                telemetry.count(SOCKET_DROPPED, by=oldest.weight)
        self._held.append(message)
        self._news.set()

    async def get(self) -> Message:
        """The oldest. Ask `gap()` first: what was dropped is older still."""
        while not self._held:
            self._news.clear()
            await self._news.wait()
        return self._held.popleft()

    async def wait(self) -> None:
        while not self._held:
            self._news.clear()
            await self._news.wait()

    def gap(self) -> tuple[int, str] | None:
        """How much was dropped since the last time, and the id of the last event among it."""
        if not self._dropped:
            return None
        found = self._dropped, self._last
        self._dropped, self._last = 0, ""
        return found

    def take(self, kind: str) -> list[Message]:
        """What waits of a kind, for a socket that closes now."""
        return [message for message in self._held if message.kind == kind]


class Pace:
    """At most `limit` in any second."""

    def __init__(self, limit: int = INBOUND, clock: Callable[[], float] = time.monotonic) -> None:
        self._times: deque[float] = deque(maxlen=limit)
        self._limit = limit
        self._clock = clock

    def allows(self) -> bool:
        now = self._clock()
        if len(self._times) >= self._limit and now - self._times[0] < 1.0:
            return False
        self._times.append(now)
        return True
