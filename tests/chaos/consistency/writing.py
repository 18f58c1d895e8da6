"""Doing a transaction to the real tables, and noting it there: a row of `chaos_op`, in the same transaction, says what was asked
and which revision it became. So the history of requests is as durable as the rows, and a commit in doubt is resolved by it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import connection, transaction

from permissions.bundle.specs import (
    BindingSpec,
    CodeSpec,
    GroupSpec,
    MemberSpec,
    PermissionSpec,
    RealmSpec,
    ResourceSpec,
    RoleSpec,
    SubjectSpec,
    TeamSpec,
)
from permissions.errors import NotFound
from permissions.models import (
    Membership,
    Permission,
    PermissionGroup,
    Realm,
    Resource,
    Role,
    RoleBinding,
    Subject,
)
from permissions.services import bindings, catalog, realms, resources, roles, subjects, teams
from permissions.writing import SYSTEM, Write, permission_write
from tests.chaos.consistency import world as w
from tests.chaos.consistency.drawing import SEED, Step, Transaction

TABLE: Final = (
    "CREATE TABLE chaos_op (op_id text NOT NULL, realm text NOT NULL, rev bigint NOT NULL, stamp bigint NOT NULL, "
    "changed boolean NOT NULL, style text NOT NULL, steps text NOT NULL, PRIMARY KEY (op_id, realm))"
)


class RolledBack(Exception):
    """Thrown by the harness itself: what was written so far must leave no trace."""


def instant(us: int | None) -> dt.datetime | None:
    return None if us is None else dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=us)


def seed() -> None:
    """Both realms, the account, and the first rows, as noted transactions."""
    with connection.cursor() as cursor:
        cursor.execute(TABLE)
    for name in w.REALMS:
        realms.realm_create(actor=SYSTEM, spec=RealmSpec(name, staleness_s=w.BOUND_S[name]))
        perform(f"seed-{name}", Transaction("service", {name: SEED}))
    perform("seed-account", Transaction("service", {"alpha": [["subject", w.ACCOUNT, True, False, None]]}))
    with transaction.atomic():
        User.objects.create(username=w.ACCOUNT.partition(":")[2])
        _note("seed-user", "alpha", "foreign", [["account", w.ACCOUNT, True]])


def perform(op_id: str, wanted: Transaction) -> str:
    """Commits the transaction; answers with the writer's token (empty: no revision, or rolled back, or foreign)."""
    if wanted.style == "foreign":
        with transaction.atomic():
            for name, steps in wanted.steps.items():
                for step in steps:
                    _foreign(name, step)
            for name, steps in wanted.steps.items():
                _note(op_id, name, wanted.style, steps)
        return ""
    ((name, steps),) = wanted.steps.items()
    token = ""
    try:
        with permission_write(name, SYSTEM, "chaos") as write:
            if wanted.style == "savepoint":
                _undone(write, wanted.undone)
            for step in steps:
                _do(write, step, wanted.style)
            if wanted.style == "rolled_back":
                raise RolledBack
            _note(op_id, name, wanted.style, steps)
        token = write.token
    except RolledBack:
        pass
    return token


def _undone(write: Write, steps: list[Step]) -> None:
    try:
        with permission_write(write.realm, SYSTEM, "chaos"):
            for step in steps:
                _do(write, step, "service")
            raise RolledBack
    except RolledBack:
        pass


def _note(op_id: str, realm: str, style: str, steps: list[Step]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO chaos_op SELECT %s, name, rev, stamp, coalesce(current_setting('ps.r' || id, true) = rev::text, false),"
            " %s, %s FROM permissions_realm WHERE name = %s",
            [op_id, style, json.dumps(steps), realm],
        )


def _do(write: Write, step: Step, style: str) -> None:
    name, *arguments = step
    if style == "raw" and name in _RAW:
        _RAW[name](write.realm.pk, *arguments)
    elif style == "bulk" and name == "bind":
        _bind_in_bulk(write, *arguments)
    else:
        _SERVICE[name](write, *arguments)


# The use cases. Each has the realm's lock, so looking before writing is safe.


def _bind(write: Write, subject: str, role: str | None, *rest: Any) -> None:
    allow, deny, scope, condition, start, end, propagate = rest
    spec = BindingSpec(
        subject,
        role=role,
        allow=tuple(allow),
        deny=tuple(deny),
        scope=scope,
        condition=condition,
        valid_from=instant(start),
        valid_until=instant(end),
        propagate=propagate,
    )
    bindings.binding_create(actor=SYSTEM, realm=write.realm, spec=spec)


