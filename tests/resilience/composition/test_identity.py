"""The exception-identity matrix: whatever fails around a call, what the call raised leaves as the same object.

And nothing leaks, nothing is counted wrongly, and what was swallowed is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resilience import (
    StorageAuthError,
    StorageFull,
    StorageProtocolError,
    StorageTimeout,
    StorageUnavailable,
    degraded,
    remaining_s,
    telemetry,
)
from resilience.bulkhead import Permit
from resilience.circuit_breaker.core import Core
from resilience.circuit_breaker.permit import CallPermit
from tests.resilience.composition.conftest import Counted
from tests.resilience.composition.kit import FORMS, LIMIT, PIPELINES, Call, Kit


class Odd(Exception):
    """Whoever compares it, asks whether it is true, or prints it gets another error. (asyncio.run needs its repr.)"""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("compared")

    def __bool__(self) -> bool:
        raise RuntimeError("asked")

    def __str__(self) -> str:
        raise RuntimeError("printed")


class Stop(BaseException):
    """No Exception: as a cancellation, an exit."""


ERRORS: dict[str, Callable[[], BaseException]] = {
    "plain": lambda: ValueError("mine"),
    "transient": lambda: ConnectionError("mine"),
    "odd": Odd,
    "group": lambda: ExceptionGroup("mine", [ValueError(), TimeoutError()]),
    "no exception": Stop,
}

Fault = Callable[[Kit, pytest.MonkeyPatch], Callable[[], None]]


def broken(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("a fault of ours")


async def abroken(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("a fault of ours")


def nothing() -> None: ...


def no_fault(kit: Kit, patch: pytest.MonkeyPatch) -> Callable[[], None]:
    return nothing


def recorder(kit: Kit, patch: pytest.MonkeyPatch) -> Callable[[], None]:
    patch.setattr(Core, "ending", broken)
    return nothing


def record_of_a_report(kit: Kit, patch: pytest.MonkeyPatch) -> Callable[[], None]:
    kit.store.broken["breaker_report"] = RuntimeError("a fault of the store's")
    return nothing


def release(kit: Kit, patch: pytest.MonkeyPatch) -> Callable[[], None]:
    kit.store.broken["bulkhead_release"] = RuntimeError("a fault of the store's")
    return nothing


def listener(kit: Kit, patch: pytest.MonkeyPatch) -> Callable[[], None]:
    return telemetry.subscribe(broken)


def emitter(kit: Kit, patch: pytest.MonkeyPatch) -> Callable[[], None]:
    patch.setattr(telemetry, "emit", broken)
    patch.setattr("resilience.fallback.emit", broken)
    return nothing


def storage(error: type[Exception]) -> Fault:
    def lost(kit: Kit, patch: pytest.MonkeyPatch) -> Callable[[], None]:
        kit.store.broken["all"] = error("run", "lost")
        return nothing

    return lost


FAULTS: dict[str, Fault] = {
    "none": no_fault,
    "recorder": recorder,
    "report": record_of_a_report,
    "release": release,
    "listener": listener,
    "emitter": emitter,
    **{error.__name__: storage(error) for error in (StorageUnavailable, StorageTimeout, StorageFull, StorageAuthError)},
    "StorageProtocolError": storage(StorageProtocolError),
}
# The strategies' own nets cut: the pipeline must hold by itself.
BARE: dict[str, Fault] = {
    "permit": lambda kit, patch: _all_broken(patch, CallPermit, ("success", "failure", "ignore")),
    "leave": lambda kit, patch: _all_broken(patch, Permit, ("release",)),
}


def _all_broken(patch: pytest.MonkeyPatch, kind: type, verbs: tuple[str, ...]) -> Callable[[], None]:
    for verb in verbs:
        patch.setattr(kind, verb, broken)
        patch.setattr(kind, f"a{verb}", abroken)
    return nothing


def raises(kit: Kit, form: Call, error: BaseException, on: type[Exception] = LookupError) -> BaseException:
    def fn() -> None:
        raise error

    try:
        form(kit, fn, on)
    except BaseException as caught:  # noqa: BLE001 - the test asks which it is
        return caught
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("form", FORMS)
def test_what_the_call_raised_leaves_as_the_same_object(
    form: str, fault: str, error: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kit, original = Kit(), ERRORS[error]()
    undo = FAULTS[fault](kit, monkeypatch)
    try:
        caught = raises(kit, FORMS[form], original)
    finally:
        undo()
        monkeypatch.undo()
    assert caught is original
    assert kit.in_flight() == 0
    assert (remaining_s(), degraded()) == (None, ())


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("fault", BARE)
@pytest.mark.parametrize("form", PIPELINES)
def test_it_does_even_where_a_strategy_breaks_its_promise(
    form: str, fault: str, error: str, monkeypatch: pytest.MonkeyPatch, counted: Counted
) -> None:
    kit, original = Kit(), ERRORS[error]()
    BARE[fault](kit, monkeypatch)
    caught = raises(kit, FORMS[form], original)
    monkeypatch.undo()
    assert caught is original
    assert counted("resilience_internal_errors_total", "pipeline", "record" if fault == "permit" else "release") == 1


@pytest.mark.parametrize("error", ["plain", "transient", "odd", "group"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("form", PIPELINES)
def test_a_fallback_that_fails_hides_nothing(form: str, fault: str, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kit, original, second = Kit(), ERRORS[error](), KeyError("the fallback's")
    kit.failures.append(second)
    undo = FAULTS[fault](kit, monkeypatch)
    try:
        caught = raises(kit, FORMS[form], original, on=Exception)
    finally:
        undo()
        monkeypatch.undo()
    assert caught is original
    # Once items have been handed out there is nothing a fallback could take their place with: it is not asked.
    assert caught.__context__ is (None if "second" in form else second)
    assert kit.in_flight() == 0
    assert degraded() == ()


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("form", FORMS)
def test_it_is_counted_once_and_rightly(form: str, error: str, counted: Counted) -> None:
    kit, original = Kit(), ERRORS[error]()
    assert raises(kit, FORMS[form], original) is original
    is_failure = isinstance(original, Exception)
    assert counted("resilience_circuit_breaker_calls_total", "dep", "failure") == int(is_failure)
    assert counted("resilience_circuit_breaker_calls_total", "dep", "success") == 0
    assert kit.breaker.state == ("open" if is_failure else "closed"), "also the call that trips it raises its own exception"
    if "context" not in form:
        assert kit.limiter.peek("pay").remaining == LIMIT - 1
    assert kit.bulkhead.in_flight == 0, "given back at once, not when its lease ends"
    assert counted("resilience_internal_errors_total") == 0


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("form", FORMS)
def test_a_result_reaches_the_caller_whatever_fails_around_it(form: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kit, result = Kit(), object()
    undo = FAULTS[fault](kit, monkeypatch)
    try:
        assert FORMS[form](kit, lambda: result, LookupError) is result
    finally:
        undo()
        monkeypatch.undo()
    assert kit.in_flight() == 0


@pytest.mark.parametrize("fault", ["recorder", "report", "release"])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_swallowed_is_counted(form: str, fault: str, monkeypatch: pytest.MonkeyPatch, counted: Counted) -> None:
    kit, original = Kit(), ValueError()
    FAULTS[fault](kit, monkeypatch)
    assert raises(kit, FORMS[form], original) is original
    monkeypatch.undo()
    assert counted("resilience_internal_errors_total") >= 1


@pytest.mark.parametrize("error", [StorageUnavailable("run", "x"), StorageTimeout("run", "x"), RuntimeError("a driver's fault")])
@pytest.mark.parametrize("form", FORMS)
def test_a_store_that_is_lost_during_the_call_hides_nothing(form: str, error: Exception) -> None:
    kit, original = Kit(), ValueError()

    def fn() -> None:
        kit.store.broken["all"] = error
        raise original

    with pytest.raises(ValueError) as caught:
        FORMS[form](kit, fn, LookupError)
    assert caught.value is original
    assert kit.in_flight() == 0
