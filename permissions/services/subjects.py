"""Use cases of subjects; those of teams and memberships are in `teams.py` and named here too."""

from __future__ import annotations

from permissions.bundle.specs import SubjectSpec
from permissions.engine import names
from permissions.errors import Conflict, NotFound
from permissions.models import ApiKey, Membership, Realm, RoleBinding, Subject
from permissions.services.administrators import keeps_administrator
from permissions.services.gifts import Touch
from permissions.services.guards import require
from permissions.services.handing_out import handing_out, require_cover_of_type
from permissions.services.specs import binding_spec, subject_spec, team_specs
from permissions.services.stores.rows import Item, record
from permissions.services.stores.subjects import store_subjects
from permissions.services.teams import (
    member_add,
    member_remove,
    refuse_account,
    team_create,
    team_delete,
    team_named,
    team_update,
)
from permissions.services.validation import Mistakes
from permissions.writing import Actor, Write, permission_write

__all__ = [
    "member_add",
    "member_remove",
    "subject_create",
    "subject_delete",
    "subject_from_team",
    "subject_update",
    "team_create",
    "team_delete",
    "team_update",
]


def subject_named(realm: Realm, ref: str) -> Subject:
    row = Subject.objects.filter(realm=realm, ref=ref).first()
    if row is None or row.kind != "subject":
        hint = f"; {names.shown(ref)} is a team" if row is not None and row.kind == "team" else ""
        raise NotFound(f"there is no subject {names.shown(ref)} in realm {names.shown(realm.name)}{hint}")
    return row


def subject_create(*, actor: Actor, realm: Realm, spec: SubjectSpec, reason: str = "", request_id: str = "") -> Subject:
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        require(write, "subject", "create")
        mistakes = Mistakes()
        mistakes.subject(spec, "")
        mistakes.refuse()
        if Subject.objects.filter(realm=write.realm, ref=spec.id).exists():
            raise Conflict(f"subject {names.shown(spec.id)} exists already; naming a subject anywhere makes it known")
        return store_subjects(write, [Item(spec)])[spec.id]


def subject_update(*, actor: Actor, realm: Realm, ref: str, spec: SubjectSpec, reason: str = "", request_id: str = "") -> Subject:
    """Attributes feed conditions and are not judged by cover (see `handing_out.py`); waking a subject up, or giving what it has
    to another name, is."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        author = require(write, "subject", "change")
        row = subject_named(write.realm, ref)
        before = subject_spec(row)
        mistakes = Mistakes()
        mistakes.subject(spec, "")
        mistakes.refuse()
        if spec.id != ref:
            refuse_account(row, "renamed")
            if Subject.objects.filter(realm=write.realm, ref=spec.id).exists():
                raise Conflict(f"subject {names.shown(spec.id)} exists already")
        with keeps_administrator(write), handing_out(write, Touch(revived={ref, spec.id}), author):
            store_subjects(write, [Item(spec, before, row)])
    return row


def subject_from_team(
    *, actor: Actor, realm: Realm, ref: str, spec: SubjectSpec, reason: str = "", request_id: str = ""
) -> Subject:
    """A team that holds nobody becomes a plain subject; its own bindings and memberships stay with it."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        require(write, "team", "delete")
        author = require(write, "subject", "create")
        row = team_named(write.realm, ref)
        before = team_specs(write.realm, [row])[row.pk]
        if before.members:
            raise Conflict(f"{names.shown(ref)} is a team with members and cannot become a subject")
        with handing_out(write, Touch(revived={ref}), author):
            store_subjects(write, [Item(spec, before, row)])
    return row


def subject_delete(*, actor: Actor, realm: Realm, ref: str, reason: str = "", request_id: str = "") -> None:
    """Deletes the subject with its bindings, memberships and keys. Known again, it would be rid of every deny it had: so deleting
    it takes the cover that taking those denies away takes."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        author = require(write, "subject", "delete")
        row = subject_named(write.realm, ref)
        refuse_account(row, "deleted")
        before = subject_spec(row)
        if not row.active or row.locked:
            require_cover_of_type(write, ref, f"deleting {names.shown(ref)}, which is asleep")
        with keeps_administrator(write), handing_out(write, Touch(holders={ref}, members={ref}), author):
            drop_with_what_hangs_on_it(write, row)
            record(write, "subject", ref, before, None)


def drop_with_what_hangs_on_it(write: Write, row: Subject) -> None:
    """Deletes the row. What the database would let go with it silently goes first, and into the audit."""
    for binding in RoleBinding.objects.filter(subject=row).select_related("subject", "role", "scope").order_by("pk"):
        record(write, "binding", str(binding.pk), binding_spec(binding), None)
        binding.delete()
    for key in ApiKey.objects.filter(subject=row).order_by("pk"):
        write.record("key.delete", "key", str(key.pk), {"name": key.name, "subject": row.ref}, None)
        key.delete()
    for membership in Membership.objects.filter(member=row).select_related("team").order_by("team__ref"):
        write.record("team.member_remove", "team", membership.team.ref, {"member": row.ref}, None)
        membership.delete()
    row.delete()
