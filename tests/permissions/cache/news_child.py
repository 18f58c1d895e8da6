"""Another process that follows a realm, for test_news: told what to do on its input, a line of JSON each, answering the same way.

`python -m tests.permissions.cache.news_child <poll|news>`: with `news` it has no poll, so that events alone can move it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

WAIT_S = 30.0


def main(how: str) -> None:
    import django

    django.setup()
    from django.conf import settings
    from django.db import connections

    first = json.loads(sys.stdin.readline())
    connections["default"].settings_dict.update(first["database"])
    settings.REDIS_URL = first["redis_url"]

    from permissions import pdp, points
    from permissions.cache import catch_up, events, follower, invalidation
    from resilience import config
    from resilience.config import Snapshot

    moved = threading.Condition()
    reached: dict[int, int] = {}

    def published(name: str) -> None:
        cache = catch_up.find("default")
        if name == "apply.published" and cache is not None and cache.state is not None:
            with moved:
                reached.setdefault(cache.state.rev, time.monotonic_ns())
                moved.notify_all()

    listening = threading.Event()
    listen = events.listen

    def heard(take: Any, reconnected: Any) -> Any:
        def again() -> None:
            reconnected()
            listening.set()

        return listen(take, again)

    events.listen = heard  # type: ignore[assignment]
    points.install(published)

    def until(rev: int) -> dict[str, Any]:
        with moved:
            came = moved.wait_for(lambda: any(at >= rev for at in reached), WAIT_S)
            at_ns = min((at_ns for at, at_ns in reached.items() if at >= rev), default=0)
        return {"came": came, "at_ns": at_ns, **status()}

    def status() -> dict[str, Any]:
        found = invalidation.status()
        cache = catch_up.find("default")
        rev = None if cache is None or cache.state is None else cache.state.rev
        if found is None:
            return {"rev": rev}
        return {"rev": rev, "dealt": found.applied + found.pulls + found.coalesced, **dataclasses.asdict(found)}

    def check(subject: str, token: str | None = None) -> dict[str, Any]:
        began_ns = time.monotonic_ns()
        decision = pdp.check(subject, "post:read", token=token)
        return {
            "allowed": decision.allowed,
            "revision": decision.revision,
            "source": decision.source,
            "began_ns": began_ns,
        }

    def dealt(with_: int) -> dict[str, Any]:
        """Once so many events have been dealt with, in one way or another."""
        ends_s = time.monotonic() + WAIT_S
        while time.monotonic() < ends_s:
            found = status()
            if found["dealt"] >= with_:
                break
            time.sleep(0.01)
        return status()

    def listens() -> dict[str, Any]:
        came = listening.wait(WAIT_S)
        listening.clear()
        return {"came": came}

    def mode(setting: str) -> dict[str, Any]:
        config.LIVE.consider(Snapshot(1, 1, {"cache": {"invalidation": setting}}), "test")
        return status()

    work: dict[str, Callable[..., Any]] = {
        "until": until,
        "status": status,
        "check": check,
        "mode": mode,
        "dealt": dealt,
        "listens": listens,
    }
    pdp.check("user:alice", "post:read")
    if how == "poll":
        follower.start()
    else:
        invalidation.start(catch_up.apply_event, catch_up.catch_up, lambda: list(catch_up.caches()))
    for line in sys.stdin:
        asked = json.loads(line)
        sys.stdout.write(json.dumps(work[asked.pop("do")](**asked)) + "\n")
        sys.stdout.flush()
    follower.stop()
    invalidation.stop()


if __name__ == "__main__":
    main(sys.argv[1])
