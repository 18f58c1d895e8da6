"""Who asks: unknown, inactive, locked, superuser; teams, nested and with an end; everyone."""

from __future__ import annotations

import pytest

from permissions.engine.scopes import build_subject
from permissions.engine.types import BindingFact, MembershipFact, SubjectFacts
from tests.permissions.engine.asking import ALICE, BOB, CHARLIE, NOW, Realm, at, role

EDIT = "post:edit"


def office(**settings) -> Realm:
    return Realm(role("editor", EDIT), **settings)


def test_a_subject_the_realm_does_not_know_is_denied():
    realm = office().bind("user:*", "editor").subject(CHARLIE, known=False)
    assert realm.reason(CHARLIE, EDIT) == "unknown_subject"


def test_where_the_realm_says_so_an_unknown_subject_is_one_of_everyone():
    realm = office(unknown_subjects="everyone").bind("user:*", "editor").subject(CHARLIE, known=False)
    assert realm.ask(CHARLIE, EDIT)
    assert realm.subject("agent:x", known=False).reason("agent:x", EDIT) == "no_grant"


def test_asserted_teams_make_an_unknown_subject_known():
    realm = office().bind("team:staff", "editor").member(CHARLIE, "team:staff").subject(CHARLIE, known=False)
    assert realm.ask(CHARLIE, EDIT)


@pytest.mark.parametrize("state", [{"active": False}, {"locked": True}])
def test_an_inactive_or_locked_subject_may_nothing(state):
    realm = office().bind(ALICE, "editor").subject(ALICE, superuser=True, **state)
    assert realm.reason(ALICE, EDIT) == "subject_inactive"
    assert realm.reason(ALICE, EDIT, superuser=True) == "subject_inactive"
    assert realm.allowed(ALICE) == []


def test_a_suspended_realm_allows_nothing():
    realm = office(suspended=True).bind(ALICE, "editor").subject(ALICE, superuser=True)
    assert realm.reason(ALICE, EDIT) == "realm_suspended"
    assert realm.reason(ALICE, EDIT, superuser=True) == "realm_suspended"


def test_a_superuser_may_everything_where_enabled_unknown_codes_included():
    realm = office().subject(ALICE, superuser=True)
    assert realm.reason(ALICE, EDIT) == "no_grant"
    assert realm.reason(ALICE, EDIT, superuser=True) == "superuser"
    assert realm.reason(ALICE, "no:such", superuser=True) == "superuser"
    assert realm.subject(BOB).reason(BOB, EDIT, superuser=True) == "no_grant"


def test_a_deny_stops_a_superuser_under_deny_overrides_only():
    assert (
        office().subject(ALICE, superuser=True).bind(ALICE, deny=(EDIT,)).reason(ALICE, EDIT, superuser=True) == "explicit_deny"
    )
    overlay = office(combining="overlay").subject(ALICE, superuser=True).bind(ALICE, deny=(EDIT,))
    assert overlay.reason(ALICE, EDIT, superuser=True) == "superuser"


def test_an_erring_deny_stops_a_superuser_too():
    realm = office().subject(ALICE, superuser=True).bind(ALICE, deny=(EDIT,), condition="context.x")
    assert realm.reason(ALICE, EDIT, superuser=True) == "condition_error"


def test_teams_give_to_their_members_through_any_depth():
    realm = office().bind("team:company", "editor").member("team:staff", "team:company").member(BOB, "team:staff")
    assert realm.ask(BOB, EDIT)
    assert not realm.ask(CHARLIE, EDIT)


def test_a_cycle_of_teams_ends():
    realm = office().bind("team:a", "editor").member("team:a", "team:b").member("team:b", "team:a").member(BOB, "team:b")
    assert realm.ask(BOB, EDIT)


def test_a_team_may_be_the_subject_itself():
    realm = office().bind("team:company", "editor").member("team:staff", "team:company").bind("team:*", allow=("post:view",))
    realm.model["permissions"] += Realm(codes=["post:view"]).model["permissions"]
    assert realm.ask("team:company", EDIT)
    assert realm.ask("team:staff", EDIT)
    assert realm.ask("team:staff", "post:view")
    assert not realm.member(BOB, "team:staff").ask(BOB, "post:view"), "everyone of type team is not everyone in a team"


@pytest.mark.parametrize(
    ("windows", "reason"),
    [
        ([("2026-01-01", None), (None, None)], "granted"),
        ([("2026-01-01", "2026-02-01"), (None, None)], "expired"),
        ([(None, None), ("2027-01-01", None)], "not_yet_valid"),
        ([("2027-01-01", None), (None, "2026-01-01")], "expired"),
    ],
)
def test_a_way_into_a_team_holds_while_every_membership_on_it_does(windows, reason):
    realm = office().bind("team:company", "editor")
    realm.member(BOB, "team:staff", *windows[0]).member("team:staff", "team:company", *windows[1])
    assert realm.reason(BOB, EDIT) == reason


def test_of_two_ways_into_a_team_one_is_enough():
    realm = office().bind("team:company", "editor").member(BOB, "team:company", end="2026-01-01")
    assert realm.member(BOB, "team:staff").member("team:staff", "team:company").ask(BOB, EDIT)


def test_a_binding_holds_from_its_start_to_before_its_end():
    realm = office().bind(ALICE, "editor", start="2026-01-01", end="2026-02-01")
    assert realm.reason(ALICE, EDIT, now=at("2026-01-01") - 1) == "not_yet_valid"
    assert realm.ask(ALICE, EDIT, now=at("2026-01-01"))
    assert realm.ask(ALICE, EDIT, now=at("2026-02-01") - 1)
    assert realm.reason(ALICE, EDIT, now=at("2026-02-01")) == "expired"


def test_a_snapshot_is_void_from_the_next_boundary_of_anything_in_it():
    facts = SubjectFacts(
        BOB,
        memberships=(MembershipFact(BOB, "team:a", valid_until_us=500), MembershipFact("team:a", "team:b", valid_from_us=50)),
        bindings=(
            BindingFact(1, BOB, "r", valid_from_us=100, valid_until_us=300),
            BindingFact(2, "team:b", "r", valid_until_us=200),
        ),
    )
    seen = []
    now = 0
    while (until := build_subject(facts, now).until_us) is not None:
        seen.append(until)
        now = until
    assert seen == [50, 100, 200, 300, 500]
    assert build_subject(facts, NOW).deps == ("team:a", "team:b")


def test_a_plain_subject_is_recognised():
    realm = office().bind(ALICE, "editor")
    assert build_subject(realm.facts(ALICE), NOW).is_plain
    assert not build_subject(realm.bind(ALICE, allow=(EDIT,)).facts(ALICE), NOW).is_plain


def test_equal_role_sets_are_one_object():
    facts = office().bind(ALICE, "editor").facts(ALICE)
    assert build_subject(facts, NOW).realm_roles is build_subject(facts, NOW + 1).realm_roles
