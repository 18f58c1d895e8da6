"""Several limits on one call: all or nothing, in one script and with refunds alike."""

from __future__ import annotations

import asyncio
import itertools
import math
import random

import pytest

from resilience import MemoryStore, RateLimited, RateLimiter, RateLimitSet, StorageUnavailable
from resilience.clock import FakeClock
from resilience.operations import LIMITERS
from tests.resilience.rate_limiter.failing import FailingStore
from tests.resilience.rate_limiter.hammer import hammer

KEYS = {"user": "alice", "ip": "192.0.2.1"}
each_way = pytest.mark.parametrize("tag", [None, "all"])


def a_set(store, clock=None, tag=None, *, algorithm="gcra", user=None, ip=None):
    options = {"store": store, "clock": clock, "deny_cache": False}
    user = RateLimiter("per-user", **{"algorithm": algorithm, "limit": 3, "period_s": 60, **options, **(user or {})})
    ip = RateLimiter("per-ip", **{"algorithm": "fixed_window", "limit": 5, "period_s": 10, **options, **(ip or {})})
    return RateLimitSet("login", {"user": user, "ip": ip}, tag=tag)


@each_way
@pytest.mark.parametrize("algorithm", sorted(LIMITERS))
def test_a_call_is_charged_under_every_rule_or_under_none(store, clock, tag, algorithm):
    rules = a_set(store, clock, tag, algorithm=algorithm)
    for left in (2, 1, 0):
        verdict = rules.acquire(KEYS)
        assert verdict.allowed
        assert {rule: one.remaining for rule, one in verdict.verdicts.items()} == {"user": left, "ip": left + 2}
        assert verdict.tightest == "user"
    before = rules.peek(KEYS)
    refused = rules.acquire(KEYS)
    assert not refused
    assert refused.tightest == "user"
    assert {rule: (one.allowed, one.remaining) for rule, one in refused.verdicts.items()} == {"user": (False, 0), "ip": (True, 2)}
    assert rules.peek(KEYS) == before
    # Another user of that address has two left, not one.
    assert rules.acquire({**KEYS, "user": "bob"}, 2)
    assert not rules.acquire({**KEYS, "user": "charlie"})


@each_way
def test_a_refusal_says_when_all_rules_admit(store, clock, tag):
    rules = a_set(store, clock, tag, algorithm="sliding_log")
    rules.acquire(KEYS, 3)
    rules.acquire({**KEYS, "user": "bob"}, 2)
    refused = rules.acquire(KEYS)
    waits = {rule: one.retry_after_s for rule, one in refused.verdicts.items()}
    assert waits == {"user": 60.0, "ip": 10.0}
    assert refused.tightest == "user"
    clock.advance_us(59_999_999)
    assert not rules.acquire(KEYS)
    clock.advance_us(1)
    assert rules.acquire(KEYS)


def test_both_ways_give_the_same_verdicts(store):
    rules = []
    for tag in (None, "all"):
        clock = FakeClock()
        rules.append((clock, a_set(store, clock, tag, algorithm="token_bucket")))
    chance = random.Random(7)
    for _ in range(150):
        keys = {"user": chance.choice(["alice", "bob"]), "ip": chance.choice(["192.0.2.1", "192.0.2.2"])}
        cost, step, ask = chance.choice([1, 1, 2, 3]), chance.choice([0, 1, 10**6, 7 * 10**6]), chance.choice(["acquire", "peek"])
        told = []
        for clock, one in rules:
            clock.advance_us(step)
            told.append(getattr(one, ask)(keys, cost))
        assert told[0] == told[1]


@each_way
def test_a_refund_gives_back_under_every_rule_once(store, clock, tag):
    rules = a_set(store, clock, tag, algorithm="sliding_log")
    rules.acquire(KEYS)
    before = rules.peek(KEYS)
    verdict = rules.acquire(KEYS, 2)
    assert rules.refund(verdict) is True
    assert rules.peek(KEYS) == before
    assert rules.refund(verdict) is False
    assert rules.refund(rules.peek(KEYS)) is False
    assert rules.peek(KEYS) == before


@each_way
def test_a_verdict_of_another_set_is_refused(store, clock, tag):
    rules, other = a_set(store, clock, tag), a_set(store, clock, tag)
    verdict = rules.acquire(KEYS)
    with pytest.raises(ValueError, match="this verdict is not of login"):
        other.refund(verdict)
    with pytest.raises(ValueError, match="refund takes a verdict of this set"):
        rules.refund(verdict.verdicts["user"])
    assert rules.refund(verdict) is True


