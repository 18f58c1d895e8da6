"""The hooks for people: each with an actor, a reason, a record before it acts, and an end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resilience import CircuitOpen, ConfigInvalid, LockFactory, StorageUnavailable, config
from resilience.config import Snapshot
from tests.resilience.registry.test_names import World

BY: dict[str, Any] = {"actor": "user:alice", "reason": "the provider is down"}


class Audit:
    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.fails = False

    def __call__(self, **record: Any) -> None:
        if self.fails:
            raise OSError("the audit cannot be written")
        self.records.append(record)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World()
    made.registry.limiter("login", limit=2, period_s=60.0)
    made.registry.breaker("dep", open_s=7.0)
    made.registry.bulkhead("room", max_concurrent=2)

    def change(section: str, values: Any) -> Snapshot:
        made.apply(**{**made.live.current().sections, section: values})
        return made.live.current()

    monkeypatch.setattr(config, "change", change)
    yield made
    made.registry.close()


@pytest.fixture
def audit(world: World) -> Audit:
    made = Audit()
    world.registry.control.set_audit(made)
    return made


def now(world: World) -> float:
    return world.clock.now_us() / 1e6


def test_a_forced_breaker_refuses_until_its_end(world: World, audit: Audit) -> None:
    control, breaker = world.registry.control, world.registry.breaker("dep")
    end = control.force_open("dep", until=now(world) + 60, **BY)
    with pytest.raises(CircuitOpen, match="the provider is down"):
        breaker.call(lambda: None)
    assert breaker.snapshot().force_author == "user:alice"
    world.clock.advance(61)
    assert breaker.call(lambda: "answers again") == "answers again"
    assert audit.records == [
        {"action": "force_open", "target": "breakers.dep", "outcome": "asked", "detail": {"until": end}, **BY}
    ]


def test_a_force_without_an_end_ends_in_an_hour(world: World, audit: Audit) -> None:
    assert world.registry.control.force_closed("dep", **BY) == pytest.approx(now(world) + 3600)
    assert world.registry.breaker("dep").state == "forced_closed"


def test_auto_ends_a_force(world: World, audit: Audit) -> None:
    world.registry.control.force_open("dep", **BY)
    world.registry.control.auto("dep", **BY)
    assert world.registry.breaker("dep").state == "closed"
    assert [record["action"] for record in audit.records] == ["force_open", "auto"]


def test_a_key_is_inspected_and_reset(world: World, audit: Audit) -> None:
    control, limiter = world.registry.control, world.registry.limiter("login")
    limiter.acquire("bob", 2)
    assert control.inspect("login", "bob").remaining == 0
    assert audit.records == [], "looking changes nothing"
    control.reset_key("login", "bob", **BY)
    assert control.inspect("login", "bob").remaining == 2
    assert audit.records[0]["detail"] == {"key": "bob"}


def test_an_override_gives_one_key_another_limit_until_its_end(world: World, audit: Audit) -> None:
    control, limiter = world.registry.control, world.registry.limiter("login")
    control.override("login", "bob", 5, now(world) + 600, **BY)
    assert (limiter.peek("bob").limit, limiter.peek("charlie").limit) == (5, 2)
    world.clock.advance(601)
    assert limiter.peek("bob").limit == 2


def test_an_override_reaches_a_limiter_that_is_made_later(world: World, audit: Audit) -> None:
    world.registry.declare("limiter", "later", limit=2, period_s=60.0)
    world.live.consider(
        Snapshot(1, 9, {"overrides": {"x": {"rule": "later", "key": "bob", "limit": 5, "until": now(world) + 60}}}), "test"
    )
    assert world.registry.limiter("later").peek("bob").limit == 5


def test_an_override_is_replaced_and_taken_back(world: World, audit: Audit) -> None:
    control, limiter = world.registry.control, world.registry.limiter("login")
    control.override("login", "bob", 5, **BY)
    control.override("login", "bob", 7, **BY)
    assert limiter.peek("bob").limit == 7
    assert len(world.live.current().section("overrides")) == 1
    control.override("login", "bob", None, **BY)
    assert limiter.peek("bob").limit == 2


def test_a_rule_is_put_on_trial_and_back_and_keeps_its_other_values(world: World, audit: Audit) -> None:
    world.apply(limiters={"login": {"limit": 1}})
    control, limiter = world.registry.control, world.registry.limiter("login")
    control.shadow("login", True, **BY)
    assert [limiter.acquire("bob").allowed for _ in range(3)] == [True] * 3
    assert limiter.options["limit"] == 1
    control.shadow("login", False, **BY)
    assert not limiter.acquire("charlie", 1).is_shadow
    assert not limiter.acquire("charlie", 1)


def test_a_drained_bulkhead_lets_nobody_in_and_those_inside_finish(world: World, audit: Audit) -> None:
    bulkhead = world.registry.bulkhead("room")
    inside = bulkhead.acquire()
    assert world.registry.control.drain("room", 60.0, **BY) == 1
    with pytest.raises(Exception, match="room"):
        bulkhead.acquire()
    assert inside.release()
    world.registry.control.drain("room", 0, **BY)
    assert bulkhead.acquire().release()


def test_a_broken_lock_is_free_and_its_holder_hears_of_it(world: World, audit: Audit) -> None:
    lock = LockFactory(world.store, clock=world.clock).create("report", ttl_s=10.0)
    assert lock.acquire()
    state = world.registry.control.break_lock("report", **BY)
    assert state.held
    assert LockFactory(world.store, clock=world.clock).create("report").acquire()
    assert not lock.release()


def test_the_most_refused_keys_are_named(world: World, audit: Audit) -> None:
    limiter = world.registry.limiter("login")
    for key, calls in (("bob", 5), ("charlie", 9), ("alice", 1)):
        for _ in range(calls):
            limiter.acquire(key)
    world.registry.start(beat_s=60.0)
    try:
        # The limiter tells once a second; the registry's thread passes it on at its next beat: here at once.
        world.clock.advance(1.1)
        for _ in range(3):
            limiter.acquire("charlie")
        world.clock.advance(1.1)
        assert world.registry._running is not None
        world.registry._running[2].flush()
        top = world.registry.control.top_refused("login", most=1)
    finally:
        world.registry.stop()
    assert [refused.key for refused in top] == ["charlie"]
    assert top[0].refusals >= 3


ACTIONS: dict[str, Callable[[World, dict[str, Any]], object]] = {
    "force_open": lambda world, by: world.registry.control.force_open("dep", **by),
    "force_closed": lambda world, by: world.registry.control.force_closed("dep", **by),
    "auto": lambda world, by: world.registry.control.auto("dep", **by),
    "reset_key": lambda world, by: world.registry.control.reset_key("login", "bob", **by),
    "override": lambda world, by: world.registry.control.override("login", "bob", 9, **by),
    "shadow": lambda world, by: world.registry.control.shadow("login", True, **by),
    "drain": lambda world, by: world.registry.control.drain("room", **by),
    "break_lock": lambda world, by: world.registry.control.break_lock("report", **by),
}


def untouched(world: World) -> None:
    assert world.registry.breaker("dep").state == "closed"
    assert world.registry.limiter("login").peek("bob").limit == 2
    assert not world.registry.limiter("login").options["shadow"]
    assert world.registry.bulkhead("room").acquire().release()


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_is_recorded_with_its_actor_and_reason(world: World, audit: Audit, action: str) -> None:
    ACTIONS[action](world, BY)
    assert [(record["action"], record["outcome"]) for record in audit.records] == [(action, "asked")]
    assert {key: audit.records[0][key] for key in BY} == BY


@pytest.mark.parametrize("wrong", ["", "  ", None, 3, "x" * 501, "a\nb", "a\x00b", "\ud800"])
@pytest.mark.parametrize("who", ["actor", "reason"])
@pytest.mark.parametrize("action", ACTIONS)
def test_without_an_actor_or_a_reason_nothing_happens(world: World, audit: Audit, action: str, who: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=who):
        ACTIONS[action](world, {**BY, who: wrong})
    assert audit.records == []
    untouched(world)


@pytest.mark.parametrize("action", ACTIONS)
def test_what_cannot_be_recorded_does_not_happen(world: World, audit: Audit, action: str) -> None:
    audit.fails = True
    with pytest.raises(OSError, match="audit"):
        ACTIONS[action](world, BY)
    untouched(world)


def test_an_action_that_fails_is_recorded_as_failed(world: World, audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    error = StorageUnavailable("bulkhead_drain", "refused")

    def lost(*args: Any, **kwargs: Any) -> Any:
        raise error

    monkeypatch.setattr(world.store, "attempt", lost)
    with pytest.raises(StorageUnavailable) as caught:
        world.registry.control.drain("room", **BY)
    assert caught.value is error
    assert [record["outcome"] for record in audit.records] == ["asked", "failed: StorageUnavailable: bulkhead_drain: refused"]


def test_without_an_audit_the_log_has_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "resilience.audit"):
        world.registry.control.auto("dep", **BY)
    assert "auto breakers.dep by user:alice, because the provider is down" in caplog.text


@pytest.mark.parametrize(
    "until", [0, -1, 1_600_000_000.0, 1_700_000_000.0, 1_800_000_000.0, float("nan"), float("inf"), True, "x"]
)
def test_an_end_that_is_none_is_refused(world: World, audit: Audit, until: Any) -> None:
    with pytest.raises(ValueError, match="until"):
        world.registry.control.force_open("dep", until=until, **BY)
    with pytest.raises(ValueError, match="until"):
        world.registry.control.override("login", "bob", 9, until, **BY)
    assert audit.records == []
    untouched(world)


def test_unknown_names_are_refused_and_nothing_is_made(world: World, audit: Audit) -> None:
    control = world.registry.control
    for act in (
        lambda: control.force_open("nope", **BY),
        lambda: control.auto("nope", **BY),
        lambda: control.reset_key("nope", "bob", **BY),
        lambda: control.inspect("nope", "bob"),
        lambda: control.override("nope", "bob", 3, **BY),
        lambda: control.shadow("nope", True, **BY),
        lambda: control.top_refused("nope"),
        lambda: control.drain("nope", **BY),
    ):
        with pytest.raises(ConfigInvalid, match=r"nope: there is no such"):
            act()
    assert world.registry.names("breaker") == ["dep"]
    assert audit.records == []


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "9", 10**30])
def test_a_wrong_override_changes_nothing(world: World, audit: Audit, limit: Any) -> None:
    with pytest.raises(ConfigInvalid, match="limit"):
        world.registry.control.override("login", "bob", limit, **BY)
    untouched(world)


@pytest.mark.parametrize("on", [1, "yes", None])
def test_a_wrong_switch_changes_nothing(world: World, audit: Audit, on: Any) -> None:
    with pytest.raises(ValueError, match="on is"):
        world.registry.control.shadow("login", on, **BY)
    untouched(world)


def test_an_injected_writer_gets_the_edit_the_actor_and_the_reason(world: World, audit: Audit) -> None:
    written: list[Any] = []
    world.registry.control.set_writer(lambda section, edit, *, actor, reason: written.append((section, edit({}), actor, reason)))
    world.registry.control.shadow("login", True, **BY)
    assert written == [("limiters", {"login": {"shadow": True}}, *BY.values())]
