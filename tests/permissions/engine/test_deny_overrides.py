"""deny_overrides: any applicable deny, at any scope, from any source, beats every allow; order never matters."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.permissions.engine.asking import ALICE, BOB, CHARLIE, Realm, role

CODES = ("post:edit", "post:view")


def community(*roles) -> Realm:
    realm = Realm(role("editor", "post:*"), *roles, codes=CODES)
    return realm.tree("server:7").tree("channel:9", "server:7").tree("channel:8", "server:7")


@pytest.mark.parametrize(
    ("where", "asked"), [("", "channel:9"), ("server:7", "channel:9"), ("channel:9", "channel:9"), ("", None), ("", "server:7")]
)
def test_a_deny_at_any_scope_of_the_chain_wins(where, asked):
    realm = community().bind(ALICE, "editor").bind(ALICE, deny=("post:edit",), scope=where)
    assert realm.reason(ALICE, "post:edit", asked) == "explicit_deny"
    assert realm.ask(ALICE, "post:view", asked)


def test_a_deny_on_another_branch_or_below_does_not_apply():
    realm = community().bind(ALICE, "editor").bind(ALICE, deny=("post:edit",), scope="channel:8")
    assert realm.ask(ALICE, "post:edit", "channel:9")
    assert realm.ask(ALICE, "post:edit", "server:7")


@pytest.mark.parametrize("source", ["team", "everyone", "role", "inherited role"])
def test_a_deny_from_any_source_wins(source):
    realm = community(role("denying", deny=["post:edit"]), role("heir", inherits=["denying"])).bind(ALICE, "editor")
    realm.member(ALICE, "team:staff")
    match source:
        case "team":
            realm.bind("team:staff", deny=("post:*",))
        case "everyone":
            realm.bind("user:*", deny=("post:edit",))
        case "role":
            realm.bind(ALICE, "denying")
        case "inherited role":
            realm.bind("team:staff", "heir")
    assert realm.reason(ALICE, "post:edit", "channel:9") == "explicit_deny"
    assert realm.reason(CHARLIE, "post:edit", "channel:9") in ("no_grant", "explicit_deny")


def test_a_deny_without_any_allow_is_explicit():
    assert community().bind(ALICE, deny=("post:edit",)).reason(ALICE, "post:edit") == "explicit_deny"


@pytest.mark.parametrize(
    ("condition", "reason"),
    [("true", "explicit_deny"), ("false", "granted"), ("context.missing", "condition_error"), ("1", "condition_error")],
)
def test_a_deny_applies_when_its_condition_holds_or_errs(condition, reason):
    bound = community().bind(ALICE, "editor").bind(ALICE, deny=("post:edit",), condition=condition)
    assert bound.reason(ALICE, "post:edit") == reason
    lined = community(role("denying", deny=[("post:edit", condition)])).bind(ALICE, "editor").bind(ALICE, "denying")
    assert lined.reason(ALICE, "post:edit") == reason


def test_a_deny_whose_stored_condition_no_longer_compiles_applies():
    realm = community().bind(ALICE, "editor").bind(ALICE, deny=("post:edit",), condition="no such thing(")
    assert realm.reason(ALICE, "post:edit") == "condition_error"


def test_a_plain_deny_names_the_reason_beside_one_that_errs():
    realm = community().bind(ALICE, deny=("post:edit",), condition="context.x").bind(ALICE, deny=("post:edit",))
    assert realm.reason(ALICE, "post:edit") == "explicit_deny"


def test_two_conditions_of_a_deny_are_joined_as_cel_joins_them():
    """false && error is false: the binding does not apply at all, so neither does its role's deny."""
    for binding, line, reason in (
        ("false", "context.x", "granted"),
        ("context.x", "false", "granted"),
        ("true", "context.x", "condition_error"),
        ("context.x", "true", "condition_error"),
        ("true", "true", "explicit_deny"),
    ):
        realm = community(role("denying", deny=[("post:edit", line)])).bind(ALICE, "editor")
        assert realm.bind(ALICE, "denying", condition=binding).reason(ALICE, "post:edit") == reason


@pytest.mark.parametrize(
    ("window", "reason"),
    [({"end": "2026-01-01"}, "granted"), ({"start": "2027-01-01"}, "granted"), ({"start": "2026-01-01"}, "explicit_deny")],
)
def test_a_deny_holds_only_within_its_window(window, reason):
    realm = community().bind(ALICE, "editor").bind(ALICE, deny=("post:edit",), **window)
    assert realm.reason(ALICE, "post:edit") == reason


def test_the_order_of_bindings_never_matters():
    given: list[tuple[str, str | None, dict[str, Any]]] = [
        (ALICE, "editor", {}),
        (ALICE, None, {"deny": ("post:edit",)}),
        (BOB, "editor", {}),
        (ALICE, "editor", {"scope": "channel:9"}),
    ]
    answers = set()
    for order in itertools.permutations(given):
        realm = community()
        for holder, name, more in order:
            realm.bind(holder, name, **more)
        answers.add(tuple(realm.reason(who, "post:edit", "channel:9") for who in (ALICE, BOB, CHARLIE)))
    assert answers == {("explicit_deny", "granted", "no_grant")}


def test_reasons_of_a_denial_have_one_order():
    """condition_error, then condition_false, expired, not_yet_valid, no_grant; each added to those after it wins."""
    realm = community()
    assert realm.reason(ALICE, "post:edit") == "no_grant"
    for more, reason in (
        ({"start": "2027-01-01"}, "not_yet_valid"),
        ({"end": "2026-01-01"}, "expired"),
        ({"condition": "false"}, "condition_false"),
        ({"condition": "context.missing"}, "condition_error"),
    ):
        realm.bind(ALICE, "editor", **more)
        assert realm.reason(ALICE, "post:edit") == reason
