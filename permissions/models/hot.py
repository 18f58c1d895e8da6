"""HotItem: how often a subject or a set of roles was met in an hour. It grants nothing: no trigger, no revision."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, Literal, NamedTuple

from django.db import connections, models

Column = Literal["shared", "direct"]

KINDS = [("s", "subject"), ("r", "set of roles")]
# Rows of one statement: six values each, and SQLite takes 32,766.
BATCH: Final = 500
# Kept of an hour, a realm and a kind: what a cold start preloads. Chosen.
ROWS_AN_HOUR: Final = 2_000


class Met(NamedTuple):
    """An item and how often it was met."""

    kind: str
    item: str
    times: int


# `direct` adds up what each process says; a repeated statement adds twice, which costs a rank and nothing else.
_ADD: Final = "DO UPDATE SET direct = permissions_hotitem.direct + excluded.direct"
# `shared` is a copy of the sorted set. It only grows within its hour: a Redis that lost its memory must not empty the rows as
# well. Rows that would not change are not written.
_KEEP: Final = "DO UPDATE SET shared = excluded.shared WHERE excluded.shared > permissions_hotitem.shared"
_DO: Final = {"direct": _ADD, "shared": _KEEP}

_HOTTEST: Final = """
SELECT hour, item, shared, direct FROM (
    SELECT hour, item, shared, direct, row_number() OVER (PARTITION BY hour ORDER BY shared + direct DESC, digest) AS place
    FROM permissions_hotitem WHERE hour > %s AND hour <= %s AND realm_id = %s AND kind = %s
) AS ranked WHERE place <= %s
"""

_FORGET: Final = """
DELETE FROM permissions_hotitem WHERE (hour, realm_id, kind, digest) IN (
    SELECT hour, realm_id, kind, digest FROM permissions_hotitem WHERE hour <= %s ORDER BY hour LIMIT %s
)
"""

# Only of an hour that has ended: the rows of the current one are being written, in another order, and the two would deadlock.
_SURPLUS: Final = """
DELETE FROM permissions_hotitem WHERE (hour, realm_id, kind, digest) IN (
    SELECT hour, realm_id, kind, digest FROM (
        SELECT hour, realm_id, kind, digest,
               row_number() OVER (PARTITION BY realm_id, kind ORDER BY shared + direct DESC, digest) AS place
        FROM permissions_hotitem WHERE hour = %s
    ) AS ranked WHERE place > %s LIMIT %s
)
"""


class HotItemManager(models.Manager["HotItem"]):
    def meet(self, realm_id: int, hour: int, column: Column, met: Iterable[Met]) -> int:
        """Writes `times` into `column`: added to `direct`, or as the total in `shared`. How many rows were written."""
        times: dict[tuple[str, str], tuple[str, int]] = {}
        for kind, item, count in met:
            times[kind, digest_of(item)] = (item, count)
        # In one order for everybody: two processes that wrote the same rows in two orders would deadlock.
        rows = [(hour, realm_id, kind, digest, *times[kind, digest]) for kind, digest in sorted(times)]
        written = 0
        for start in range(0, len(rows), BATCH):
            written += self._insert(column, rows[start : start + BATCH])
        return written

    def _insert(self, column: Column, rows: Sequence[tuple[str | int, ...]]) -> int:
        other = "shared" if column == "direct" else "direct"
        values = ", ".join(["(%s, %s, %s, %s, %s, %s, 0)"] * len(rows))
        sql = (
            f"INSERT INTO permissions_hotitem (hour, realm_id, kind, digest, item, {column}, {other}) VALUES {values} "  # noqa: S608 - columns of ours
            f"ON CONFLICT (hour, realm_id, kind, digest) {_DO[column]}"
        )
        return self._execute(sql, [value for row in rows for value in row])

    def hottest(self, realm_id: int, kind: str, *, after: int, until: int, per_hour: int) -> list[tuple[int, str, int, int]]:
        """(hour, item, shared, direct) of the `per_hour` most met of each hour of (after, until]."""
        with connections[self.db].cursor() as cursor:
            cursor.execute(_HOTTEST, [after, until, realm_id, kind, per_hour])
            return list(cursor.fetchall())

    def forget(self, *, until: int, ended: int, limit: int) -> int:
        """Deletes at most `limit` rows: those of `until` and before, then what the hour `ended` holds beyond ROWS_AN_HOUR."""
        gone = self._execute(_FORGET, [until, limit])
        if gone < limit:
            gone += self._execute(_SURPLUS, [ended, ROWS_AN_HOUR, limit - gone])
        return gone

    def _execute(self, sql: str, values: Sequence[str | int]) -> int:
        with connections[self.db].cursor() as cursor:
            cursor.execute(sql, values)
            return max(0, int(cursor.rowcount))


class HotItem(models.Model):
    """`hour`: whole hours since 1970, UTC. `item`: a subject's id, or a JSON list of role names; `digest` is taken of it.

    `realm_id` is no foreign key: its check would take a lock on the realm's row, and wait for every writer of permissions.
    """

    pk = models.CompositePrimaryKey("hour", "realm_id", "kind", "digest")
    hour = models.IntegerField()
    realm_id = models.BigIntegerField()
    kind = models.CharField(max_length=1, choices=KINDS)
    digest = models.CharField(max_length=32)
    item = models.TextField()
    # Met by all processes, as the sorted set of the hour says; and by processes that had no Redis to tell it to.
    shared = models.BigIntegerField(default=0)
    direct = models.BigIntegerField(default=0)

    objects = HotItemManager()

    class Meta:
        default_permissions = ()
        ordering: ClassVar = ["hour", "digest"]

    def __str__(self) -> str:
        return f"{self.item} {self.shared + self.direct} times in hour {self.hour}"


def digest_of(item: str) -> str:
    """A key of fixed length: a list of roles is longer than an index row may be."""
    return hashlib.blake2b(item.encode(), digest_size=16).hexdigest()
