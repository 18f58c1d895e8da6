"""The store of a site of several processes without Redis: rows, which each process looks at once a second."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Final

import msgspec
from django.db import DatabaseError, IntegrityError, InterfaceError, connection, transaction

from controlplane.live.port import EVENTS, FRAME, KEPT_EVENTS, KEPT_FRAMES, KINDS, Event, Heard, LiveError, event_id, split_id
from controlplane.models import LiveBeat, LiveEvent, LiveFrame, LiveMessage
from resilience.bus import tell

log = logging.getLogger("controlplane.live")

LOOK_S: Final = 1.0
# Three beats: one that the database was too busy for takes no process off the list.
ALIVE_US: Final = 15_000_000
# After which a message is told to nobody any more.
KEPT_MESSAGES_US: Final = 60_000_000
TRIES: Final = 3
# The database's clock, microseconds: hosts' own would not agree on what is old.
_NOW: Final = {
    "postgresql": "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    "sqlite": "(CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)",
}
_BEAT: Final = """
INSERT INTO controlplane_livebeat (node, at_us, body) VALUES (%s, {now}, %s)
ON CONFLICT (node) DO UPDATE SET at_us = excluded.at_us, body = excluded.body
"""
_NODES: Final = "SELECT node, body FROM controlplane_livebeat WHERE at_us > {now} - %s AND at_us <= {now} + %s"
_SAY: Final = "INSERT INTO controlplane_livemessage (at_us, kind, body) VALUES ({now}, %s, %s)"
_FRAME: Final = """
INSERT INTO controlplane_liveframe (at_ms, body) VALUES ({now} / 1000, %s) ON CONFLICT (at_ms) DO UPDATE SET body = excluded.body
"""
_FRAMES: Final = "SELECT body FROM controlplane_liveframe WHERE at_ms > {now} / 1000 - %s ORDER BY at_ms LIMIT %s"
_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder().decode
_draw: Final = random.Random()  # noqa: S311 - it keeps two writers' ids apart, no secret


class RowsStore:
    """One listening thread, begun by the first `listen`."""

    name = "rows"
    beat_s = 5.0

    def __init__(self, *, look_s: float = LOOK_S) -> None:
        self._look_s = look_s
        self._lock = threading.Lock()
        self._heard: tuple[Heard, ...] = ()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_away = False
        self._seen: _Seen | None = None

    def beat(self, node: str, figures: bytes) -> None:
        with _opened("beat") as run:
            run(_BEAT, node, figures)

    def leave(self, node: str) -> None:
        with _opened("leave"):
            LiveBeat.objects.filter(node=node).delete()

    def nodes(self) -> dict[str, bytes]:
        with _opened("nodes") as run:
            return {node: bytes(body) for node, body in run(_NODES, ALIVE_US, ALIVE_US)}

    def publish(self, kind: str, payload: bytes) -> None:
        if kind in (FRAME, EVENTS):
            return  # they are looked at where they are kept
        with _opened("publish") as run:
            run(_SAY, kind, payload)

    def listen(self, heard: Heard) -> Callable[[], None]:
        def once(kind: str, payload: bytes) -> None:
            heard(kind, payload)

        with self._lock:
            self._heard = (*self._heard, once)
            if self._thread is None:
                self._ended = threading.Event()
                self._thread = threading.Thread(target=self._listen, args=(self._ended,), name="live-rows", daemon=True)
                self._thread.start()

        def leave() -> None:
            with self._lock:
                self._heard = tuple(other for other in self._heard if other is not once)
                is_last = not self._heard
            if is_last:
                self.close()

        return leave

    def _listen(self, ended: threading.Event) -> None:
        while not ended.is_set():
            try:
                self.look()
                self._is_away = False
            except LiveError as error:
                if not self._is_away:
                    log.warning("the rows of the live page are not read: %s", error)
                self._is_away = True
            ended.wait(self._look_s)

    def look(self) -> None:
        """Tells what is new since the last look; at the first one, only the frame."""
        with _opened("look"):
            frame = LiveFrame.objects.order_by("-at_ms").values_list("at_ms", "body").first()
            newest = LiveEvent.objects.order_by("-id").values_list("id", flat=True).first()
            seen = self._seen
            since = LiveMessage.objects.order_by("-id").values_list("id", flat=True).first() if seen is None else seen.message
            messages = list(LiveMessage.objects.filter(id__gt=since or 0).order_by("id").values_list("id", "kind", "body")[:1000])
        last = messages[-1][0] if messages else since or 0
        self._seen = _Seen(frame[0] if frame else 0, newest or "", last)
        # Not "newer": the database's clock may have been set back.
        if frame is not None and (seen is None or frame[0] != seen.frame):
            self._tell(FRAME, bytes(frame[1]))
        if seen is not None and newest is not None and newest != seen.event:
            self._tell(EVENTS, b"")
        if seen is not None:
            for _, kind, body in messages:
                if kind in KINDS:
                    self._tell(kind, bytes(body))

    def _tell(self, kind: str, payload: bytes) -> None:
        for heard in self._heard:
            tell("live", heard, kind, payload)

    def append(self, events: Sequence[Event]) -> list[str]:
        if not events:
            return []
        for left in range(TRIES, 0, -1):
            try:
                with _opened("append", is_whole=True) as run:
                    # Not after the newest there is, if the clock was set back: who follows asks for what is behind an id.
                    newest = LiveEvent.objects.order_by("-id").values_list("id", flat=True).first()
                    at_ms = max(_now_us(run) // 1000, split_id(newest)[0] + 1 if newest else 0)
                    first = _draw.randrange(999_999 - len(events))
                    ids = [event_id(at_ms, first + place) for place in range(len(events))]
                    rows = [LiveEvent(id=name, body=_ENCODE(event)) for name, event in zip(ids, events, strict=True)]
                    LiveEvent.objects.bulk_create(rows)
                    return ids
            except IntegrityError as error:  # another process drew the same numbers in the same millisecond
                if left == 1:
                    raise LiveError("append: no free id") from error
        return []

    def events(self, after: str = "", limit: int = 200) -> list[Event]:
        if limit <= 0:
            return []
        rows = LiveEvent.objects.values_list("id", "body")
        with _opened("events"):
            if after:
                split_id(after)
                found = list(rows.filter(id__gt=after).order_by("id")[:limit])
            else:
                found = list(rows.order_by("-id")[:limit])[::-1]
        return [{**_DECODE(bytes(body)), "id": place} for place, body in found]

    def clear_events(self, marker: Event) -> str:
        newest = self.append([marker])[0]
        with _opened("clear"):
            LiveEvent.objects.filter(id__lt=newest).delete()
        return newest

    def put_frame(self, at_ms: int, frame: bytes) -> None:
        with _opened("put_frame") as run:
            run(_FRAME, frame)

    def frames(self, since_s: float) -> list[bytes]:
        with _opened("frames") as run:
            return [bytes(body) for (body,) in run(_FRAMES, int(since_s * 1000), KEPT_FRAMES)]

    def tidy(self) -> None:
        """Drops what is too old. The leader's, once a minute."""
        with _opened("tidy") as run:
            now_us = _now_us(run)
            LiveBeat.objects.filter(at_us__lt=now_us - 4 * ALIVE_US).delete()
            LiveMessage.objects.filter(at_us__lt=now_us - KEPT_MESSAGES_US).delete()
            LiveFrame.objects.filter(at_ms__lt=now_us // 1000 - KEPT_FRAMES * 1000).delete()
            oldest = LiveEvent.objects.order_by("-id").values_list("id", flat=True)[KEPT_EVENTS : KEPT_EVENTS + 1]
            for place in oldest:
                LiveEvent.objects.filter(id__lte=place).delete()

    def close(self) -> None:
        with self._lock:
            thread, self._thread = self._thread, None
            self._heard = ()
            self._ended.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(5.0)


class _Seen:
    __slots__ = ("event", "frame", "message")

    def __init__(self, frame: int, event: str, message: int) -> None:
        self.frame, self.event, self.message = frame, event, message


Run = Callable[..., list[Any]]


@contextmanager
def _opened(what: str, *, is_whole: bool = False) -> Iterator[Run]:
    """Each statement by itself: on SQLite a transaction would shut other writers out even while it only reads. `is_whole`: all or
    nothing. The connection of a thread without requests is given back."""
    try:
        with transaction.atomic() if is_whole else nullcontext():
            yield _run
    except IntegrityError:
        raise
    except (DatabaseError, InterfaceError) as error:
        raise LiveError(f"{what}: {type(error).__name__}") from error
    finally:
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


def _run(statement: str, *values: str | int | bytes) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement.format(now=_NOW[connection.vendor]), values)
        return cursor.fetchall() if cursor.description else []


def _now_us(run: Run) -> int:
    return int(run("SELECT {now}")[0][0])