@each_way
def test_a_reset_makes_every_rule_as_if_never_used(store, clock, tag):
    rules = a_set(store, clock, tag)
    fresh = rules.peek(KEYS)
    rules.acquire(KEYS, 3)
    rules.reset(KEYS)
    assert rules.peek(KEYS) == fresh


@each_way
def test_require_raises_with_the_tightest_rule(store, clock, tag):
    rules = a_set(store, clock, tag)
    assert rules.require(KEYS, 3).allowed
    with pytest.raises(RateLimited) as raised:
        rules.require(KEYS)
    assert raised.value.name == "login.user"
    assert raised.value.verdict == rules.peek(KEYS).verdicts["user"]


@each_way
def test_the_async_twins_give_the_same_answers(store, clock, tag):
    async def walk():
        rules = a_set(store, clock, tag)
        told = [await rules.apeek(KEYS), await rules.aacquire(KEYS, 3), await rules.aacquire(KEYS)]
        with pytest.raises(RateLimited):
            await rules.arequire(KEYS)
        told += [await rules.arefund(told[1]), await rules.arefund(told[1]), await rules.arequire(KEYS)]
        await rules.areset(KEYS)
        told.append(await rules.apeek(KEYS))
        await store.aclose()
        return told

    rules = a_set(store, clock, tag)
    due = [rules.peek(KEYS), rules.acquire(KEYS, 3), rules.acquire(KEYS)]
    due += [rules.refund(due[1]), rules.refund(due[1]), rules.require(KEYS)]
    rules.reset(KEYS)
    due.append(rules.peek(KEYS))
    assert asyncio.run(walk()) == due


@each_way
def test_a_cost_above_a_rule_s_capacity_is_refused_without_a_question(tag):
    store = FailingStore()
    verdict = a_set(store, tag=tag).acquire(KEYS, 4)
    assert (verdict.allowed, verdict.tightest, list(verdict.verdicts)) == (False, "user", ["user"])
    assert verdict.verdicts["user"].retry_after_s == math.inf
    assert store.asked == []


@each_way
def test_a_decision_is_one_pipeline_and_with_a_tag_one_script(tag):
    store = FailingStore()
    a_set(store, tag=tag).acquire(KEYS)
    assert store.asked == (["limiter_set"] if tag else ["gcra", "fixed_window"])


@each_way
def test_a_rule_on_trial_refuses_for_nobody_and_the_others_still_do(store, clock, tag):
    rules = a_set(store, clock, tag, user={"shadow": True})
    for _ in range(3):
        assert rules.acquire(KEYS)
    shadowed = rules.acquire(KEYS)
    assert shadowed.allowed
    assert shadowed.verdicts["user"].is_shadow
    assert shadowed.tightest == "ip"
    assert rules.acquire(KEYS, 1).verdicts["ip"].remaining == 0
    assert rules.acquire({**KEYS, "ip": "192.0.2.9"}, 4).verdicts["user"].retry_after_s == math.inf
    refused = rules.acquire(KEYS)
    assert (refused.allowed, refused.tightest) == (False, "ip")


@each_way
def test_with_the_store_down_each_rule_s_policy_decides_and_all_or_nothing_holds(tag):
    store = FailingStore(StorageUnavailable("take", "refused"))
    rules = a_set(store, FakeClock(), tag, user={"on_store_down": "local"}, ip={"on_store_down": "allow"})
    told = [rules.acquire(KEYS) for _ in range(4)]
    assert [verdict.allowed for verdict in told] == [True] * 3 + [False]
    assert {rule: one.source for rule, one in told[0].verdicts.items()} == {"user": "local", "ip": "policy"}
    assert rules.refund(told[0]) is True

    rules = a_set(store, FakeClock(), tag, user={"on_store_down": "local"}, ip={"on_store_down": "deny"})
    store.local.close()
    for _ in range(5):
        assert not rules.acquire(KEYS)
    # What the share in memory granted came back each time.
    assert rules.peek(KEYS).verdicts["user"].remaining == 3

    rules = a_set(store, FakeClock(), tag, user={"on_store_down": "local"}, ip={"on_store_down": "raise"})
    for _ in range(5):
        with pytest.raises(StorageUnavailable):
            rules.acquire(KEYS)
    with pytest.raises(StorageUnavailable):
        asyncio.run(rules.aacquire(KEYS))
    store.error = None
    assert a_set(store, FakeClock(), tag).acquire(KEYS).verdicts["user"].remaining == 2


class OneOfTwoDown(FailingStore):
    """A cluster whose node of the second rule is gone."""

    def attempt_many(self, calls, now=0):
        replies = [super(OneOfTwoDown, self).attempt_many([call], now)[0] for call in calls]
        return [replies[0], *[StorageUnavailable(call[0], "its node is gone") for call in calls[1:]]]


