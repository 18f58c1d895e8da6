"""The store of a site that is one process: everything in its memory."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from controlplane.live.port import KEPT_EVENTS, KEPT_FRAMES, Event, Heard, event_id, split_id
from resilience.bus import tell
from resilience.clock import SYSTEM, Clock

ALIVE_S: Final = 5.0


class MemoryStore:
    """Behaves as the others do, without a fault of its own. A message is heard before `publish` returns."""

    name = "memory"
    beat_s = 1.0

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._beats: dict[str, tuple[float, bytes]] = {}
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._frames: deque[tuple[float, bytes]] = deque(maxlen=KEPT_FRAMES)
        self._heard: tuple[Heard, ...] = ()
        self._last = (0, 0)

    def beat(self, node: str, figures: bytes) -> None:
        with self._lock:
            self._beats[node] = (self._clock.monotonic(), figures)

    def leave(self, node: str) -> None:
        with self._lock:
            self._beats.pop(node, None)

    def nodes(self) -> dict[str, bytes]:
        with self._lock:
            now = self._clock.monotonic()
            self._beats = {node: beat for node, beat in self._beats.items() if now - beat[0] < ALIVE_S}
            return {node: body for node, (_, body) in self._beats.items()}

    def publish(self, kind: str, payload: bytes) -> None:
        for heard in self._heard:
            tell("live", heard, kind, payload)

    def listen(self, heard: Heard) -> Callable[[], None]:
        def once(kind: str, payload: bytes) -> None:
            heard(kind, payload)

        with self._lock:
            self._heard = (*self._heard, once)

        def leave() -> None:
            with self._lock:
                self._heard = tuple(other for other in self._heard if other is not once)

        return leave

    def append(self, events: Sequence[Event]) -> list[str]:
        with self._lock:
            return [self._add(event) for event in events]

    def _add(self, event: Event) -> str:
        at_ms, number = int(time.time() * 1000), 0
        if at_ms <= self._last[0]:  # the same millisecond, or a clock that was set back
            at_ms, number = self._last[0], self._last[1] + 1
        if number > 999_999:
            at_ms, number = at_ms + 1, 0
        self._last = (at_ms, number)
        self._events.append({**event, "id": event_id(at_ms, number)})
        return event_id(at_ms, number)

    def events(self, after: str = "", limit: int = 200) -> list[Event]:
        with self._lock:
            held = list(self._events)
        if not after:
            return held[-limit:] if limit else []
        split_id(after)
        return [event for event in held if event["id"] > after][:limit]

    def clear_events(self, marker: Event) -> str:
        with self._lock:
            self._events.clear()
            return self._add(marker)

    def put_frame(self, at_ms: int, frame: bytes) -> None:
        with self._lock:
            self._frames.append((self._clock.monotonic(), frame))

    def frames(self, since_s: float) -> list[bytes]:
        with self._lock:
            since = self._clock.monotonic() - since_s
            return [body for at, body in self._frames if at >= since]

    def close(self) -> None:
        with self._lock:
            self._heard = ()
