"""A process that writes one binding with its audit entry, and kills itself at the point it is told.

Run as `python -m tests.permissions.triggers.killed_writer POINT REALM SUBJECT ROLE`; the database comes as JSON on stdin.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

POINTS = {
    # name → the statement after which the process dies
    "locked": "FOR UPDATE",
    "state": "set_config",
    "row": 'INSERT INTO "permissions_rolebinding"',
    "second_row": 'INSERT INTO "permissions_resource"',
    "head": "SELECT name, epoch, rev, stamp",
    "audited": 'INSERT INTO "permissions_auditevent"',
}
SQLITE_POINTS = {"locked": "SET write_state = 1", "state": 'FROM "permissions_realm"', "head": "SET write_state = 0"}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(point: str, realm: str, subject: str, role: str) -> None:
    import django
    from django.conf import settings

    settings.DATABASES["default"].update(json.load(sys.stdin))
    django.setup()
    from django.db import connection

    from permissions.models import Resource, Role, RoleBinding, Subject
    from permissions.writing import SYSTEM, permission_write

    points = POINTS | (SQLITE_POINTS if connection.vendor == "sqlite" else {})

    def dying(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        result = execute(sql, parameters, many, context)
        if point in points and points[point] in sql:
            die()
        return result

    commit = connection._commit  # type: ignore[attr-defined]  # the only place between the last statement and the commit

    def dying_commit() -> None:
        if point == "committing":
            die()
        commit()
        if point == "committed":
            die()

    connection._commit = dying_commit  # type: ignore[attr-defined]
    with connection.execute_wrapper(dying), permission_write(realm, SYSTEM) as write:
        holder = Subject.objects.get(realm=write.realm, ref=subject)
        row = RoleBinding.objects.create(realm=write.realm, subject=holder, role=Role.objects.get(realm=write.realm, name=role))
        Resource.objects.create(realm=write.realm, ref=f"doc:of-{subject}")
        write.record("binding_create", "binding", str(row.pk), None, {"subject": subject, "role": role})


if __name__ == "__main__":
    main(*sys.argv[1:])
