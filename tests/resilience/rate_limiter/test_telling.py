"""What a limiter decided is counted, and its refusals are told once a second."""

from __future__ import annotations

import gc
import os

import pytest

from resilience import MemoryStore, RateLimiter, telemetry
from resilience.rate_limiter.told import MAX_TOLD_KEYS


@pytest.fixture
def events():
    heard: list[telemetry.Event] = []
    stop = telemetry.subscribe(heard.append, "rate_limiter.refused")
    yield heard
    stop()


def rule(clock, name, **options):
    return RateLimiter(name, **{"limit": 2, "period_s": 600, **options}, store=MemoryStore(), clock=clock)


def decisions(name):
    values = telemetry.collect()["resilience_rate_limiter_decisions_total"]
    return {labels[1:]: value for labels, value in values.items() if labels[0] == name}


def test_every_decision_is_counted_by_result_and_source(clock):
    limiter = rule(clock, "counted")
    for _ in range(5):
        limiter.acquire("alice")
    limiter.acquire("alice", 3)
    limiter.peek("alice")
    assert decisions("counted") == {("allowed", "memory"): 2, ("refused", "memory"): 3, ("refused", "policy"): 1}
    limiter.configure(shadow=True)
    limiter.acquire("alice")
    assert decisions("counted")[("shadow_refused", "memory")] == 1


def test_two_limiters_of_one_name_add_up_and_what_is_gone_stays_counted(clock):
    one, two = rule(clock, "twins"), rule(clock, "twins")
    one.acquire("alice")
    two.acquire("alice")
    assert decisions("twins") == {("allowed", "memory"): 2}
    del one
    gc.collect()
    assert decisions("twins") == {("allowed", "memory"): 2}
    two.acquire("alice")
    assert decisions("twins") == {("allowed", "memory"): 3}


def test_no_label_holds_a_caller_s_key(clock):
    limiter = rule(clock, "private")
    limiter.acquire("alice@example.com")
    labels = telemetry.collect()["resilience_rate_limiter_decisions_total"]
    assert not any("alice" in part for label in labels for part in label)


def test_a_second_of_refusals_is_one_event_with_the_keys_refused_most(clock, events):
    limiter = rule(clock, "told")
    for key, calls in (("alice", 12), ("bob", 5), ("charlie", 2)):
        for _ in range(calls):
            limiter.acquire(key)
    assert events == []
    clock.advance(1)
    assert [dict(event.attributes) for event in events] == [{"rule": "told", "refused": 13, "top": [("alice", 10), ("bob", 3)]}]
    clock.advance(5)
    assert len(events) == 1
    limiter.acquire("alice")
    clock.advance(1)
    assert events[1].attributes["refused"] == 1


def test_a_flood_of_keys_is_told_as_a_sum(clock, events):
    limiter = rule(clock, "flood", limit=1)
    for number in range(MAX_TOLD_KEYS + 500):
        limiter.acquire(f"k{number}")
        limiter.acquire(f"k{number}")
    limiter.acquire("k0")
    assert len(limiter.core.refusals._keys) == MAX_TOLD_KEYS
    clock.advance(1)
    assert events[0].attributes["refused"] == MAX_TOLD_KEYS + 501
    assert events[0].attributes["top"][0] == ("k0", 2)
    assert len(events[0].attributes["top"]) == 10


def test_a_key_of_any_length_is_told_briefly(clock, events):
    limiter = rule(clock, "long", limit=1)
    for _ in range(2):
        limiter.acquire("x" * 100_000)
    clock.advance(1)
    key, refused = events[0].attributes["top"][0]
    assert (len(key) < 60, refused) == (True, 1)


def test_a_forked_child_tells_its_own_refusals(clock, events):
    """The timer of the parent does not exist there: were it waited for, the child would be silent for ever."""
    limiter = rule(clock, "forked")
    for _ in range(3):
        limiter.acquire("alice")
    child = os.fork()
    if child == 0:
        try:
            told: list[telemetry.Event] = []
            telemetry.subscribe(told.append, "rate_limiter.refused")
            limiter.core.refusals._clock = type(clock)()
            limiter.acquire("alice")
            limiter.core.refusals._clock.advance(1)
            os._exit(0 if told else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
