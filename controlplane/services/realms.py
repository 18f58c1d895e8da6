"""What somebody may do in a realm that a control page looks into: asked of that realm, for pages and endpoints alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from controlplane.services.rights import control_realm
from permissions import pdp
from permissions.engine import names
from permissions.engine.types import Request
from permissions.errors import Forbidden, NotFound
from permissions.models import Realm
from permissions.writing import Actor

ASK: Final = "permsite.decision:ask"
AUDIT_VIEW: Final = "permsite.audit:view"
KEY_VIEW: Final = "permsite.key:view"
POLICY_VIEW: Final = "permsite.policy:view"


def realm_named(actor: Actor, name: str) -> Realm:
    """Raises NotFound, and Forbidden for a key of another realm: even an administrator's is one in its own alone."""
    if actor.kind == "key" and name != control_realm():
        raise Forbidden(f"this key belongs to the realm {control_realm()!r}")
    # A name that no realm can have is never sent to the database: PostgreSQL knows no U+0000.
    found = Realm.objects.filter(name=name).first() if name.isprintable() and name else None
    if found is None:
        raise NotFound(f"there is no realm {names.shown(name)}")
    return found


def may_each(actor: Actor, code: str, realm: str, scopes: Sequence[str | None]) -> list[bool]:
    """In order. `full`: a right that was taken away a moment ago must not show a realm once more."""
    if actor.administrator:
        return [actor.kind != "key" or realm == control_realm()] * len(scopes)
    if actor.subject is None:
        return [False] * len(scopes)
    asked = [Request(actor.subject, code, scope, asserted="ignore") for scope in scopes]
    return [bool(decision) for decision in pdp.decide_many(asked, realm=realm, full=True)]


def may_in(actor: Actor, code: str, realm: str, scope: str | None = None) -> bool:
    return may_each(actor, code, realm, [scope])[0]


def require_in(actor: Actor, code: str, realm: str, scope: str | None = None) -> None:
    if not may_in(actor, code, realm, scope):
        raise Forbidden(f"this needs {code} {'on ' + names.shown(scope) if scope else 'in the realm ' + realm}")
