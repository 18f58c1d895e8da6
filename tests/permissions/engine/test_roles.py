"""What a role gives: own lines, groups, inheritance, exclusions, denies, patterns, windows."""

from __future__ import annotations

from permissions.conditions import cel
from permissions.engine.compile import compile_table
from permissions.engine.types import ModelFacts, PermissionFact
from tests.permissions.engine.asking import ALICE, BOB, CHARLIE, NOW, Realm, at, role

CODES = ("post:edit", "post:view", "post:delete", "post:edit:own", "posts:edit", "user:view")


def test_an_empty_realm_allows_nothing():
    assert Realm().reason(ALICE, "post:edit") == "unknown_permission"
    assert Realm(codes=CODES).reason(ALICE, "post:edit") == "no_grant"


def test_a_role_gives_its_own_codes_and_no_others():
    realm = Realm(role("editor", "post:edit"), codes=CODES).bind(ALICE, "editor")
    assert realm.ask(ALICE, "post:edit")
    assert realm.reason(ALICE, "post:delete") == "no_grant"
    assert realm.reason(CHARLIE, "post:edit") == "no_grant"


def test_a_last_star_reaches_further_segments_but_not_the_bare_type():
    realm = Realm(role("editor", "post:*"), codes=CODES).bind(ALICE, "editor")
    assert realm.allowed(ALICE) == ["post:delete", "post:edit", "post:edit:own", "post:view"]


def test_a_star_alone_reaches_everything_but_the_platform():
    realm = Realm(role("all", "*"), codes=CODES).bind(ALICE, "all")
    assert realm.allowed(ALICE) == sorted(CODES)
    assert realm.reason(ALICE, "permsite.role:view") == "no_grant"


def test_a_pattern_of_the_platform_reaches_the_platform():
    realm = Realm(role("viewer", "permsite.*:view"), codes=CODES).bind(ALICE, "viewer")
    assert "permsite.role:view" in realm.allowed(ALICE)
    assert not realm.ask(ALICE, "permsite.role:change")


def test_an_unregistered_code_is_unknown_even_under_a_star():
    realm = Realm(role("all", "*"), codes=CODES).bind(ALICE, "all")
    assert realm.reason(ALICE, "post:publish") == "unknown_permission"


def test_groups_and_inherited_roles_are_united():
    realm = Realm(
        role("viewer", groups=["reading"]),
        role("editor", "post:edit", inherits=["viewer"]),
        role("chief", inherits=["editor"]),
        groups={"reading": ["*:view"]},
        codes=CODES,
    ).bind(ALICE, "chief")
    assert realm.allowed(ALICE) == ["post:edit", "post:view", "user:view"]


def test_a_cycle_of_roles_ends_and_gives_both_their_codes():
    realm = Realm(role("a", "post:edit", inherits=["b"]), role("b", "post:view", inherits=["a"])).bind(ALICE, "a").bind(BOB, "b")
    assert realm.allowed(ALICE) == realm.allowed(BOB) == ["post:edit", "post:view"]


def test_a_role_that_inherits_itself_or_nobody_is_itself():
    assert Realm(role("a", "post:edit", inherits=["a", "gone"], groups=["gone"])).bind(ALICE, "a").ask(ALICE, "post:edit")


def test_a_binding_of_a_role_that_is_gone_gives_nothing():
    assert Realm(codes=CODES).bind(ALICE, "gone").reason(ALICE, "post:edit") == "no_grant"


def test_an_exclusion_takes_inherited_codes_and_codes_of_groups():
    realm = Realm(
        role("viewer", "post:view", groups=["all"]),
        role("editor", "post:edit", inherits=["viewer"], exclude=["post:delete", "*:view"]),
        groups={"all": ["post:*"]},
        codes=CODES,
    ).bind(ALICE, "editor")
    assert realm.allowed(ALICE) == ["post:edit", "post:edit:own"]


def test_an_exclusion_is_local_to_its_role():
    realm = Realm(role("a", "post:*", exclude=["post:delete"]), role("b", "post:delete"), codes=CODES)
    assert not realm.bind(ALICE, "a").ask(ALICE, "post:delete")
    assert realm.bind(ALICE, "b").ask(ALICE, "post:delete")


def test_an_heir_may_give_what_its_parent_excludes():
    realm = Realm(
        role("parent", "post:*", exclude=["post:delete"]), role("heir", "post:delete", inherits=["parent"]), codes=CODES
    )
    assert realm.bind(ALICE, "heir").ask(ALICE, "post:delete")


