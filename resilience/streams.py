"""Generators under a pipeline: one call that lasts from the first item to the last.

- Nothing happens before the first item is asked for; then every stage is passed, as by a call. The bulkhead's permit is held, and
  the breaker's call goes on, until the generator ends, fails or is closed.
- Retry and fallback act until the first item is there: what a consumer has seen cannot be taken back.
- `timeout_s` counts from the first question to the end, `attempt_timeout_s` is for each item. The deadline is set only while the
  generator runs, never while its consumer does.
- A consumer that closes it early has got what it wanted: a success. An exception that leaves it is a failure, also one thrown in.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import aclosing, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from resilience.deadline import Deadline, ensure_time_left
from resilience.errors import DeadlineExceeded
from resilience.stages import Args, Attempt, Kwargs, Plan, aadmit, admit, aenter, aquietly, enter, quietly

if TYPE_CHECKING:
    from resilience.bulkhead import Permit
    from resilience.fallback import Fallback


class Step(NamedTuple):
    """What a generator gave: an item, or with `ended` what it returned."""

    value: Any
    ended: bool = False


class _Stream:
    """What both kinds share: the time that is left, and what is held."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ends_at = None if plan.timeout_s is None else plan.clock.monotonic() + plan.timeout_s
        self.permit: Permit | None = None
        self.attempt = Attempt(None)
        self.source: Any = None

    def total(self) -> Deadline | nullcontext[None]:
        """What is left of the whole, for one step."""
        if self.ends_at is None:
            return nullcontext()
        plan = self.plan
        left_s = self.ends_at - plan.clock.monotonic()
        if left_s <= 0:
            raise DeadlineExceeded(plan.name, plan.timeout_s)
        return Deadline(left_s, name=plan.name, clock=plan.clock, allowed_s=plan.timeout_s)


class _Sync(_Stream):
    def open(self, fn: Callable[..., Any], args: Args, kwargs: Kwargs) -> Step:
        """Through all stages, to the first item."""
        plan = self.plan
        with self.total():
            admit(plan, args, kwargs)
            self.permit = enter(plan)
            try:
                if plan.retry is None:
                    return self._first(fn, args, kwargs)
                return plan.retry.call(self._first, fn, args, kwargs)
            except BaseException:
                self.leave()
                raise

    def _first(self, fn: Callable[..., Any], args: Args, kwargs: Kwargs) -> Step:
        plan = self.plan
        ensure_time_left()
        self.attempt = Attempt(None if plan.breaker is None else plan.breaker.acquire())
        try:
            with plan.single():
                self.attempt.begun = True
                self.source = fn(*args, **kwargs)
                return _advance(self.source.__next__)
        except BaseException as error:
            self.attempt.failed(error)
            raise

    def drain(self, step: Step) -> Generator[Any, Any, Any]:
        """Hands on items, and what the consumer sends or throws, to the end."""
        try:
            while not step.ended:
                try:
                    sent = yield step.value
                except GeneratorExit:
                    self.source.close()
                    raise
                except BaseException as thrown:  # noqa: BLE001 - it is the generator's to answer
                    step = self._on(self.source.throw, thrown)
                else:
                    step = self._on(self.source.__next__) if sent is None else self._on(self.source.send, sent)
        except GeneratorExit:
            self.attempt.succeeded()
            raise
        except BaseException as error:
            self.attempt.failed(error)
            raise
        else:
            self.attempt.succeeded()
            return step.value
        finally:
            self.leave()

    def _on(self, advance: Callable[..., Any], *value: Any) -> Step:
        with self.total(), self.plan.single():
            return _advance(advance, *value)

    def leave(self) -> None:
        permit, self.permit = self.permit, None
        if permit is not None:
            quietly("release", permit.release)


def _advance(advance: Callable[..., Any], *value: Any) -> Step:
    # As a value, not an exception: `on=Exception` of a retry would take StopIteration for a failure.
    try:
        return Step(advance(*value))
    except StopIteration as stop:
        return Step(stop.value, ended=True)


def stream(plan: Plan, fn: Callable[..., Any], args: Args, kwargs: Kwargs) -> Generator[Any, Any, Any]:
    run, fallback = _Sync(plan), plan.fallback
    if fallback is None:
        return (yield from run.drain(run.open(fn, args, kwargs)))
    fallback.refuse_async()
    try:
        step = run.open(fn, args, kwargs)
    except fallback.on as error:
        items, step = fallback.answer(error, args, kwargs, finish=_begun)
        original = error
    else:
        return (yield from run.drain(step))
    if step.ended:
        return step.value
    try:
        yield step.value
        return (yield from items)
    except Exception as failure:  # noqa: BLE001 - as when it fails at once: the first exception is the one to tell
        fallback.failed(original, failure)
    raise original


