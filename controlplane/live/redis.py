"""The store on any Redis: all keys under one hash tag, so that a cluster keeps them on one node and pipelines reach them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from redis.exceptions import RedisClusterException, RedisError

from controlplane.live.port import KEPT_EVENTS, KEPT_FRAMES, KINDS, Event, Heard, LiveError, event_id, split_id
from resilience.errors import StorageError
from resilience.redis_bus import RedisBus
from resilience.redis_client import redis_client

ALIVE_MS: Final = 5_000
# Seconds. Threads of ours wait, no request; a server that is frozen must not hold up a beat for longer than a fraction of it.
TIMEOUT_S: Final = 0.25
_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder().decode


class RedisStore:
    """`prefix`: for tests that share a server."""

    name = "redis"
    beat_s = 1.0

    def __init__(self, url: str, *, prefix: str = "ps:") -> None:
        self._client: Any = redis_client(url, timeout_s=TIMEOUT_S)
        self._url = url
        self._bus: RedisBus | None = None
        base = f"{prefix}{{control}}:"
        self._nodes, self._node = f"{base}nodes", f"{base}node:"
        self._stream, self._past = f"{base}events", f"{base}frames"
        self._channel = f"{prefix}{{control}}:live"

    def beat(self, node: str, figures: bytes) -> None:
        with _translated("beat"):
            pipeline = self._client.pipeline(transaction=False)
            # It goes by the server's clock, when its process is killed: hosts' own clocks are asked by nobody.
            pipeline.set(self._node + node, figures, px=ALIVE_MS)
            pipeline.sadd(self._nodes, node)
            pipeline.execute()

    def leave(self, node: str) -> None:
        with _translated("leave"):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.delete(self._node + node)
            pipeline.srem(self._nodes, node)
            pipeline.execute()

    def nodes(self) -> dict[str, bytes]:
        with _translated("nodes"):
            names = sorted(self._client.smembers(self._nodes))
            if not names:
                return {}
            bodies = self._client.mget([self._node.encode() + name for name in names])
            gone = [name for name, body in zip(names, bodies, strict=True) if body is None]
            if gone:
                self._client.srem(self._nodes, *gone)
        return {name.decode(): body for name, body in zip(names, bodies, strict=True) if body is not None}

    def publish(self, kind: str, payload: bytes) -> None:
        with _translated("publish"):
            self._speaker().publish(self._channel, kind.encode() + b" " + payload)

    def _speaker(self) -> RedisBus:
        if self._bus is None:
            self._bus = RedisBus(self._url)
        return self._bus

    def listen(self, heard: Heard) -> Callable[[], None]:
        def taken(message: bytes) -> None:
            kind, mark, payload = message.partition(b" ")
            name = kind.decode("ascii", "replace")
            if mark and name in KINDS:  # whatever else comes by this channel is not ours
                heard(name, payload)

        return self._speaker().subscribe(self._channel, taken)

    def append(self, events: Sequence[Event]) -> list[str]:
        with _translated("append"):
            pipeline = self._client.pipeline(transaction=False)
            for event in events:
                pipeline.xadd(self._stream, {"e": _ENCODE(event)}, maxlen=KEPT_EVENTS, approximate=True)
            return [_our_id(found) for found in pipeline.execute()]

    def events(self, after: str = "", limit: int = 200) -> list[Event]:
        if limit <= 0:
            return []
        with _translated("events"):
            if after:
                at_ms, number = split_id(after)
                found = self._client.xrange(self._stream, min=f"({at_ms}-{number}", count=limit)
            else:
                found = list(reversed(self._client.xrevrange(self._stream, count=limit)))
        return [{**event, "id": _our_id(place)} for place, fields in found if (event := _event(fields)) is not None]

    def clear_events(self, marker: Event) -> str:
        with _translated("clear"):
            pipeline = self._client.pipeline(transaction=False)
            # Trimmed, not deleted: a stream remembers its last id, and ids must not begin anew behind those that were told.
            pipeline.xtrim(self._stream, maxlen=0, approximate=False)
            pipeline.xadd(self._stream, {"e": _ENCODE(marker)})
            return _our_id(pipeline.execute()[1])

    def put_frame(self, at_ms: int, frame: bytes) -> None:
        with _translated("put_frame"):
            self._client.xadd(self._past, {"f": frame}, maxlen=KEPT_FRAMES, approximate=True)

    def frames(self, since_s: float) -> list[bytes]:
        with _translated("frames"):
            now_s = float(".".join(f"{part:06d}" for part in self._client.time()))
            since_ms = max(0, math.floor((now_s - since_s) * 1000))
            found = self._client.xrevrange(self._past, min=str(since_ms), count=KEPT_FRAMES)
        return [fields[b"f"] for _, fields in reversed(found) if b"f" in fields]

    def close(self) -> None:
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.close()
        self._client.close()


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except (RedisError, RedisClusterException, StorageError, OSError) as error:
        raise LiveError(f"{what}: {type(error).__name__}") from error


def _our_id(found: bytes) -> str:
    at_ms, _, number = found.decode().partition("-")
    return event_id(int(at_ms), int(number))


def _event(fields: dict[bytes, bytes]) -> Event | None:
    try:
        event = _DECODE(fields[b"e"])
    except (KeyError, msgspec.DecodeError):  # somebody else wrote it
        return None
    return event if isinstance(event, dict) else None
