"""The registry: one object a name, its options below the live configuration."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from resilience import (
    CircuitBreaker,
    ConfigInvalid,
    FakeClock,
    MemoryStore,
    RateLimited,
    Retry,
    RetryBudget,
    Snapshot,
    telemetry,
)
from resilience.config import Live
from resilience.registry import Registry


class World:
    """A registry of its own, whose live configuration a test sets."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)
        self.live = Live()
        self.registry = Registry(live=self.live, store=self.store, clock=self.clock)

    def apply(self, **sections: Mapping[str, Any]) -> bool:
        return self.live.consider(Snapshot(1, self.live.current().version + 1, sections), "test")


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.registry.close()


DEFAULTS: dict[str, dict[str, Any]] = {
    "limiter": {"limit": 5, "period_s": 60.0},
    "breaker": {"open_s": 7.0},
    "bulkhead": {"max_concurrent": 3},
    "retry": {"attempts": 4},
    "pipeline": {"timeout_s": 3.0},
}


@pytest.mark.parametrize("kind", DEFAULTS)
def test_a_name_is_one_object(world: World, kind: str) -> None:
    get = getattr(world.registry, kind)
    made = get("x", **DEFAULTS[kind])
    assert get("x") is made is get("x", **DEFAULTS[kind])
    assert get("y", **DEFAULTS[kind]) is not made
    assert world.registry.names(kind) == ["x", "y"]


def test_many_threads_that_ask_first_get_one_object(world: World) -> None:
    start, got = threading.Barrier(8), []

    def ask() -> None:
        start.wait()
        got.append(world.registry.breaker("x", open_s=7.0))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(breaker) for breaker in got}) == 1


CHANGES: list[tuple[str, str, str, Any]] = [
    ("limiter", "limiters", "limit", 9),
    ("breaker", "breakers", "open_s", 9.0),
    ("bulkhead", "bulkheads", "max_concurrent", 9),
    ("retry", "retries", "attempts", 9),
]


@pytest.mark.parametrize(("kind", "section", "option", "value"), CHANGES)
def test_what_is_live_lies_above_what_the_code_says_and_goes_again(
    world: World, kind: str, section: str, option: str, value: Any
) -> None:
    strategy = getattr(world.registry, kind)("x", **DEFAULTS[kind])
    before = strategy.options[option]
    assert world.apply(**{section: {"x": {option: value}}})
    assert strategy.options[option] == value
    assert world.apply(**{section: {"other": {option: value}}})
    assert strategy.options[option] == before, "a parameter that is live no more returns to the code's"


@pytest.mark.parametrize(("kind", "section", "option", "value"), CHANGES)
def test_one_that_is_made_later_is_made_with_what_is_live(world: World, kind: str, section: str, option: str, value: Any) -> None:
    world.apply(**{section: {"x": {option: value}}})
    strategy = getattr(world.registry, kind)("x", **DEFAULTS[kind])
    assert strategy.options[option] == value
    world.apply(**{section: {}})
    assert strategy.options[option] == DEFAULTS[kind].get(option, Retry().options.get(option))


def test_a_pipeline_is_composed_of_names_and_recomposed_live(world: World) -> None:
    world.registry.limiter("login", limit=1, period_s=60.0)
    pipeline = world.registry.pipeline("pay", breaker="dep", key=lambda user: user)
    assert pipeline.plan.breaker is world.registry.breaker("dep")
    assert pipeline.plan.limits == ()
    world.apply(pipelines={"pay": {"timeout_s": 3.0, "rate_limit": "login", "retry": "again", "bulkhead": None}})
    assert pipeline.plan.timeout_s == 3.0
    assert pipeline.plan.retry is world.registry.retry("again")
    assert [pipeline.call(lambda user: user, "a"), pipeline.call(lambda user: user, "b")] == ["a", "b"]
    with pytest.raises(RateLimited):
        pipeline.call(lambda user: user, "a")
    world.apply()
    after = pipeline.plan
    assert (after.timeout_s, after.limits, after.retry) == (None, (), None)
    assert pipeline.plan.breaker is world.registry.breaker("dep")


