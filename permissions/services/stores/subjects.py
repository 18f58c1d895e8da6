"""Subjects, teams and memberships: specs → rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from permissions.bundle.specs import MemberSpec, SubjectSpec, TeamSpec
from permissions.engine import names
from permissions.models import Membership, Subject
from permissions.services.specs import parts
from permissions.services.stores.catalog import rows_by
from permissions.services.stores.rows import BATCH, Item, record, save_rows
from permissions.writing import Write

COLUMNS = ("id", "attributes", "active", "locked")


def named_subjects(write: Write, refs: Iterable[str]) -> dict[str, Subject]:
    """The rows of the subjects named, made where there was none: naming a subject makes it known to the realm."""
    wanted = set(refs)
    rows: dict[str, Subject] = rows_by(Subject, write.realm, "ref", wanted)
    new = [
        Subject(realm=write.realm, ref=ref, kind="everyone" if names.split_ref(ref)[1] == names.EVERYONE_ID else "subject")
        for ref in sorted(wanted - rows.keys())
    ]
    for row in Subject.objects.bulk_create(new, batch_size=BATCH):
        rows[row.ref] = row
        record(write, "subject", row.ref, None, SubjectSpec(row.ref))
    return rows


def store_subjects(write: Write, items: Sequence[Item[Any, Subject]], *, kind: str = "subject") -> dict[str, Subject]:
    """Subjects, or the rows of teams without their members."""
    rows = {i.after.id: i.row if i.row is not None else Subject(realm=write.realm, kind=kind) for i in items}
    for item in items:
        if item.row is not None and item.row.kind != kind:
            item.row.kind = kind
            item.row.save(update_fields=["kind"])
    save_rows(Subject, items, rows, COLUMNS, "id")
    if kind == "subject":
        for item in items:
            record(write, "subject", item.after.id, item.before, item.after)
    return rows


def store_teams(write: Write, items: Sequence[Item[TeamSpec, Subject]]) -> dict[str, Subject]:
    """All teams are stored before any membership, so teams of one call may hold one another in any order."""
    rows = store_subjects(write, items, kind="team")
    members = named_subjects(write, {m.id for item in items for m in item.after.members})
    held: dict[tuple[int, int], Membership] = {}
    keys = [row.pk for row in rows.values()]
    for part in parts(keys):
        held.update({(m.team_id, m.member_id): m for m in Membership.objects.filter(team__in=part)})
    new = []
    for item in items:
        team = rows[item.after.id]
        for spec in item.after.members:
            member = members[spec.id]
            row = held.pop((team.pk, member.pk), None)
            if row is None:
                new.append(Membership(team=team, member=member, valid_from=spec.valid_from, valid_until=spec.valid_until))
            else:
                move_window(row, spec)
    for part in parts([row.pk for row in held.values()]):
        Membership.objects.filter(pk__in=part).delete()
    Membership.objects.bulk_create(new, batch_size=BATCH)
    for item in items:
        record(write, "team", item.after.id, item.before, item.after)
    return rows


def move_window(row: Membership, spec: MemberSpec) -> bool:
    changed = [key for key in ("valid_from", "valid_until") if getattr(row, key) != getattr(spec, key)]
    for key in changed:
        setattr(row, key, getattr(spec, key))
    if changed:
        row.save(update_fields=changed)
    return bool(changed)
