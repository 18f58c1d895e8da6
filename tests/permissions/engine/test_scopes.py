"""Where a binding reaches: down the tree, not past `propagate: false`, and as an allow not into a private node."""

from __future__ import annotations

import pytest

from permissions.engine.scopes import build_resource
from permissions.engine.types import ResourceFacts, ResourceNodeFact
from tests.permissions.engine.asking import ALICE, CHARLIE, Realm, role

SEND = "channel:send"


def tree() -> Realm:
    realm = Realm(role("member", SEND, "server:view"))
    return realm.tree("server:7").tree("channel:9", "server:7").tree("thread:3", "channel:9").tree("server:8")


@pytest.mark.parametrize(
    ("scope", "reached"),
    [
        ("", {None, "server:7", "channel:9", "thread:3", "server:8", "server:unseen"}),
        ("server:7", {"server:7", "channel:9", "thread:3"}),
        ("channel:9", {"channel:9", "thread:3"}),
        ("thread:3", {"thread:3"}),
        ("server:gone", set()),
    ],
)
@pytest.mark.parametrize("combining", ["deny_overrides", "overlay"])
def test_a_binding_reaches_its_node_and_everything_below(scope, reached, combining):
    realm = tree().bind(ALICE, "member", scope=scope)
    realm.model["combining"] = combining
    everywhere = {None, "server:7", "channel:9", "thread:3", "server:8", "server:unseen"}
    assert {where for where in everywhere if realm.ask(ALICE, SEND, where)} == reached
    assert not any(realm.ask(CHARLIE, SEND, where) for where in everywhere)


def test_a_binding_that_does_not_propagate_reaches_its_node_only():
    realm = tree().bind(ALICE, "member", scope="channel:9", propagate=False)
    assert realm.ask(ALICE, SEND, "channel:9")
    assert realm.reason(ALICE, SEND, "thread:3") == "no_grant"


def test_at_the_realm_it_reaches_a_check_without_a_resource_only():
    realm = tree().bind(ALICE, "member", propagate=False)
    assert realm.ask(ALICE, SEND)
    assert not realm.ask(ALICE, SEND, "server:7")
    assert not realm.ask(ALICE, SEND, "server:unseen")


def test_a_deny_that_does_not_propagate_applies_to_its_node_only():
    realm = tree().bind(ALICE, "member").bind(ALICE, deny=(SEND,), scope="server:7", propagate=False)
    assert realm.reason(ALICE, SEND, "server:7") == "explicit_deny"
    assert realm.ask(ALICE, SEND, "channel:9")


def test_an_unseen_resource_below_a_named_parent_is_not_that_parent():
    """`resource.properties.parent`: the chain ends at the parent, and a binding for the parent alone does not reach the child."""
    chain = (ResourceNodeFact("server:7"),)
    snapshot = build_resource(ResourceFacts("channel:new", known=False, chain=chain))
    assert (snapshot.nodes, snapshot.ref, snapshot.open_from) == (("server:7",), "channel:new", 0)
    realm = tree().bind(ALICE, "member", scope="server:7", propagate=False)
    realm.resource = lambda ref: ResourceFacts(str(ref), known=False, chain=chain)  # type: ignore[method-assign]
    assert not realm.ask(ALICE, SEND, "channel:new")
    assert realm.bind(ALICE, "member", scope="server:7").ask(ALICE, SEND, "channel:new")


def private() -> Realm:
    return tree().tree("channel:1", "server:7", inherit=False).tree("thread:1", "channel:1")


@pytest.mark.parametrize("scope", ["", "server:7"])
def test_no_allow_from_above_reaches_a_private_node_or_what_lies_below(scope):
    realm = private().bind(ALICE, "member", scope=scope)
    assert realm.reason(ALICE, SEND, "channel:1") == "no_grant"
    assert realm.reason(ALICE, SEND, "thread:1") == "no_grant"
    assert realm.ask(ALICE, SEND, "channel:9")


def test_an_allow_at_a_private_node_reaches_it_and_what_lies_below():
    realm = private().bind(ALICE, "member", scope="channel:1")
    assert realm.ask(ALICE, SEND, "channel:1")
    assert realm.ask(ALICE, SEND, "thread:1")


def test_a_deny_from_above_passes_a_private_node():
    realm = private().bind(ALICE, "member", scope="channel:1").bind(ALICE, deny=(SEND,))
    assert realm.reason(ALICE, SEND, "thread:1") == "explicit_deny"


def test_a_private_node_hides_an_expired_binding_above_too():
    assert private().bind(ALICE, "member", end="2026-01-01").reason(ALICE, SEND, "channel:1") == "no_grant"


def test_everyone_may_be_bound_at_a_scope():
    realm = tree().bind("user:*", "member", scope="server:7")
    assert realm.ask(CHARLIE, SEND, "thread:3")
    assert not realm.ask(CHARLIE, SEND, "server:8")
    assert not realm.ask("agent:crawler", SEND, "thread:3")


def test_everyones_binding_that_is_conditional_or_ended_is_looked_at_when_asked():
    realm = tree().bind("user:*", "member", condition="context.open").bind("user:*", allow=("server:view",), end="2026-01-01")
    assert realm.ask(CHARLIE, SEND, context={"open": True})
    assert realm.reason(CHARLIE, SEND, context={"open": False}) == "condition_false"
    assert realm.reason(CHARLIE, "server:view") == "condition_error"
    assert tree().bind("user:*", allow=("server:view",), end="2026-01-01").reason(CHARLIE, "server:view") == "expired"
