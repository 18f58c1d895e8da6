"""What leaves a process as events: bounded, by allow-list, graded."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import pytest

from controlplane.live.outbox import DROPPED, MAX_TEXT, Outbox, shown
from resilience import telemetry


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    made = Outbox("host:1", size=10)
    made.start()
    yield made
    made.stop()


def dropped() -> float:
    return telemetry.collect()[DROPPED].get(("events",), 0)


def test_an_emitted_event_waits_with_its_grade_and_its_allowed_attributes(outbox: Outbox) -> None:
    telemetry.emit("circuit_breaker.opened", name="mail", retry_after_s=2.0, secret="hunter2", key="10.0.0.1")
    (event,) = outbox.drain()
    assert (event["name"], event["severity"], event["kind"], event["node"]) == (
        "circuit_breaker.opened",
        "warning",
        "event",
        "host:1",
    )
    assert event["data"] == {"name": "mail", "retry_after_s": 2.0}


def test_keys_of_callers_and_texts_of_errors_stay_inside(outbox: Outbox) -> None:
    telemetry.emit("rate_limiter.refused", rule="login", refused=3, top=[("10.1.1.1", 3)])
    telemetry.emit("storage.down", store="redis", error="Error 111 connecting to 10.0.0.5:6379", reason="StorageUnavailable")
    telemetry.emit("rate_limiter.reset", rule="login", key="alice@example.org")
    told = msgspec.json.encode(outbox.drain()).decode()
    assert "10." not in told and "alice" not in told
    assert "StorageUnavailable" in told and "login" in told


def test_full_it_drops_the_oldest_and_counts(outbox: Outbox) -> None:
    before = dropped()
    for number in range(25):
        telemetry.emit("loop.led", fence=number)
    assert [event["data"]["fence"] for event in outbox.drain()] == list(range(15, 25))
    assert dropped() - before == 15


def test_what_could_not_be_handed_over_waits_in_front_again(outbox: Outbox) -> None:
    for number in range(4):
        telemetry.emit("loop.led", fence=number)
    taken = outbox.drain(3)
    for number in range(4, 11):
        telemetry.emit("loop.led", fence=number)
    before = dropped()
    outbox.give_back(taken)
    assert [event["data"]["fence"] for event in outbox.drain()] == [1, 2, *range(3, 11)]
    assert dropped() - before == 1


def test_values_are_plain_short_and_finite() -> None:
    found = shown(
        "x",
        {
            "name": "n" * 5_000,
            "value": math.nan,
            "age_s": math.inf,
            "limit": 2**80,
            "mode": True,
            "count": 7,
            "reason": "\ud800 half",
            "until": None,
            "path": ["a"],
        },
    )
    assert len(found["name"]) == MAX_TEXT
    assert "value" not in found and "age_s" not in found and "until" not in found
    assert found["limit"] == str(2**80) and found["mode"] is True and found["count"] == 7
    msgspec.json.encode(found)


def test_it_hears_nothing_before_it_starts_and_after_it_stops() -> None:
    outbox = Outbox()
    telemetry.emit("loop.led", fence=1)
    outbox.start()
    outbox.start()
    telemetry.emit("loop.led", fence=2)
    outbox.stop()
    outbox.stop()
    telemetry.emit("loop.led", fence=3)
    assert [event["data"]["fence"] for event in outbox.drain()] == [2]
