"""Decorators: on every kind of function, stacked in any order, found in the registry at the first call."""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from resilience import (
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    CircuitOpen,
    FakeClock,
    MemoryStore,
    RateLimited,
    RateLimiter,
    Retry,
    degraded,
    registry,
    remaining_s,
)
from resilience.decorators import bulkhead, circuit_breaker, degradable, rate_limit, retry, timeout

_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    """A name that no other test has used in the process's registry."""
    return f"test.decorators.{next(_numbers)}"


@pytest.fixture
def limiter() -> RateLimiter:
    clock = FakeClock()
    return RateLimiter("rule", limit=2, period_s=60.0, store=MemoryStore(clock=clock), clock=clock)


def test_a_function_keeps_its_name_its_signature_and_what_it_is(name: str) -> None:
    def plain(a: int, *, b: str = "x") -> str:
        """Says something."""
        return f"{a}{b}"

    async def coroutine() -> None: ...

    def generator() -> Any:
        yield

    async def async_generator() -> Any:
        yield

    decorate = circuit_breaker(name)
    decorated = decorate(plain)
    assert (decorated.__name__, decorated.__doc__, decorated(1, b="y")) == ("plain", "Says something.", "1y")
    assert inspect.signature(decorated) == inspect.signature(plain)
    assert decorated.__wrapped__ is plain  # type: ignore[attr-defined]
    assert inspect.iscoroutinefunction(decorate(coroutine))
    assert inspect.isgeneratorfunction(decorate(generator))
    assert inspect.isasyncgenfunction(decorate(async_generator))


def test_methods_of_every_kind_are_decorated(name: str) -> None:
    class Shop:
        @circuit_breaker(name)
        def own(self, x: int) -> tuple[str, int]:
            return type(self).__name__, x

        @classmethod
        @circuit_breaker(name)
        def under_class(cls, x: int) -> tuple[str, int]:
            return cls.__name__, x

        @circuit_breaker(name)
        @classmethod
        def over_class(cls, x: int) -> tuple[str, int]:
            return cls.__name__, x

        @circuit_breaker(name)
        @staticmethod
        def static(x: int) -> int:
            return x

        @circuit_breaker(name)
        async def later(self, x: int) -> int:
            return x

    shop = Shop()
    assert (shop.own(1), shop.under_class(2), shop.over_class(3), Shop.static(4)) == (
        ("Shop", 1),
        ("Shop", 2),
        ("Shop", 3),
        4,
    )
    assert asyncio.run(shop.later(5)) == 5


def test_a_partial_and_an_object_with_call_are_decorated(name: str) -> None:
    class Caller:
        def __call__(self, x: int) -> int:
            return x + 1

    class Later:
        async def __call__(self, x: int) -> int:
            return x + 1

    async def add(a: int, b: int) -> int:
        return a + b

    decorate: Any = circuit_breaker(name)
    assert decorate(Caller())(1) == 2
    assert asyncio.run(decorate(Later())(1)) == 2
    assert asyncio.run(decorate(functools.partial(add, 1))(2)) == 3


def test_the_strategy_is_made_at_the_first_call_and_known_before(name: str) -> None:
    @circuit_breaker(name, open_s=7.0)
    def call() -> None: ...

    assert name in registry.names("breaker")
    assert name not in registry.health()["breakers"]
    call()
    assert registry.breaker(name).options["open_s"] == 7.0
    assert registry.health()["breakers"][name]["state"] == "closed"


def test_functions_that_name_one_breaker_share_it(name: str) -> None:
    @circuit_breaker(name, consecutive=2)
    def one() -> None:
        raise ConnectionError

    @circuit_breaker(name)
    async def two() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        one()
    with pytest.raises(ConnectionError):
        asyncio.run(two())
    with pytest.raises(CircuitOpen):
        one()
    with pytest.raises(CircuitOpen):
        asyncio.run(two())


def test_a_limit_counts_by_a_key_of_the_arguments(limiter: RateLimiter) -> None:
    class Api:
        @rate_limit(limiter, key=lambda self, user, **_: user, cost=2)
        def call(self, user: str, page: int = 1) -> str:
            return user

    api = Api()
    assert (api.call("alice"), api.call("bob", page=2)) == ("alice", "bob")
    with pytest.raises(RateLimited):
        api.call("alice", page=2)


def test_several_limits_are_all_asked_and_all_or_none_charged(limiter: RateLimiter) -> None:
    wide = RateLimiter("wide", limit=10, period_s=60.0, store=MemoryStore())

    @rate_limit(wide, key="all")
    @rate_limit(limiter, key=lambda user: user)
    def call(user: str) -> None: ...

    call("a")
    call("a")
    with pytest.raises(RateLimited, match="rule"):
        call("a")
    assert wide.peek("all").remaining == 8


def test_a_bulkhead_holds_its_permit_while_the_call_runs() -> None:
    room = Bulkhead("room", 1, store=MemoryStore())

    @bulkhead(room)
    def call(inner: bool = True) -> str:
        if inner:
            with pytest.raises(BulkheadFull):
                call(inner=False)
        return "in"

    assert call() == "in"
    assert room.in_flight == 0


def test_the_limit_of_a_bulkhead_may_stand_beside_its_name(name: str) -> None:
    @bulkhead(name, 7)
    def call() -> str:
        return "in"

    assert call() == "in"
    assert registry.bulkhead(name).limit == 7


