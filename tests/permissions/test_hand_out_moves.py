"""Moving, opening, renaming or deleting a resource never gives anyone more there than its author holds there."""

from __future__ import annotations

import pytest

from permissions.bundle.specs import ResourceSpec
from permissions.errors import Escalation, Forbidden
from permissions.services.resources import resource_create, resource_delete, resource_update
from tests.permissions.acme import CHARLIE, Acme, person

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


def _move(acme: Acme, ref: str, parent: str | None, *, inherit: bool = True) -> None:
    resource_update(actor=CHARLIE, realm=acme.realm, ref=ref, spec=ResourceSpec(ref, parent=parent, inherit=inherit))


def test_it_refuses_a_move_below_a_node_where_its_author_holds_more(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("post:*",), scope="server:8")
    with pytest.raises(Escalation, match=r"'post:\*' at 'channel:9' to 'user:charlie'"):
        _move(acme, "channel:9", "server:8")
    assert not acme.may("user:charlie", "post:edit", "channel:9")


def test_it_refuses_a_move_that_gives_anyone_else_more(acme: Acme) -> None:
    acme.role("editor", "post:edit")
    acme.binding("team:eng", "editor", scope="server:8")
    with pytest.raises(Escalation, match="'post:edit' at 'channel:9' to 'team:eng'"):
        _move(acme, "channel:9", "server:8")


def test_it_allows_a_move_whose_gains_its_author_holds_there(acme: Acme) -> None:
    acme.binding("team:eng", allow=("post:read",), scope="server:8")
    _move(acme, "channel:9", "server:8")
    assert acme.may("user:bob", "post:read", "channel:9")


def test_what_does_not_propagate_moves_nobody(acme: Acme) -> None:
    acme.binding("team:eng", allow=("post:edit",), scope="server:8", propagate=False)
    _move(acme, "channel:9", "server:8")


def test_it_refuses_a_move_out_of_reach_of_a_deny(acme: Acme) -> None:
    acme.binding("user:bob", deny=("post:send",), scope="server:7")
    with pytest.raises(Escalation, match="no longer denying 'post:send' at 'channel:9' to 'user:bob'"):
        _move(acme, "channel:9", None)


def test_it_refuses_to_open_a_private_node(acme: Acme) -> None:
    acme.resource("channel:private", parent="server:7", inherit=False)
    acme.binding("user:charlie", allow=("permsite.resource:*",), scope="channel:private")
    acme.binding("team:eng", allow=("post:edit",), scope="server:7")
    with pytest.raises(Escalation, match="at 'channel:private' to"):
        _move(acme, "channel:private", "server:7", inherit=True)
    _move(acme, "channel:9", "server:7", inherit=False)


def test_it_refuses_to_delete_a_private_node_that_lives_on_elsewhere(acme: Acme) -> None:
    """What the platform does not know lies below the realm alone: the realm's allows would reach it."""
    acme.resource("channel:private", parent="server:7", inherit=False)
    acme.binding("user:charlie", allow=("permsite.resource:*",), scope="channel:private")
    acme.binding("team:eng", allow=("post:edit",))
    with pytest.raises(Escalation, match="at 'channel:private' to"):
        resource_delete(actor=CHARLIE, realm=acme.realm, ref="channel:private")


def test_it_refuses_to_delete_a_node_with_a_deny_on_it(acme: Acme) -> None:
    acme.binding("user:bob", deny=("post:send",), scope="channel:9")
    with pytest.raises(Escalation, match="no longer denying"):
        resource_delete(actor=CHARLIE, realm=acme.realm, ref="channel:9")
    acme.binding("user:charlie", allow=("post:send",), scope="server:7")
    resource_delete(actor=CHARLIE, realm=acme.realm, ref="channel:9")


def test_it_refuses_to_give_what_hangs_on_a_node_to_another_name(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("post:edit",), scope="channel:9")
    with pytest.raises(Escalation, match="at 'channel:other'"):
        resource_update(actor=CHARLIE, realm=acme.realm, ref="channel:9", spec=ResourceSpec("channel:other", parent="server:7"))


def test_it_refuses_a_rename_and_a_move_at_once(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("post:edit",), scope="server:8")
    acme.binding("user:charlie", allow=("post:read",), scope="channel:9")
    with pytest.raises(Escalation, match="'post:edit' at 'channel:other'"):
        resource_update(actor=CHARLIE, realm=acme.realm, ref="channel:9", spec=ResourceSpec("channel:other", parent="server:8"))


def test_the_managing_permission_is_asked_at_the_node_and_at_both_parents(acme: Acme) -> None:
    acme.binding("user:dave", allow=("permsite.resource:*",), scope="server:7")
    dave = person("dave")
    resource_create(actor=dave, realm=acme.realm, spec=ResourceSpec("channel:10", parent="server:7"))
    with pytest.raises(Forbidden, match="at 'server:8'"):
        resource_create(actor=dave, realm=acme.realm, spec=ResourceSpec("channel:11", parent="server:8"))
    with pytest.raises(Forbidden, match="in the realm"):
        resource_create(actor=dave, realm=acme.realm, spec=ResourceSpec("channel:11"))
    with pytest.raises(Forbidden, match="at 'server:8'"):
        resource_update(actor=dave, realm=acme.realm, ref="channel:10", spec=ResourceSpec("channel:10", parent="server:8"))
    with pytest.raises(Forbidden):
        resource_delete(actor=dave, realm=acme.realm, ref="server:8")
    resource_delete(actor=dave, realm=acme.realm, ref="channel:10")


def test_a_new_node_has_what_was_handed_out_at_its_parent(acme: Acme) -> None:
    """Whoever may create resources there is trusted to place them: what hangs above was handed out for whatever comes below."""
    acme.binding("team:eng", allow=("post:edit",), scope="server:7")
    resource_create(actor=CHARLIE, realm=acme.realm, spec=ResourceSpec("channel:10", parent="server:7"))
    assert acme.may("user:bob", "post:edit", "channel:10")


def test_it_refuses_to_move_by_deleting_and_creating(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("post:*",), scope="server:8")
    resource_delete(actor=CHARLIE, realm=acme.realm, ref="channel:9")
    with pytest.raises(Escalation, match=r"'post:\*' at 'channel:9' to 'user:charlie'"):
        resource_create(actor=CHARLIE, realm=acme.realm, spec=ResourceSpec("channel:9", parent="server:8"))
    resource_create(actor=CHARLIE, realm=acme.realm, spec=ResourceSpec("channel:new", parent="server:8"))


def test_it_refuses_to_move_by_renaming_and_creating(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("post:*",), scope="server:8")
    resource_update(actor=CHARLIE, realm=acme.realm, ref="channel:9", spec=ResourceSpec("channel:gone", parent="server:7"))
    with pytest.raises(Escalation, match="at 'channel:9' to 'user:charlie'"):
        resource_create(actor=CHARLIE, realm=acme.realm, spec=ResourceSpec("channel:9", parent="server:8"))
