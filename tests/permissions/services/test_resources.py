"""Use cases of resources: the tree, moves, and what keeps a node in place."""

from __future__ import annotations

import pytest

from permissions.bundle.specs import ResourceSpec
from permissions.errors import Conflict, Invalid, NotFound
from permissions.models import Resource, RoleBinding
from permissions.services.resources import resource_create, resource_delete, resource_update
from permissions.services.specs import spec_of
from permissions.writing import SYSTEM
from tests.permissions.acme import Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


def test_a_resource_is_stored_and_its_parent_comes_into_being(acme: Acme) -> None:
    spec = ResourceSpec("page:1", parent="book:new", inherit=False, attributes={"owner": "user:bob"})
    assert spec_of(resource_create(actor=SYSTEM, realm=acme.realm, spec=spec)) == spec
    assert Resource.objects.get(realm=acme.realm, ref="book:new").parent is None
    assert [event.object_id for event in acme.audited()[-2:]] == ["book:new", "page:1"]


def test_a_move_takes_what_lies_below_along(acme: Acme) -> None:
    acme.resource("message:1", parent="channel:9")
    acme.binding("user:bob", allow=("post:edit",), scope="server:8")
    assert not acme.may("user:bob", "post:edit", "message:1")
    resource_update(actor=SYSTEM, realm=acme.realm, ref="channel:9", spec=ResourceSpec("channel:9", parent="server:8"))
    assert acme.may("user:bob", "post:edit", "message:1")
    entry = acme.last()
    assert (entry.action, entry.before, entry.after) == (
        "resource.change",
        {"id": "channel:9", "parent": "server:7"},
        {"id": "channel:9", "parent": "server:8"},
    )


def test_a_renamed_resource_keeps_what_hangs_on_it(acme: Acme) -> None:
    acme.binding("user:bob", allow=("post:edit",), scope="channel:9")
    resource_update(actor=SYSTEM, realm=acme.realm, ref="channel:9", spec=ResourceSpec("channel:ten", parent="server:7"))
    assert acme.may("user:bob", "post:edit", "channel:ten")
    assert not acme.may("user:bob", "post:edit", "channel:9")


def test_a_node_with_something_below_it_stays(acme: Acme) -> None:
    with pytest.raises(Conflict, match="below it lie 'channel:9'"):
        resource_delete(actor=SYSTEM, realm=acme.realm, ref="server:7")
    resource_delete(actor=SYSTEM, realm=acme.realm, ref="channel:9")
    resource_delete(actor=SYSTEM, realm=acme.realm, ref="server:7")


def test_a_node_goes_with_its_bindings_and_the_audit_says_so(acme: Acme) -> None:
    row = acme.binding("user:bob", allow=("post:edit",), scope="channel:9")
    resource_delete(actor=SYSTEM, realm=acme.realm, ref="channel:9")
    assert not RoleBinding.objects.filter(pk=row.pk).exists()
    assert [event.action for event in acme.audited()[-2:]] == ["binding.delete", "resource.delete"]


def test_a_name_that_is_taken_is_a_conflict_and_one_that_is_not_there_is_not_found(acme: Acme) -> None:
    with pytest.raises(Conflict, match="exists already"):
        resource_create(actor=SYSTEM, realm=acme.realm, spec=ResourceSpec("server:7"))
    with pytest.raises(Conflict, match="exists already"):
        resource_update(actor=SYSTEM, realm=acme.realm, ref="channel:9", spec=ResourceSpec("server:7"))
    with pytest.raises(NotFound):
        resource_update(actor=SYSTEM, realm=acme.realm, ref="server:0", spec=ResourceSpec("server:0"))
    with pytest.raises(NotFound):
        resource_delete(actor=SYSTEM, realm=acme.realm, ref="server:0")


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        (ResourceSpec("server:*"), "id"),
        (ResourceSpec("server"), "id"),
        (ResourceSpec("a:b", parent="a:b"), "parent"),
        (ResourceSpec("a:b", parent="x"), "parent"),
        (ResourceSpec("a:b", attributes={"x": float("nan")}), "attributes"),
    ],
)
def test_a_bad_resource_is_refused_with_its_place(acme: Acme, spec: ResourceSpec, where: str) -> None:
    with pytest.raises(Invalid) as refused:
        resource_create(actor=SYSTEM, realm=acme.realm, spec=spec)
    assert [problem.where for problem in refused.value.problems] == [where]
