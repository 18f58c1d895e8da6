"""The cache's reads on SQLite: several statements in one read transaction, on the thread's own connection.

A file is read in microseconds, so one statement would gain nothing; a transaction that only reads blocks no writer (WAL).
"""

from __future__ import annotations

import os
from collections.abc import Collection

from django.db import connection

from permissions import selectors
from permissions.cache.reading import MOST_ROWS, Asked, Facts, Reading, head_reading, wall_us

# Device and inode of the file that a connection was opened on, kept on it.
_FILE = "permissions_file"


def _row(name: str, since: int) -> list[object] | None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, epoch, rev, stamp, staleness_s, static_grace_s FROM permissions_realm WHERE name = %s",
            [name],
        )
        row = cursor.fetchone()
        if row is None:
            return None
        realm_id, rev = row[0], row[2]
        since_stamp, tail = None, None
        if since < rev:
            cursor.execute(
                "SELECT rev, stamp, kind, object_id FROM permissions_changelog WHERE realm_id = %s AND rev >= %s AND rev <= %s "
                "ORDER BY rev LIMIT %s",
                [realm_id, since + 1, rev, MOST_ROWS + 1],
            )
            tail = cursor.fetchall()
            cursor.execute("SELECT max(stamp) FROM permissions_changelog WHERE realm_id = %s AND rev = %s", [realm_id, since])
            (since_stamp,) = cursor.fetchone()
    return [*row, wall_us(), since_stamp, tail]


def _look_at_file() -> None:
    """Drops a connection whose file is not the one at its path any more.

    An older file put back by renaming it leaves the reader with one that nobody else sees, for ever.
    """
    path = connection.settings_dict["NAME"]
    try:
        at = os.stat(path)
    except OSError:
        return  # opening it says what is wrong
    now = (at.st_dev, at.st_ino)
    if connection.connection is not None and getattr(connection, _FILE, now) != now:
        connection.close()
    setattr(connection, _FILE, now)


def read_heads(asked: Asked) -> dict[str, Reading]:
    found = {}
    _look_at_file()
    with selectors.one_snapshot():
        for name, since in asked.since.items():
            row = _row(name, since)
            if row is not None:
                found[name] = head_reading(name, row, asked)
    return found


def read_snapshots(name: str, asked: Asked, subjects: Collection[str], resources: Collection[str]) -> Reading | None:
    _look_at_file()
    with selectors.one_snapshot():
        row = _row(name, asked.since[name])
        if row is None:
            return None
        reading = head_reading(name, row, asked)
        realm_id = reading.head.realm_id
        reading.facts = Facts(
            selectors.subject_facts(realm_id, subjects) if subjects else {},
            selectors.resource_facts(realm_id, resources) if resources else {},
        )
    return reading


def close() -> None:
    """Nothing of its own is open."""
