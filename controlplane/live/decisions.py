"""Some decisions for the live page: every one that failed, denials up to 50 a second, one in a hundred of the rest.

A check pays nothing while nobody looks: the tap is open for the first LOOKED_AT decisions of each fifth of a second, then closes
itself, and the warm path looks at one flag as before. One subject that is watched keeps it open, for ten minutes at most.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from permissions import decision_log
from permissions.engine import names
from permissions.engine.reasons import FAULTS
from permissions.engine.types import Decision

# Of each fifth of a second: at about a microsecond each, a thousandth of a process.
LOOKED_AT: Final = 200
DENIED: Final = 10
ALLOWED_SHARE: Final = 0.01
FAILED: Final = 50
WATCHED: Final = 200
LONGEST_S: Final = 600.0
# Subjects watched at a time, all over the site.
MOST_WATCHED: Final = 20
# Characters of a name in an event.
LONGEST: Final = 200
# (realm, subject, permission, resource)
Asked = tuple[str, str, str, str | None]


@dataclass(frozen=True, slots=True)
class Watch:
    subject: str
    realm: str
    until: float  # seconds since 1970


class Tap:
    """`put` takes an event. Counters are written without a lock: two threads that lose one of two counts look at one more."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._draw = Random().random  # noqa: S311 - which decisions are shown is no secret
        self._put: Callable[[dict[str, Any]], None] | None = None
        self._watches: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()
        self._looked = self._denied = self._failed = self._watched = 0

    def start(self, put: Callable[[dict[str, Any]], None]) -> None:
        self._put = put
        self.refill()

    def stop(self) -> None:
        self._put = None
        decision_log.tap(None)
        decision_log.tap_failures(None)

    def refill(self) -> None:
        """Every fifth of a second."""
        if self._put is None:
            return
        now = self._now()
        with self._lock:
            self._watches = {key: until for key, until in self._watches.items() if until > now}
        self._looked = self._denied = self._failed = self._watched = 0
        decision_log.tap_failures(self.fail)
        decision_log.tap(self.take)

    def watch(self, watch: Watch) -> None:
        with self._lock:
            if len(self._watches) < MOST_WATCHED or (watch.realm, watch.subject) in self._watches:
                self._watches[watch.realm, watch.subject] = min(watch.until, self._now() + LONGEST_S)

    def watches(self) -> list[Watch]:
        now = self._now()
        return [Watch(subject, realm, until) for (realm, subject), until in self._watches.items() if until > now]

    def take(self, realm: str, subject: str, permission: str, resource: str | None, decision: Decision) -> None:
        """In the thread of the check."""
        if self._watches and (realm, subject) in self._watches:
            self._watched += 1
            if self._watched <= WATCHED:
                self._tell((realm, subject, permission, resource), decision, is_watched=True)
            return
        if self._looked >= LOOKED_AT:
            if not self._watches:
                decision_log.tap(None)  # until the next fifth of a second
            return
        self._looked += 1
        if decision.allowed:
            wanted = self._draw() < ALLOWED_SHARE
        elif decision.reason in FAULTS:
            self._failed += 1
            wanted = self._failed <= FAILED
        else:
            self._denied += 1
            wanted = self._denied <= DENIED
        if wanted:
            self._tell((realm, subject, permission, resource), decision)

    def fail(self, realm: str, subject: str, permission: str, resource: str | None, reason: str) -> None:
        """A question that got no decision."""
        self._failed += 1
        if self._failed <= FAILED:
            self._say((realm, subject, permission, resource), "error", {"reason": reason}, is_fault=True)

    def _tell(self, asked: Asked, decision: Decision, *, is_watched: bool = False) -> None:
        data: dict[str, Any] = {"reason": decision.reason, "revision": decision.revision, "layer": decision.source}
        if is_watched:
            data["watched"] = True
        self._say(asked, "allow" if decision.allowed else "deny", data, is_fault=decision.reason in FAULTS)

    def _say(self, asked: Asked, word: str, data: dict[str, Any], *, is_fault: bool) -> None:
        put = self._put
        if put is None:
            return
        realm, subject, permission, resource = asked
        if resource is not None:
            data["resource"] = resource[:LONGEST]
        put(
            {
                "at": self._now(),
                "name": f"decision.{word}",
                "severity": "warning" if is_fault else "info",
                "kind": "decision",
                "realm": realm,
                "actor": "",
                "subject": subject[:LONGEST],
                "permission": permission[:LONGEST],
                "decision": word,
                "request_id": "",
                "data": data,
            }
        )


def checked_watch(subject: object, realm: object, until: object, now: float) -> Watch:
    """Raises ValueError naming what is wrong."""
    if not isinstance(subject, str):
        raise ValueError(f"subject must be a text such as user:alice, not {type(subject).__name__}")
    try:
        names.check_ref(subject, "subject")
    except names.BadNameError as error:
        raise ValueError(str(error)) from error
    if not isinstance(realm, str) or not 0 < len(realm) <= names.MAX_NAME:
        raise ValueError("realm must be the name of a realm")
    if isinstance(until, bool) or not isinstance(until, int | float) or not now < until <= now + LONGEST_S + 1:
        raise ValueError("until must be a time to come, at most ten minutes from now, in seconds since 1970")
    return Watch(subject, realm, float(until))


TAP: Final = Tap()


def _after_fork() -> None:
    """The child's own heartbeat opens it again."""
    TAP.__init__()  # type: ignore[misc]  # as new; others hold this very object
    decision_log.tap(None)


os.register_at_fork(after_in_child=_after_fork)
