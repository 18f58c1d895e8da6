"""A process that follows a configuration and prints, line by line, what it runs: the tests start four of it.

    python -m tests.resilience.config.process '{"url": …, "prefix": …, "rows": file or null, "file": file or null, "deaf": bool}'

It ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from resilience import config, maintenance, telemetry
from resilience.config_follower import Follower
from resilience.config_sources import FileSource, RedisSource, RowsSource, StoreBoard
from resilience.storage.failover import FailoverStore
from resilience.storage.memory import MemoryStore
from resilience.storage.redis import RedisStore

KEYS = (b"a key of the tests, not short",)


def say(**line: Any) -> None:
    sys.stdout.write(json.dumps({**line, "at": time.time()}) + "\n")
    sys.stdout.flush()


def rows_of(path: str) -> Any:
    def read() -> tuple[int, int, Any] | None:
        try:
            return tuple(json.loads(Path(path).read_bytes()))
        except FileNotFoundError:
            return None

    return read


def main() -> None:
    given = json.loads(sys.argv[1])
    store = FailoverStore(RedisStore(given["url"], prefix=given["prefix"]), MemoryStore())
    projection = RedisSource(store, KEYS)
    follower = Follower(
        projection=projection,
        truth=RowsSource(rows_of(given["rows"])) if given.get("rows") else None,
        kept=FileSource(given["file"], KEYS) if given.get("file") else None,
        board=StoreBoard(store),
        subscribe=None if given.get("deaf") else projection.subscribe,
        **given.get("options", {}),
    )

    def applied(snapshot: config.Snapshot) -> None:
        login = snapshot.section("limiters").get("login", {})
        say(event="applied", version=snapshot.version, limit=login.get("limit"), maintenance=maintenance.status().mode)

    config.subscribe_applied(applied)
    telemetry.subscribe(lambda event: say(event="rejected", **event.attributes), "config.rejected")
    follower.start()
    say(event="started", version=config.current().version)
    if given.get("fork") and os.fork() == 0:
        say(event="forked", pid=os.getpid())
        while config.current().version < given["fork"]:
            time.sleep(0.01)
        say(event="child", version=config.current().version, processes=len(follower.processes()))
        os._exit(0)
    sys.stdin.read()
    follower.stop()


if __name__ == "__main__":
    main()
