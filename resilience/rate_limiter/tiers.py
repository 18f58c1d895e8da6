"""The tiers below one round trip, in front of one limiter: deny cache, lease, coalescing; then the store."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from resilience.errors import StorageError
from resilience.rate_limiter.coalescing import Answer, LoopCoalescer, ThreadCoalescer
from resilience.rate_limiter.leases import Ask, LeasedKey, Leases
from resilience.rate_limiter.local import Held, keep, monotonic_of

if TYPE_CHECKING:
    from resilience.rate_limiter.core import Core, Grant
    from resilience.rate_limiter.verdict import Verdict

LEASE: Final = "lease"
DENY_CACHE: Final = "deny_cache"


class Tiers:
    """`held`: what this process can answer by itself, by the caller's key; `held[key].take(cost)` is the whole local path.

    A limiter asks acquire() when take() has no answer. What happens there: a question is sent (together with others where
    coalescing is on, for more than is needed where leasing is), and its answer is remembered where that is safe. A key with
    figures of its own is neither leased nor coalesced.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._monotonic = monotonic_of(core.clock)
        self.held: OrderedDict[str, Held[Verdict]] = OrderedDict()
        self._lock = threading.Lock()
        self._gone = [0, 0, 0]  # refused, paused, admitted by keys that are held no longer
        self._reported: dict[str, int] = {}
        self._leases: Leases[Verdict] | None = None
        self._threads: ThreadCoalescer | None = None
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopCoalescer] | None = None
        self._read_options()
        _all.add(self)

    def acquire(self, key: str, cost: int) -> Verdict:
        if (self._leases is None and self._threads is None) or self._core.has_own_plan(key):
            sent_at = self._monotonic()
            return self._learn(key, cost, self._core.ask(key, cost), sent_at)
        try:
            answer = self._threads.ask(key, cost) if self._threads is not None else self._trip(key, cost, cost)
        except StorageError as error:
            return self._core.down(key, cost, error)
        return self._verdict(key, cost, answer)

    async def aacquire(self, key: str, cost: int) -> Verdict:
        if (self._leases is None and self._loops is None) or self._core.has_own_plan(key):
            sent_at = self._monotonic()
            return self._learn(key, cost, await self._core.aask(key, cost), sent_at)
        try:
            coalescer = self._of_loop()
            answer = await (coalescer.ask(key, cost) if coalescer is not None else self._atrip(key, cost, cost))
        except StorageError as error:
            return await self._core.adown(key, cost, error)
        return self._verdict(key, cost, answer)

    def forget(self, key: str | None = None) -> None:
        """One key got tokens by other means than time: its refusals end. None: the rule changed, so everything ends.

        No I/O here, since a loop may be running: the rest of a lease under an old rule is dropped, and time gives it back.
        """
        if key is not None:
            held = self.held.get(key)
            if held is not None:
                held.relent()
            return
        while self.held:
            try:
                self._bury(self.held.popitem()[1])
            except KeyError:
                break  # emptied by another thread
        self._read_options()

    def samples(self) -> Iterable[tuple[str, str, int]]:
        """(result, source, how many) of the answers given here since the process began."""
        refused, paused, admitted = self._gone
        for held in list(self.held.values()):
            refused += held.refused
            if isinstance(held, LeasedKey):
                paused += held.paused
                admitted += held.admitted
        return [("refused", DENY_CACHE, refused), ("refused", LEASE, paused), ("allowed", LEASE, admitted)]

    def refused_keys(self) -> list[tuple[str, int]]:
        """(key, refusals) given here since the last call."""
        found = []
        reported = {}
        for key, held in list(self.held.items()):
            total = held.refused + (held.paused if isinstance(held, LeasedKey) else 0)
            reported[key] = total
            new = total - self._reported.get(key, 0)
            if new > 0:
                found.append((key, new))
        self._reported = reported
        return found

    def after_fork(self) -> None:
        """In a child: leases are the parent's, and whoever held a lock or asked for others does not exist here."""
        self._lock = threading.Lock()
        self._gone = [0, 0, 0]
        self._reported = {}
        self.held.clear()
        self._read_options()

    def _read_options(self) -> None:
        core, options = self._core, self._core.options
        self._leases = None
        self._threads = None
        self._loops = None
        self._denies = bool(options.deny_cache)
        if core.plan.algorithm != "gcra":
            return
        if options.lease is not None:
            self._leases = Leases(
                options.lease,
                rate=options.limit / options.period_s,
                capacity=core.plan.capacity,
                home=self.held,
                monotonic=self._monotonic,
                retry_us=self._retry_us,
                bury=self._bury,
                make=lambda allowed, remaining, retry_us, reset_us: core.verdict(allowed, remaining, retry_us, reset_us, LEASE),
            )
        if options.coalesce:
            self._threads = ThreadCoalescer(self._trip, core.give_back, self._retry_us, core.plan.capacity)
            self._loops = weakref.WeakKeyDictionary()

    def _of_loop(self) -> LoopCoalescer | None:
        loops = self._loops
        if loops is None:
            return None
        loop = asyncio.get_running_loop()
        with self._lock:
            found = loops.get(loop)
            if found is None:
                core = self._core
                found = loops[loop] = LoopCoalescer(self._atrip, core.agive_back, self._retry_us, core.plan.capacity)
            return found

    def _trip(self, key: str, want: int, least: int) -> Answer:
        """One round trip for the callers of one key. Raises StorageError."""
        leases = self._leases
        if leases is None:
            sent_at = self._monotonic()
            grant = self._core.grant(key, want, least)
            return self._settled(key, least, sent_at, grant, grant.granted)
        ask = leases.ask(key, want, least)
        # What has ended goes back first: at the limit it is what this very question needs.
        for other, tokens in leases.unspent():
            self._core.give_back(other, tokens)
        try:
            grant = self._core.grant(key, want + ask.extra, least)
        except BaseException:
            leases.failed(ask)
            raise
        return self._settled(key, least, ask.sent_at, grant, _settle(leases, ask, grant))

    async def _atrip(self, key: str, want: int, least: int) -> Answer:
        leases = self._leases
        if leases is None:
            sent_at = self._monotonic()
            grant = await self._core.agrant(key, want, least)
            return self._settled(key, least, sent_at, grant, grant.granted)
        ask = leases.ask(key, want, least)
        try:
            for other, tokens in leases.unspent():
                await self._core.agive_back(other, tokens)
            grant = await self._core.agrant(key, want + ask.extra, least)
        except BaseException:
            leases.failed(ask)
            raise
        return self._settled(key, least, ask.sent_at, grant, _settle(leases, ask, grant))

    def _settled(self, key: str, least: int, sent_at: float, grant: Grant, granted: int) -> Answer:
        """The answer for the callers; a refusal is remembered."""
        if not granted and self._denies and grant.source == "redis":
            verdict = self._core.verdict(False, grant.remaining, grant.retry_us, grant.reset_us, DENY_CACHE)
            self._deny(key, least, verdict, grant.retry_us / 1e6, sent_at)
        return Answer(granted, grant.remaining, grant.retry_us, grant.reset_us, grant.source)

    def _verdict(self, key: str, cost: int, answer: Answer) -> Verdict:
        granted, left, retry_us, reset_us, source = answer
        allowed = bool(granted)
        self._core.count("allowed" if allowed else "refused", source, key=key)
        return self._core.verdict(allowed, left, retry_us, reset_us, source, key=key, cost=cost)

    def _learn(self, key: str, cost: int, verdict: Verdict, sent_at: float) -> Verdict:
        # Memory answers as quickly as a cache would; and what memory or a policy says in an outage ends with the outage.
        if not verdict.allowed and verdict.source == "redis" and self._denies:
            self._deny(key, cost, verdict._replace(source=DENY_CACHE), verdict.retry_after_s, sent_at)
        return verdict

    def _deny(self, key: str, cost: int, verdict: Verdict, retry_after_s: float, sent_at: float) -> None:
        held = self.held.get(key)
        if held is None:
            held = Held(key, self._monotonic)
        held.deny(cost, verdict, retry_after_s, sent_at)
        for gone in keep(self.held, held):
            self._bury(gone)
            if self._leases is not None:
                self._leases.end(gone)

    def _retry_us(self, reset_us: int, cost: int) -> int:
        """Until `cost` is granted, when the debt is paid in `reset_us`: at most 1 us too late, never too early."""
        plan = self._core.plan
        return max(1, reset_us - (plan.capacity - cost) * plan.p // plan.l)

    def _bury(self, held: Held[Verdict]) -> None:
        """A key that is held no longer: its answers stay counted."""
        with self._lock:
            self._gone[0] += held.refused
            if isinstance(held, LeasedKey):
                self._gone[1] += held.paused
                self._gone[2] += held.admitted


def _settle(leases: Leases[Verdict], ask: Ask, grant: Grant) -> int:
    return leases.settle(ask, (grant.granted, grant.remaining, grant.retry_us, grant.reset_us))


# For forks alone; the tiers of a limiter that nobody uses may go.
_all: weakref.WeakSet[Tiers] = weakref.WeakSet()


def _after_fork() -> None:
    for tiers in list(_all):
        tiers.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
