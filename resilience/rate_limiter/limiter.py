"""The rate limiter: so many calls in so much time for each key, exact over all processes that share a store."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from resilience import telemetry
from resilience.clock import Clock
from resilience.errors import RateLimited
from resilience.rate_limiter.algorithms import Verb
from resilience.rate_limiter.core import Core, source_of
from resilience.rate_limiter.leases import Lease
from resilience.rate_limiter.local import Held
from resilience.rate_limiter.options import OnStoreDown, changed, check_question, checked, refuse_key
from resilience.rate_limiter.receipts import agive_back, came_back, give_back, take_receipt
from resilience.rate_limiter.tiers import Tiers
from resilience.rate_limiter.verdict import Receipt, Verdict
from resilience.storage.base import Storage
from resilience.storage.keys import check_name


class RateLimiter:
    """Admits `limit` calls a key in `period_s` seconds, by one of five algorithms; a refusal consumes nothing.

    `algorithm`: gcra, token_bucket, sliding_window, sliding_log, fixed_window; which one: docs/subsystems/rate_limiter.md.
    `burst`: the most at once after a pause (gcra, token_bucket; default: limit). `aligned`: windows begin at UTC multiples of the
    period (fixed_window). `on_store_down`: local (this process's share of the limit, in memory), allow, deny or raise.
    `deny_cache`, `coalesce`, `lease`: what is answered without a round trip. `shadow`: counts and reports, refuses nothing;
    `enforced_percent`: refuses only for so many in a hundred keys. `store`: default the process's. `clock`: for tests.

    Raises ValueError for an option out of its bounds, NotImplementedError for an unknown algorithm.
    """

    def __init__(
        self,
        name: str,
        algorithm: str = "gcra",
        limit: int | None = None,
        period_s: float | None = None,
        burst: int | None = None,
        *,
        aligned: bool = False,
        on_store_down: OnStoreDown = "local",
        deny_cache: bool = True,
        coalesce: bool = False,
        lease: Lease | None = None,
        shadow: bool = False,
        enforced_percent: int = 100,
        store: Storage | None = None,
        clock: Clock | None = None,
    ) -> None:
        options = checked(
            {
                "algorithm": algorithm,
                "limit": limit,
                "period_s": period_s,
                "burst": burst,
                "aligned": aligned,
                "on_store_down": on_store_down,
                "deny_cache": deny_cache,
                "coalesce": coalesce,
                "lease": lease,
                "shadow": shadow,
                "enforced_percent": enforced_percent,
            }
        )
        self.name = check_name(name)
        self.core = Core(self.name, options, store, clock)
        self._lock = threading.Lock()
        self._tiers: Tiers | None = None
        # What this process answers by itself; the tiers' own dictionary once there are tiers.
        self._held: Mapping[str, Held[Verdict]] = {}
        self._is_ready = False
        # Its decisions show in telemetry.collect() while it lives, and stay counted after it.
        retire = weakref.finalize(self, self.core.retire, telemetry.add_source(self.core.samples))
        retire.atexit = False

    # Asking.

    def acquire(self, key: str, cost: int = 1) -> Verdict:
        """Takes `cost` of the key's allowance, or nothing."""
        # Written out here and in aacquire: one more call would double what a local answer takes.
        try:
            held = self._held.get(key)
        except TypeError:
            refuse_key(key)
        if held is not None and type(cost) is int:
            ready = held.take(cost)
            if ready is not None:
                return ready
        answer = self._unasked(key, cost)
        if answer is not None:
            return answer
        core, tiers = self.core, self._tiers
        if core.is_on_trial(key):
            return core.ask(key, cost, on_trial=True)
        if tiers is None or core.has_own_plan(key):
            return core.ask(key, cost)
        return tiers.acquire(key, cost)

    async def aacquire(self, key: str, cost: int = 1) -> Verdict:
        try:
            held = self._held.get(key)
        except TypeError:
            refuse_key(key)
        if held is not None and type(cost) is int:
            ready = held.take(cost)
            if ready is not None:
                return ready
        answer = self._unasked(key, cost)
        if answer is not None:
            return answer
        core, tiers = self.core, self._tiers
        if core.is_on_trial(key):
            return await core.aask(key, cost, on_trial=True)
        if tiers is None or core.has_own_plan(key):
            return await core.aask(key, cost)
        return await tiers.aacquire(key, cost)

    def require(self, key: str, cost: int = 1) -> Verdict:
        """As acquire(); raises RateLimited instead of answering no."""
        verdict = self.acquire(key, cost)
        if not verdict.allowed:
            raise RateLimited(self.name, verdict)
        return verdict

    async def arequire(self, key: str, cost: int = 1) -> Verdict:
        verdict = await self.aacquire(key, cost)
        if not verdict.allowed:
            raise RateLimited(self.name, verdict)
        return verdict

    def peek(self, key: str, cost: int = 1) -> Verdict:
        """What acquire() would answer; writes and counts nothing, and asks past the tiers."""
        answer = self._unasked(key, cost, "peek")
        if answer is not None:
            return answer
        return self.core.ask(key, cost, on_trial=self.core.is_on_trial(key), verb="peek")

    async def apeek(self, key: str, cost: int = 1) -> Verdict:
        answer = self._unasked(key, cost, "peek")
        if answer is not None:
            return answer
        return await self.core.aask(key, cost, on_trial=self.core.is_on_trial(key), verb="peek")

    # Giving back.

    def refund(self, verdict: Verdict) -> bool:
        """Gives back what a verdict took, once, never above full; whether anything came back.

        Nothing does for a refused one, one from a lease, one refunded before, one whose window is over, and while the store it
        came from is down.
        """
        receipt = self._receipt_of(verdict)
        if receipt is None:
            return False
        replies = give_back([receipt], self.core.clock.stamp_us())
        self._forget(receipt.key)
        return came_back(replies)

    async def arefund(self, verdict: Verdict) -> bool:
        receipt = self._receipt_of(verdict)
        if receipt is None:
            return False
        replies = await agive_back([receipt], self.core.clock.stamp_us())
        self._forget(receipt.key)
        return came_back(replies)

    def reset(self, key: str) -> None:
        """The key is as if never used, by whatever algorithm it was counted. Raises StorageError: a person waits for this."""
        core = self.core
        check_question(key, 1)
        self._forget(key)
        core.store.local.run("limiter_reset", core.tag(key), (), core.clock.stamp_us())
        core.store.attempt("limiter_reset", core.tag(key), (), core.clock.stamp_us())
        self._forget(key)
        telemetry.emit("rate_limiter.reset", rule=self.name, key=key)

    async def areset(self, key: str) -> None:
        core = self.core
        check_question(key, 1)
        self._forget(key)
        await core.store.local.arun("limiter_reset", core.tag(key), (), core.clock.stamp_us())
        await core.store.aattempt("limiter_reset", core.tag(key), (), core.clock.stamp_us())
        self._forget(key)
        telemetry.emit("rate_limiter.reset", rule=self.name, key=key)

    # Options.

    @property
    def options(self) -> Mapping[str, Any]:
        return MappingProxyType(self.core.options.mapping())

    @property
    def period_s(self) -> float:
        return self.core.options.period_s

    def is_on_trial(self, key: str) -> bool:
        """Whether the rule only watches this key: it refuses nothing, and no header may speak of it."""
        return self.core.is_on_trial(key)

    def configure(self, **changes: Any) -> None:
        """Changes options from the next call on; what each key has used stays. An error changes nothing."""
        with self._lock:
            self.core.apply(changed(self.core.options, changes))
            tiers, self._is_ready = self._tiers, False
        if tiers is not None:
            tiers.forget()

    def override(self, key: str, limit: int | None, until: float | None = None) -> None:
        """Gives one key a limit of its own until a time (seconds since 1970), in this process; `limit` None ends it."""
        check_question(key, 1)
        if limit is not None and not (isinstance(until, int | float) and not isinstance(until, bool) and 0 < until < 1e11):
            raise ValueError(f"until is {until!r}; an override ends at a time, in seconds since 1970")
        until_us = 0 if limit is None or until is None else round(until * 1_000_000)
        with self._lock:
            changes = None if limit is None else self._own(limit)
            self.core.override(key, changes, until_us)
        self._forget(key)
        telemetry.emit("rate_limiter.override", rule=self.name, key=key, limit=limit, until=until)

    def _own(self, limit: int) -> dict[str, int]:
        """A burst of the rule's would cap a higher limit, or let a lower one through at once."""
        return {"limit": limit} if self.core.options.burst is None else {"limit": limit, "burst": limit}

    def __repr__(self) -> str:
        options = self.core.options
        return f"<RateLimiter {self.name}: {options.limit} in {options.period_s:g} s, {options.algorithm}>"

    # The rest.

    def _unasked(self, key: str, cost: int, verb: Verb = "take") -> Verdict | None:
        """The answer that needs no store: to a cost above the capacity. Prepares the tiers when first asked."""
        check_question(key, cost)
        if not self._is_ready:
            self._prepare()
        core = self.core
        plan = core.plan_of(key)
        return None if cost <= plan.capacity else core.told(core.never(plan), key, core.is_on_trial(key), verb)

    def _prepare(self) -> None:
        """Tiers where they can spare a round trip: not in front of memory, which answers as fast as they would."""
        with self._lock:
            core, options = self.core, self.core.options
            is_wanted = options.lease or options.coalesce or (options.deny_cache and source_of(core.store) != "memory")
            if self._tiers is None and is_wanted:
                self._tiers = Tiers(core)
                core.attach(self._tiers.samples, self._tiers.refused_keys)
                self._held = self._tiers.held
            self._is_ready = True

    def _forget(self, key: str) -> None:
        if self._tiers is not None:
            self._tiers.forget(key)

    def _receipt_of(self, verdict: object) -> Receipt | None:
        if not isinstance(verdict, Verdict):
            raise ValueError(f"refund takes a verdict of this limiter, not {type(verdict).__name__}")
        if verdict.receipt is not None and verdict.receipt.owner is not self.core:
            raise ValueError(f"this verdict is not of limiter {self.name}: refund it where it was granted")
        return take_receipt(verdict)


def create_limiter(algorithm: str, *, name: str = "limiter", **options: Any) -> RateLimiter:
    """The limiter of this algorithm. Raises NotImplementedError, naming those there are, for any other.

    Limiters of one name, algorithm and store count together: give each purpose a name.
    """
    return RateLimiter(name, algorithm, **options)