def test_a_pipeline_keeps_its_state_and_its_parts_across_changes(world: World) -> None:
    pipeline = world.registry.pipeline("pay", breaker="dep")
    breaker = world.registry.breaker("dep")
    breaker.force_open("test")
    world.apply(pipelines={"pay": {"timeout_s": 3.0}}, breakers={"dep": {"open_s": 5.0}})
    assert pipeline.plan.breaker is breaker
    assert breaker.state == "forced_open"


def test_changed_rates_keep_what_was_used(world: World) -> None:
    limiter = world.registry.limiter("login", limit=2, period_s=60.0, burst=2)
    assert [limiter.acquire("a").allowed for _ in range(3)] == [True, True, False]
    world.apply(limiters={"login": {"burst": 3}})
    assert limiter.options["burst"] == 3
    assert [limiter.acquire("a").allowed for _ in range(2)] == [True, False]


def test_retries_of_one_name_share_a_budget(world: World) -> None:
    assert world.registry.retry("shared.name").budget is RetryBudget.shared("shared.name")


def test_an_object_made_by_hand_keeps_its_own_options(world: World) -> None:
    breaker = CircuitBreaker("x", open_s=3.0, store=world.store, clock=world.clock)
    world.apply(breakers={"x": {"open_s": 9.0}})
    assert breaker.options["open_s"] == 3.0


@pytest.mark.parametrize("kind", ["limiter", "bulkhead"])
def test_a_name_nobody_declares_is_refused_and_stays_unknown(world: World, kind: str) -> None:
    with pytest.raises(ConfigInvalid, match=rf"{kind}s\.nope: neither the code nor the configuration"):
        getattr(world.registry, kind)("nope")
    assert world.registry.names(kind) == []
    with pytest.raises(ConfigInvalid, match="known are none"):
        world.registry.find(kind, "nope")


def test_the_configuration_alone_can_declare_a_limit(world: World) -> None:
    world.apply(limiters={"login": {"limit": 1, "period_s": 60.0}})
    assert world.registry.find("limiter", "login").options["limit"] == 1


def test_wrong_defaults_are_refused_and_named(world: World) -> None:
    with pytest.raises(ValueError, match="limiter login: limit"):
        world.registry.limiter("login", limit=-1, period_s=60.0)
    with pytest.raises(ValueError, match=r"breaker x: .*colour"):
        world.registry.breaker("x", colour="red")
    assert world.registry.names("limiter") == world.registry.names("breaker") == []
    with pytest.raises(ValueError, match="kind"):
        world.registry.find("colour", "x")
    for wrong in ("", "a b", "x" * 101, None, 3):
        with pytest.raises(ValueError, match="name"):
            world.registry.breaker(wrong)  # type: ignore[arg-type]


def test_two_declarations_that_differ_are_refused_and_the_first_holds(world: World) -> None:
    world.registry.declare("breaker", "x", open_s=7.0)
    world.registry.declare("breaker", "x")
    world.registry.declare("breaker", "x", open_s=7.0)
    with pytest.raises(ValueError, match="breaker x is declared already, with another open_s"):
        world.registry.declare("breaker", "x", open_s=8.0)
    assert world.registry.breaker("x").options["open_s"] == 7.0


def test_a_declaration_that_comes_after_the_first_use_still_counts(world: World) -> None:
    breaker = world.registry.breaker("x")
    world.apply(breakers={"x": {"window_s": 3.0}})
    world.registry.declare("breaker", "x", open_s=7.0, window_s=5.0)
    assert (breaker.options["open_s"], breaker.options["window_s"]) == (7.0, 3.0)
    world.apply()
    assert breaker.options["window_s"] == 5.0


