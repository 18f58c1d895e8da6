"""The decision log: what was asked and answered, as JSON lines in a file, on stdout or in a Redis stream. Never in a check's way.

    if ON.is_on:
        note(realm, state.head.epoch, subject, permission, resource, decision)

While it is off, a check pays one look at a flag. While it is on, it pays an append to a bounded buffer: a thread of its own makes
the lines and hands them out. A full buffer drops and counts; no fault in here reaches a check, and none changes its answer. `tap`
shows decisions to one listener as well, whether the log is on or not.
"""

from __future__ import annotations

from permissions.decision_log.buffer import ON, fail, note, tap, tap_failures
from permissions.decision_log.running import start, stop

__all__ = ["ON", "fail", "note", "start", "stop", "tap", "tap_failures"]
