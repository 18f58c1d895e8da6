"""This process's follower: its sources and its key; and telling the others what was written."""

from __future__ import annotations

import hashlib
import hmac
import logging
import threading
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import connection

from controlplane.models import ConfigRevision
from permissions import conf
from resilience import config, config_sources
from resilience.config import Snapshot
from resilience.config_follower import Follower
from resilience.errors import StorageError
from resilience.storage.base import default_store

log = logging.getLogger(__name__)

FILE: Final = "config.json"


def keys() -> tuple[bytes, ...]:
    """Of the seal: derived from SECRET_KEY, so that who reads Redis or the file learns nothing of that; old ones verify still."""
    return tuple(hmac.new(key.encode(), b"permsite.live-configuration.v1", hashlib.sha256).digest() for key in conf.secret_keys())


def rows() -> tuple[int, int, dict[str, Any]] | None:
    """The version in force, for a follower. It runs in a thread that no request surrounds: the connection is given back."""
    try:
        return ConfigRevision.objects.filter(is_active=True).values_list("epoch", "version", "sections").first()
    finally:
        if not connection.in_atomic_block:
            connection.close()


def make_follower(**options: Any) -> Follower:
    """Not started yet: `resilience.registry.start` does, once a process, when it begins to serve."""
    return config_sources.follower(default_store(), keys(), rows=rows, file=Path(settings.VAR) / FILE, **options)


class Share:
    """A part of a process that wants the configuration followed: server, loop, worker of jobs; the demo is all three.

    All parts have one follower. It runs from the first `start` to the last `stop`.
    """

    def __init__(self) -> None:
        self._has_begun = False

    def start(self) -> None:
        global _follower, _shares  # noqa: PLW0603 - one a process
        with _lock:
            if self._has_begun:
                return
            self._has_begun = True
            _shares += 1
            if _follower is None:
                _follower = make_follower()
                _follower.start()

    def stop(self) -> None:
        global _follower, _shares  # noqa: PLW0603 - as above
        with _lock:
            if not self._has_begun:
                return
            self._has_begun = False
            _shares -= 1
            if _shares == 0 and _follower is not None:
                _follower.stop()
                _follower = None


_lock: Final = threading.Lock()
_follower: Follower | None = None
_shares = 0


def announce(snapshot: Snapshot) -> bool:
    """After a commit: into the projection, to all processes, and here at once. False: the others find it in the rows."""
    config.offer(snapshot, config_sources.RowsSource.name)
    store = default_store()
    try:
        is_told = config_sources.RedisSource(store, keys()).put(snapshot)
        return is_told and store.name != "memory"  # which no other process reads
    except StorageError as error:
        log.warning("version %s of the configuration could not be announced: %s", snapshot.version, error)
        return False
