"""What a server process runs beside its requests: the follower, the upkeep, the warm-up of a cold start, the decision log."""

from __future__ import annotations

import logging

from permissions import decision_log
from permissions.cache import events, follower, l2, warmup

log = logging.getLogger("permissions.cache")


def start() -> None:
    """Returns at once: the caches fill in the background, and checks are answered meanwhile."""
    follower.start()
    decision_log.start()
    try:
        warmup.start()
    except warmup.AlreadyWarming:
        log.info("the caches are being warmed already")


def stop() -> None:
    """Waits a moment for what is running."""
    warmup.cancel()
    follower.stop()
    events.close()
    l2.reset()
    decision_log.stop()
