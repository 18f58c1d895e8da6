"""One change of a bundle as the use case it is, with that use case's guards."""

from __future__ import annotations

from permissions.bundle.changes import Change
from permissions.bundle.specs import (
    BindingSpec,
    GroupSpec,
    PermissionSpec,
    RealmSpec,
    ResourceSpec,
    RoleSpec,
    SubjectSpec,
    TeamSpec,
)
from permissions.models import Subject
from permissions.services import bindings, catalog, realms, resources, roles, subjects, teams
from permissions.services.loading import rows_of_bindings
from permissions.writing import Actor, Write


def make(write: Write, actor: Actor, change: Change) -> None:
    if change.implied:
        # What a line merely names is made by the line that names it.
        return
    if change.after is None:
        _remove(write, actor, change)
    elif change.before is None:
        _add(write, actor, change)
    else:
        _change(write, actor, change)


def _add(write: Write, actor: Actor, change: Change) -> None:  # noqa: PLR0912 - one branch a section, each a call
    realm = write.realm
    match change.after:
        case PermissionSpec() as spec:
            # A line before this one may have named the code, which registered it.
            if realm.permissions.filter(code=spec.code).exists():
                catalog.permission_update(actor=actor, realm=realm, code=spec.code, spec=spec)
            else:
                catalog.permission_create(actor=actor, realm=realm, spec=spec)
        case GroupSpec() as spec:
            catalog.group_create(actor=actor, realm=realm, spec=spec)
        case RoleSpec() as spec:
            roles.role_create(actor=actor, realm=realm, spec=spec)
        case SubjectSpec() as spec:
            if Subject.objects.filter(realm=realm, ref=spec.id).exists():
                subjects.subject_update(actor=actor, realm=realm, ref=spec.id, spec=spec)
            else:
                subjects.subject_create(actor=actor, realm=realm, spec=spec)
        case TeamSpec() as spec:
            teams.team_create(actor=actor, realm=realm, spec=spec)
        case ResourceSpec() as spec:
            if realm.resources.filter(ref=spec.id).exists():
                resources.resource_update(actor=actor, realm=realm, ref=spec.id, spec=spec)
            else:
                resources.resource_create(actor=actor, realm=realm, spec=spec)
        case BindingSpec() as spec:
            bindings.binding_create(actor=actor, realm=realm, spec=spec)


def _change(write: Write, actor: Actor, change: Change) -> None:
    realm = write.realm
    match change.after:
        case RealmSpec() as spec:
            realms.realm_update(actor=actor, realm=realm, spec=spec)
        case PermissionSpec() as spec:
            catalog.permission_update(actor=actor, realm=realm, code=spec.code, spec=spec)
        case GroupSpec() as spec:
            catalog.group_update(actor=actor, realm=realm, name=spec.name, spec=spec)
        case RoleSpec() as spec:
            roles.role_update(actor=actor, realm=realm, name=spec.name, spec=spec)
        case SubjectSpec() as spec if isinstance(change.before, TeamSpec):
            # A team that holds nobody: as a team it goes, as a subject it stays.
            subjects.subject_from_team(actor=actor, realm=realm, ref=spec.id, spec=spec)
        case SubjectSpec() as spec:
            subjects.subject_update(actor=actor, realm=realm, ref=spec.id, spec=spec)
        case TeamSpec() as spec if isinstance(change.before, SubjectSpec):
            teams.team_create(actor=actor, realm=realm, spec=spec)
        case TeamSpec() as spec:
            teams.team_update(actor=actor, realm=realm, ref=spec.id, spec=spec)
        case ResourceSpec() as spec:
            resources.resource_update(actor=actor, realm=realm, ref=spec.id, spec=spec)


def _remove(write: Write, actor: Actor, change: Change) -> None:
    realm = write.realm
    match change.before:
        case PermissionSpec() as spec:
            catalog.permission_delete(actor=actor, realm=realm, code=spec.code)
        case GroupSpec() as spec:
            catalog.group_delete(actor=actor, realm=realm, name=spec.name)
        case RoleSpec() as spec:
            roles.role_delete(actor=actor, realm=realm, name=spec.name)
        case SubjectSpec() as spec:
            subjects.subject_delete(actor=actor, realm=realm, ref=spec.id)
        case TeamSpec() as spec:
            teams.team_delete(actor=actor, realm=realm, ref=spec.id)
        case ResourceSpec() as spec:
            resources.resource_delete(actor=actor, realm=realm, ref=spec.id)
        case BindingSpec() as spec:
            [(row, _)] = rows_of_bindings(write, [spec])
            bindings.binding_delete(actor=actor, realm=realm, binding_id=row.pk)
