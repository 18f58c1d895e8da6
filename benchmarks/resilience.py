"""Bar 9: decisions of the kit beside a bare EVALSHA and beside rivals, all on one server, interleaved in one run.

The bare side is the least that any decision in Redis costs with the ordinary client: `return 1` with the same keys and arguments,
through its pool. Each side gives the median over rounds of the mean of a short burst, the sides taking turns within a round.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.measure import against, faster, told_ns
from benchmarks.peers import resilience as rivals
from resilience.storage.redis import RedisStore

ROUNDS = 15
BURST = 200
MANY = 100_000  # tokens at once: every decision is an admission, which writes
MOST_OF_BARE = 1.15
LEAST_FASTER = 100


class Side:
    """`after` undoes a call, outside the clock. `is_local`: answered without Redis, so another bar holds."""

    def __init__(
        self,
        title: str,
        call: Callable[[], Any],
        after: Callable[[Any], object] | None = None,
        *,
        is_local: bool = False,
    ) -> None:
        self.title = title
        self.is_local = is_local
        self.call = call
        self.after = after
        self.taken: list[float] = []

    def burst(self) -> None:
        call, after = self.call, self.after
        if after is None:
            began = time.perf_counter_ns()
            for _ in range(BURST):
                call()
            self.taken.append((time.perf_counter_ns() - began) / BURST)
            return
        spent = 0
        for _ in range(BURST):
            began = time.perf_counter_ns()
            made = call()
            spent += time.perf_counter_ns() - began
            after(made)
        self.taken.append(spent / BURST)

    @property
    def ns(self) -> float:
        return statistics.median(self.taken)


def rows(folder: Path, with_peers: bool) -> list[dict[str, Any]]:
    """Starts a server of its own, measures, ends it. What could be had of the rivals is in `folder` by now."""
    from permsite.launcher import Launcher  # noqa: PLC0415

    if with_peers:
        peers.on_path(folder)
    notes: list[str] = []
    with Launcher(notes.append) as launcher:
        server = launcher.redis()
        store = RedisStore(server.url)
        sides, others = _ours(server.url, store), _rivals(server.url) if with_peers else []
        for side in (*sides, *others):
            side.burst()
            side.taken.clear()
        for _ in range(ROUNDS):
            for side in (*sides, *others):
                side.burst()
        found = _told(sides, others)
        store.close()
    return found


def _ours(url: str, store: RedisStore) -> list[Side]:
    import redis  # noqa: PLC0415

    from resilience.bulkhead import Bulkhead  # noqa: PLC0415
    from resilience.circuit_breaker.breaker import CircuitBreaker  # noqa: PLC0415
    from resilience.lock import LockFactory  # noqa: PLC0415
    from resilience.rate_limiter import Lease, RateLimiter  # noqa: PLC0415

    client = redis.Redis.from_url(url)
    sha = client.script_load("return 1")
    sides = [
        Side(
            "bare EVALSHA `return 1`, pooled client",
            lambda: client.evalsha(sha, 1, "rate_limiter:{bench:user:7}:gcra", 0, 1, 1, 3_600_000_000, 1, MANY),
        )
    ]
    for algorithm in ("gcra", "fixed_window", "sliding_window", "token_bucket", "sliding_log"):
        limit = 1_000 if algorithm == "sliding_log" else MANY
        # The log keeps a stamp for every call: a short period keeps it from filling up.
        limiter = RateLimiter(
            f"bench.{algorithm}", algorithm, limit=limit, period_s=0.05 if limit == 1_000 else 3600, store=store
        )
        sides.append(Side(f"limiter {algorithm}", lambda limiter=limiter: limiter.acquire("user:7")))
    refusing = RateLimiter("bench.refusing", limit=1, period_s=86_400, store=store)
    refusing.acquire("user:7")
    sides.append(Side("limiter, answered by the deny cache", lambda: refusing.acquire("user:7"), is_local=True))
    leased = RateLimiter("bench.leased", limit=10_000_000, period_s=1, store=store, lease=Lease(eps=0.5, ttl_s=5.0))
    for _ in range(20_000):
        leased.acquire("user:7")
    sides.append(Side("limiter, answered by a lease", lambda: leased.acquire("user:7"), is_local=True))
    breaker = CircuitBreaker("bench.breaker", store=store, flush_s=0, minimum_calls=1_000_000)
    sides.append(Side("breaker, every call asked (flush_s=0)", breaker.acquire, lambda permit: permit.ignore()))
    local = CircuitBreaker("bench.local", store=store)
    sides.append(Side("breaker, closed, as by default", local.acquire, lambda permit: permit.ignore()))
    bulkhead = Bulkhead("bench.bulkhead", 1_000, store=store)
    sides.append(Side("bulkhead acquire", bulkhead.acquire, lambda permit: permit.release()))
    factory = LockFactory(store=store)
    lock = factory.create("bench.lock", renew=False)
    sides.append(Side("lock acquire", lock.acquire, lambda _: lock.release()))
    return sides


def _rivals(url: str) -> list[Side]:
    sides = []
    for make in (*rivals.LIMITERS, *rivals.BREAKERS):
        try:
            sides += [Side(title, call) for title, call in make(url).items()]
        except ImportError:
            continue  # named by peers.install
    return sides


def _told(sides: list[Side], others: list[Side]) -> list[dict[str, Any]]:
    bare, *ours = sides
    found: list[dict[str, Any]] = [{"what": bare.title, "figure": told_ns(bare.ns), "ratio": "1", "value": bare.ns}]
    for side in ours:
        if side.is_local:
            ratio, met = faster(side.ns, bare.ns, "bare", LEAST_FASTER)
        else:
            ratio, met = against(side.ns, bare.ns, "bare", MOST_OF_BARE)
        found.append({"what": side.title, "figure": told_ns(side.ns), "ratio": ratio, "met": met, "value": side.ns})
    for side in others:
        ratio, _ = against(side.ns, bare.ns, "bare")
        found.append({"what": side.title, "figure": told_ns(side.ns), "ratio": ratio, "value": side.ns})
    return found
