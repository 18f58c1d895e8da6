"""Every way to make a call through a breaker: what counts, what does not, and what a refusal says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterator

import pytest

from resilience import CircuitBreaker, CircuitOpen, FakeClock, telemetry
from tests.resilience.circuit_breaker.calling import Broken, admitted, afails, aworks, fail, fails, on_a_loop, works

Make = Callable[..., CircuitBreaker]


def failures(breaker: CircuitBreaker) -> int:
    return breaker.snapshot().failures


def test_it_opens_refuses_probes_and_closes(make: Make, clock: FakeClock) -> None:
    breaker = make()
    assert breaker.call(works) == 7
    fail(breaker, 3)
    assert breaker.state == "open"
    with pytest.raises(CircuitOpen) as refused:
        breaker.call(works)
    assert (refused.value.name, refused.value.retry_after_s, refused.value.source) == ("billing", 30.0, "memory")
    assert not refused.value.forced
    clock.advance(30)
    assert breaker.state == "half_open"
    assert breaker.call(works) == 7
    assert breaker.state == "closed"


def test_a_failed_probe_opens_it_again(make: Make, clock: FakeClock) -> None:
    breaker = make()
    fail(breaker, 4)
    clock.advance(30)
    fail(breaker)
    assert breaker.state == "open"
    assert breaker.snapshot().retry_after_s == 30


@on_a_loop
async def test_coroutines_count_as_functions_do(make: Make) -> None:
    breaker = make()
    assert await breaker.acall(aworks) == 7
    for _ in range(3):
        with pytest.raises(Broken):
            await breaker.acall(afails)
    assert breaker.state == "open"
    with pytest.raises(CircuitOpen):
        await breaker.acall(aworks)


def test_a_block_counts_what_leaves_it(make: Make) -> None:
    breaker = make()
    with breaker:
        pass
    for _ in range(3):
        with pytest.raises(Broken), breaker:
            raise Broken
    with pytest.raises(CircuitOpen), breaker:
        pytest.fail("an open breaker let a block begin")


@on_a_loop
async def test_an_asynchronous_block_counts_what_leaves_it(make: Make) -> None:
    breaker = make()
    async with breaker:
        pass
    for _ in range(3):
        with pytest.raises(Broken):
            async with breaker:
                raise Broken
    with pytest.raises(CircuitOpen):
        async with breaker:
            pytest.fail("an open breaker let a block begin")


def test_blocks_of_one_breaker_may_lie_in_each_other(make: Make) -> None:
    breaker = make(minimum_calls=100)
    with pytest.raises(Broken), breaker, breaker:
        raise Broken
    with breaker as outer:
        with breaker as inner:
            inner.failure(Broken())
        assert outer is not inner
    snapshot = breaker.snapshot()
    assert (snapshot.calls, snapshot.failures) == (4, 3)


@on_a_loop
async def test_blocks_of_tasks_do_not_mix(make: Make, clock: FakeClock) -> None:
    breaker = make(half_open_permits=2, half_open_failures=2)
    fail(breaker, 4)
    clock.advance(30)
    inside = asyncio.Barrier(2)

    async def probe(error: Exception | None) -> None:
        async with breaker:
            await inside.wait()
            if error is not None:
                raise error

    results = await asyncio.gather(probe(None), probe(Broken()), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), Broken]
    snapshot = breaker.snapshot()
    assert (snapshot.probes_succeeded, snapshot.probes_failed, snapshot.probes_running) == (1, 1, 0)


def test_a_decorated_function_is_guarded_and_keeps_its_name(make: Make) -> None:
    breaker = make()

    @breaker
    def charge(amount: int) -> int:
        """Charges."""
        if amount < 0:
            raise Broken
        return amount

    assert (charge(3), charge.__name__, charge.__doc__) == (3, "charge", "Charges.")
    for _ in range(3):
        with pytest.raises(Broken):
            charge(-1)
    with pytest.raises(CircuitOpen):
        charge(3)


@on_a_loop
async def test_a_decorated_coroutine_is_guarded(make: Make) -> None:
    breaker = make()
    guarded = breaker(afails)
    assert asyncio.iscoroutinefunction(guarded)
    for _ in range(4):
        with pytest.raises(Broken):
            await guarded()
    with pytest.raises(CircuitOpen):
        await guarded()


def test_a_decorated_generator_counts_once_from_its_first_step_to_its_last(make: Make) -> None:
    breaker = make(minimum_calls=3)

    @breaker
    def rows(error: Exception | None = None) -> Generator[int, str, None]:
        got = yield 1
        assert got == "sent"
        yield 2
        if error is not None:
            raise error

    def consume(error: Exception | None = None) -> list[int]:
        steps = rows(error)
        return [next(steps), steps.send("sent"), *steps]

    rows()
    assert breaker.snapshot().calls == 0, "it has not begun"
    assert consume() == [1, 2]
    for _ in range(2):
        with pytest.raises(Broken):
            consume(Broken())
    with pytest.raises(CircuitOpen):
        consume()


def test_a_generator_is_never_slow(make: Make, clock: FakeClock) -> None:
    breaker = make(slow_call_s=1.0)

    @breaker
    def rows() -> Iterator[int]:
        yield 1

    for _ in rows():
        clock.advance(60)
    snapshot = breaker.snapshot()
    assert (snapshot.slow_calls, snapshot.calls) == (0, 1)


def test_a_generator_that_is_left_early_counts_as_neither(make: Make) -> None:
    breaker = make()

    @breaker
    def rows() -> Iterator[int]:
        yield 1
        yield 2

    steps = rows()
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert breaker.snapshot().calls == 0


@on_a_loop
async def test_a_decorated_asynchronous_generator_is_guarded(make: Make) -> None:
    breaker = make(minimum_calls=3)

    @breaker
    async def rows(error: Exception | None = None) -> AsyncIterator[int]:
        yield 1
        if error is not None:
            raise error

    assert [row async for row in rows()] == [1]
    for _ in range(2):
        with pytest.raises(Broken):
            [row async for row in rows(Broken())]
    with pytest.raises(CircuitOpen):
        [row async for row in rows()]
    assert breaker.state == "open"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_is_no_exception_is_neutral_and_returns_the_probe(make: Make, clock: FakeClock, error: type[BaseException]) -> None:
    breaker = make()

    def leaves() -> None:
        raise error

    for _ in range(10):
        with pytest.raises(error):
            breaker.call(leaves)
    assert breaker.snapshot().calls == 0
    fail(breaker, 4)
    clock.advance(30)
    with pytest.raises(error):
        breaker.call(leaves)
    assert breaker.measured_state == "half_open"
    assert breaker.call(works) == 7, "the probe was given back"


def test_ignored_exceptions_count_as_neither(make: Make) -> None:
    breaker = make(ignore=(LookupError,))

    def misses() -> None:
        raise KeyError("nobody")

    for _ in range(10):
        with pytest.raises(KeyError):
            breaker.call(misses)
    assert breaker.snapshot().calls == 0
    fail(breaker, 4)
    assert breaker.state == "open"


def test_failure_if_judges_results(make: Make) -> None:
    breaker = make(failure_if=lambda response: response >= 500)
    for _ in range(4):
        assert breaker.call(lambda: 503) == 503
    assert breaker.state == "open"


def test_a_faulty_judgement_is_no_failure_of_the_call(make: Make) -> None:
    breaker = make(failure_if=lambda response: response.status)
    for _ in range(4):
        assert breaker.call(works) == 7
    assert breaker.state == "closed"
    assert telemetry.collect()["resilience_internal_errors_total"] == {("circuit_breaker", "failure_if"): 4}
    telemetry.reset()


def test_slow_calls_open_it_by_a_ratio_of_their_own(make: Make, clock: FakeClock) -> None:
    breaker = make(slow_call_s=1.0, slow_ratio=0.75, minimum_calls=4)
    for seconds in (1.0, 1.1, 1.1, 1.1):
        breaker.call(clock.advance, seconds)
    assert breaker.state == "open"
    clock.advance(30)
    breaker.call(clock.advance, 2.0)
    assert breaker.state == "open", "a slow success is a failed probe"


def test_a_permit_counts_once(make: Make) -> None:
    breaker = make(minimum_calls=100)
    permit = breaker.acquire()
    permit.failure(Broken())
    permit.success()
    permit.ignore()
    snapshot = breaker.snapshot()
    assert (snapshot.calls, snapshot.failures) == (1, 1)


def test_a_permit_judges_what_it_is_told(make: Make) -> None:
    breaker = make(minimum_calls=100, ignore=LookupError, failure_if=lambda result: result == "bad")
    for told in (KeyError(), KeyboardInterrupt()):
        breaker.acquire().failure(told)
    breaker.acquire().ignore()
    assert breaker.snapshot().calls == 0
    breaker.acquire().success("bad")
    breaker.acquire().success()
    breaker.acquire().failure()
    snapshot = breaker.snapshot()
    assert (snapshot.calls, snapshot.failures) == (3, 2)


@on_a_loop
async def test_a_permit_has_asynchronous_twins(make: Make) -> None:
    breaker = make(minimum_calls=100)
    await (await breaker.aacquire()).asuccess()
    await (await breaker.aacquire()).afailure(Broken())
    await (await breaker.aacquire()).aignore()
    async with await breaker.aacquire():
        pass
    snapshot = await breaker.asnapshot()
    assert (snapshot.calls, snapshot.failures) == (3, 1)


def test_in_shadow_it_counts_and_lets_every_call_through(make: Make, clock: FakeClock) -> None:
    breaker = make(shadow=True)
    fail(breaker, 4)
    assert breaker.state == "open"
    assert breaker.call(works) == 7
    assert telemetry.collect()["resilience_circuit_breaker_calls_total"]["billing", "shadowed"] == 1
    clock.advance(30)
    assert breaker.call(works) == 7
    assert breaker.state == "closed"


def test_breakers_of_one_name_and_store_are_one(make: Make) -> None:
    one, other, third = make(), make(), make("shipping")
    fail(one, 4)
    assert (other.state, third.state) == ("open", "closed")
    assert one._resolve() is other._resolve() is not third._resolve()


def test_many_at_once_get_one_probe(make: Make, clock: FakeClock) -> None:
    breaker = make()
    fail(breaker, 4)
    clock.advance(30)
    probe = breaker.acquire()
    assert probe.is_probe
    assert not any(admitted(breaker) for _ in range(50))
    probe.success()
    assert breaker.state == "closed"


def test_every_call_is_metered_by_outcome(make: Make) -> None:
    breaker = make(minimum_calls=3, ignore=LookupError)
    breaker.call(works)
    breaker.acquire().ignore()
    fail(breaker, 2)
    with pytest.raises(CircuitOpen):
        breaker.call(fails)
    collected = telemetry.collect()
    assert collected["resilience_circuit_breaker_calls_total"] == {
        ("billing", "success"): 1,
        ("billing", "ignored"): 1,
        ("billing", "failure"): 2,
        ("billing", "refused"): 1,
    }
    assert collected["resilience_circuit_breaker_state"] == {("billing",): 2}
    assert collected["resilience_circuit_breaker_transitions_total"] == {("billing", "open"): 1}
