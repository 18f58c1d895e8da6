"""Pruning of the history of rows: first the floor of a realm rises to what may no longer be read, then what lies below it goes.

Nobody reads an entry below the floor, so it goes in small batches at any time. The floor rises only over revisions that are older
than what the live configuration keeps, and the changelog keeps every revision above it: an instant must find its revision.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Final

from django.db import connection

from controlplane.loop.lease import Act, Term
from permissions.models import Changelog, HistoryFloor
from permissions.params import HISTORY
from resilience import config, telemetry

# Rows a transaction: some ten milliseconds, in which SQLite lets nobody else write.
BATCH: Final = 2_000
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_RAISE: Final = "UPDATE permissions_historyfloor SET rev = %s, at = %s WHERE realm_id = %s AND rev < %s"
# Below the floor, and of realms that have none: they are gone, or nothing is kept of them any more.
_BELOW: Final = """
SELECT h.id FROM permissions_historyfloor f JOIN permissions_rowhistory h ON h.realm_id = f.realm_id AND h.rev <= f.rev LIMIT %s
"""
_ORPHANED: Final = """
SELECT h.id FROM permissions_rowhistory h
WHERE NOT EXISTS (SELECT 1 FROM permissions_historyfloor f WHERE f.realm_id = h.realm_id) LIMIT %s
"""


def keep_hours() -> int:
    return int(config.current().section(HISTORY.name).get("keep_hours", HISTORY.defaults()["keep_hours"]))


@dataclass(slots=True)
class Forgetting:
    batch: int = BATCH
    name: str = "forgetting"
    interval_s: float = 60.0
    _left: deque[Any] = field(default_factory=deque)

    def look(self, term: Term) -> bool:
        if not self._left:
            self._left.extend(HistoryFloor.objects.order_by("realm_id").values_list("realm_id", "rev"))
            # The last: what has fallen below a floor.
            self._left.append(None)
        return True

    def step(self, act: Act) -> bool:
        job = self._left.popleft()
        if job is None:
            if self._remove(act):
                self._left.append(None)
        else:
            self._raise(act, *job)
        return bool(self._left)

    def _raise(self, act: Act, realm_id: int, floor: int) -> None:
        horizon = _EPOCH + dt.timedelta(microseconds=act.now_us) - dt.timedelta(hours=keep_hours())
        after = Changelog.objects.filter(realm_id=realm_id, rev__gt=floor).order_by("rev")
        rows = list(after.values_list("rev", "at")[: self.batch])
        old = list(takewhile(lambda row: row[1] < horizon, rows))
        if not old:
            return
        # The newest of the old was in force at the horizon, so it can still be read.
        rev, at = old[-1]
        with connection.cursor() as cursor:
            cursor.execute(_RAISE, [rev, connection.ops.adapt_datetimefield_value(at), realm_id, rev])
        if len(old) == self.batch:
            self._left.appendleft((realm_id, rev))

    def _remove(self, act: Act) -> bool:
        """Whether there may be more."""
        gone = 0
        with connection.cursor() as cursor:
            for found in (_BELOW, _ORPHANED):
                cursor.execute(f"DELETE FROM permissions_rowhistory WHERE id IN ({found})", [self.batch])  # noqa: S608 - constants
                gone += cursor.rowcount
        if gone:
            act.told(lambda: telemetry.count("permsite_loop_pruned_total", by=gone))
        return gone >= self.batch