def test_where_one_node_is_down_the_other_s_grant_comes_back():
    store = OneOfTwoDown()
    rules = a_set(store, FakeClock(), ip={"on_store_down": "deny"})
    for _ in range(5):
        assert not rules.acquire(KEYS)
    store.attempt_many = lambda calls, now=0: FailingStore.attempt_many(store, calls, now)  # type: ignore[method-assign]
    assert rules.peek(KEYS).verdicts["user"].remaining == 3


@each_way
def test_a_set_never_admits_too_many_under_threads(store, tag):
    # Both rules are of a day: whatever one thread is refused, another may not get twice.
    rules = a_set(store, None, tag, user={"limit": 40, "period_s": 86_400}, ip={"limit": 30, "period_s": 86_400})

    class OfKeys:
        def acquire(self, key):
            return rules.acquire({"user": key, "ip": key})

    told = hammer(OfKeys(), threads=8, calls=10)
    assert told["allowed"] == 30
    assert rules.peek({"user": "alice", "ip": "alice"}).verdicts["user"].remaining == 10


def test_with_a_tag_the_counts_are_the_set_s_own_and_without_the_limiters(store, clock):
    for tag, left in ((None, 0), ("all", 3)):
        user = RateLimiter("per-user", limit=3, period_s=60, store=store, clock=clock, deny_cache=False)
        RateLimitSet("login", {"user": user}, tag=tag).acquire({"user": "dave"}, 3)
        assert user.peek("dave").remaining == left
        user.reset("dave")


@pytest.mark.parametrize(
    "limiters",
    [
        None,
        {},
        [],
        {"user": None},
        {"user": "login"},
        {"a b": RateLimiter("x", limit=1, period_s=1)},
        {7: RateLimiter("x", limit=1, period_s=1)},
    ],
)
def test_what_is_no_set_of_limiters_is_refused(limiters):
    with pytest.raises(ValueError, match=r"^(limiters takes|rule )"):
        RateLimitSet("login", limiters)


def test_too_many_rules_are_refused():
    one = RateLimiter("x", limit=1, period_s=1)
    with pytest.raises(ValueError, match="1 to 16 limiters"):
        RateLimitSet("login", {f"rule{number}": one for number in range(17)})


@pytest.mark.parametrize("tag", ["", "a b", "}", 7, True, "x" * 101])
def test_a_tag_that_could_not_stand_in_a_key_is_refused(tag):
    with pytest.raises(ValueError, match=r"^tag is "):
        RateLimitSet("login", {"user": RateLimiter("x", limit=1, period_s=1)}, tag=tag)


def test_limiters_of_different_clocks_or_stores_are_refused():
    one, other = (RateLimiter("x", limit=1, period_s=1, store=MemoryStore(), clock=FakeClock()) for _ in range(2))
    with pytest.raises(ValueError, match="go by different clocks"):
        RateLimitSet("login", {"user": one, "ip": other})
    same_clock = RateLimiter("x", limit=1, period_s=1, store=MemoryStore(), clock=one.core.clock)
    rules = RateLimitSet("login", {"user": one, "ip": same_clock})
    with pytest.raises(ValueError, match="count in different stores"):
        rules.acquire(KEYS)


@pytest.mark.parametrize(
    "keys", [None, "alice", {}, {"user": "alice"}, {**KEYS, "org": "acme"}, {"user": "alice", "ip": 7}, ["user", "ip"]]
)
@pytest.mark.parametrize("method", ["acquire", "peek", "require", "reset"])
def test_other_keys_than_the_rules_are_refused(method, keys):
    rules = a_set(MemoryStore())
    with pytest.raises(ValueError, match=r"^(login takes one key for each of user, ip, not|a key is a text)"):
        getattr(rules, method)(keys)


@pytest.mark.parametrize("cost", [0, -1, True, 1.5, "1", None])
def test_a_bad_cost_is_refused(cost):
    with pytest.raises(ValueError, match=r"^cost is "):
        a_set(MemoryStore()).acquire(KEYS, cost)


def test_rules_of_one_key_do_not_meet(store, clock):
    """Neither two rules with the same key, nor a key that spells another rule's."""
    one = {name: RateLimiter(name, limit=2, period_s=60, store=store, clock=clock, deny_cache=False) for name in ("a", "b")}
    for tag in (None, "all"):
        rules = RateLimitSet("pair", one, tag=tag)
        for left, key in itertools.product((1, 0), ("x", "b:x")):
            assert {v.remaining for v in rules.acquire({"a": key, "b": key}).verdicts.values()} == {left}
