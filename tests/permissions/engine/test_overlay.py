"""overlay: from the realm to the leaf, at each node everyone, then roles and teams, then one's own lists; allows after denies."""

from __future__ import annotations

import pytest

from tests.permissions.engine.asking import ALICE, BOB, CHARLIE, Realm, role

SEND, VIEW = "channel:send", "channel:view"


def chat(**more) -> Realm:
    """A server with channels, as chat servers have them."""
    realm = Realm(
        role("member", "channel:*"),
        role("moderator", "channel:*", "server:ban"),
        codes=(SEND, VIEW),
        combining=more.pop("combining", "overlay"),
        **more,
    )
    return realm.tree("server:7").tree("channel:9", "server:7").tree("channel:1", "server:7", inherit=False)


def test_an_announcement_channel_closes_to_everyone_and_opens_to_moderators():
    realm = chat().bind("user:*", "member", scope="server:7").bind(BOB, "moderator", scope="server:7")
    realm.bind("user:*", deny=(SEND,), scope="channel:9")
    realm.bind("team:mods", allow=(SEND,), scope="channel:9").member(BOB, "team:mods")
    assert realm.reason(CHARLIE, SEND, "channel:9") == "explicit_deny"
    assert realm.ask(CHARLIE, VIEW, "channel:9")
    assert realm.ask(BOB, SEND, "channel:9")
    assert realm.ask(CHARLIE, SEND, "server:7")


def test_one_muted_member_stays_muted_whatever_the_roles_say():
    realm = chat().bind(ALICE, "moderator", scope="server:7").bind(ALICE, "member", scope="channel:9")
    realm.bind(ALICE, deny=(SEND,), scope="channel:9")
    assert realm.reason(ALICE, SEND, "channel:9") == "explicit_deny"
    assert realm.ask(ALICE, SEND, "server:7")


@pytest.mark.parametrize(
    ("denied", "allowed", "expected"),
    [
        ("user:*", "user:*", True),
        ("user:*", "team:mods", True),
        ("user:*", ALICE, True),
        ("team:mods", "user:*", False),
        ("team:mods", "team:mods", True),
        ("team:mods", ALICE, True),
        (ALICE, "user:*", False),
        (ALICE, "team:mods", False),
        (ALICE, ALICE, True),
    ],
)
def test_at_one_node_later_tiers_win_and_in_a_tier_the_allow(denied, allowed, expected):
    for order in ((0, 1), (1, 0)):
        realm = chat().member(ALICE, "team:mods")
        given = [{"holder": denied, "deny": (SEND,)}, {"holder": allowed, "allow": (SEND,)}]
        for place in order:
            realm.bind(**given[place], scope="channel:9")
        assert realm.ask(ALICE, SEND, "channel:9").allowed is expected


def test_a_role_of_ones_own_stands_in_the_tier_of_teams():
    realm = (
        chat()
        .member(ALICE, "team:mods")
        .bind(ALICE, "member", scope="channel:9")
        .bind("team:mods", deny=(SEND,), scope="channel:9")
    )
    assert realm.ask(ALICE, SEND, "channel:9")
    assert not realm.bind(ALICE, deny=(SEND,), scope="channel:9").ask(ALICE, SEND, "channel:9")


def test_a_nearer_node_wins_over_a_farther_one_in_every_tier():
    realm = chat().bind(ALICE, deny=(SEND,), scope="server:7").bind("user:*", allow=(SEND,), scope="channel:9")
    assert realm.ask(ALICE, SEND, "channel:9")
    assert realm.reason(ALICE, SEND, "server:7") == "explicit_deny"


def test_the_realm_is_the_first_node():
    realm = chat().bind(ALICE, deny=(SEND,)).bind("user:*", allow=(SEND,), scope="server:7")
    assert realm.ask(ALICE, SEND, "channel:9")
    assert realm.reason(ALICE, SEND) == "explicit_deny"


def test_a_private_channel_forgets_what_was_allowed_above():
    realm = chat().bind(ALICE, "moderator", scope="server:7").bind(BOB, "member", scope="channel:1")
    assert realm.reason(ALICE, SEND, "channel:1") == "no_grant"
    assert realm.ask(BOB, SEND, "channel:1")


def test_a_deny_above_a_private_channel_has_nothing_left_to_clear():
    realm = chat().bind(ALICE, deny=(SEND,), scope="server:7").bind(ALICE, allow=(SEND,), scope="channel:1")
    assert realm.ask(ALICE, SEND, "channel:1")
    assert chat().bind(ALICE, deny=(SEND,), scope="server:7").reason(ALICE, SEND, "channel:1") == "explicit_deny"


def test_a_deny_whose_condition_errs_clears_and_names_the_reason():
    realm = chat().bind(ALICE, "member").bind(ALICE, deny=(SEND,), condition="context.muted", scope="channel:9")
    assert realm.reason(ALICE, SEND, "channel:9") == "condition_error"
    assert realm.reason(ALICE, SEND, "channel:9", context={"muted": True}) == "explicit_deny"
    assert realm.ask(ALICE, SEND, "channel:9", context={"muted": False})


def test_the_type_of_the_resource_chooses_the_combining():
    realm = chat(combining="deny_overrides", type_combining={"channel": "overlay"})
    realm.bind(ALICE, deny=(SEND,)).bind(ALICE, allow=(SEND,), scope="server:7")
    assert realm.ask(ALICE, SEND, "channel:9")
    assert realm.reason(ALICE, SEND, "server:7") == "explicit_deny"
    assert realm.reason(ALICE, SEND) == "explicit_deny"


def test_nothing_given_is_no_grant():
    assert chat().reason(CHARLIE, SEND, "channel:9") == "no_grant"
