"""As of a past instant or revision: the rows then in force, read back from the history of rows, for the same engine."""

from __future__ import annotations

from permissions.timeline.asking import Timeline, decide, decide_at, opened, pin, refusals
from permissions.timeline.floor import NotKept

__all__ = ["NotKept", "Timeline", "decide", "decide_at", "opened", "pin", "refusals"]
