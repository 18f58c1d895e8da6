"""Use cases of role bindings: create, update, delete."""

from __future__ import annotations

from permissions.bundle.specs import BindingSpec
from permissions.engine import names
from permissions.engine.types import REALM
from permissions.errors import NotFound
from permissions.models import Realm, Role, RoleBinding
from permissions.services.administrators import keeps_administrator, may_lock_out
from permissions.services.gifts import Touch
from permissions.services.guards import require
from permissions.services.handing_out import handing_out
from permissions.services.specs import binding_spec, bindings_with_names
from permissions.services.stores.bindings import store_bindings
from permissions.services.stores.catalog import rows_by
from permissions.services.stores.rows import Item, record
from permissions.services.validation import Mistakes
from permissions.writing import Actor, permission_write


def binding_named(realm: Realm, binding_id: int) -> RoleBinding:
    row = bindings_with_names(realm).filter(pk=binding_id).first()
    if row is None:
        raise NotFound(f"there is no binding {binding_id} in realm {names.shown(realm.name)}")
    return row


def _judged(realm: Realm, spec: BindingSpec) -> None:
    """The role is looked up by its name in the realm: one of another realm is unknown here."""
    mistakes = Mistakes()
    roles = rows_by(Role, realm, "name", {spec.role} if spec.role is not None else set())
    mistakes.binding(spec, "", roles=roles.keys())
    mistakes.refuse()


def binding_create(*, actor: Actor, realm: Realm, spec: BindingSpec, reason: str = "", request_id: str = "") -> RoleBinding:
    """Several bindings of one subject at one scope stay separate, so one that equals another is no duplicate."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        author = require(write, "binding", "create", [spec.scope])
        _judged(write.realm, spec)
        touch = Touch(holders={spec.subject}, scopes={spec.scope or REALM})
        with keeps_administrator(write, needed=may_lock_out(write.realm, spec)), handing_out(write, touch, author):
            return store_bindings(write, [Item(spec)])[0]


def binding_update(
    *, actor: Actor, realm: Realm, binding_id: int, spec: BindingSpec, reason: str = "", request_id: str = ""
) -> RoleBinding:
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        row = binding_named(write.realm, binding_id)
        before = binding_spec(row)
        author = require(write, "binding", "change", dict.fromkeys([before.scope, spec.scope]))
        _judged(write.realm, spec)
        touch = Touch(holders={before.subject, spec.subject}, scopes={spec.scope or REALM})
        with keeps_administrator(write), handing_out(write, touch, author):
            store_bindings(write, [Item(spec, before, row)])
    return row


def binding_delete(*, actor: Actor, realm: Realm, binding_id: int, reason: str = "", request_id: str = "") -> None:
    """A revoke that finds nothing is NotFound, never success: its caller would believe a grant gone that another write made."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        row = binding_named(write.realm, binding_id)
        before = binding_spec(row)
        author = require(write, "binding", "delete", [before.scope])
        with keeps_administrator(write), handing_out(write, Touch(holders={before.subject}), author):
            deleted, _ = RoleBinding.objects.filter(pk=row.pk).delete()
            if not deleted:
                raise NotFound(f"there is no binding {binding_id} in realm {names.shown(realm.name)}")
            record(write, "binding", str(binding_id), before, None)
