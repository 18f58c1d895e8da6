"""When keys were last used, to the minute: a process remembers which it met, and a thread of the server writes them down."""

from __future__ import annotations

import os
import threading
from typing import Final

from django.db import DatabaseError, InterfaceError, connection

from permissions.models import KeyUse
from resilience import telemetry

EACH_S: Final = 60.0

# Added to where a caller is resolved, which nearly every request does: a set of small numbers, without a lock.
met: Final[set[int]] = set()


def flush() -> int:
    """Writes down who was met since the last time; how many. Raises DatabaseError; they are then met no more, till next time."""
    found = set()
    while met:
        try:
            found.add(met.pop())
        except KeyError:  # another thread took the last one
            break
    return KeyUse.objects.seen(found) if found else 0


class _Writer:
    """The thread. One a process, while it serves."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._ended.clear()
            self._thread = threading.Thread(target=self._run, name="permissions-key-uses", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._ended.set()
            thread.join(2.0)

    def forget(self) -> None:
        self._thread = None

    def _run(self) -> None:
        ended = self._ended
        while not ended.wait(EACH_S):
            _write()
        _write()


def _write() -> None:
    try:
        flush()
    except (DatabaseError, InterfaceError) as error:
        telemetry.internal_error("identity", "key_uses", error)
    finally:
        # Of a thread that lives on: a connection kept here would be one of the pool's ten.
        connection.close()


_writer: Final = _Writer()
start: Final = _writer.start
stop: Final = _writer.stop

# The parent's thread is not here.
os.register_at_fork(after_in_child=_writer.forget)
