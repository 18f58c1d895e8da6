"""A process of many threads at one bulkhead. What happens inside is counted on the server, by one clock for all processes.

argv: URL, prefix, mode, limit, threads, rounds. `keep`: takes permits and keeps them until its input ends; says how many.
`pass`: each round waits for a permit, is counted in and out, and gives it back; prints how often it was inside.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from resilience.bulkhead import Bulkhead
from resilience.errors import BulkheadFull
from resilience.redis_client import redis_client
from resilience.storage.redis import RedisStore

IN = """
local inside = redis.call('INCR', KEYS[1])
if inside > tonumber(redis.call('GET', KEYS[2]) or 0) then redis.call('SET', KEYS[2], inside) end
return inside
"""


def counters(prefix: str) -> tuple[str, str]:
    return f"{prefix}{{crowd}}:inside", f"{prefix}{{crowd}}:worst"


def main() -> None:
    url, prefix, mode, *numbers = sys.argv[1:]
    limit, threads, rounds = map(int, numbers)
    bulkhead = Bulkhead("crowd", limit, max_wait_s=0 if mode == "keep" else 50, store=RedisStore(url, prefix=prefix, timeout_s=5))
    client = redis_client(url)
    inside, worst = counters(prefix)
    together = threading.Barrier(threads)
    kept = []

    def keep() -> int:
        got = 0
        for _ in range(rounds):
            try:
                kept.append(bulkhead.acquire())
                got += 1
            except BulkheadFull:
                pass
        return got

    def through() -> int:
        for _ in range(rounds):
            with bulkhead:
                client.eval(IN, 2, inside, worst)
                client.decr(inside)
        return rounds

    def work() -> int:
        together.wait()
        return keep() if mode == "keep" else through()

    sys.stdin.readline()  # all processes begin together
    with ThreadPoolExecutor(threads) as pool:
        done = sum(future.result() for future in [pool.submit(work) for _ in range(threads)])
    sys.stdout.write(f"{done} {sum(permit.source == 'redis' for permit in kept)}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
