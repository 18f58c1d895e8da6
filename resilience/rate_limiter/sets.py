"""Several limits on one call, all or nothing: in one script where they share a hash tag, else with refunds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from resilience import telemetry
from resilience.errors import RateLimited, StorageError
from resilience.laws.keyspace import Reply
from resilience.rate_limiter.algorithms import Arguments, Plan, Verb
from resilience.rate_limiter.core import Core, source_of
from resilience.rate_limiter.limiter import RateLimiter
from resilience.rate_limiter.options import check_question
from resilience.rate_limiter.receipts import agive_back, came_back, give_back, take_receipt
from resilience.rate_limiter.verdict import Receipt, SetVerdict, Verdict, of_reply
from resilience.storage.base import Call, Storage
from resilience.storage.keys import caller_key, check_name

MAX_RULES: Final = 16  # bounds the keys and arguments of one script (chosen; two to four are usual)
SCRIPT: Final = "limiter_set"


class _Part(NamedTuple):
    """One rule of one question. `end`: of its key, where the rules share a tag."""

    rule: str
    core: Core
    key: str
    plan: Plan
    on_trial: bool
    end: str


class _Row(NamedTuple):
    """One rule's reply. `is_taken`: what it admits has been written."""

    reply: Reply
    is_taken: bool


class RateLimitSet:
    """A call is admitted if every limiter admits it, and then each is charged; else none is.

    `limiters`: by the rule's name, all of one store and clock; each keeps its own options, policy and shadow.
    `tag`: with one, all counts lie in one slot and one script decides; they are apart from what the limiters count when asked
    alone. Without, the limiters' own counts are used, by one pipeline a node: a refusal gives back what the others granted, so
    it never admits too many and may, for the length of a round trip, refuse somebody else.

    Asks the store each time: deny caches and leases are the single limiters'.
    """

    def __init__(self, name: str, limiters: Mapping[str, RateLimiter], *, tag: str | None = None) -> None:
        self.name = check_name(name)
        self.tag = None if tag is None else check_name(tag, "tag")
        self._limiters = _checked(limiters)
        self._clock = next(iter(limiters.values())).core.clock
        if any(limiter.core.clock is not self._clock for limiter in limiters.values()):
            raise ValueError(f"the limiters of {name} go by different clocks")

    # Asking.

    def acquire(self, keys: Mapping[str, str], cost: int = 1) -> SetVerdict:
        """Takes `cost` under every rule, or nothing. `keys`: one for each rule."""
        return self._ask(keys, cost, "take")

    async def aacquire(self, keys: Mapping[str, str], cost: int = 1) -> SetVerdict:
        return await self._aask(keys, cost, "take")

    def peek(self, keys: Mapping[str, str], cost: int = 1) -> SetVerdict:
        """What acquire() would answer; writes and counts nothing."""
        return self._ask(keys, cost, "peek")

    async def apeek(self, keys: Mapping[str, str], cost: int = 1) -> SetVerdict:
        return await self._aask(keys, cost, "peek")

    def require(self, keys: Mapping[str, str], cost: int = 1) -> SetVerdict:
        """As acquire(); raises RateLimited, with the tightest rule's verdict, instead of answering no."""
        return self._required(self.acquire(keys, cost))

    async def arequire(self, keys: Mapping[str, str], cost: int = 1) -> SetVerdict:
        return self._required(await self.aacquire(keys, cost))

    # Giving back.

    def refund(self, verdict: SetVerdict) -> bool:
        """Gives back what the verdict took, once; whether anything came back."""
        return came_back(give_back(self._receipts(verdict), self._clock.stamp_us()))

    async def arefund(self, verdict: SetVerdict) -> bool:
        return came_back(await agive_back(self._receipts(verdict), self._clock.stamp_us()))

    def reset(self, keys: Mapping[str, str]) -> None:
        """Every rule's key is as if never used. Raises StorageError: a person waits for this."""
        parts = self._parts(keys)
        if self.tag is None:
            for part in parts:
                self._limiters[part.rule].reset(part.key)
            return
        for part in parts:
            self._store.local.run("limiter_reset", part.core.tag(part.key), (), self._clock.stamp_us())
        self._store.attempt(*self._script_reset(parts), self._clock.stamp_us())
        self._tell_reset(parts)

    async def areset(self, keys: Mapping[str, str]) -> None:
        parts = self._parts(keys)
        if self.tag is None:
            for part in parts:
                await self._limiters[part.rule].areset(part.key)
            return
        for part in parts:
            await self._store.local.arun("limiter_reset", part.core.tag(part.key), (), self._clock.stamp_us())
        await self._store.aattempt(*self._script_reset(parts), self._clock.stamp_us())
        self._tell_reset(parts)

    # The rest.

    @property
    def _store(self) -> Storage:
        """Looked up at the first question, as the limiters do."""
        store = next(iter(self._limiters.values())).core.store
        if any(limiter.core.store is not store for limiter in self._limiters.values()):
            raise ValueError(f"the limiters of {self.name} count in different stores")
        return store

    def _ask(self, keys: Mapping[str, str], cost: int, verb: Verb) -> SetVerdict:
        parts, verdicts = self._unasked(self._parts(keys, cost), cost, verb)
        if not parts:
            return self._answer(verdicts)
        store, failure = self._store, None
        replies = store.attempt_many(self._calls(parts, cost, verb), self._clock.stamp_us())
        for part, row in zip(parts, self._rows(parts, replies), strict=True):
            try:
                if isinstance(row, StorageError):
                    verdicts[part.rule] = part.core.down(part.key, cost, row, on_trial=part.on_trial, verb=verb)
                else:
                    verdicts[part.rule] = self._verdict(part, store, cost, row, verb)
            except StorageError as error:
                failure = error
        if failure is not None or not all(verdicts.values()):
            granted = _granted(verdicts)
            _correct(verdicts, granted, give_back(granted.values(), self._clock.stamp_us()))
        return self._answer(verdicts, failure)

    async def _aask(self, keys: Mapping[str, str], cost: int, verb: Verb) -> SetVerdict:
        parts, verdicts = self._unasked(self._parts(keys, cost), cost, verb)
        if not parts:
            return self._answer(verdicts)
        store, failure = self._store, None
        replies = await store.aattempt_many(self._calls(parts, cost, verb), self._clock.stamp_us())
        for part, row in zip(parts, self._rows(parts, replies), strict=True):
            try:
                if isinstance(row, StorageError):
                    verdicts[part.rule] = await part.core.adown(part.key, cost, row, on_trial=part.on_trial, verb=verb)
                else:
                    verdicts[part.rule] = self._verdict(part, store, cost, row, verb)
            except StorageError as error:
                failure = error
        if failure is not None or not all(verdicts.values()):
            granted = _granted(verdicts)
            _correct(verdicts, granted, await agive_back(granted.values(), self._clock.stamp_us()))
        return self._answer(verdicts, failure)

    def _parts(self, keys: Mapping[str, str], cost: int = 1) -> list[_Part]:
        given: object = keys
        if not isinstance(given, Mapping) or set(given) != set(self._limiters):
            what = ", ".join(map(repr, given)) if isinstance(given, Mapping) else type(given).__name__
            raise ValueError(f"{self.name} takes one key for each of {', '.join(self._limiters)}, not {what or 'none'}")
        parts = []
        for rule, limiter in self._limiters.items():
            core, key = limiter.core, keys[rule]
            check_question(key, cost)
            plan = core.plan_of(key)
            parts.append(_Part(rule, core, key, plan, core.is_on_trial(key), f"{rule}:{caller_key(key)}:{plan.end}"))
        return parts

    def _unasked(self, parts: list[_Part], cost: int, verb: Verb) -> tuple[list[_Part], dict[str, Verdict]]:
        """The rules to ask the store for, and the verdicts of those whose capacity is below the cost. Such a one that is not
        merely on trial refuses for all: then there is nothing to ask."""
        over = [part for part in parts if cost > part.plan.capacity]
        verdicts = {part.rule: part.core.told(part.core.never(part.plan), part.key, part.on_trial, verb) for part in over}
        return ([part for part in parts if part not in over] if all(verdicts.values()) else []), verdicts

    def _calls(self, parts: list[_Part], cost: int, verb: Verb) -> list[Call]:
        if self.tag is None:
            return [(part.plan.algorithm, part.core.tag(part.key), part.plan.arguments(verb, cost)) for part in parts]
        rules = [self._rule(part, part.plan.arguments(verb, cost)) for part in parts]
        return [(SCRIPT, self._tag, (verb, len(parts), *(argument for rule in rules for argument in rule)))]

    @property
    def _tag(self) -> str:
        return f"{self.name}:{self.tag}"

    def _rule(self, part: _Part, arguments: Arguments) -> Arguments:
        """One rule as the script takes it, which adds the verb itself."""
        own = arguments[1:]
        return (part.end, part.plan.algorithm, 0 if part.on_trial else 1, len(own), *own)

    def _rows(self, parts: list[_Part], replies: Sequence[Reply | StorageError]) -> list[_Row | StorageError]:
        """Each rule's own reply."""
        if self.tag is None:
            return [reply if isinstance(reply, StorageError) else _Row(reply, True) for reply in replies]
        reply = replies[0]
        if isinstance(reply, StorageError):
            return [reply] * len(parts)
        rows: list[_Row | StorageError] = []
        at = 1
        for _ in parts:
            length = int(reply[at])
            rows.append(_Row(reply[at + 1 : at + 1 + length], bool(reply[0])))
            at += 1 + length
        return rows

    def _verdict(self, part: _Part, store: Storage, cost: int, row: _Row, verb: Verb) -> Verdict:
        made = of_reply(row.reply, part.plan.limit, source_of(store))
        if made.allowed and row.is_taken and verb == "take":
            give = part.plan.give(cost, row.reply[4:])
            if self.tag is None:
                made.receipt = Receipt(self, part.key, store, part.plan.algorithm, part.core.tag(part.key), give)
            else:
                # As a binding rule, so that the script's answer says whether anything came back.
                args = ("give", 1, *self._rule(part._replace(on_trial=False), give))
                made.receipt = Receipt(self, part.key, store, SCRIPT, self._tag, args)
        return part.core.told(made, part.key, part.on_trial, verb)

    def _answer(self, verdicts: dict[str, Verdict], failure: StorageError | None = None) -> SetVerdict:
        if failure is not None:
            raise failure
        ordered = {rule: verdicts[rule] for rule in self._limiters if rule in verdicts}
        refused = {rule: verdict for rule, verdict in ordered.items() if not verdict.allowed}
        # Who is refused wants to know the longest wait; who is admitted, what is left where least is.
        if refused:
            tightest = max(refused, key=lambda rule: refused[rule].retry_after_s)
        else:
            tightest = min(ordered, key=lambda rule: (ordered[rule].is_shadow, ordered[rule].remaining))
        return SetVerdict(not refused, ordered, tightest)

    def _required(self, verdict: SetVerdict) -> SetVerdict:
        if not verdict.allowed:
            raise RateLimited(f"{self.name}.{verdict.tightest}", verdict.verdicts[verdict.tightest])
        return verdict

    def _receipts(self, verdict: object) -> list[Receipt]:
        if not isinstance(verdict, SetVerdict):
            raise ValueError(f"refund takes a verdict of this set, not {type(verdict).__name__}")
        owners = {id(self), *(id(limiter.core) for limiter in self._limiters.values())}
        for part in verdict.verdicts.values():
            if part.receipt is not None and id(part.receipt.owner) not in owners:
                raise ValueError(f"this verdict is not of {self.name}: refund it where it was granted")
        return [receipt for part in verdict.verdicts.values() if (receipt := take_receipt(part)) is not None]

    def _script_reset(self, parts: list[_Part]) -> Call:
        rules = [self._rule(part, part.plan.arguments("peek", 1)) for part in parts]
        return (SCRIPT, self._tag, ("reset", len(parts), *(argument for rule in rules for argument in rule)))

    def _tell_reset(self, parts: list[_Part]) -> None:
        for part in parts:
            telemetry.emit("rate_limiter.reset", rule=f"{self.name}.{part.rule}", key=part.key)


def _checked(limiters: object) -> dict[str, RateLimiter]:
    if not isinstance(limiters, Mapping) or not 1 <= len(limiters) <= MAX_RULES:
        raise ValueError(f"limiters takes 1 to {MAX_RULES} limiters by the names of their rules")
    for rule, limiter in limiters.items():
        check_name(rule, "rule")
        if not isinstance(limiter, RateLimiter):
            raise ValueError(f"rule {rule} is {limiter!r}; it takes a RateLimiter")
    return dict(limiters)


def _granted(verdicts: Mapping[str, Verdict]) -> dict[str, Receipt]:
    """What must be given back, by rule."""
    taken = {rule: take_receipt(verdict) for rule, verdict in verdicts.items()}
    return {rule: receipt for rule, receipt in taken.items() if receipt is not None}


def _correct(verdicts: dict[str, Verdict], granted: Mapping[str, Receipt], replies: Sequence[Reply | None]) -> None:
    """What was given back is left again, and the verdict says so."""
    for rule, reply in zip(granted, replies, strict=True):
        if reply is not None:
            was = verdicts[rule]
            verdicts[rule] = was._replace(remaining=int(reply[1]), reset_after_s=int(reply[3]) / 1_000_000)
