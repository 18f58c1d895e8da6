"""`requires`: a permission is allowed only where all it requires are allowed too."""

from __future__ import annotations

import pytest

from tests.permissions.engine.asking import ALICE, Realm, role

REQUIRES = {"channel:pin": ["channel:send"], "channel:send": ["channel:view"]}


def chat(*given: str, **settings) -> Realm:
    realm = Realm(role("r", *given), codes=["channel:view"], requires=REQUIRES, **settings).tree("channel:9")
    return realm.bind(ALICE, "r")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (("channel:pin", "channel:send", "channel:view"), "granted"),
        (("channel:pin", "channel:send"), "requires"),
        (("channel:pin", "channel:view"), "requires"),
        (("channel:send", "channel:view"), "no_grant"),
    ],
)
def test_the_whole_chain_is_needed(given, reason):
    assert chat(*given).reason(ALICE, "channel:pin", "channel:9") == reason


def test_a_deny_on_what_is_required_stops_what_requires_it():
    realm = chat("channel:*").bind(ALICE, deny=("channel:view",), scope="channel:9")
    assert realm.reason(ALICE, "channel:pin", "channel:9") == "requires"
    assert realm.reason(ALICE, "channel:view", "channel:9") == "explicit_deny"
    assert realm.ask(ALICE, "channel:pin")


def test_what_is_required_is_combined_as_the_resource_asked_about():
    realm = chat("channel:*", type_combining={"channel": "overlay"}).bind(ALICE, deny=("channel:view",))
    assert not realm.ask(ALICE, "channel:pin")
    assert realm.bind(ALICE, allow=("channel:view",), scope="channel:9").ask(ALICE, "channel:pin", "channel:9")


def test_a_required_code_that_is_not_registered_is_never_allowed():
    realm = Realm(role("r", "*"), requires={"post:edit": ["gone:code"]}).bind(ALICE, "r")
    assert realm.reason(ALICE, "post:edit") == "requires"


def test_a_cycle_of_requirements_ends():
    realm = Realm(role("r", "a:x", "a:y"), requires={"a:x": ["a:y"], "a:y": ["a:x"]}).bind(ALICE, "r")
    assert realm.ask(ALICE, "a:x") and realm.ask(ALICE, "a:y")


def test_a_condition_on_what_is_required_sees_the_required_code():
    realm = Realm(role("r", "a:x", ("a:y", "permission == 'a:y' && action.name == 'y'")), requires={"a:x": ["a:y"]}).bind(
        ALICE, "r"
    )
    assert realm.ask(ALICE, "a:y")
    assert realm.ask(ALICE, "a:x")


def test_a_superuser_needs_nothing_required():
    realm = chat("channel:pin").subject(ALICE, superuser=True)
    assert realm.reason(ALICE, "channel:pin", superuser=True) == "superuser"


def test_the_list_of_allowed_codes_respects_requirements():
    assert chat("channel:pin", "channel:view").allowed(ALICE, "channel:9") == ["channel:view"]
