"""One round trip: asks the store, says what a lost store means, counts what was decided."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from resilience import telemetry
from resilience.clock import SYSTEM, Clock
from resilience.errors import StorageError, StorageProtocolError
from resilience.laws.keyspace import Reply
from resilience.rate_limiter.algorithms import Plan, Verb
from resilience.rate_limiter.options import Options, changed, shared
from resilience.rate_limiter.told import Told
from resilience.rate_limiter.verdict import NEVER, Receipt, Verdict, of_reply, shadowed, verdict
from resilience.storage import base
from resilience.storage.base import Storage
from resilience.storage.keys import caller_key

DECISIONS: Final = "resilience_rate_limiter_decisions_total"
# While the store is away nobody knows when it comes back. Its probe asks every second, so earlier is useless.
UNKNOWN_US: Final = 1_000_000


class Grant(NamedTuple):
    """A part of what was asked of gcra. `retry_us`: until the least would be granted."""

    granted: int
    remaining: int
    retry_us: int
    reset_us: int
    source: str


class Override(NamedTuple):
    """A key's own figures."""

    until_us: int
    changes: Mapping[str, int]
    plan: Plan


class Core:
    """What a limiter and its tiers share: options, plan, store, counts. A change of options swaps one reference."""

    def __init__(self, name: str, options: Options, store: Storage | None, clock: Clock | None) -> None:
        self.name = name
        self.plan = Plan(options)
        self.clock = clock or SYSTEM
        self.counts: dict[tuple[str, str], int] = {}
        self._store = store
        self._overrides: dict[str, Override] = {}
        self._local_plan: tuple[Plan, int, Plan] | None = None
        self.refusals = Told(name, self.clock)
        self._elsewhere: Callable[[], Iterable[tuple[str, str, int]]] = tuple

    @property
    def options(self) -> Options:
        return self.plan.options

    @property
    def store(self) -> Storage:
        if self._store is None:
            self._store = base.default_store()
        return self._store

    def tag(self, key: str) -> str:
        return f"{self.name}:{caller_key(key)}"

    # Counting.

    def attach(
        self, samples: Callable[[], Iterable[tuple[str, str, int]]], refused: Callable[[], Iterable[tuple[str, int]]]
    ) -> None:
        """Tiers that answer by themselves: their (result, source, number), and by key what they refused since last asked."""
        self._elsewhere = samples
        self.refusals.elsewhere = refused

    def samples(self) -> Iterable[telemetry.Sample]:
        """The decisions so far, for telemetry.collect()."""
        decided = [(result, source, number) for (result, source), number in list(self.counts.items())]
        decided.extend(self._elsewhere())
        return [(DECISIONS, (self.name, result, source), number) for result, source, number in decided if number]

    def retire(self, remove: Callable[[], None]) -> None:
        """The limiter is gone; what it decided stays counted."""
        remove()
        for name, labels, number in self.samples():
            telemetry.count(name, *labels, by=number)

    def count(self, result: str, source: str, by: int = 1, *, key: str | None = None) -> None:
        """One decision. `result`: allowed, refused or shadow_refused."""
        label = (result, source)
        # Two threads may lose one of two counts between reading and storing; a lock here would cost every decision.
        self.counts[label] = self.counts.get(label, 0) + by
        if result != "allowed":
            self.refusals.refused(key, by)

    # Plans.

    def plan_of(self, key: str) -> Plan:
        """The rule that holds for this key: its own until that ends, else everybody's."""
        own = self._overrides.get(key) if self._overrides else None
        return own.plan if own is not None and self.clock.now_us() < own.until_us else self.plan

    def has_own_plan(self, key: str) -> bool:
        return key in self._overrides and self.plan_of(key) is not self.plan

    def apply(self, options: Options) -> None:
        """The new rule holds from the next call on; what callers have used stays, in the store."""
        plan = Plan(options)
        overrides = {}
        for key, own in self._overrides.items():
            try:
                overrides[key] = own._replace(plan=Plan(changed(options, own.changes)))
            except ValueError as error:
                # A limit of its own that the new rule cannot have, such as a burst of a window: it ends, the rule applies.
                telemetry.internal_error("rate_limiter", "override", error)
        self.plan, self._overrides = plan, overrides

    def override(self, key: str, changes: Mapping[str, int] | None, until_us: int) -> None:
        """Gives a key figures of its own, or takes them away again (None). Those that have ended go."""
        now = self.clock.now_us()
        # A copy, so that a reader on another thread never sees a dictionary change its size.
        overrides = {other: own for other, own in self._overrides.items() if other != key and now < own.until_us}
        if changes is not None:
            overrides[key] = Override(until_us, changes, Plan(changed(self.options, changes)))
        self._overrides = overrides

    def is_on_trial(self, key: str) -> bool:
        """Whether the rule only watches this key. The same keys in every process, and more of them as the percentage grows."""
        options = self.plan.options
        if options.shadow:
            return True
        if options.enforced_percent >= 100:
            return False
        return zlib.crc32(f"{self.name}:{key}".encode("utf-8", "surrogatepass")) % 100 >= options.enforced_percent

    # Asking.

    def ask(self, key: str, cost: int, *, on_trial: bool = False, verb: Verb = "take") -> Verdict:
        """Takes `cost` or nothing, or shows what taking would answer; one round trip."""
        plan, store, tag = self.plan_of(key), self.store, self.tag(key)
        try:
            reply = store.attempt(plan.algorithm, tag, plan.arguments(verb, cost), self.clock.stamp_us())
        except StorageError as error:
            return self.down(key, cost, error, on_trial=on_trial, verb=verb)
        return self._answer(plan, store, key, reply, tag=tag, cost=cost, on_trial=on_trial, verb=verb, source=source_of(store))

    async def aask(self, key: str, cost: int, *, on_trial: bool = False, verb: Verb = "take") -> Verdict:
        plan, store, tag = self.plan_of(key), self.store, self.tag(key)
        try:
            reply = await store.aattempt(plan.algorithm, tag, plan.arguments(verb, cost), self.clock.stamp_us())
        except StorageError as error:
            return await self.adown(key, cost, error, on_trial=on_trial, verb=verb)
        return self._answer(plan, store, key, reply, tag=tag, cost=cost, on_trial=on_trial, verb=verb, source=source_of(store))

    def grant(self, key: str, want: int, least: int) -> Grant:
        """For gcra: between `least` and `want` tokens, or none. Raises StorageError."""
        store = self.store
        reply = store.attempt("gcra", self.tag(key), self.plan_of(key).grant(want, least), self.clock.stamp_us())
        granted, remaining, retry_us, reset_us = map(int, reply)
        return Grant(granted, remaining, retry_us, reset_us, source_of(store))

    async def agrant(self, key: str, want: int, least: int) -> Grant:
        store = self.store
        reply = await store.aattempt("gcra", self.tag(key), self.plan_of(key).grant(want, least), self.clock.stamp_us())
        granted, remaining, retry_us, reset_us = map(int, reply)
        return Grant(granted, remaining, retry_us, reset_us, source_of(store))

    def give_back(self, key: str, tokens: int) -> None:
        """Tokens of gcra that nobody used. Lost with the store: time gives them back too."""
        try:
            self.store.attempt("gcra", self.tag(key), self.plan_of(key).give(tokens, []), self.clock.stamp_us())
        except StorageError as error:
            self.note(error)

    async def agive_back(self, key: str, tokens: int) -> None:
        try:
            await self.store.aattempt("gcra", self.tag(key), self.plan_of(key).give(tokens, []), self.clock.stamp_us())
        except StorageError as error:
            self.note(error)

    # Answering.

    def verdict(
        self,
        allowed: bool,
        remaining: int,
        retry_us: float,
        reset_us: int,
        source: str,
        *,
        key: str | None = None,
        cost: int | None = None,
    ) -> Verdict:
        """Not counted. With `key` and `cost` (of gcra) a granted one can be refunded."""
        made = verdict(allowed, remaining, retry_us, reset_us, limit=self.plan.limit, source=source)
        if allowed and key is not None and cost is not None:
            plan = self.plan_of(key)
            made.receipt = Receipt(self, key, self.store, plan.algorithm, self.tag(key), plan.give(cost, []))
        return made

    def never(self, plan: Plan, source: str = "policy") -> Verdict:
        """For a cost above the capacity: no time will do, and no store need be asked."""
        return verdict(False, 0, NEVER, 0, limit=plan.limit, source=source)

    def down(self, key: str, cost: int, error: StorageError, *, on_trial: bool = False, verb: Verb = "take") -> Verdict:
        """What the policy says while the store cannot. Raises `error` under the policy `raise`."""
        plan = self._share_of(self.plan_of(key))
        made = self._unasked(plan, cost, error)
        if made is not None:
            return self.told(made, key, on_trial, verb)
        store, tag = self.store.local, self.tag(key)
        try:
            reply = store.run(plan.algorithm, tag, plan.arguments(verb, cost), self.clock.stamp_us())
        except StorageError as second:
            return self.told(self._nobody(plan, second), key, on_trial, verb)
        return self._answer(plan, store, key, reply, tag=tag, cost=cost, on_trial=on_trial, verb=verb, source="local")

    async def adown(self, key: str, cost: int, error: StorageError, *, on_trial: bool = False, verb: Verb = "take") -> Verdict:
        plan = self._share_of(self.plan_of(key))
        made = self._unasked(plan, cost, error)
        if made is not None:
            return self.told(made, key, on_trial, verb)
        store, tag = self.store.local, self.tag(key)
        try:
            reply = await store.arun(plan.algorithm, tag, plan.arguments(verb, cost), self.clock.stamp_us())
        except StorageError as second:
            return self.told(self._nobody(plan, second), key, on_trial, verb)
        return self._answer(plan, store, key, reply, tag=tag, cost=cost, on_trial=on_trial, verb=verb, source="local")

    def note(self, error: StorageError) -> None:
        if isinstance(error, StorageProtocolError):
            # Our own bug, which a working policy would hide: it is told aloud.
            telemetry.internal_error("rate_limiter", error.operation, error)

    def _unasked(self, share: Plan, cost: int, error: StorageError) -> Verdict | None:
        """The verdict that needs no store; None: this process's share of the limit decides, in memory."""
        self.note(error)
        plan, policy = self.plan, self.options.on_store_down
        if policy == "raise":
            raise error
        if policy == "allow":
            return verdict(True, plan.capacity, 0, 0, limit=plan.limit, source="policy")
        if policy == "deny":
            return verdict(False, 0, UNKNOWN_US, UNKNOWN_US, limit=plan.limit, source="policy")
        return self.never(share, "local") if cost > share.capacity else None

    def _nobody(self, plan: Plan, error: StorageError) -> Verdict:
        """Memory cannot fail but by a bug of ours. In doubt closed."""
        self.note(error)
        return verdict(False, 0, UNKNOWN_US, UNKNOWN_US, limit=plan.limit, source="policy")

    def _share_of(self, plan: Plan) -> Plan:
        processes = base.live_processes()
        held = self._local_plan
        if held is None or held[0] is not plan or held[1] != processes:
            options = plan.options
            burst = None if options.burst is None else base.local_share(options.burst)
            held = (plan, processes, Plan(shared(options, base.local_share(options.limit), burst)))
            self._local_plan = held
        return held[2]

    def _answer(
        self,
        plan: Plan,
        store: Storage,
        key: str,
        reply: Reply,
        *,
        tag: str,
        cost: int,
        on_trial: bool,
        verb: Verb,
        source: str,
    ) -> Verdict:
        made = of_reply(reply, plan.limit, source)
        if made.allowed and verb == "take":
            made.receipt = Receipt(self, key, store, plan.algorithm, tag, plan.give(cost, reply[4:]))
        return self.told(made, key, on_trial, verb)

    def told(self, made: Verdict, key: str, on_trial: bool, verb: Verb) -> Verdict:
        """Counted, and told to whoever watches; a refusal on trial becomes a permission."""
        if verb == "take":
            result = "allowed" if made.allowed else "shadow_refused" if on_trial else "refused"
            self.count(result, made.source, key=key)
        return shadowed(made) if on_trial and not made.allowed else made


def source_of(store: Storage) -> str:
    return "memory" if store.name == "memory" else "redis"
