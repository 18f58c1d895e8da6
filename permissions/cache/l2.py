"""The second cache layer, in Redis or Valkey: optional, never trusted, never waited for longer than its time-out.

It gives candidates, not answers: the reader must prove each one unchanged up to its watermark. So a store that is flushed, lags,
loses writes or is restored from an old dump costs misses. Source: consistency, sections 8 and 10.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Sequence
from typing import Any, Final, Protocol

from django.conf import settings
from django_redis import get_redis_connection

from permissions.cache.codec import Candidate, Kind, Snapshot, decode
from permissions.cache.codec_model import decode_model, model_key
from permissions.cache.codec_seal import Rejected, key_of
from permissions.cache.l2_link import BATCH, Link
from permissions.cache.l2_writer import Job, ModelJob, Writer
from permissions.engine.types import ModelFacts
from permissions.revisions import Head
from resilience import telemetry

__all__ = ["ALIAS", "Candidate", "RedisLayer", "SecondLayer", "reset", "second_layer"]

ALIAS: Final = "permissions"


class SecondLayer(Protocol):
    """None of its methods raises. `put…` never wait; `get…` wait for one time-out of the store at most, and not at all while it
    is down."""

    @property
    def is_up(self) -> bool: ...

    def get_many(self, head: Head, kind: Kind, refs: Collection[str]) -> dict[str, Candidate]:
        """What is there under the realm and epoch of `head`, by ref."""
        ...

    def put_many(self, head: Head, kind: Kind, snapshots: Sequence[Snapshot], stamp: int, now_us: int) -> None:
        """Snapshots read at one revision, their `built_rev`; `stamp`: of that revision; `now_us`: by the database's clock."""
        ...

    def get_model(self, head: Head) -> tuple[int, int, ModelFacts] | None:
        """(revision it was read at, the stamp of that revision, facts)."""
        ...

    def put_model(self, head: Head, built_rev: int, stamp: int, facts: ModelFacts) -> None: ...


class Absent:
    """Where no store is configured."""

    is_up: Final = False

    def get_many(self, head: Head, kind: Kind, refs: Collection[str]) -> dict[str, Candidate]:
        return {}

    def put_many(self, head: Head, kind: Kind, snapshots: Sequence[Snapshot], stamp: int, now_us: int) -> None:
        pass

    def get_model(self, head: Head) -> tuple[int, int, ModelFacts] | None:
        return None

    def put_model(self, head: Head, built_rev: int, stamp: int, facts: ModelFacts) -> None:
        pass


class RedisLayer:
    """On the store of a Django cache alias, which must be django-redis's over our connection factory."""

    def __init__(self, alias: str = ALIAS) -> None:
        self._alias = alias
        self._client: Any = None
        self.link = Link(self._connected, self._store_lost)
        self.writer = Writer(self.link)

    @property
    def is_up(self) -> bool:
        return not self.link.is_down

    def get_many(self, head: Head, kind: Kind, refs: Collection[str]) -> dict[str, Candidate]:
        if self.link.is_down or not refs:
            return {}
        found: dict[str, Candidate] = {}
        try:
            keys = _keys(head, kind, refs)
            for start in range(0, len(keys), BATCH):
                part = keys[start : start + BATCH]
                for (ref, key), value in zip(part, self.link.get([key for _, key in part]), strict=True):
                    if value is not None:
                        self._take(found, head, kind, ref, key, value)
        except Exception as error:  # noqa: BLE001 - no fault of this layer may become a caller's
            telemetry.internal_error("permission_cache", "get_many", error)
        return found

    @staticmethod
    def _take(found: dict[str, Candidate], head: Head, kind: Kind, ref: str, key: bytes, value: bytes) -> None:  # noqa: PLR0917
        try:
            found[ref] = decode(head, kind, ref, key, value)
        except Rejected as error:
            telemetry.count("permission_cache_l2_rejected_total", error.cause)

    def put_many(self, head: Head, kind: Kind, snapshots: Sequence[Snapshot], stamp: int, now_us: int) -> None:
        try:
            # One that nobody keeps, or that was made to be explained at an instant of its own, is nobody else's.
            jobs = [
                Job(head, kind, snapshot, snapshot.built_rev, stamp, now_us)
                for snapshot in snapshots
                if snapshot.built_rev > 0 and getattr(snapshot, "facts", None) is None
            ]
            if jobs:
                self.writer.offer(jobs)
        except Exception as error:  # noqa: BLE001 - as above
            telemetry.internal_error("permission_cache", "put_many", error)

    def get_model(self, head: Head) -> tuple[int, int, ModelFacts] | None:
        if self.link.is_down:
            return None
        try:
            key = model_key(head)
            value = self.link.get([key])[0]
            return None if value is None else decode_model(head, key, value)
        except Rejected as error:
            telemetry.count("permission_cache_l2_rejected_total", error.cause)
        except Exception as error:  # noqa: BLE001 - as above
            telemetry.internal_error("permission_cache", "get_model", error)
        return None

    def put_model(self, head: Head, built_rev: int, stamp: int, facts: ModelFacts) -> None:
        try:
            self.writer.offer_model(ModelJob(head, facts, built_rev, stamp))
        except Exception as error:  # noqa: BLE001 - as above
            telemetry.internal_error("permission_cache", "put_model", error)

    def close(self) -> None:
        self.writer.close()

    def begin_anew(self) -> None:
        self.link.begin_anew()
        self.writer.begin_anew()

    def _connected(self) -> Any:
        if self._client is None:
            self._client = get_redis_connection(self._alias)
        return self._client

    def _store_lost(self) -> None:
        self.writer.store_lost()


def _keys(head: Head, kind: Kind, refs: Collection[str]) -> list[tuple[str, bytes]]:
    keys = []
    for ref in dict.fromkeys(refs):
        try:
            keys.append((ref, key_of(head, kind, ref)))
        except UnicodeEncodeError:  # nothing is stored under such an id
            continue
    return keys


_guard = threading.Lock()
_layer: RedisLayer | Absent | None = None


def second_layer() -> SecondLayer:
    """The one of this process; one that holds nothing where the cache alias `permissions` is not on Redis."""
    global _layer  # noqa: PLW0603 - one a process
    found = _layer
    if found is None:
        with _guard:
            found = _layer
            if found is None:
                found = _layer = RedisLayer() if _is_on_redis() else Absent()
    return found


def _is_on_redis() -> bool:
    backend: str = settings.CACHES.get(ALIAS, {}).get("BACKEND", "")
    return backend.startswith("django_redis.")


def reset() -> None:
    """Ends the writer and forgets the layer; the next use begins anew."""
    global _layer
    with _guard:
        found, _layer = _layer, None
    if isinstance(found, RedisLayer):
        found.close()


def _after_fork() -> None:
    """Threads and locks are the parent's. Its connections the client drops by itself."""
    global _guard  # noqa: PLW0603 - it may have been held by a thread that the child does not have
    _guard = threading.Lock()
    if isinstance(_layer, RedisLayer):
        _layer.begin_anew()


os.register_at_fork(after_in_child=_after_fork)
