"""Objects that no row's change touched, logged as if one had: what memories keep of them is to go."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection

from permissions.triggers import sqlite


def mark(realm_id: int, objects: Sequence[tuple[str, str]]) -> None:
    """Logs (kind, id) pairs under the revision of the open `permission_write`. Where nothing else changed, they make it."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT ps_write(%s, %s::text[])", [realm_id, [kind + object_id for kind, object_id in objects]])
            return
        for kind, object_id in objects:
            for statement in sqlite.marking(realm_id, kind, object_id):
                cursor.execute(statement)
