"""Asking again, while a socket is open, whether it may still be: every minute, and at once when rights change."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from controlplane.sockets import messages
from permissions import pdp
from resilience import telemetry

# Seconds. A right that was taken away where no news of it came through ends a socket within this time.
ASK_S: Final = 60.0
# Between two tries while no decision can be given.
RETRY_S: Final = 5.0
# Since the last yes. As long as a short outage of the database; longer, and a revoke made meanwhile might matter.
MAX_UNKNOWN_S: Final = 120.0
# Between two times of asking for news: a burst of writes asks twice a second, not at each write.
MIN_S: Final = 0.5

# Its own, for a thread of ours must not move the sequence that a program has seeded for itself.
_draw: Final = random.Random()  # noqa: S311 - it spreads a load, it guards nothing


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a socket must go: the code and the words of its close."""

    code: int
    reason: str


# None: it may stay. Raises pdp.Unavailable while no decision can be given.
Ask = Callable[[], Awaitable[Ending | None]]


class Watch:
    """`ask_s`, `retry_s`, `max_unknown_s`: as the constants above."""

    def __init__(
        self,
        ask: Ask,
        *,
        ask_s: float = ASK_S,
        retry_s: float = RETRY_S,
        max_unknown_s: float = MAX_UNKNOWN_S,
        min_s: float = MIN_S,
    ) -> None:
        self._ask = ask
        self._ask_s, self._retry_s, self._max_unknown_s, self._min_s = ask_s, retry_s, max_unknown_s, min_s
        self._woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        """On the event loop: ask now."""
        self._woken.set()

    async def ended(self) -> Ending:
        """Returns once the socket must go. It was allowed when this began."""
        yes_at = self._loop.time()
        # Earlier than must be, and not all at once after a restart; what is left of the minute is for the asking.
        wait_s = _draw.uniform(0.6, 0.9) * self._ask_s
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            try:
                ending = await self._ask()
            except Exception as error:  # noqa: BLE001 - the database that is away, or our bug: neither is a yes
                if not isinstance(error, pdp.Unavailable):
                    telemetry.internal_error("sockets", "ask", error)
                wait_s = min(self._retry_s, self._ask_s)
                if self._loop.time() - yes_at + wait_s > self._max_unknown_s:
                    return Ending(messages.NO_DECISION, "no decision can be given")
            else:
                if ending is not None:
                    return ending
                yes_at = self._loop.time()
                wait_s = _draw.uniform(0.6, 0.9) * self._ask_s
            await asyncio.sleep(min(self._min_s, wait_s))
