"""One reader a process: follows the store and hands ready messages to whoever listens, the open sockets above all.

How old a frame is, the hub's own monotonic clock tells, from the moment it came: a leader's clock may be wrong, and a frame that
was stored long ago must not look new.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec

from controlplane.live import store as stores
from controlplane.live.decisions import TAP, checked_watch
from controlplane.live.failover import FailoverStore
from controlplane.live.port import (
    EVENTS,
    FRAME,
    NODES,
    NOTICE,
    RIGHTS,
    WATCH,
    Event,
    LiveError,
    LiveStore,
)
from controlplane.live.tail import RING, News, Replay, Tail
from resilience import telemetry
from resilience.clock import SYSTEM, Clock

log = logging.getLogger("controlplane.live")

Callback = Callable[[str, bytes], object]

# Without a message for so long, the store itself is looked at: messages may be lost.
LOOK_S: Final = 1.0
# Seconds between two readings of events: as many batches of the tail at most.
EVENTS_EVERY_S: Final = 0.2
# Told to sockets: some events were lost on the way here.
GAP: Final = "gap"
# Messages that wait for the hub's thread; a store that floods it costs this much memory.
WAITING: Final = 1_000
# A frame that was stored so lately is taken at the start.
STORED_S: Final = 2.0
# After which a frame of an older term counts again: who led then may lead alone now.
FENCE_S: Final = 5.0
_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder().decode


class Hub:
    """`start` and `stop` count: a server and its control loop may live in one process."""

    def __init__(self, clock: Clock = SYSTEM, make: Callable[[], LiveStore] = stores.current) -> None:
        self._clock, self._make = clock, make
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._users = 0
        self._told: deque[tuple[str, bytes]] = deque(maxlen=WAITING)
        self._callbacks: tuple[Callback, ...] = ()
        self._frame: dict[str, Any] | None = None
        self._frame_at: float | None = None
        self._nodes: list[dict[str, Any]] = []
        self._tail = Tail()
        self._events_at = float("-inf")
        self._are_events_due = True
        self._is_store_away = False

    # What it knows.

    def frame(self) -> dict[str, Any] | None:
        """The newest, however old: ask `frame_age_s` before it is shown as live."""
        return self._frame

    def frame_age_s(self) -> float | None:
        at = self._frame_at
        return None if at is None else max(0.0, self._clock.monotonic() - at)

    def nodes(self) -> list[dict[str, Any]]:
        """The processes of the site, as the leader last told: see `controlplane.live.frames.instance_of`."""
        return self._nodes

    def events(self, after: str = "", limit: int = RING) -> list[Event]:
        """Oldest first: those behind an id, else the newest. From memory."""
        return self.replay(after, limit).events

    def replay(self, after: str = "", limit: int = RING) -> Replay:
        """Raises ValueError for what is no id."""
        return self._tail.replay(after, limit)

    def listen(self, callback: Callback) -> Callable[[], None]:
        """Calls `callback(kind, payload)` in the hub's thread; it must be quick, and hand over. Returns a way out.

        Kinds `frame`, `events`, `gap`, `nodes`, `notice` with a message for a socket, and `rights`, which is for no socket.
        """

        def once(kind: str, payload: bytes) -> None:
            callback(kind, payload)

        with self._lock:
            self._callbacks = (*self._callbacks, once)

        def leave() -> None:
            with self._lock:
                self._callbacks = tuple(other for other in self._callbacks if other is not once)

        return leave

    # Telling others.

    def tell(self, kind: str, body: Any) -> None:
        """To every process: a `notice` or `rights`. Raises LiveError."""
        if kind not in (NOTICE, RIGHTS):
            raise ValueError(f"{kind!r} is told by nobody but the leader")
        self._make().publish(kind, _ENCODE(body))

    # Its thread.

    def start(self) -> None:
        with self._lock:
            self._users += 1
            if self._thread is None:
                self._ended = threading.Event()
                self._thread = threading.Thread(target=self._run, args=(self._ended,), name="live-hub", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        with self._lock:
            self._users = max(0, self._users - 1)
            if self._users:
                return
            thread, self._thread = self._thread, None
            self._ended.set()
            self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(5.0)

    @property
    def is_running(self) -> bool:
        return self._thread is not None

    def _run(self, ended: threading.Event) -> None:
        leave: Callable[[], None] | None = None
        while not ended.is_set():
            try:
                if leave is None:
                    leave = self._make().listen(self._heard)
                self.turn()
            except Exception as error:  # noqa: BLE001 - the thread goes on: nobody would notice its end but stale pages
                telemetry.internal_error("live", "hub", error)
            self._wake.wait(EVENTS_EVERY_S if self._are_events_due else LOOK_S)
            self._wake.clear()
        if leave is not None:
            leave()

    def _heard(self, kind: str, payload: bytes) -> None:
        """In the store's thread: hands over at once."""
        self._told.append((kind, payload))
        self._wake.set()

    def turn(self) -> None:
        """Everything that was heard, and what is due."""
        while self._told:
            self._take(*self._told.popleft())
        now = self._clock.monotonic()
        age = self.frame_age_s()
        is_due = self._are_events_due or now - self._events_at >= LOOK_S
        if is_due and now - self._events_at >= EVENTS_EVERY_S:
            self._events_at, self._are_events_due = now, False
            self._look(age is None)

    def _look(self, is_first: bool) -> None:
        try:
            self._read_events()
            if is_first:
                for frame in self._make().frames(STORED_S)[-1:]:
                    self._take(FRAME, frame)
                    # It may have lain there so long already.
                    self._frame_at = self._clock.monotonic() - STORED_S
        except LiveError as error:
            if not self._is_store_away:
                log.warning("the live page's store does not answer: %s", error)
            self._is_store_away = True
        else:
            self._is_store_away = False

    def _read_events(self) -> None:
        """Raises LiveError where one of them does not answer, after the others were read."""
        store = self._make()
        sources: list[LiveStore] = store.sources() if isinstance(store, FailoverStore) else [store]
        failed: LiveError | None = None
        for source in sources:
            try:
                self._tell_news(self._tail.read(source))
            except LiveError as error:
                failed = error
        if failed is not None:
            raise failed

    def _tell_news(self, news: News) -> None:
        if news.lost:
            self._say(GAP, _ENCODE({"type": GAP, "dropped": None, "last": news.lost}))
        self._are_events_due = self._are_events_due or news.is_more
        if news.events:
            self._say(EVENTS, _ENCODE({"type": EVENTS, "events": news.events, "last": news.events[-1]["id"]}))

    def _take(self, kind: str, payload: bytes) -> None:
        if kind == EVENTS:
            self._are_events_due = True
            return
        try:
            body = _DECODE(payload)
        except msgspec.DecodeError as error:
            telemetry.internal_error("live", "message", error)
            return
        if kind == FRAME:
            if isinstance(body, dict) and self._is_newer(body):
                self._frame, self._frame_at = body, self._clock.monotonic()
                self._say(kind, _ENCODE({"type": kind, "frame": body}))
        elif kind == NODES:
            if isinstance(body, list):
                self._nodes = body
                self._say(kind, _ENCODE({"type": kind, "nodes": body}))
        elif kind == NOTICE:
            self._say(kind, _ENCODE({"type": kind, "notice": body}))
        elif kind == RIGHTS:
            self._say(kind, payload)
        elif kind == WATCH:
            _watch(body)

    def _is_newer(self, frame: dict[str, Any]) -> bool:
        """Not one that came already by another store, and not one of a leader that another has replaced."""
        last, age = self._frame, self.frame_age_s()
        if last is None or age is None:
            return True
        term, seq = frame.get("fence", 0), frame.get("seq", 0)
        last_term, last_seq = last.get("fence", 0), last.get("seq", 0)
        if term == last_term and frame.get("leader") == last.get("leader"):
            return bool(seq > last_seq)
        return bool(term > last_term) or age > FENCE_S

    def _say(self, kind: str, payload: bytes) -> None:
        for callback in self._callbacks:
            try:
                callback(kind, payload)
            except Exception as error:  # noqa: BLE001 - one socket's fault must not silence the others
                telemetry.internal_error("live", "listener", error)

    def after_fork(self) -> None:
        """In a child nothing runs, and the parent's locks may be held for ever."""
        self._begin_anew()


def _watch(body: object) -> None:
    if isinstance(body, dict):
        with contextlib.suppress(ValueError):  # its end has passed on the way, or it was not ours
            TAP.watch(checked_watch(body.get("subject"), body.get("realm"), body.get("until"), time.time()))


HUB: Final = Hub()
os.register_at_fork(after_in_child=HUB.after_fork)
