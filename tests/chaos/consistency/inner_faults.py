"""What goes wrong inside a process: messages dropped, doubled, late or swapped on the bus; a table that takes longer to compile
than the bound; memory so small that the second layer must be asked.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import Any, Final

CHANNEL: Final = "permission:events"
DROPPED: Final = 0.30
DOUBLED: Final = 0.15
DELAYED: Final = 0.25
MAX_DELAY_S: Final = 1.5


SLOW_SHARE: Final = 0.03
SLOW_S: Final = 0.7
SMALL: Final = 6


def slow_tables(draw: random.Random) -> None:
    """Now and then: longer than the bound of either realm, so that no State may serve meanwhile."""
    from permissions.cache import catch_up

    compile_table = vars(catch_up)["compile_table"]

    def slow(*arguments: Any) -> Any:
        if draw.random() < SLOW_SHARE:
            time.sleep(SLOW_S)
        return compile_table(*arguments)

    vars(catch_up)["compile_table"] = slow


def small_memory() -> None:
    from permissions.cache import realm

    realm.SIZE = SMALL  # type: ignore[misc]
    realm.SIZE_ABSENT = SMALL  # type: ignore[misc]


def bad_network(draw: random.Random) -> None:
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
