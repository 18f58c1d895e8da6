"""The call's own exception leaves as the same object, whatever of ours fails meanwhile: each way to call, each fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal

import pytest

from resilience import CircuitBreaker, FakeClock, MemoryStore, StorageProtocolError, StorageTimeout, StorageUnavailable, telemetry
from resilience.circuit_breaker.core import Core
from resilience.storage.base import Storage
from tests.resilience.circuit_breaker.calling import Broken, fail


class Faulty:
    """A store whose operations raise what they are told to."""

    name: Literal["redis"] = "redis"
    prefix = ""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.errors: dict[str, Exception] = {}

    @property
    def local(self) -> Storage:
        return self.memory

    def __getattr__(self, name: str) -> Any:
        return getattr(self.memory, name)

    def attempt(self, op: str, *rest: Any) -> Any:
        if op in self.errors:
            raise self.errors[op]
        return self.memory.attempt(op, *rest)

    async def aattempt(self, op: str, *rest: Any) -> Any:
        return self.attempt(op, *rest)


def by_call(breaker: CircuitBreaker, error: BaseException) -> None:
    def raises() -> None:
        raise error

    breaker.call(raises)


def by_block(breaker: CircuitBreaker, error: BaseException) -> None:
    with breaker:
        raise error


def by_permit(breaker: CircuitBreaker, error: BaseException) -> None:
    with breaker.acquire():
        raise error


def by_function(breaker: CircuitBreaker, error: BaseException) -> None:
    @breaker
    def raises() -> None:
        raise error

    raises()


def by_generator(breaker: CircuitBreaker, error: BaseException) -> None:
    @breaker
    def rows() -> Iterator[int]:
        yield 1
        raise error

    list(rows())


def by_thrown(breaker: CircuitBreaker, error: BaseException) -> None:
    @breaker
    def rows() -> Iterator[int]:
        yield 1

    steps: Any = rows()
    next(steps)
    steps.throw(error)


def by_acall(breaker: CircuitBreaker, error: BaseException) -> None:
    async def raises() -> None:
        raise error

    asyncio.run(breaker.acall(raises))


def by_asynchronous_block(breaker: CircuitBreaker, error: BaseException) -> None:
    async def block() -> None:
        async with breaker:
            raise error

    asyncio.run(block())


def by_coroutine(breaker: CircuitBreaker, error: BaseException) -> None:
    @breaker
    async def raises() -> None:
        raise error

    asyncio.run(raises())


def by_asynchronous_generator(breaker: CircuitBreaker, error: BaseException) -> None:
    @breaker
    async def rows() -> AsyncIterator[int]:
        yield 1
        raise error

    async def consume() -> None:
        [row async for row in rows()]

    asyncio.run(consume())


def by_thrown_asynchronously(breaker: CircuitBreaker, error: BaseException) -> None:
    @breaker
    async def rows() -> AsyncIterator[int]:
        yield 1

    async def consume() -> None:
        steps: Any = rows()
        await anext(steps)
        await steps.athrow(error)

    asyncio.run(consume())


WAYS = [
    by_call,
    by_block,
    by_permit,
    by_function,
    by_generator,
    by_thrown,
    by_acall,
    by_asynchronous_block,
    by_coroutine,
    by_asynchronous_generator,
    by_thrown_asynchronously,
]


class PlantedError(Exception):
    """A fault of ours."""


def planted(*args: Any, **kwargs: Any) -> Any:
    raise PlantedError


def nothing_fails(store: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    pass


def the_recorder_fails(store: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Core, "ending", planted)


def the_counting_fails(store: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Core, "_count", planted)


def the_adopting_fails(store: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Core, "adopt", planted)


def asking_fails(store: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Core, "beginning", planted)


def the_emitter_fails(store: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "emit", planted)


def a_listener_fails(store: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry.subscribe(planted)


def the_store_is_away(store: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    for op in ("breaker_allow", "breaker_report", "breaker_peek"):
        store.errors[op] = StorageUnavailable(op, "refused")


def reports_are_not_answered(store: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    store.errors["breaker_report"] = StorageTimeout("breaker_report", "no reply")


def the_script_is_wrong(store: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    store.errors["breaker_report"] = StorageProtocolError("breaker_report", "wrong type")


def the_store_has_a_bug(store: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    store.errors["breaker_report"] = ZeroDivisionError("a bug of the adapter")


FAULTS = [
    nothing_fails,
    the_recorder_fails,
    the_counting_fails,
    the_adopting_fails,
    asking_fails,
    the_emitter_fails,
    a_listener_fails,
    the_store_is_away,
    reports_are_not_answered,
    the_script_is_wrong,
    the_store_has_a_bug,
]
ERRORS = [Broken, LookupError, KeyboardInterrupt, SystemExit, asyncio.CancelledError]


@pytest.fixture(autouse=True)
def _faults_are_planted() -> Iterator[None]:
    yield
    telemetry.reset()


@pytest.mark.parametrize("where", ["closed", "tripping", "probe", "shadow"])
@pytest.mark.parametrize("flush_s", [0.0, 0.1])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_is_raised_is_the_original(  # noqa: PLR0917 - fixtures and cases
    way: Callable[[CircuitBreaker, BaseException], None],
    fault: Callable[[Faulty, pytest.MonkeyPatch], None],
    flush_s: float,
    where: str,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Faulty()
    breaker = CircuitBreaker(
        "billing",
        minimum_calls=1 if where == "tripping" else 4,
        store=store,
        clock=clock,
        flush_s=flush_s,
        ignore=LookupError,
        shadow=where == "shadow",
    )
    if where in ("probe", "shadow"):
        fail(breaker, 4)
        breaker.flush()
        clock.advance(30)
    fault(store, monkeypatch)
    for kind in ERRORS:
        cause = ValueError("its own cause")
        error = kind("the call's own")
        error.__cause__ = cause
        breaker.configure(minimum_calls=1 if where == "tripping" else 4)
        try:
            way(breaker, error)
        except BaseException as raised:  # noqa: BLE001 - it must be this one, of whatever kind
            if type(raised).__name__ == "CircuitOpen":
                assert where in ("tripping", "probe"), "only what has opened before refuses"
                continue
            assert raised is error
            assert raised.__cause__ is cause
            assert raised.__context__ is None
        else:
            pytest.fail("the exception was swallowed")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("flush_s", [0.0, 0.1])
def test_a_result_is_not_lost_either(
    fault: Callable[[Faulty, pytest.MonkeyPatch], None], flush_s: float, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Faulty()
    breaker = CircuitBreaker("billing", store=store, clock=clock, flush_s=flush_s)
    fault(store, monkeypatch)
    result = object()

    async def agives() -> object:
        return result

    assert breaker.call(lambda: result) is result
    assert asyncio.run(breaker.acall(agives)) is result


def test_a_fault_of_ours_is_counted(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    breaker = CircuitBreaker("billing", store=MemoryStore(), clock=clock)
    monkeypatch.setattr(Core, "ending", planted)
    with pytest.raises(Broken):
        fail_once(breaker)
    monkeypatch.setattr(Core, "beginning", planted)
    with pytest.raises(Broken):
        fail_once(breaker)
    assert telemetry.collect()["resilience_internal_errors_total"] == {
        ("circuit_breaker", "record"): 1,
        ("circuit_breaker", "ask"): 1,
    }


def fail_once(breaker: CircuitBreaker) -> None:
    by_call(breaker, Broken())
