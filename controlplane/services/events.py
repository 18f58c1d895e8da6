"""Live events as operators handle them: clearing the list, watching a subject, sending a test event."""

from __future__ import annotations

import time
from typing import Final

from controlplane import live
from controlplane.live import store as stores
from controlplane.live.decisions import LONGEST_S, checked_watch
from controlplane.live.heartbeat import HEARTBEAT
from controlplane.live.port import CLEARED, LiveError
from controlplane.services import realms
from controlplane.services.rights import OPERATE, VIEW, control_realm, on_page, require
from permissions.errors import Invalid, Problem, Refused
from permissions.writing import Actor, run_write
from resilience import telemetry

EVENTS_PAGE: Final = on_page("events")
MAX_MINUTES: Final = int(LONGEST_S // 60)


class EventsAway(Refused):
    """What the processes share does not answer: neither list nor stream of events is to be had."""

    code = "unavailable"
    status = 503


def events_clear(*, actor: Actor, reason: str = "", request_id: str = "") -> str:
    """Empties the list of live events; the id of the one that says so. The audit is another thing: it keeps this, and all else.

    Raises Forbidden, EventsAway.
    """
    require(actor, OPERATE, EVENTS_PAGE)
    _record(actor, "events_clear", "events", reason, request_id)
    marker = {
        "at": time.time(),
        "name": CLEARED,
        "severity": "info",
        "kind": "audit",
        "realm": control_realm(),
        "actor": actor.name[:200],
        "subject": "",
        "permission": "",
        "decision": "",
        "node": HEARTBEAT.outbox.node,
        "request_id": request_id[:200],
        "data": {"reason": reason[:200]} if reason else {},
    }
    try:
        store = stores.current()
        cleared = store.clear_events(marker)
        store.publish("events", b"")
    except LiveError as error:
        raise EventsAway(f"the events were not cleared: their store does not answer ({error})") from error
    return cleared


def subject_watch(*, actor: Actor, subject: str, realm: str, minutes: object, reason: str = "", request_id: str = "") -> float:
    """Shows all decisions of a subject to whoever looks on, for `minutes`; until when, seconds since 1970.

    Raises Forbidden, Invalid, NotFound, EventsAway.
    """
    require(actor, OPERATE, EVENTS_PAGE)
    if isinstance(minutes, bool) or not isinstance(minutes, int) or not 1 <= minutes <= MAX_MINUTES:
        raise Invalid([Problem("minutes", f"must be a whole number from 1 to {MAX_MINUTES}")])
    now = time.time()
    try:
        wanted = checked_watch(subject, realm, now + 60 * minutes, now)
    except ValueError as error:
        raise Invalid([Problem("subject", str(error))]) from error
    if realm != control_realm():
        realms.require_in(actor, VIEW, realm, EVENTS_PAGE)
    _record(actor, "subject_watch", wanted.subject, reason, request_id, realm=realm, minutes=minutes)
    try:
        return live.watch(wanted.subject, wanted.realm, wanted.until)
    except LiveError as error:
        raise EventsAway(f"only this process watches: the others could not be told ({error})") from error


def test_event(*, actor: Actor) -> None:
    """One event that means nothing, on the way of all others. Raises Forbidden."""
    require(actor, OPERATE, EVENTS_PAGE)
    telemetry.emit("events.tested", actor=actor.name, reason="a person looked whether events arrive")


def _record(actor: Actor, verb: str, target: str, reason: str, request_id: str, **detail: object) -> None:
    run_write(
        control_realm(),
        actor,
        reason,
        lambda write: write.record(f"control_{verb}", "control", target, None, {**detail} or None),
        request_id=request_id,
    )
