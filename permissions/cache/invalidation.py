"""What a process does with news: events of others and its own go to the coalescer, a gap in the listening to the changelog."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable

from django.db import connection

from permissions import params
from permissions.cache import events
from permissions.cache.coalescer import Coalescer, Status
from permissions.cache.events import Event
from resilience import config

_lock = threading.Lock()
_running: tuple[Coalescer, tuple[Callable[[], None], ...]] | None = None


def setting() -> str:
    """How, as the live configuration has it at this moment: auto, aggressive or conservative."""
    return str(config.current().section(params.CACHE.name).get("invalidation", "auto"))


def start(apply: Callable[[Event], bool], pull: Callable[[str], object], realms: Callable[[], Iterable[str]]) -> Coalescer:
    """Once a process. `realms()` names those that it holds: after a gap in the listening each of them is pulled."""
    global _running  # noqa: PLW0603 - one a process
    with _lock:
        if _running is not None:
            return _running[0]
        coalescer = Coalescer(apply, pull, setting=setting, rest=_rest)

        def own(event: Event) -> None:
            # The writer's next question is to see its write without asking the database; what takes a query is for the thread.
            if event.objects is None or not apply(event):
                coalescer.put(event)

        coalescer.start()
        ways_out = (events.on_own(own), events.listen(coalescer.put, lambda: coalescer.ask(realms())), coalescer.stop)
        _running = (coalescer, ways_out)
        return coalescer


def _rest() -> None:
    """The thread's connection goes back to the pool until the next look, which may be hours away. Opening a file anew is dear."""
    if connection.vendor != "sqlite":
        connection.close()


def stop() -> None:
    global _running
    with _lock:
        found, _running = _running, None
    if found is not None:
        for way_out in found[1]:
            way_out()


def status() -> Status | None:
    """For the cache board; None where nothing follows the news."""
    found = _running
    return None if found is None else found[0].status()


def _after_fork() -> None:
    global _lock, _running
    _lock, _running = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
