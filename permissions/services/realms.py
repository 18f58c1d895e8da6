"""Use cases of a realm: create, update, delete."""

from __future__ import annotations

from django.db import IntegrityError

from permissions.bundle.specs import RealmSpec
from permissions.engine import names
from permissions.errors import Conflict, Forbidden, LastAdministrator
from permissions.models import Realm, Resource
from permissions.services.guards import require
from permissions.services.handing_out import require_escalate
from permissions.services.specs import realm_spec
from permissions.services.stores.rows import assign, clean, record
from permissions.services.validation import Mistakes
from permissions.writing import Actor, permission_write

COLUMNS = ("combining", "resource_types", "unknown_subjects", "staleness_s", "static_grace_s", "suspended")
# What of a realm decides who may do what: no pattern tells what a change of these gives.
LAW = ("combining", "resource_types", "unknown_subjects")


def realm_create(*, actor: Actor, spec: RealmSpec, reason: str = "", request_id: str = "") -> Realm:
    """A realm can be made by an administrator only: nobody holds anything in a realm that is not there yet."""
    if not actor.administrator:
        raise Forbidden(f"{actor.name} may not create realms; that takes an administrator")
    mistakes = Mistakes()
    mistakes.name(spec.name, "name")
    mistakes.refuse()
    if Realm.objects.filter(name=spec.name).exists():
        raise Conflict(f"there is a realm {names.shown(spec.name)} already")
    try:
        with permission_write(spec.name, actor, reason, request_id=request_id, create=True) as write:
            realm = write.realm
            if not write.made:
                raise Conflict(f"there is a realm {names.shown(spec.name)} already")
            changed = assign(realm, spec, COLUMNS)
            clean(realm)
            if changed:
                realm.save(update_fields=changed)
            record(write, "realm", realm.name, None, realm_spec(realm))
    except IntegrityError as error:
        # There is no row to lock before the realm is there: of two who make it at once, the second learns of the first here.
        raise Conflict(f"there is a realm {names.shown(spec.name)} already") from error
    return realm


def realm_update(*, actor: Actor, realm: Realm, spec: RealmSpec, reason: str = "", request_id: str = "") -> Realm:
    """A realm keeps its name: its audit chain is kept under it, and tokens and keys are read with it."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        require(write, "realm", "change")
        row = write.realm
        before = realm_spec(row)
        if spec.name != row.name:
            raise Conflict(f"realm {names.shown(row.name)} cannot be renamed; make a new one from its export")
        changed = assign(row, spec, COLUMNS)
        law = [column for column in changed if column in LAW]
        if law:
            require_escalate(write, f"changing {', '.join(law)}")
        if "suspended" in changed and row.suspended and not actor.administrator:
            raise LastAdministrator(
                "a suspended realm denies its own administrators too; suspend it with apply, an --admin key or as a superuser"
            )
        clean(row)
        if changed:
            row.save(update_fields=changed)
            record(write, "realm", row.name, before, realm_spec(row))
    return row


def realm_delete(*, actor: Actor, realm: Realm, reason: str = "", request_id: str = "") -> None:
    """Deletes the realm with everything in it. Its audit chain stays."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        require(write, "realm", "delete")
        before = realm_spec(write.realm)
        # The tree protects its nodes from losing their parents one by one; here all of them go.
        Resource.objects.filter(realm=write.realm).update(parent=None)
        write.realm.delete()
        record(write, "realm", realm.name, before, None)