def test_what_a_strategy_in_use_cannot_take_refuses_the_whole_snapshot(world: World) -> None:
    limiter = world.registry.limiter("login", limit=5, period_s=60.0, algorithm="fixed_window")
    breaker = world.registry.breaker("dep", open_s=7.0)
    assert world.apply(limiters={"login": {"limit": 6}})
    with pytest.raises(ConfigInvalid, match=r"limiters\.login.*burst"):
        world.apply(limiters={"login": {"limit": 7, "burst": 3}}, breakers={"dep": {"open_s": 9.0}})
    assert limiter.options["limit"] == 6
    assert breaker.options["open_s"] == 7.0
    assert world.live.current().version == 1
    assert world.apply(limiters={"login": {"limit": 8}}), "what comes next is applied"
    assert limiter.options["limit"] == 8


def test_an_entry_that_cannot_be_taken_at_its_making_leaves_the_code_s_options(world: World) -> None:
    events: list[telemetry.Event] = []
    unsubscribe = telemetry.subscribe(events.append, "config.rejected")
    world.apply(limiters={"login": {"burst": 3}})
    limiter = world.registry.limiter("login", limit=5, period_s=60.0, algorithm="fixed_window")
    unsubscribe()
    assert (limiter.options["limit"], limiter.options["burst"]) == (5, None)
    (event,) = events
    assert event.attributes["path"] == "limiters.login"
    assert "burst" in event.attributes["problem"]


def test_a_pipeline_that_names_an_unknown_part_goes_on_as_it_was(world: World) -> None:
    pipeline = world.registry.pipeline("pay", timeout_s=3.0)
    other = world.registry.pipeline("queue", timeout_s=3.0)
    events: list[telemetry.Event] = []
    unsubscribe = telemetry.subscribe(events.append, "config.rejected")
    world.apply(pipelines={"pay": {"rate_limit": "nope", "timeout_s": 9.0}, "queue": {"timeout_s": 9.0}})
    unsubscribe()
    assert other.plan.timeout_s == 9.0
    assert pipeline.plan.timeout_s == 3.0
    assert [event.attributes["path"] for event in events] == ["pipelines.pay"]
    with pytest.raises(ValueError, match="bulkhead names nope"):
        world.registry.pipeline("other", bulkhead="nope")
    with pytest.raises(ValueError, match="colour"):
        world.registry.pipeline("other", colour=1)


def test_names_of_the_configuration_that_nobody_asks_for_do_no_harm(world: World) -> None:
    assert world.apply(breakers={"nobody": {"open_s": 3.0}}, limiters={"nobody": {"burst": 3}})
    assert world.registry.names("breaker") == ["nobody"]
    assert world.registry.health()["breakers"] == {}


def test_health_says_what_answers_and_is_ready_without_redis(world: World) -> None:
    world.registry.breaker("dep").force_open("test")
    world.registry.bulkhead("room", max_concurrent=3)
    health = world.registry.health()
    assert (health["status"], health["ready"]) == ("ok", True)
    assert health["stores"]["memory"]["ok"] is True
    assert health["breakers"]["dep"] == {"state": "forced_open", "measured_state": "closed"}
    assert health["bulkheads"] == {"room": {"limit": 3}}
    assert health["config"] == {"epoch": 0, "version": 0, "source": "default"}
    assert health["processes"] >= 1


def test_one_breaker_s_fault_does_not_hide_the_health_of_the_rest(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.registry.breaker("good")
    world.registry.breaker("bad")

    def broken(self: CircuitBreaker) -> str:
        if self.name == "bad":
            raise RuntimeError("a fault of ours")
        return "closed"

    monkeypatch.setattr(CircuitBreaker, "state", property(broken))
    assert world.registry.health()["breakers"]["good"]["state"] == "closed"
    assert world.registry.health()["breakers"]["bad"]["state"] == "unknown"