def test_an_exclusion_takes_codes_from_lines_under_a_condition():
    realm = Realm(role("a", ("post:*", "true"), exclude=["post:delete"]), codes=CODES).bind(ALICE, "a")
    assert realm.ask(ALICE, "post:edit")
    assert realm.reason(ALICE, "post:delete") == "no_grant"


def test_an_exclusion_takes_no_deny_away():
    realm = Realm(role("a", "post:*", deny=["post:delete"]), role("b", inherits=["a"], exclude=["post:delete"]), codes=CODES)
    assert realm.bind(ALICE, "b").reason(ALICE, "post:delete") == "explicit_deny"


def test_denies_are_inherited():
    realm = Realm(role("careful", deny=["post:delete"]), role("editor", "post:*", inherits=["careful"]), codes=CODES)
    realm.bind(ALICE, "editor")
    assert realm.ask(ALICE, "post:edit")
    assert realm.reason(ALICE, "post:delete") == "explicit_deny"


def test_a_condition_stays_on_every_code_a_wildcard_expands_to():
    realm = Realm(role("a", ("post:*", "context.mfa")), codes=CODES).bind(ALICE, "a")
    for code in ("post:edit", "post:edit:own"):
        assert realm.ask(ALICE, code, context={"mfa": True})
        assert realm.reason(ALICE, code, context={"mfa": False}) == "condition_false"


def test_a_code_given_with_and_without_a_condition_is_given():
    realm = Realm(role("a", ("post:*", "false")), role("b", "post:edit"), codes=CODES).bind(ALICE, "a").bind(ALICE, "b")
    assert realm.ask(ALICE, "post:edit")
    assert realm.reason(ALICE, "post:view") == "condition_false"


def test_a_role_gives_and_denies_only_within_its_window():
    realm = Realm(role("guest", "post:view", deny=["post:edit"], start="2026-01-01", end="2026-02-01"), role("e", "post:edit"))
    realm.bind(ALICE, "guest").bind(ALICE, "e")
    assert realm.reason(ALICE, "post:view", now=at("2025-12-31")) == "not_yet_valid"
    assert realm.ask(ALICE, "post:view", now=at("2026-01-01"))
    assert realm.reason(ALICE, "post:edit", now=at("2026-01-15")) == "explicit_deny"
    assert realm.reason(ALICE, "post:view", now=at("2026-02-01")) == "expired"
    assert realm.ask(ALICE, "post:edit", now=at("2026-02-01"))


def test_what_is_inherited_from_a_role_ends_with_it():
    realm = Realm(role("guest", "post:view", end="2026-01-01"), role("member", "post:edit", inherits=["guest"])).bind(
        ALICE, "member"
    )
    assert realm.ask(ALICE, "post:edit")
    assert realm.reason(ALICE, "post:view") == "expired"


def test_a_table_is_compiled_again_from_what_has_not_changed():
    """Only what a change reaches is composed anew; the answer is that of a table compiled from nothing."""
    old = Realm(role("a", "post:view"), role("b", inherits=["a"]), role("c", groups=["g"]), groups={"g": ["post:*"]}, codes=CODES)
    table = old.table()
    for change in (
        Realm(role("a", "post:edit"), role("b", inherits=["a"]), role("c", groups=["g"]), groups={"g": ["post:*"]}, codes=CODES),
        Realm(role("b", inherits=["a"]), role("c", groups=["g"]), groups={"g": ["post:view"]}, codes=CODES),
        Realm(role("a", "post:view"), role("b", inherits=["a", "c"]), role("c"), codes=[*CODES, "new:code"]),
    ):
        fresh = change.table()
        again = compile_table(fresh.model, cel.language(), table)
        assert {name: fresh.index.codes_of(r.allow) for name, r in fresh.roles.items()} == {
            name: again.index.codes_of(r.allow) for name, r in again.roles.items()
        }
    kept = compile_table(old.table().model, cel.language(), table)
    assert all(kept.roles[name] is table.roles[name] for name in table.roles)


def test_a_very_deep_inheritance_does_not_exhaust_the_stack():
    roles = [role("r0", "post:edit"), *(role(f"r{n}", inherits=[f"r{n - 1}"]) for n in range(1, 3_000))]
    assert Realm(*roles).bind(ALICE, "r2999").ask(ALICE, "post:edit", now=NOW)


def test_registered_codes_are_those_of_the_rows_and_the_platform():
    table = compile_table(ModelFacts("default", permissions=(PermissionFact("post:edit"),)), cel.language())
    assert table.is_registered("post:edit") and table.is_registered("permsite.realm:escalate")
    assert not table.is_registered("post:view")
