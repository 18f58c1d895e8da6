"""Use cases of resources: create, update (which moves), delete."""

from __future__ import annotations

from permissions.bundle.specs import ResourceSpec
from permissions.engine import names
from permissions.errors import Conflict, NotFound
from permissions.models import AuditEvent, Realm, Resource, RoleBinding
from permissions.services.administrators import keeps_administrator
from permissions.services.cycles import RESOURCES, edges_of, refuse_cycles
from permissions.services.gifts import Touch
from permissions.services.guards import require
from permissions.services.handing_out import handing_out
from permissions.services.specs import binding_spec, resource_spec
from permissions.services.stores.resources import store_resources
from permissions.services.stores.rows import Item, record
from permissions.services.validation import Mistakes
from permissions.writing import Actor, permission_write


def resource_named(realm: Realm, ref: str) -> Resource:
    row = Resource.objects.filter(realm=realm, ref=ref).select_related("parent").first()
    if row is None:
        raise NotFound(f"there is no resource {names.shown(ref)} in realm {names.shown(realm.name)}")
    return row


def _judged(spec: ResourceSpec) -> None:
    """A parent is looked up by its name in the realm, and made there if need be: it cannot lie in another realm."""
    mistakes = Mistakes()
    mistakes.resource(spec, "")
    mistakes.refuse()


def resource_create(*, actor: Actor, realm: Realm, spec: ResourceSpec, reason: str = "", request_id: str = "") -> Resource:
    """What comes into being has what was handed out for whatever comes below its parent. What was here before, and was deleted or
    renamed, comes back by a move: else deleting it first would be the way around the judgement of moves."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        author = require(write, "resource", "create", [spec.parent])
        _judged(spec)
        if Resource.objects.filter(realm=write.realm, ref=spec.id).exists():
            raise Conflict(f"resource {names.shown(spec.id)} exists already; naming one as a scope or a parent makes it known")
        history = AuditEvent.objects.filter(realm_name=write.realm.name, object_type="resource", object_id=spec.id)
        if author is None or not history.exists():
            return store_resources(write, [Item(spec)])[spec.id]
        with handing_out(write, Touch(nodes={spec.id}), author):
            return store_resources(write, [Item(spec)])[spec.id]


def resource_update(
    *, actor: Actor, realm: Realm, ref: str, spec: ResourceSpec, reason: str = "", request_id: str = ""
) -> Resource:
    """A move gives those who hold something at the new parent the same below it: judged at the node, before it moves."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        row = resource_named(write.realm, ref)
        before = resource_spec(row)
        scopes = [ref, spec.parent] if spec.parent != before.parent else [ref]
        author = require(write, "resource", "change", scopes)
        _judged(spec)
        refuse_cycles(write.realm, RESOURCES, {ref: edges_of(spec)})
        touch = Touch(nodes={ref, spec.id}, scopes={ref, spec.id})
        if spec.id != ref:
            if Resource.objects.filter(realm=write.realm, ref=spec.id).exists():
                raise Conflict(f"resource {names.shown(spec.id)} exists already")
            touch.holders = set(RoleBinding.objects.filter(scope=row).values_list("subject__ref", flat=True))
        with keeps_administrator(write), handing_out(write, touch, author):
            store_resources(write, [Item(spec, before, row)])
    return row


def resource_delete(*, actor: Actor, realm: Realm, ref: str, reason: str = "", request_id: str = "") -> None:
    """Deletes the node with the bindings that hang on it. What lies below must be moved or deleted first. The resource itself may
    live on elsewhere, and then lies below the realm alone: what that gives is judged as a move there."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        row = resource_named(write.realm, ref)
        author = require(write, "resource", "delete", [ref])
        before = resource_spec(row)
        children = list(Resource.objects.filter(parent=row).order_by("ref").values_list("ref", flat=True)[:6])
        if children:
            told = ", ".join(names.shown(child) for child in children[:5]) + (", …" if len(children) > 5 else "")
            raise Conflict(f"resource {names.shown(ref)} cannot be deleted: below it lie {told}")
        bindings = RoleBinding.objects.filter(scope=row).select_related("subject", "role", "scope").order_by("pk")
        held = [(binding, binding_spec(binding)) for binding in bindings]
        with (
            keeps_administrator(write),
            handing_out(write, Touch(holders={spec.subject for _, spec in held}, nodes={ref}), author),
        ):
            for binding, spec in held:
                record(write, "binding", str(binding.pk), spec, None)
                binding.delete()
            row.delete()
            record(write, "resource", ref, before, None)
