"""Pruning of the changelog: what is older than a day goes, whole revisions, oldest first; the newest 200,000 of a realm stay.

Whatever the history of rows can be asked about stays, too. Whoever follows a realm needs every revision after the one it is at; a
hole would cost it everything it knows. So only a beginning is ever cut off, in one statement, and what is kept has no hole. Rows
of the changelog are no change: pruning makes no revision.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from django.db import connection

from controlplane.loop.lease import Act, Term
from permissions.models import Changelog
from resilience import telemetry

# At least these (consistency, section 7): a process that was away for less catches up, and can prove where it stands.
KEEP_S: Final = 86_400.0
KEEP_REVISIONS: Final = 200_000
# Rows a transaction: some ten milliseconds, in which SQLite lets nobody else write.
BATCH: Final = 2_000

# Realms with something beyond what is always kept: (id, the newest revision that may go, or None where the realm is gone). It
# looks at one row of the changelog a realm, by its primary key; DISTINCT would read all of it.
_CANDIDATES: Final = """
WITH RECURSIVE seen(id) AS (
  SELECT min(realm_id) FROM permissions_changelog
  UNION ALL
  SELECT (SELECT min(c.realm_id) FROM permissions_changelog c WHERE c.realm_id > seen.id) FROM seen WHERE seen.id IS NOT NULL)
SELECT seen.id, CASE WHEN f.rev < r.rev - %s THEN f.rev ELSE r.rev - %s END FROM seen
LEFT JOIN permissions_realm r ON r.id = seen.id LEFT JOIN permissions_historyfloor f ON f.realm_id = r.id
WHERE seen.id IS NOT NULL AND (r.id IS NULL OR r.rev > %s) ORDER BY seen.id
"""
_DELETE: Final = "DELETE FROM permissions_changelog WHERE realm_id = %s AND rev <= %s"
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(slots=True)
class Pruning:
    keep_s: float = KEEP_S
    keep_revisions: int = KEEP_REVISIONS
    batch: int = BATCH
    name: str = "pruning"
    interval_s: float = 60.0
    _left: deque[tuple[int, int | None]] = field(default_factory=deque)

    def look(self, term: Term) -> bool:
        if not self._left:
            with connection.cursor() as cursor:
                cursor.execute(_CANDIDATES, [self.keep_revisions] * 3)
                self._left.extend(cursor.fetchall())
        return bool(self._left)

    def step(self, act: Act) -> bool:
        # Taken off first: a realm whose rows cannot be read does not keep the others waiting.
        realm_id, newest = self._left.popleft()
        rows = Changelog.objects.filter(realm_id=realm_id)
        if newest is not None:
            rows = rows.filter(rev__lte=newest)
        oldest = list(rows.order_by("rev", "kind", "object_id").values_list("rev", "at")[: self.batch])
        horizon = _EPOCH + dt.timedelta(microseconds=act.now_us) - dt.timedelta(seconds=self.keep_s)
        is_full = len(oldest) == self.batch
        cut = cut_of(oldest, horizon, may_go_on=is_full)
        if cut is not None:
            with connection.cursor() as cursor:
                cursor.execute(_DELETE, [realm_id, cut])
                gone = cursor.rowcount
            act.told(lambda: telemetry.count("permsite_loop_pruned_total", by=gone))
            if is_full:
                self._left.append((realm_id, newest))
        return bool(self._left)


def cut_of(oldest: Sequence[tuple[int, dt.datetime]], horizon: dt.datetime, *, may_go_on: bool) -> int | None:
    """The newest revision that may go, of `(revision, time)` by revision; None: none. A revision goes whole.

    The first young row ends it, even where older ones follow: the database's clock may have been set back, and a revision in the
    middle must not go. `may_go_on`: the list may end inside its last revision.
    """
    old = list(takewhile(lambda row: row[1] < horizon, oldest))
    if not old:
        return None
    kept_from = oldest[len(old)][0] if len(old) < len(oldest) else oldest[-1][0] if may_go_on else None
    if kept_from is None:
        return old[-1][0]
    whole = [rev for rev, _ in old if rev < kept_from]
    if whole:
        return whole[-1]
    # One revision fills the whole list: it goes as a whole, at most the 20,000 rows that a revision may have.
    return kept_from if len(old) == len(oldest) else None
