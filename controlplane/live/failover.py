"""Redis while it answers, else what stands behind it: rows, or the memory of a site that is one process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final, TypeVar

from django.db import connection

from controlplane.live.port import Event, Heard, LiveError, LiveStore
from resilience.clock import SYSTEM, Clock

log = logging.getLogger("controlplane.live")

T = TypeVar("T")
# Seconds until a store that did not answer is asked again.
RETRY_S: Final = 1.0
# Seconds between two looks for processes that cannot reach the first store, while this one can.
CUT_OFF_S: Final = 5.0


# Seconds after the first store's return in which others may still find it away.
AFTER_S: Final = 10.0
# Seconds that a look into the second store may take beside a first that answers.
BESIDE_S: Final = 0.25


class _Beside:
    """Questions to the second store while the first answers.

    A database that is frozen never answers a statement, and no limit of its own ends it. So a thread of their own asks, one
    question of a kind at a time, and nobody waits longer than BESIDE_S.
    """

    def __init__(self, store: LiveStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._running: dict[str, Future[Any]] = {}

    @property
    def name(self) -> str:
        return self._store.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def events(self, after: str = "", limit: int = 200) -> list[Event]:
        return self._asked("events", lambda: self._store.events(after, limit))

    def nodes(self) -> dict[str, bytes]:
        return self._asked("nodes", self._store.nodes)

    def _asked(self, kind: str, call: Callable[[], T]) -> T:
        """Raises LiveError."""
        asked: Future[T] = Future()
        with self._lock:
            before = self._running.get(kind)
            if before is not None and not before.done():
                raise LiveError(f"{kind}: {self.name} has not answered the question before")
            self._running[kind] = asked
        # A daemon: a question that hangs must not keep the process from ending.
        threading.Thread(target=_answer, args=(asked, call), name="live-beside", daemon=True).start()
        try:
            return asked.result(BESIDE_S)
        except FutureTimeoutError:
            raise LiveError(f"{kind}: {self.name} did not answer in time") from None


def _answer(asked: Future[T], call: Callable[[], T]) -> None:
    try:
        found = call()
    except BaseException as error:  # noqa: BLE001 - whoever asked is told
        asked.set_exception(error)
    else:
        asked.set_result(found)
    finally:
        connection.close()


class FailoverStore:
    """Every process decides for itself which store it speaks to; who leads reads both, and tells both if need be."""

    def __init__(self, first: LiveStore, second: LiveStore, clock: Clock = SYSTEM) -> None:
        self.first, self.second = first, second
        self._beside = _Beside(second)
        self._clock = clock
        self._lock = threading.Lock()
        self._retry_at: float | None = None
        self._looked_at = -CUT_OFF_S
        self._has_cut_off = False
        self._read_second_until = self._read_at = float("-inf")

    @property
    def is_down(self) -> bool:
        """Whether the first store did not answer when it was last asked."""
        return self._retry_at is not None

    @property
    def name(self) -> str:
        return self.second.name if self.is_down else self.first.name

    @property
    def beat_s(self) -> float:
        return self.first.beat_s

    def sources(self) -> list[LiveStore]:
        """Where events may have come to lately: the first store unless it is down; the second while it is and for a while after,
        since what was put there meanwhile must not be lost on the way back, and now and then for a process that alone cannot
        reach the first."""
        now = self._clock.monotonic()
        if self.is_down:
            return [self.second]
        if now < self._read_second_until or now >= self._read_at + CUT_OFF_S:
            self._read_at = now
            return [self.first, self._beside]
        return [self.first]

    def _either(self, call: Callable[[LiveStore], T]) -> T:
        if self._may_ask():
            try:
                answer = call(self.first)
            except LiveError as error:
                self._failed(error)
            else:
                self._answered()
                return answer
        return call(self.second)

    def _may_ask(self) -> bool:
        return self._retry_at is None or self._clock.monotonic() >= self._retry_at

    def _failed(self, error: LiveError) -> None:
        with self._lock:
            was_down, self._retry_at = self._retry_at is not None, self._clock.monotonic() + RETRY_S
        if not was_down:
            log.warning("the live page goes by %s: %s did not answer (%s)", self.second.name, self.first.name, error)

    def _answered(self) -> None:
        with self._lock:
            was_down, self._retry_at = self._retry_at is not None, None
        if was_down:
            self._read_second_until = self._clock.monotonic() + AFTER_S
            log.info("the live page goes by %s again", self.first.name)

    def beat(self, node: str, figures: bytes) -> None:
        self._either(lambda store: store.beat(node, figures))

    def leave(self, node: str) -> None:
        self._either(lambda store: store.leave(node))

    def nodes(self) -> dict[str, bytes]:
        """Of both: a process that moved may be in either, so the caller takes the younger beat (`seq`) of one that is in both."""
        found: dict[str, bytes] = {}
        if self._may_ask():
            try:
                found = self.first.nodes()
                self._answered()
            except LiveError as error:
                self._failed(error)
        now = self._clock.monotonic()
        if self.is_down or self._has_cut_off or now >= self._looked_at + CUT_OFF_S:
            self._looked_at = now
            try:
                second = self.second if self.is_down else self._beside
                others = {node: body for node, body in second.nodes().items() if node not in found}
            except LiveError:
                if self.is_down:
                    raise
                others = {}
            self._has_cut_off = bool(others) and not self.is_down
            found = {**others, **found}
        return found

    def _told(self, call: Callable[[LiveStore], object]) -> None:
        self._either(call)
        if self._has_cut_off and not self.is_down:
            call(self.second)

    def publish(self, kind: str, payload: bytes) -> None:
        self._told(lambda store: store.publish(kind, payload))

    def listen(self, heard: Heard) -> Callable[[], None]:
        """To both: which one speaks is for the speaker to know."""
        ways_out = [store.listen(heard) for store in (self.first, self.second)]

        def leave() -> None:
            for way_out in ways_out:
                way_out()

        return leave

    def append(self, events: Sequence[Event]) -> list[str]:
        return self._either(lambda store: store.append(events))

    def events(self, after: str = "", limit: int = 200) -> list[Event]:
        return self._either(lambda store: store.events(after, limit))

    def clear_events(self, marker: Event) -> str:
        cleared = self._either(lambda store: store.clear_events(marker))
        if not self.is_down:
            try:
                self.second.clear_events(marker)
            except LiveError as error:
                log.info("what %s holds of events was not cleared: %s", self.second.name, error)
        return cleared

    def put_frame(self, at_ms: int, frame: bytes) -> None:
        self._told(lambda store: store.put_frame(at_ms, frame))

    def frames(self, since_s: float) -> list[bytes]:
        return self._either(lambda store: store.frames(since_s))

    def close(self) -> None:
        self.first.close()
        self.second.close()
