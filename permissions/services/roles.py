"""Use cases of roles: create, update, delete."""

from __future__ import annotations

from permissions.bundle.specs import RoleSpec
from permissions.engine import names
from permissions.errors import Conflict, NotFound
from permissions.models import PermissionGroup, Realm, Role
from permissions.services.administrators import keeps_administrator
from permissions.services.cycles import ROLES, refuse_cycles
from permissions.services.gifts import Touch
from permissions.services.guards import require
from permissions.services.handing_out import handing_out
from permissions.services.specs import role_specs
from permissions.services.stores.catalog import rows_by, store_roles
from permissions.services.stores.rows import Item, record
from permissions.services.usage import told, uses_of_roles
from permissions.services.validation import Mistakes
from permissions.writing import Actor, permission_write


def role_named(realm: Realm, name: str) -> Role:
    row = Role.objects.filter(realm=realm, name=name).first()
    if row is None:
        raise NotFound(f"there is no role {names.shown(name)} in realm {names.shown(realm.name)}")
    return row


def _judged(realm: Realm, spec: RoleSpec) -> None:
    """Names are looked up in the realm, so nothing of another realm can be inherited or held."""
    mistakes = Mistakes()
    roles = rows_by(Role, realm, "name", set(spec.inherits))
    groups = rows_by(PermissionGroup, realm, "name", set(spec.groups))
    mistakes.role(spec, "", roles=roles.keys(), groups=groups.keys())
    mistakes.refuse()


def _refuse_taken(realm: Realm, name: str) -> None:
    if Role.objects.filter(realm=realm, name=name).exists():
        raise Conflict(f"role {names.shown(name)} exists already")


def role_create(*, actor: Actor, realm: Realm, spec: RoleSpec, reason: str = "", request_id: str = "") -> Role:
    """A new role is bound to nobody yet, so it gives nobody anything: what it may give is judged when it is bound."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        require(write, "role", "create")
        _judged(write.realm, spec)
        _refuse_taken(write.realm, spec.name)
        return store_roles(write, [Item(spec)])[spec.name]


def role_update(*, actor: Actor, realm: Realm, name: str, spec: RoleSpec, reason: str = "", request_id: str = "") -> Role:
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        author = require(write, "role", "change")
        row = role_named(write.realm, name)
        before = role_specs(write.realm, [row])[row.pk]
        _judged(write.realm, spec)
        if spec.name != name:
            _refuse_taken(write.realm, spec.name)
        refuse_cycles(write.realm, ROLES, {name: spec.inherits})
        with keeps_administrator(write), handing_out(write, Touch(roles={row.pk}), author):
            store_roles(write, [Item(spec, before, row)])
    return row


def role_delete(*, actor: Actor, realm: Realm, name: str, reason: str = "", request_id: str = "") -> None:
    """A role in use stays: taking it from whoever has it is a decision of its own, and may take denies away."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        require(write, "role", "delete")
        row = role_named(write.realm, name)
        before = role_specs(write.realm, [row])[row.pk]
        uses = uses_of_roles([row.pk]).get(name)
        if uses:
            raise Conflict(f"role {names.shown(name)} cannot be deleted: it is used by {told(uses)}")
        row.delete()
        record(write, "role", name, before, None)
