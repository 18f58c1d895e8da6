"""A bad network between publisher and listener, inside a process: of the messages on the bus 30 % are dropped, others come twice,
late or in another order."""

from __future__ import annotations

import contextlib
import random
import threading
from typing import Any, Final

CHANNEL: Final = "permission:events"
DROPPED: Final = 0.30
DOUBLED: Final = 0.15
DELAYED: Final = 0.25
MAX_DELAY_S: Final = 1.5


def install(draw: random.Random) -> None:
    from resilience import redis_bus

    publish = redis_bus.RedisBus.publish

    def faulty(self: Any, channel: str, message: str | bytes) -> None:
        if channel != CHANNEL:
            publish(self, channel, message)
            return
        kind = draw.random()
        if kind < DROPPED:
            return
        if kind < DROPPED + DELAYED:
            # Those sent meanwhile overtake it.
            timer = threading.Timer(draw.uniform(0.01, MAX_DELAY_S), _quietly, (publish, self, channel, message))
            timer.daemon = True
            timer.start()
            return
        publish(self, channel, message)
        if kind < DROPPED + DELAYED + DOUBLED:
            publish(self, channel, message)

    redis_bus.RedisBus.publish = faulty  # type: ignore[method-assign]


def _quietly(publish: Any, *arguments: Any) -> None:
    from resilience.errors import ResilienceError

    with contextlib.suppress(ResilienceError):
        publish(*arguments)
