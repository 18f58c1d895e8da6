"""Obligations of every role and binding that granted, each once, on allow only."""

from __future__ import annotations

from tests.permissions.engine.asking import ALICE, Realm, role

EDIT, VIEW = "post:edit", "post:view"
STEP_UP = {"type": "step-up"}
NOTIFY = {"type": "notification"}
LOG = {"type": "log"}


def test_nothing_granted_brings_none():
    realm = Realm(role("r", EDIT, obligations=[STEP_UP]), codes=[VIEW]).bind(ALICE, "r").bind(ALICE, deny=(EDIT,))
    assert realm.ask(ALICE, VIEW).obligations == realm.ask(ALICE, EDIT).obligations == ()


def test_a_role_brings_its_own():
    assert Realm(role("r", EDIT, obligations=[STEP_UP, LOG])).bind(ALICE, "r").ask(ALICE, EDIT).obligations == (STEP_UP, LOG)


def test_a_role_on_the_way_brings_its_own_to_the_codes_that_come_through_it():
    realm = Realm(
        role("viewer", VIEW, obligations=[LOG]),
        role("editor", EDIT, inherits=["viewer"]),
        role("chief", inherits=["editor"], obligations=[STEP_UP]),
    )
    realm.bind(ALICE, "chief")
    assert realm.ask(ALICE, EDIT).obligations == (STEP_UP,)
    assert realm.ask(ALICE, VIEW).obligations == (STEP_UP, LOG)


def test_all_that_granted_are_named_roles_first_then_bindings_by_id():
    realm = Realm(
        role("b", EDIT, obligations=[NOTIFY]), role("a", EDIT, obligations=[LOG]), role("c", VIEW, obligations=[STEP_UP])
    )
    realm.bind(ALICE, "b", obligations=(STEP_UP,)).bind(ALICE, "a").bind(ALICE, allow=(EDIT,), obligations=(LOG,)).bind(
        ALICE, "c"
    )
    assert realm.ask(ALICE, EDIT).obligations == (LOG, NOTIFY, STEP_UP, LOG)


def test_what_did_not_hold_brings_none():
    realm = Realm(role("r", EDIT), role("q", (EDIT, "false"), obligations=[NOTIFY])).bind(ALICE, "r").bind(ALICE, "q")
    realm.bind(ALICE, "r", condition="false", obligations=(STEP_UP,)).bind(ALICE, "r", end="2026-01-01", obligations=(STEP_UP,))
    assert realm.ask(ALICE, EDIT).obligations == ()
    assert realm.bind(ALICE, "r", condition="true", obligations=(LOG,)).ask(ALICE, EDIT).obligations == (LOG,)


def test_under_overlay_an_allow_that_was_cleared_brings_none():
    realm = Realm(role("r", EDIT, obligations=[LOG]), combining="overlay").tree("post:1").bind(ALICE, "r")
    realm.bind("user:*", deny=(EDIT,), scope="post:1").bind(ALICE, allow=(EDIT,), scope="post:1", obligations=(STEP_UP,))
    assert realm.ask(ALICE, EDIT).obligations == (LOG,)
    assert realm.ask(ALICE, EDIT, "post:1").obligations == (STEP_UP,)
