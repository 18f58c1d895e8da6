"""News of a commit: told at once to this process, and to the others by a sealed message that may be lost, late, doubled or old.

Nothing is decided by a message alone: it carries the revision before it, and only a process at exactly that one takes what it
says; whoever is elsewhere reads the changelog. Without a bus, and for SQL that came past `permission_write`, the poll finds what
is new. Source: consistency, sections 3 (rule 5) and 7.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from permissions import conf
from permissions.cache.sending import Sender
from permissions.engine import names
from permissions.writing import MAX_OBJECTS, Write, on_written
from resilience import telemetry
from resilience.address import default_url
from resilience.bus import Bus

CHANNEL: Final = "permission:events"
# Bytes. 256 ordinary ids take about 10 KB; with longer ones a message names none.
MAX_BYTES: Final = 65_536
# What a process can apply without a query: the others change the table, or all.
DIRECT: Final = frozenset("strk")

_EPOCH: Final = re.compile(r"[0-9a-f]{32}\Z")
_SEAL: Final = b',"mac":"'
_MAC_CHARS: Final = 32
_TAIL: Final = len(_SEAL) + _MAC_CHARS + len(b'"}')
_MAX_REV: Final = 2**63 - 1
_MAX_STAMP: Final = 2**31 - 1

Objects = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Event:
    """A committed revision. `realm` is the realm's id, `stamp` and `prev_stamp` the random bits of `rev` and `prev`.

    `objects`: (kind, id) of all that it touched, of kinds s, t, r and k alone; None: read the changelog.
    """

    epoch: str
    realm: int
    name: str
    prev: int
    prev_stamp: int
    rev: int
    stamp: int
    objects: Objects | None


def event_of(write: Write) -> Event:
    """The news of a committed write that changed something."""
    before, after = write.head_before, write.head_after
    assert before is not None  # noqa: S101 - it has ended
    assert after is not None  # noqa: S101
    objects = write.objects
    if not objects or after.rev != before.rev + 1 or any(kind not in DIRECT for kind, _ in objects):
        objects = None
    return Event(after.epoch, after.realm_id, after.name, before.rev, before.stamp, after.rev, after.stamp, objects)


@lru_cache(maxsize=8)
def _key(secret: str) -> bytes:
    return hmac.new(secret.encode(), b"permsite.permission-event.v1", hashlib.sha256).digest()


def _mac(body: bytes, secret: str) -> bytes:
    return hmac.new(_key(secret), body, hashlib.sha256).hexdigest()[:_MAC_CHARS].encode()


def encode(event: Event) -> bytes:
    message = _sealed(event, event.objects)
    return message if len(message) <= MAX_BYTES else _sealed(event, None)


def _sealed(event: Event, objects: Objects | None) -> bytes:
    fields = {
        "epoch": event.epoch,
        "realm": event.realm,
        "name": event.name,
        "prev": event.prev,
        "prev_stamp": event.prev_stamp,
        "rev": event.rev,
        "stamp": event.stamp,
        "objects": objects,
    }
    body = json.dumps(fields, separators=(",", ":")).encode()[:-1]
    return body + _SEAL + _mac(body, conf.secret_key()) + b'"}'


def parse(message: bytes) -> Event | None:
    """None, and counted, for whatever no key of ours sealed or is not of the shape."""
    event, refused = _read(message)
    if event is None:
        telemetry.count("permission_cache_events_total", refused)
    return event


def _read(message: bytes) -> tuple[Event | None, str]:
    if len(message) > MAX_BYTES:
        return None, "oversized"
    body, tail = message[:-_TAIL], message[-_TAIL:]
    mac = tail[len(_SEAL) : len(_SEAL) + _MAC_CHARS]
    if not body or tail != _SEAL + mac + b'"}':
        return None, "malformed"
    # Before anything of it is read: a forged "one revision further" would let a later token pass unread.
    if not any(hmac.compare_digest(mac, _mac(body, secret)) for secret in conf.secret_keys()):
        return None, "forged"
    try:
        return _event(json.loads(body + b"}")), "malformed"
    except ValueError:
        return None, "malformed"


def _event(fields: Any) -> Event | None:
    if not isinstance(fields, dict) or set(fields) != set(Event.__slots__):
        return None
    epoch, name, objects = fields["epoch"], fields["name"], fields["objects"]
    realm, prev, rev = (fields[part] for part in ("realm", "prev", "rev"))
    if not all(_is_whole(number, _MAX_REV) for number in (realm, prev, rev)) or rev <= prev:
        return None
    if not _is_whole(fields["stamp"], _MAX_STAMP) or not _is_whole(fields["prev_stamp"], _MAX_STAMP):
        return None
    if not isinstance(epoch, str) or not _EPOCH.match(epoch):
        return None
    if not isinstance(name, str) or not 0 < len(name) <= names.MAX_NAME:
        return None
    if objects is not None:
        if not isinstance(objects, list) or not 0 < len(objects) <= MAX_OBJECTS or rev != prev + 1:
            return None
        if not all(_is_object(pair) for pair in objects):
            return None
        objects = tuple((kind, object_id) for kind, object_id in objects)
    return Event(**{**fields, "objects": objects})


def _is_whole(number: object, most: int) -> bool:
    return type(number) is int and 0 <= number <= most


def _is_object(pair: object) -> bool:
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
        return False
    return pair[0] in DIRECT and 0 < len(pair[1]) <= names.MAX_REF


# Telling.
_lock = threading.Lock()
_here: tuple[Callable[[Event], object], ...] = ()
_bus: Bus | None = None


def bus() -> Bus | None:
    """Of this process, for these events alone; None without REDIS_URL."""
    global _bus  # noqa: PLW0603 - one a process, made on first use
    with _lock:
        if _bus is None and default_url():
            from resilience.redis_bus import RedisBus  # noqa: PLC0415 - without a server its driver is not needed

            _bus = RedisBus()
        return _bus


SENDER: Final = Sender(CHANNEL, bus)


def publish(write: Write) -> None:
    """After the commit, in the writer's thread. Waits for nobody."""
    event = event_of(write)
    for callback in _here:
        try:
            callback(event)
        except Exception as error:  # noqa: BLE001 - a hint that was not taken: the next check asks for the head
            telemetry.internal_error("permission_events", "here", error)
    telemetry.emit("permission.changed", realm=event.name, revision=event.rev, objects=event.objects)
    if default_url():
        SENDER.put(encode(event))