def _bind_in_bulk(write: Write, subject: str, role: str, *rest: Any) -> None:
    row = Subject.objects.get(realm=write.realm, ref=subject)
    scope = rest[2]
    node = None if scope is None else Resource.objects.get_or_create(realm=write.realm, ref=scope)[0]
    holds = Role.objects.get(realm=write.realm, name=role)
    RoleBinding.objects.bulk_create([RoleBinding(realm=write.realm, subject=row, role=holds, scope=node)])


def _unbind(write: Write, subject: str, role: str | None, scope: str | None) -> None:
    rows = RoleBinding.objects.filter(realm=write.realm, subject__ref=subject)
    rows = rows.filter(role__isnull=True) if role is None else rows.filter(role__name=role)
    rows = rows.filter(scope__isnull=True) if scope is None else rows.filter(scope__ref=scope)
    for pk in rows.values_list("pk", flat=True):
        bindings.binding_delete(actor=SYSTEM, realm=write.realm, binding_id=pk)


def _clear(write: Write, subject: str) -> None:
    RoleBinding.objects.filter(realm=write.realm, subject__ref=subject).delete()


def _member(write: Write, team: str, member: str, start: int | None, end: int | None) -> None:
    spec = MemberSpec(member, instant(start), instant(end))
    teams.member_add(actor=SYSTEM, realm=write.realm, team=team, spec=spec)


def _unmember(write: Write, team: str, member: str) -> None:
    # Not there: the request stands all the same. If the model has the edge, the final rows or an answer will tell.
    with contextlib.suppress(NotFound):
        teams.member_remove(actor=SYSTEM, realm=write.realm, team=team, member=member)


def _role(write: Write, name: str, *rest: Any) -> None:
    lines, inherits, groups, start, end = rest
    spec = RoleSpec(
        name,
        inherits=tuple(inherits),
        groups=tuple(groups),
        permissions=tuple(CodeSpec(pattern, condition) for effect, pattern, condition in lines if effect == "allow"),
        exclude=tuple(pattern for effect, pattern, _ in lines if effect == "exclude"),
        deny=tuple(CodeSpec(pattern, condition) for effect, pattern, condition in lines if effect == "deny"),
        valid_from=instant(start),
        valid_until=instant(end),
    )
    if Role.objects.filter(realm=write.realm, name=name).exists():
        roles.role_update(actor=SYSTEM, realm=write.realm, name=name, spec=spec)
    else:
        roles.role_create(actor=SYSTEM, realm=write.realm, spec=spec)


def _role_gone(write: Write, name: str) -> None:
    Role.objects.filter(realm=write.realm, name=name).delete()


def _group(write: Write, name: str, patterns: Any) -> None:
    spec = GroupSpec(name, permissions=tuple(patterns))
    if PermissionGroup.objects.filter(realm=write.realm, name=name).exists():
        catalog.group_update(actor=SYSTEM, realm=write.realm, name=name, spec=spec)
    else:
        catalog.group_create(actor=SYSTEM, realm=write.realm, spec=spec)


def _resource(write: Write, ref: str, parent: str | None, inherit: bool) -> None:
    spec = ResourceSpec(ref, parent=parent, inherit=inherit)
    if Resource.objects.filter(realm=write.realm, ref=ref).exists():
        resources.resource_update(actor=SYSTEM, realm=write.realm, ref=ref, spec=spec)
    else:
        resources.resource_create(actor=SYSTEM, realm=write.realm, spec=spec)


def _resource_gone(write: Write, ref: str) -> None:
    if Resource.objects.filter(realm=write.realm, ref=ref).exists():
        resources.resource_delete(actor=SYSTEM, realm=write.realm, ref=ref)


def _subject(write: Write, ref: str, active: bool, locked: bool, level: int | None) -> None:
    spec = SubjectSpec(ref, attributes={} if level is None else {"level": level}, active=active, locked=locked)
    if Subject.objects.filter(realm=write.realm, ref=ref).exists():
        subjects.subject_update(actor=SYSTEM, realm=write.realm, ref=ref, spec=spec)
    else:
        subjects.subject_create(actor=SYSTEM, realm=write.realm, spec=spec)


def _subject_gone(write: Write, ref: str) -> None:
    if Subject.objects.filter(realm=write.realm, ref=ref).exists():
        subjects.subject_delete(actor=SYSTEM, realm=write.realm, ref=ref)


def _team(write: Write, ref: str) -> None:
    if Subject.objects.filter(realm=write.realm, ref=ref).exists():
        teams.team_delete(actor=SYSTEM, realm=write.realm, ref=ref)
    teams.team_create(actor=SYSTEM, realm=write.realm, spec=TeamSpec(ref))


def _permission(write: Write, code: str, requires: Any, critical: bool) -> None:
    spec = PermissionSpec(code, requires=tuple(requires), critical=critical)
    if Permission.objects.filter(realm=write.realm, code=code).exists():
        catalog.permission_update(actor=SYSTEM, realm=write.realm, code=code, spec=spec)
    else:
        catalog.permission_create(actor=SYSTEM, realm=write.realm, spec=spec)


