"""Use cases of permissions and permission groups; those of roles are in `roles.py` and named here too."""

from __future__ import annotations

from permissions.bundle.specs import GroupSpec, PermissionSpec
from permissions.engine import names
from permissions.errors import Conflict, NotFound
from permissions.models import Permission, PermissionGroup, Realm
from permissions.services.administrators import keeps_administrator
from permissions.services.cycles import REQUIREMENTS, refuse_cycles
from permissions.services.gifts import Touch
from permissions.services.guards import require
from permissions.services.handing_out import handing_out, require_code_cover
from permissions.services.holdings import required_by_code
from permissions.services.roles import role_create, role_delete, role_update
from permissions.services.specs import group_specs, permission_specs
from permissions.services.stores.catalog import store_groups, store_permissions
from permissions.services.stores.rows import Item, record
from permissions.services.usage import told, uses_of_codes, uses_of_groups
from permissions.services.validation import Mistakes
from permissions.writing import Actor, permission_write

__all__ = [
    "group_create",
    "group_delete",
    "group_update",
    "permission_create",
    "permission_delete",
    "permission_update",
    "role_create",
    "role_delete",
    "role_update",
]


def permission_named(realm: Realm, code: str) -> Permission:
    row = Permission.objects.filter(realm=realm, code=code).first()
    if row is None:
        raise NotFound(f"there is no permission {names.shown(code)} in realm {names.shown(realm.name)}")
    return row


def permission_create(*, actor: Actor, realm: Realm, spec: PermissionSpec, reason: str = "", request_id: str = "") -> Permission:
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        require(write, "permission", "create")
        mistakes = Mistakes()
        mistakes.permission(spec, "")
        mistakes.refuse()
        if Permission.objects.filter(realm=write.realm, code=spec.code).exists():
            raise Conflict(f"permission {names.shown(spec.code)} exists already; naming a code anywhere registers it")
        refuse_cycles(write.realm, REQUIREMENTS, {spec.code: spec.requires})
        return store_permissions(write, [Item(spec)])[spec.code]


def permission_update(
    *, actor: Actor, realm: Realm, code: str, spec: PermissionSpec, reason: str = "", request_id: str = ""
) -> Permission:
    """What a permission no longer requires, it gives to whoever lacked that, and so do those that require it: it takes cover of
    all of them in the whole realm."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        require(write, "permission", "change")
        row = permission_named(write.realm, code)
        before = permission_specs(write.realm, [row])[row.pk]
        mistakes = Mistakes()
        mistakes.permission(spec, "")
        mistakes.refuse()
        # Under its old name the code would be registered anew by whoever names it, and require nothing.
        if set(before.requires) - set(spec.requires) or (before.requires and spec.code != code):
            for one in {code, *(other for other, all_of_it in required_by_code(write.realm).items() if code in all_of_it)}:
                require_code_cover(write, one, f"making {names.shown(code)} require less")
        if spec.code != code:
            _refuse_used_code(write.realm, code, "renamed")
            if Permission.objects.filter(realm=write.realm, code=spec.code).exists():
                raise Conflict(f"permission {names.shown(spec.code)} exists already")
        refuse_cycles(write.realm, REQUIREMENTS, {code: spec.requires})
        store_permissions(write, [Item(spec, before, row)])
    return row


def permission_delete(*, actor: Actor, realm: Realm, code: str, reason: str = "", request_id: str = "") -> None:
    """Registered anew, the code would require nothing: so deleting it takes cover where it requires something."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        require(write, "permission", "delete")
        row = permission_named(write.realm, code)
        before = permission_specs(write.realm, [row])[row.pk]
        if before.requires:
            require_code_cover(write, code, f"deleting {names.shown(code)} with what it requires")
        _refuse_used_code(write.realm, code, "deleted")
        row.delete()
        record(write, "permission", code, before, None)


def _refuse_used_code(realm: Realm, code: str, done: str) -> None:
    uses = uses_of_codes(realm, [code]).get(code)
    if uses:
        raise Conflict(f"permission {names.shown(code)} cannot be {done}: it is named by {told(uses)}")


def group_named(realm: Realm, name: str) -> PermissionGroup:
    row = PermissionGroup.objects.filter(realm=realm, name=name).first()
    if row is None:
        raise NotFound(f"there is no permission group {names.shown(name)} in realm {names.shown(realm.name)}")
    return row


def _refuse_taken_group(realm: Realm, name: str) -> None:
    if PermissionGroup.objects.filter(realm=realm, name=name).exists():
        raise Conflict(f"permission group {names.shown(name)} exists already")


def group_create(*, actor: Actor, realm: Realm, spec: GroupSpec, reason: str = "", request_id: str = "") -> PermissionGroup:
    """A new group is in no role yet, so it gives nobody anything."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        require(write, "group", "create")
        mistakes = Mistakes()
        mistakes.group(spec, "")
        mistakes.refuse()
        _refuse_taken_group(write.realm, spec.name)
        return store_groups(write, [Item(spec)])[spec.name]


def group_update(
    *, actor: Actor, realm: Realm, name: str, spec: GroupSpec, reason: str = "", request_id: str = ""
) -> PermissionGroup:
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        author = require(write, "group", "change")
        row = group_named(write.realm, name)
        before = group_specs(write.realm, [row])[row.pk]
        mistakes = Mistakes()
        mistakes.group(spec, "")
        mistakes.refuse()
        if spec.name != name:
            _refuse_taken_group(write.realm, spec.name)
        with keeps_administrator(write), handing_out(write, Touch(groups={row.pk}), author):
            store_groups(write, [Item(spec, before, row)])
    return row


def group_delete(*, actor: Actor, realm: Realm, name: str, reason: str = "", request_id: str = "") -> None:
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        require(write, "group", "delete")
        row = group_named(write.realm, name)
        before = group_specs(write.realm, [row])[row.pk]
        uses = uses_of_groups([row.pk]).get(name)
        if uses:
            raise Conflict(f"permission group {names.shown(name)} cannot be deleted: it is in {told(uses)}")
        row.delete()
        record(write, "group", name, before, None)
