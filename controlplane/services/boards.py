"""What the boards share: actions with a reason and an end, refusals of the kit in our words, which store answers."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from controlplane.live.hub import HUB
from controlplane.services.control import acting
from controlplane.services.fresh import EVERY_S, Fresh, forget
from permissions.errors import Invalid, NotFound, Problem, Refused
from permissions.writing import Actor
from resilience import params, registry, telemetry
from resilience.clock import SYSTEM, Clock
from resilience.control import LONGEST_S
from resilience.errors import ConfigInvalid, StorageError, StorageTimeout
from resilience.params import Mistake, Param
from resilience.storage.base import Storage, default_store

__all__ = [
    "EVERY_S",
    "MOST",
    "Fresh",
    "StoreAway",
    "action",
    "checked_end",
    "checked_number",
    "checked_reason",
    "forget",
    "found",
]

# What the kit's control keeps of a reason.
MAX_REASON: Final = 500
# Rows of one table; a site with more filters them.
MOST: Final = 500
_UNTIL: Final = Param("until", "moment", None)


class StoreAway(Refused):
    """The store that all processes share did not do it: no process was told."""

    code = "unavailable"
    status = 503


# Actions


@contextmanager
def action(actor: Actor, reason: object, *, request_id: str = "", expected: int | None = None) -> Iterator[str]:
    """Gives the checked reason. What the kit refuses inside leaves as a refusal of ours, and the boards read anew."""
    why = checked_reason(reason)
    try:
        with acting(actor, request_id=request_id, expected=expected):
            yield why
    except ConfigInvalid as error:
        raise Invalid([Problem(error.path, error.problem)]) from error
    except StorageTimeout as error:
        raise StoreAway(f"the store did not answer in time: whether it was done can be seen once it does ({error})") from error
    except StorageError as error:
        raise StoreAway(f"the store that all processes share cannot be reached: nothing was done ({error})") from error
    except ValueError as error:
        raise Invalid([Problem("", str(error))]) from error
    finally:
        forget()


def checked_reason(reason: object) -> str:
    if not isinstance(reason, str):
        raise Invalid([Problem("reason", "must be a text")])
    text = reason.strip()
    if not text:
        raise Invalid([Problem("reason", "is missing: say why, it is kept in the audit")])
    if len(text) > MAX_REASON or not text.isprintable():
        raise Invalid([Problem("reason", f"must be at most {MAX_REASON} characters on one line")])
    return text


def checked_end(until: object, for_s: object, *, default_s: float, clock: Clock = SYSTEM) -> float:
    """Seconds since 1970: a moment, or so many seconds from now. Raises Invalid for both, and for what is past or too far."""
    if until is not None and for_s is not None:
        raise Invalid([Problem("for_s", "must be left out where until is given")])
    now = clock.now_us() / 1e6
    if until is None:
        span = default_s if for_s is None else checked_number("for_s", for_s, least=1, most=LONGEST_S)
        return now + span
    try:
        end = float(_UNTIL.parse(until))
    except Mistake as mistake:
        raise Invalid([Problem("until", str(mistake))]) from None
    if not now < end <= now + LONGEST_S:
        raise Invalid([Problem("until", "must be a time to come, at most 30 days from now")])
    return end


def checked_number(name: str, value: object, *, least: float, most: float, whole: bool = False) -> float:
    """Raises Invalid for a boolean, a text, NaN and what is out of bounds."""
    try:
        return float(Param(name, "int" if whole else "float", None, min=least, max=most).parse(value))
    except Mistake as mistake:
        raise Invalid([Problem(name, str(mistake))]) from None


def found(kind: str, name: str) -> Any:
    """The strategy of that name. Raises NotFound for one that neither the code nor the configuration declares."""
    if name not in registry.names(kind):
        raise NotFound(f"there is no {kind} {params.shown(name)}")
    try:
        return registry.find(kind, name)
    except ConfigInvalid as error:
        raise NotFound(f"{kind} {params.shown(name)} cannot be made: {error.problem}") from error


# What all processes together say


def frame() -> Mapping[str, Any]:
    """The newest figures of the whole, empty where there are none that are new."""
    try:
        age_s = HUB.frame_age_s()
        return (HUB.frame() or {}) if age_s is not None and age_s <= STALE_S else {}
    except Exception as error:  # noqa: BLE001 - as above
        telemetry.internal_error("boards", "frame", error)
        return {}


STALE_S: Final = 3.0


# Which store answers


def _store_line() -> dict[str, Any]:
    store = default_store()
    state = store.health()
    return {
        "name": store.name,
        "mode": state.mode,
        "ok": state.ok,
        "fallback_active": state.fallback_active,
        "latency_ms": None if state.latency_ms is None else round(state.latency_ms, 3),
        "since": state.since,
        "error": state.error,
        # Whether what is shown of it holds for every process, or for this one alone.
        "shared": store.name != "memory" and state.ok and not state.fallback_active,
    }


_store: Final = Fresh(_store_line)


def store_line() -> dict[str, Any]:
    return _store.get()


def is_shared(store: Storage) -> bool:
    """Whether other processes see what is done in it."""
    return store.name != "memory"


def now_s() -> float:
    return time.time()


def this_process() -> str:
    """As processes are told apart everywhere: host and number."""
    return f"{socket.gethostname()}:{os.getpid()}"