def _permission_gone(write: Write, code: str) -> None:
    if Permission.objects.filter(realm=write.realm, code=code).exists():
        catalog.permission_delete(actor=SYSTEM, realm=write.realm, code=code)


def _law(write: Write, suspended: bool, unknown: str) -> None:
    row = Realm.objects.get(pk=write.realm.pk)
    spec = RealmSpec(row.name, unknown_subjects=unknown, staleness_s=row.staleness_s, suspended=suspended)  # type: ignore[arg-type]
    realms.realm_update(actor=SYSTEM, realm=row, spec=spec)


_SERVICE: Final[dict[str, Any]] = {
    "bind": _bind,
    "unbind": _unbind,
    "clear": _clear,
    "member": _member,
    "unmember": _unmember,
    "role": _role,
    "role_gone": _role_gone,
    "group": _group,
    "resource": _resource,
    "resource_gone": _resource_gone,
    "subject": _subject,
    "subject_gone": _subject_gone,
    "team": _team,
    "permission": _permission,
    "permission_gone": _permission_gone,
    "law": _law,
}


# SQL by hand.


def _sql(statement: str, *arguments: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)


def _raw_locked(realm_id: int, ref: str, locked: bool) -> None:
    _sql("UPDATE permissions_subject SET locked = %s WHERE realm_id = %s AND ref = %s", locked, realm_id, ref)


def _raw_unbind(realm_id: int, subject: str, role: str | None, scope: str | None) -> None:
    _sql(
        "DELETE FROM permissions_rolebinding b USING permissions_subject s WHERE s.id = b.subject_id AND b.realm_id = %s"
        " AND s.ref = %s AND b.role_id IS NOT DISTINCT FROM (SELECT id FROM permissions_role WHERE realm_id = %s AND name = %s)"
        " AND b.scope_id IS NOT DISTINCT FROM (SELECT id FROM permissions_resource WHERE realm_id = %s AND ref = %s)"
        # A role or a scope that is not there is another thing than none.
        " AND (%s::text IS NULL) = (b.role_id IS NULL) AND (%s::text IS NULL) = (b.scope_id IS NULL)",
        *(realm_id, subject, realm_id, role, realm_id, scope, role, scope),
    )


def _raw_clear(realm_id: int, subject: str) -> None:
    _sql(
        "DELETE FROM permissions_rolebinding WHERE subject_id IN"
        " (SELECT id FROM permissions_subject WHERE realm_id = %s AND ref = %s)",
        *(realm_id, subject),
    )


def _raw_member(realm_id: int, team: str, member: str, start: int | None, end: int | None) -> None:
    _sql(
        "INSERT INTO permissions_membership (team_id, member_id, valid_from, valid_until) SELECT t.id, m.id, %s, %s"
        " FROM permissions_subject t, permissions_subject m"
        " WHERE t.realm_id = %s AND m.realm_id = %s AND t.ref = %s AND m.ref = %s"
        " ON CONFLICT (team_id, member_id) DO UPDATE SET valid_from = excluded.valid_from, valid_until = excluded.valid_until",
        *(instant(start), instant(end), realm_id, realm_id, team, member),
    )
    if not Membership.objects.filter(team__realm_id=realm_id, team__ref=team, member__ref=member).exists():
        raise RolledBack  # the member was deleted; the request names somebody who is not there


def _raw_unmember(realm_id: int, team: str, member: str) -> None:
    _sql(
        "DELETE FROM permissions_membership e USING permissions_subject t, permissions_subject m"
        " WHERE e.team_id = t.id AND e.member_id = m.id AND t.realm_id = %s AND t.ref = %s AND m.ref = %s",
        *(realm_id, team, member),
    )


_RAW: Final[dict[str, Any]] = {
    "locked": _raw_locked,
    "unbind": _raw_unbind,
    "clear": _raw_clear,
    "member": _raw_member,
    "unmember": _raw_unmember,
}


def _foreign(realm: str, step: Step) -> None:
    """Rows named by their key: an UPDATE that had to wait follows the row to its newest version."""
    name, *arguments = step
    if name == "account":
        ref, active = arguments
        if realm == w.REALMS[0]:
            _sql("UPDATE auth_user SET is_active = %s WHERE username = %s", active, ref.partition(":")[2])
        return
    ref, locked = arguments
    _sql(
        "UPDATE permissions_subject s SET locked = %s FROM permissions_realm r"
        " WHERE r.id = s.realm_id AND r.name = %s AND s.ref = %s",
        *(locked, realm, ref),
    )