def connect() -> None:
    """Publishes every write from now on; once, at the app's start."""
    on_written(publish)


def on_own(callback: Callable[[Event], object]) -> Callable[[], None]:
    """Calls `callback(event)` for what this process itself commits, in the writer's thread, before anyone else hears of it.

    It must be quick. Returns a way out.
    """
    global _here  # noqa: PLW0603 - one tuple swapped as a whole
    with _lock:
        _here = (*_here, callback)

    def remove() -> None:
        global _here  # noqa: PLW0603
        with _lock:
            _here = tuple(other for other in _here if other is not callback)

    return remove


def listen(heard: Callable[[Event], object], reconnected: Callable[[], object]) -> Callable[[], None]:
    """Calls `heard(event)` in the bus's thread for what others commit; `reconnected()` whenever something may have been missed.

    Both must be quick. Returns a way out. Without a bus nothing is ever heard.
    """
    found = bus()
    if found is None:
        return lambda: None

    def take(message: bytes) -> None:
        event = parse(message)
        if event is not None:
            heard(event)

    ways_out = (found.on_reconnect(reconnected), found.subscribe(CHANNEL, take))

    def leave() -> None:
        for way_out in ways_out:
            way_out()

    return leave


def close() -> None:
    """Sends what is waiting, for a moment, and lets go of the bus."""
    global _bus
    SENDER.stop()
    with _lock:
        found, _bus = _bus, None
    if found is not None:
        found.close()


def _after_fork() -> None:
    """The child listens when it is told to; the parent's callbacks and connection are the parent's."""
    global _lock, _here, _bus
    _lock, _here, _bus = threading.Lock(), (), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