def test_degradable_answers_and_names_the_function() -> None:
    @degradable(fallback=lambda user, *, error: f"plain for {user} after {type(error).__name__}")
    def page(user: str) -> str:
        raise TimeoutError

    @degradable(fallback=list, on=(KeyError, ValueError), name="menu")
    async def menu() -> list[str]:
        raise KeyError

    @degradable(fallback=lambda: "plain")
    def mistaken() -> str:
        raise ValueError("a mistake is no reason to degrade")

    assert page("alice") == "plain for alice after TimeoutError"
    assert asyncio.run(menu()) == []
    with pytest.raises(ValueError, match="mistake"):
        mistaken()
    first, second = degraded()
    assert first.endswith("test_degradable_answers_and_names_the_function.-locals-.page")
    assert second == "menu"


def test_a_retry_and_a_time_out_by_decorator() -> None:
    clock = FakeClock()
    seen: list[float | None] = []

    @timeout(9.0, attempt_timeout_s=2.0)
    @retry(Retry(2, base_s=0.0, clock=clock))
    def call() -> str:
        seen.append(remaining_s())
        if len(seen) == 1:
            raise ConnectionError
        return "done"

    assert call() == "done"
    assert [left for left in seen if left is not None and 0 < left <= 2.0] == seen


def foreign(function: Callable[..., Any]) -> Callable[..., Any]:
    """Somebody else's decorator, by functools.wraps: it copies every attribute of what it wraps, ours too."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return ("foreign", function(*args, **kwargs))

    return wrapper


def test_a_foreign_decorator_in_between_is_not_bypassed(name: str, limiter: RateLimiter) -> None:
    @rate_limit(limiter)
    @foreign
    @circuit_breaker(name)
    def call() -> str:
        return "done"

    assert [call(), call()] == [("foreign", "done")] * 2
    with pytest.raises(RateLimited):
        call()


def test_the_undecorated_function_stays_as_it_was(name: str) -> None:
    def call() -> None:
        raise ConnectionError

    breaker = CircuitBreaker(name, consecutive=1, store=MemoryStore())
    decorated = circuit_breaker(breaker)(call)
    with pytest.raises(ConnectionError):
        decorated()
    with pytest.raises(CircuitOpen):
        decorated()
    with pytest.raises(ConnectionError):
        call()


def test_two_decorations_of_one_function_do_not_share_their_stages(limiter: RateLimiter, name: str) -> None:
    @circuit_breaker(name)
    def call() -> str:
        return "done"

    limited = rate_limit(limiter)(call)
    assert [limited(), limited(), call(), call(), call()] == ["done"] * 5
    with pytest.raises(RateLimited):
        limited()


@pytest.mark.parametrize("decorate", [circuit_breaker, bulkhead, retry])
def test_two_of_a_kind_are_refused(decorate: Any, name: str) -> None:
    def call() -> None: ...

    with pytest.raises(ValueError, match="already"):
        decorate(name + ".b", **({"max_concurrent": 1} if decorate is bulkhead else {}))(
            decorate(name, **({"max_concurrent": 1} if decorate is bulkhead else {}))(call)
        )


def test_a_generator_holds_its_stages_to_its_end() -> None:
    room = Bulkhead("room", 1, store=MemoryStore())

    @bulkhead(room)
    def items() -> Any:
        got = yield 1
        yield got
        return "end"

    steps = items()
    assert room.in_flight == 0, "nothing happens before the first item is asked for"
    assert next(steps) == 1
    assert room.in_flight == 1
    assert steps.send("sent") == "sent"
    with pytest.raises(StopIteration) as stop:
        next(steps)
    assert stop.value.value == "end"
    assert room.in_flight == 0


@pytest.mark.parametrize("wrong", [3, None, "name", object(), int, type("C", (), {})])
def test_what_is_no_function_is_refused(wrong: Any, name: str) -> None:
    with pytest.raises(ValueError, match="circuit_breaker decorates functions"):
        circuit_breaker(name)(wrong)


@pytest.mark.parametrize("wrong", ["", "a b", "ключ", "x" * 101])
def test_a_wrong_name_is_refused_where_it_is_written(wrong: str) -> None:
    for decorate in (circuit_breaker, rate_limit, bulkhead, retry):
        with pytest.raises(ValueError, match="name"):
            decorate(wrong)


@pytest.mark.parametrize("wrong", [3, None, True, b"name", object()])
def test_a_name_that_is_no_text_is_refused_where_it_is_written(wrong: Any) -> None:
    for decorate in (circuit_breaker, rate_limit, bulkhead, retry):
        with pytest.raises(ValueError, match="takes the name of"):
            decorate(wrong)


def test_wrong_arguments_are_refused_where_they_are_written(name: str) -> None:
    with pytest.raises(ValueError, match="key"):
        rate_limit(name, key=3)  # type: ignore[arg-type]
    for cost in (0, True, 1.5, None):
        with pytest.raises(ValueError, match="cost"):
            rate_limit(name, cost=cost)
    with pytest.raises(ValueError, match="timeout takes"):
        timeout()
    with pytest.raises(ValueError, match="timeout_s"):
        timeout(-1.0)
    with pytest.raises(ValueError, match="handler"):
        degradable(fallback=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="keeps its own options; open_s"):
        circuit_breaker(CircuitBreaker(name, store=MemoryStore()), open_s=3.0)


def test_a_coroutine_fallback_of_a_plain_function_is_refused_where_it_is_written() -> None:
    async def plain() -> None: ...

    with pytest.raises(ValueError, match="coroutine"):

        @degradable(fallback=plain)
        def call() -> None: ...


def test_a_wrong_option_is_refused_at_the_first_call_and_names_the_strategy(name: str) -> None:
    @circuit_breaker(name, failure_ratio=7)
    def call() -> None: ...

    with pytest.raises(ValueError, match=f"breaker {name}: failure_ratio"):
        call()
