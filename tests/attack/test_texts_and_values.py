"""Texts and values that no column, no answer and no audit can hold, brought past every parser: the services themselves refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from permissions import audit
from permissions.bundle.specs import GroupSpec, PermissionSpec, RealmSpec, RoleSpec
from permissions.errors import Refused
from permissions.models import Role
from permissions.services.catalog import group_create, permission_create
from permissions.services.keys import key_create
from permissions.services.realms import realm_update
from permissions.services.roles import role_create
from permissions.writing import SYSTEM, Actor
from tests.permissions.acme import Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

NUL, HALF = "a\x00b", "a\ud800b"


def _obliged(value: Any) -> dict[str, Any]:
    return {"obligations": ({"id": "a", "type": "b", "properties": {"x": value}},)}


DOORS: dict[str, Callable[[Acme, Any], Any]] = {
    "title": lambda acme, text: role_create(actor=SYSTEM, realm=acme.realm, spec=RoleSpec("r", title=text)),
    "description": lambda acme, text: group_create(actor=SYSTEM, realm=acme.realm, spec=GroupSpec("r", description=text)),
    "menu": lambda acme, text: permission_create(actor=SYSTEM, realm=acme.realm, spec=PermissionSpec("a:b", menu=text)),
    "reason": lambda acme, text: acme.binding("user:bob", allow=("a:b",), reason=text),
    "key": lambda acme, text: key_create(actor=SYSTEM, realm=acme.realm, name=text),
    "obligation": lambda acme, text: acme.binding("user:bob", allow=("a:b",), **_obliged(text)),
    "attribute": lambda acme, text: acme.subject("user:new", attributes={"a": text}),
    "name of an attribute": lambda acme, text: acme.subject("user:new", attributes={text: 1}),
}


@pytest.mark.parametrize("text", [NUL, HALF], ids=["nul", "half"])
@pytest.mark.parametrize("door", DOORS)
def test_a_text_that_cannot_be_stored_is_refused_and_never_a_fault(acme: Acme, door: str, text: str) -> None:
    before = len(acme.audited())
    with pytest.raises(Refused):
        DOORS[door](acme, text)
    assert len(acme.audited()) == before


@pytest.mark.parametrize("text", [NUL, HALF], ids=["nul", "half"])
def test_the_audit_of_a_write_is_never_lost_to_a_character(acme: Acme, text: str) -> None:
    actor = Actor("command", f"user:{text}", administrator=True)
    role_create(actor=actor, realm=acme.realm, spec=RoleSpec("r"), reason=text, request_id=text)
    assert Role.objects.filter(realm=acme.realm, name="r").exists()
    assert acme.last().reason in ("ab", "a?b")
    assert audit.verify(acme.realm.name).first_bad is None


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400, -(2**70), object(), b"x"], ids=lambda v: str(v)[:9])
def test_a_value_that_is_no_json_is_refused(acme: Acme, value: Any) -> None:
    with pytest.raises(Refused):
        acme.subject("user:new", attributes={"a": value})
    with pytest.raises(Refused):
        acme.resource("doc:new", attributes={"a": value})
    with pytest.raises(Refused):
        acme.binding("user:bob", allow=("a:b",), **_obliged(value))


def test_depth_without_end_is_refused(acme: Acme) -> None:
    value: dict[str, Any] = {}
    for _ in range(5_000):
        value = {"a": value}
    with pytest.raises(Refused):
        acme.subject("user:new", attributes=value)


@pytest.mark.parametrize(
    "law",
    [
        {"staleness_s": float("inf")},
        {"staleness_s": float("nan")},
        {"staleness_s": -1},
        {"static_grace_s": 1e300},
        {"resource_types": {"*": {"combining": "overlay"}}},
        {"resource_types": {"a": {"combining": "any"}}},
        {"unknown_subjects": "allow"},
    ],
    ids=str,
)
def test_a_law_that_is_none_is_refused(acme: Acme, law: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        realm_update(actor=SYSTEM, realm=acme.realm, spec=RealmSpec("acme", **law))
