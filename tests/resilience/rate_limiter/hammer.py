"""A process that calls one limiter from many threads at once, as often as it is told to, and says what it was answered.

Run with -m; a job is a line of JSON on stdin, its outcome a line of JSON on stdout. A job with `until` goes on until there is
such a file.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from resilience.errors import StorageError
from resilience.rate_limiter import RateLimiter
from resilience.storage.redis import RedisStore


def hammer(limiter: Any, *, threads: int, calls: int, key: str = "alice") -> Counter[str]:
    """`calls` from each of `threads` threads that start together; how often allowed, refused, or which error."""
    answers: list[Counter[str]] = [Counter() for _ in range(threads)]
    start = threading.Barrier(threads)

    def run(mine: Counter[str]) -> None:
        start.wait()
        for _ in range(calls):
            try:
                verdict = limiter.acquire(key)
            except StorageError as error:
                mine[f"{type(error).__name__}: {error}"] += 1
            else:
                mine["allowed" if verdict.allowed else "refused"] += 1

    running = [threading.Thread(target=run, args=(mine,)) for mine in answers]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    total: Counter[str] = Counter()
    for mine in answers:
        total.update(mine)
    return total


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        # A loaded machine must not look like a broken store, and a broken store must not be hidden by a policy.
        store = RedisStore(job["url"], prefix=job["prefix"], timeout_s=10.0)
        limiter = RateLimiter(
            "count", job["algorithm"], job["limit"], 86_400, store=store, on_store_down="raise", deny_cache=False
        )
        answers = hammer(limiter, threads=job["threads"], calls=job["calls"])
        while job["until"] and not Path(job["until"]).exists():
            answers.update(hammer(limiter, threads=job["threads"], calls=job["calls"]))
        store.close()
        print(json.dumps(answers), flush=True)  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    main()
