"""One process of the bound's test: asks a leased limiter as fast as it can, and says when it was admitted.

Arguments: URL, prefix, limit, burst, live processes, seconds. Begins when a line comes in, so that all begin together.
"""

from __future__ import annotations

import json
import sys
import time

from resilience import Lease, RateLimiter, RedisStore
from resilience.storage.base import set_live_processes


def main() -> None:
    url, prefix, limit, burst, processes, seconds = sys.argv[1:]
    set_live_processes(int(processes))
    rule = RateLimiter(
        "hot",
        limit=int(limit),
        period_s=1.0,
        burst=int(burst),
        lease=Lease(),
        store=RedisStore(url, prefix=prefix, timeout_s=5.0),
    )
    rule.peek("alice")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    admits: list[tuple[int, int, str]] = []
    calls = 0
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        begun = time.monotonic_ns() // 1_000
        verdict = rule.acquire("alice")
        calls += 1
        if verdict.allowed:
            admits.append((begun, time.monotonic_ns() // 1_000 + 1, verdict.source))
    sys.stdout.write(json.dumps({"admits": admits, "calls": calls}) + "\n")


if __name__ == "__main__":
    main()
