"""One thread a process that tells the others how it is: a beat a second, its events every 200 ms."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from typing import Any, Final

import msgspec
from django.conf import settings

from controlplane.live import store as stores
from controlplane.live.decisions import TAP
from controlplane.live.figures import Process
from controlplane.live.outbox import Outbox
from controlplane.live.port import EVENTS, RIGHTS, LiveError, LiveStore
from resilience import telemetry
from resilience.clock import SYSTEM, Clock
from resilience.telemetry import Event as Emitted

log = logging.getLogger("controlplane.live")

FLUSH_S: Final = 0.2
RETRY_S: Final = 1.0
# Events handed over at once: a store's time-out must be enough for them.
BATCH: Final = 500
# Subjects named in one message; a change that touches more has everybody asked again.
MOST_SUBJECTS: Final = 200


class Heartbeat:
    """`start` and `stop` count, as those of the hub do. No fault in here leaves its thread."""

    def __init__(self, clock: Clock = SYSTEM, make: Callable[[], LiveStore] = stores.current) -> None:
        self._clock, self._make = clock, make
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._users = 0
        self._beat_at = 0.0
        self._is_away = False
        self._rights: dict[str, set[str] | None] = {}
        self._ways_out: list[Callable[[], None]] = []
        self.process: Process | None = None
        self.outbox = Outbox()

    def start(self, kind: str) -> None:
        """`kind`: "server" or "loop"; a process that is both is a server."""
        with self._lock:
            self._users += 1
            if self.process is None:
                self.process = Process(settings.VERSION, self._clock)
            if kind == "server":
                self.process.kind = kind
            if self._thread is not None:
                return
            self.outbox.node = f"{self.process.host}:{os.getpid()}"
            self.outbox.start()
            self._ways_out = [telemetry.subscribe(self._changed, "permission.changed")]
            TAP.start(self.outbox.put)
            self._beat_at = 0.0
            self._ended = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._ended,), name="live-heartbeat", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        with self._lock:
            self._users = max(0, self._users - 1)
            if self._users:
                return
            thread, self._thread = self._thread, None
            self._ended.set()
            TAP.stop()
            self.outbox.stop()
            ways_out, self._ways_out = self._ways_out, []
        for way_out in ways_out:
            way_out()
        if thread is not None and thread is not threading.current_thread():
            thread.join(5.0)

    @property
    def is_running(self) -> bool:
        return self._thread is not None

    def _run(self, ended: threading.Event) -> None:
        while not ended.is_set():
            self.turn()
            ended.wait(FLUSH_S)
        self._guarded(self._flush)
        if self.process is not None:
            node = self.process.node
            self._guarded(lambda: self._make().leave(node))
        with contextlib.suppress(Exception):  # at the very end of a process the database may be gone already
            from django.db import connection  # noqa: PLC0415 - a thread without requests gives its connection back itself

            if not connection.in_atomic_block:
                connection.close()

    def turn(self) -> None:
        """What is due. Never raises."""
        self._guarded(TAP.refill)
        self._guarded(telemetry.refill)
        self._guarded(self._flush)
        now = self._clock.monotonic()
        if now >= self._beat_at:
            self._beat_at = now + RETRY_S
            self._guarded(self._beat)

    def _guarded(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except LiveError as error:
            if not self._is_away:  # once an outage, not once a beat
                self._is_away = True
                log.warning("the live page does not hear of this process: %s", error)
        except Exception as error:  # noqa: BLE001 - the thread outlives every fault: without it the page shows nothing of us
            telemetry.internal_error("live", "heartbeat", error)

    def _beat(self) -> None:
        if self.process is None:
            return
        store = self._make()
        self._beat_at += store.beat_s - RETRY_S
        store.beat(self.process.node, self.process.beat())
        if self._is_away:
            self._is_away = False
            log.info("the live page hears of this process again")

    def _flush(self) -> None:
        for realm in list(self._rights):
            subjects = self._rights.pop(realm)
            named = None if subjects is None else sorted(subjects)
            try:
                self._make().publish(RIGHTS, msgspec.json.encode({"realm": realm, "subjects": named}))
            except Exception:
                # Later, then, and everybody: more may have changed meanwhile.
                self._rights[realm] = subjects if realm not in self._rights else None
                raise
        events = self.outbox.drain(BATCH)
        if not events:
            return
        try:
            self._make().append(events)
        except Exception:
            # Dropping the newest instead would lose the cause and keep what followed from it.
            self.outbox.give_back(events)
            raise
        self._make().publish(EVENTS, b"")

    def _changed(self, event: Emitted) -> None:
        """In the writer's thread, after its commit: open sockets of whom it touched are asked about again, in every process."""
        realm, objects = event.attributes.get("realm"), event.attributes.get("objects")
        if not isinstance(realm, str):
            return
        found: set[str] | None = set()
        for kind, name in objects if objects is not None else [("", "")]:
            if kind == "s" and found is not None and len(found) < MOST_SUBJECTS:
                found.add(name)
            elif kind != "r" or name.startswith("permsite."):
                # A team, a role, a page of ours, or more than can be named: everybody.
                found = None
        if found is not None and not found:
            return
        before = self._rights.get(realm, set())
        self._rights[realm] = None if found is None or before is None else before | found

    def after_fork(self) -> None:
        self.outbox.stop()
        self._begin_anew()


HEARTBEAT: Final = Heartbeat()
start = HEARTBEAT.start
stop = HEARTBEAT.stop
os.register_at_fork(after_in_child=HEARTBEAT.after_fork)