def _begun(result: Any) -> tuple[Iterator[Any], Step]:
    items = iter(result)
    return items, _advance(items.__next__)


class _Async(_Stream):
    async def open(self, fn: Callable[..., Any], args: Args, kwargs: Kwargs) -> Step:
        plan = self.plan
        async with self.total():
            await aadmit(plan, args, kwargs)
            self.permit = await aenter(plan)
            try:
                if plan.retry is None:
                    return await self._first(fn, args, kwargs)
                return await plan.retry.acall(self._first, fn, args, kwargs)
            except BaseException:
                await self.leave()
                raise

    async def _first(self, fn: Callable[..., Any], args: Args, kwargs: Kwargs) -> Step:
        plan = self.plan
        ensure_time_left()
        self.attempt = Attempt(None if plan.breaker is None else await plan.breaker.aacquire())
        try:
            async with plan.single():
                self.attempt.begun = True
                self.source = fn(*args, **kwargs)
                return await _aadvance(self.source.__anext__)
        except BaseException as error:
            await self.attempt.afailed(error)
            raise

    async def on(self, advance: Callable[..., Awaitable[Any]], *value: Any) -> Step:
        async with self.total(), self.plan.single():
            return await _aadvance(advance, *value)

    async def leave(self) -> None:
        permit, self.permit = self.permit, None
        if permit is not None:
            await aquietly("release", permit.arelease)


async def _aadvance(advance: Callable[..., Awaitable[Any]], *value: Any) -> Step:
    try:
        return Step(await advance(*value))
    except StopAsyncIteration:
        return Step(None, ended=True)


def astreaming(plan_of: Callable[[], Plan], fn: Callable[..., Any]) -> Callable[..., AsyncGenerator[Any, Any]]:
    """`fn` under the plan, as an asynchronous generator function: callers tell by that what they may do with it."""

    async def run(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        plan = plan_of()
        stream, fallback = _Async(plan), plan.fallback
        original: Exception | None = None
        on = () if fallback is None else fallback.on
        try:
            step = await stream.open(fn, args, kwargs)
        except on as error:
            assert fallback is not None  # noqa: S101 - for the type checker: an empty tuple catches nothing
            items, step = await fallback.aanswer(error, args, kwargs, finish=_abegun)
            original = error
        if original is not None and fallback is not None:
            async with aclosing(_afallback(fallback, original, items, step)) as answer:
                async for item in answer:
                    yield item
            return
        # Written out here: an asynchronous generator cannot `yield from` one that does it.
        try:
            while not step.ended:
                try:
                    sent = yield step.value
                except GeneratorExit:
                    await stream.source.aclose()
                    raise
                except BaseException as thrown:  # noqa: BLE001 - it is the generator's to answer
                    step = await stream.on(stream.source.athrow, thrown)
                else:
                    step = await (stream.on(stream.source.__anext__) if sent is None else stream.on(stream.source.asend, sent))
        except GeneratorExit:
            await stream.attempt.asucceeded()
            raise
        except BaseException as error:
            await stream.attempt.afailed(error)
            raise
        else:
            await stream.attempt.asucceeded()
        finally:
            await stream.leave()

    return run


async def _afallback(
    fallback: Fallback, original: Exception, items: AsyncGenerator[Any, Any], step: Step
) -> AsyncGenerator[Any, Any]:
    try:
        async with aclosing(items):
            if not step.ended:
                yield step.value
            async for item in items:
                yield item
    except Exception as failure:  # noqa: BLE001 - as when it fails at once: the first exception is the one to tell
        fallback.failed(original, failure)
    else:
        return
    raise original


async def _abegun(result: Any) -> tuple[AsyncGenerator[Any, Any], Step]:
    if isinstance(result, Awaitable):
        result = await result
    items = _each(result)
    return items, await _aadvance(items.__anext__)


async def _each(items: Any) -> AsyncGenerator[Any, Any]:
    """A fallback may answer with any iterable, asynchronous or not."""
    if not hasattr(items, "__aiter__"):
        for item in items:
            yield item
        return
    async for item in items:
        yield item
