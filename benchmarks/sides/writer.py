"""The process that changes roles, through the one door of every write; it never checks, so it keeps no cache."""

from __future__ import annotations

import threading
import time
from typing import Any

from benchmarks import sides


class Writer:
    def __init__(self, realm: str) -> None:
        sides.set_up()
        from permissions import points  # noqa: PLC0415
        from permissions.models import Realm  # noqa: PLC0415

        self.realm = Realm.objects.get(name=realm)
        self.committed_ns = 0
        # The clock of the machine, the same in every process: when the commit returned, before anybody was told.
        points.install(self._note)
        self._bindings: list[int] = []

    def _note(self, name: str) -> None:
        if name == "write.committed":
            self.committed_ns = time.monotonic_ns()

    def set_line(self, role: str, code: str, held: bool) -> dict[str, Any]:
        """The role has the code in a line of its own, or not. One revision. When its commit returned."""
        from permissions.models import Permission, Role, RoleLine  # noqa: PLC0415
        from permissions.writing import SYSTEM, permission_write  # noqa: PLC0415

        self.committed_ns = 0
        with permission_write(self.realm, SYSTEM, "bench") as write:
            row = Role.objects.get(realm=write.realm, name=role)
            Permission.objects.get_or_create(realm=write.realm, code=code)
            if held:
                RoleLine.objects.get_or_create(role=row, effect="allow", pattern=code, condition="")
            else:
                RoleLine.objects.filter(role=row, pattern=code).delete()
        # Where the point was not reached, the writer has told others already: the figure is then later than the truth.
        return {"committed_ns": self.committed_ns or time.monotonic_ns()}

    def turn_binding(self, subject: str, role: str) -> None:
        """Gives the subject the role once more, or takes back what this process gave last."""
        from permissions.bundle.specs import BindingSpec  # noqa: PLC0415
        from permissions.services.bindings import binding_create, binding_delete  # noqa: PLC0415
        from permissions.writing import SYSTEM  # noqa: PLC0415

        if len(self._bindings) > 3:
            binding_delete(actor=SYSTEM, realm=self.realm, binding_id=self._bindings.pop(0))
        else:
            row = binding_create(actor=SYSTEM, realm=self.realm, spec=BindingSpec(subject, role=role))
            self._bindings.append(row.pk)

    def transactions(self, seconds: float, threads: int, counted: bool) -> float:
        """Transactions a second that insert one binding each: as ours write (the realm locked, triggers), or into the same table
        without a trigger. Raw SQL on both sides, so that it is the database that is compared."""
        import psycopg  # noqa: PLC0415
        from django.db import connection  # noqa: PLC0415

        from permissions.models import RoleBinding  # noqa: PLC0415

        table = RoleBinding._meta.db_table
        plain = "bench_plain_binding"
        pairs = list(RoleBinding.objects.filter(realm=self.realm).values_list("subject_id", "role_id")[:500])
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE IF NOT EXISTS {plain} (LIKE {table} INCLUDING ALL)")
        insert = (
            f"INSERT INTO {table if counted else plain} (realm_id, subject_id, role_id, allow, deny, condition, propagate,"
            " reason, obligations, granted_by, created_at) VALUES (%s, %s, %s, '[]', '[]', '', true, '', '[]', '', now())"
        )
        wanted = {k: v for k, v in connection.get_connection_params().items() if k not in {"cursor_factory", "context"}}
        until = time.monotonic() + seconds
        made = [0] * threads

        def work(place: int) -> None:
            with psycopg.connect(**wanted) as own:
                while time.monotonic() < until:
                    subject, role = pairs[(made[place] * threads + place) % len(pairs)]
                    with own.transaction():
                        if counted:
                            own.execute("SELECT id FROM permissions_realm WHERE id = %s FOR UPDATE", [self.realm.pk])
                            own.execute("SELECT set_config('ps.locked', %s, true)", [str(self.realm.pk)])
                        own.execute(insert, [self.realm.pk, subject, role])
                    made[place] += 1

        running = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
        began = time.monotonic()
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        return sum(made) / (time.monotonic() - began)
