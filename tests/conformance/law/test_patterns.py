"""Section "Permissions and patterns"."""

from __future__ import annotations

import pytest

from permissions import pdp
from permissions.errors import Refused
from tests.conformance.law.world import holds, law, malformed
from tests.worlds import apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

CODES = [
    "post:edit",
    "post:edit:own",
    "post:edit:own:draft",
    "posts:edit",
    "post:Edit",
    "s3:Get",
    "s3:GetObject",
    "s3:GetObject:version",
    "s3:PutGet",
    "vm:disk/read",
    "vm:/read",
    "vm:disk/read/all",
    "vm:disk:read",
    "doc:v",
    "doc:v1",
    "doc:v10",
    "doc:a.c",
    "doc:abc",
    "doc:[ab]",
    "doc:a",
]


MATCHED = [
    ("post:*", ["post:edit", "post:edit:own", "post:edit:own:draft", "post:Edit"]),
    ("post:edit", ["post:edit"]),
    ("post:edit:*", ["post:edit:own", "post:edit:own:draft"]),
    ("post:*:own", ["post:edit:own"]),
    ("post:*:*", ["post:edit:own", "post:edit:own:draft"]),
    ("post*:edit", ["post:edit", "posts:edit"]),
    ("post?:edit", ["posts:edit"]),
    ("*:edit", ["post:edit", "posts:edit"]),
    ("s3:Get*", ["s3:Get", "s3:GetObject"]),
    ("s3:*Get", ["s3:Get", "s3:PutGet"]),
    ("s3:*Get*", ["s3:Get", "s3:GetObject", "s3:PutGet"]),
    ("s3:**", ["s3:Get", "s3:GetObject", "s3:PutGet"]),
    ("vm:*/read", ["vm:disk/read", "vm:/read"]),
    ("vm:*/*", ["vm:disk/read", "vm:/read", "vm:disk/read/all"]),
    ("doc:v?", ["doc:v1"]),
    ("doc:v??", ["doc:v10"]),
    ("doc:?", ["doc:v", "doc:a"]),
    ("doc:v?*", ["doc:v1", "doc:v10"]),
    ("doc:a.c", ["doc:a.c"]),
    ("doc:a?c", ["doc:a.c", "doc:abc"]),
    ("doc:[ab]", ["doc:[ab]"]),
    ("doc:[a*", ["doc:[ab]"]),
    ("vm:*?read", ["vm:disk/read", "vm:/read"]),
    ("nothing:*", []),
    ("*", CODES),
    ("*:*", CODES),
    ("*:*:*", ["post:edit:own", "post:edit:own:draft", "s3:GetObject:version", "vm:disk:read"]),
]


def test_a_pattern_matches_by_segments() -> None:
    listed = ", ".join(f'{{code: "{code}"}}' for code in CODES)
    roles = ", ".join(f'{{name: r{n}, permissions: ["{pattern}"]}}' for n, (pattern, _) in enumerate(MATCHED))
    bindings = ", ".join(f'{{subject: "user:u{n}", role: r{n}}}' for n in range(len(MATCHED)))
    law(f"permissions: [{listed}]\nroles: [{roles}]\nbindings: [{bindings}]")
    for n, (pattern, matched) in enumerate(MATCHED):
        found = [code for code in CODES if pdp.check(f"user:u{n}", code)]
        assert found == matched, pattern
        for code in ("permsite.binding:create", "permsite.realm:escalate"):
            assert pdp.check(f"user:u{n}", code).reason == "no_grant", pattern


PLATFORM = [
    ("permsite.*:*", True, True),
    ("permsite.binding:*", True, False),
    ("permsite.binding:cre*", True, False),
    ("permsite.*:create", True, False),
    ("permsite.b*:*", True, False),
    ("perm*:*", False, False),
    ("*.binding:*", False, False),
    ("permsite?*:*", False, False),
    ("?ermsite.binding:create", False, False),
]


def test_only_a_pattern_that_begins_so_reaches_the_platforms_codes() -> None:
    bindings = ", ".join(f'{{subject: "user:u{n}", allow: ["{pattern}", "*"]}}' for n, (pattern, _, _) in enumerate(PLATFORM))
    law(f"bindings: [{bindings}]")
    for n, (pattern, create, escalate) in enumerate(PLATFORM):
        assert bool(pdp.check(f"user:u{n}", "permsite.binding:create")) is create, pattern
        assert bool(pdp.check(f"user:u{n}", "permsite.realm:escalate")) is escalate, pattern


def test_a_star_does_not_deny_the_platforms_codes_either() -> None:
    law(
        'bindings: [{subject: "user:u", allow: ["permsite.*:*", "post:edit"]}, {subject: "user:u", deny: ["*"]}]',
        """
        user:u permsite.binding:create - = granted
        user:u post:edit - = explicit_deny
        """,
    )


def test_a_pattern_that_matches_nothing_today_is_kept_for_tomorrow() -> None:
    law(
        'roles: [{name: r, permissions: ["later:*"]}]\nbindings: [{subject: "user:u", role: r}]',
        "user:u later:go - = unknown_permission",
    )
    law('permissions: [{code: "later:go"}]', "user:u later:go - = granted")


def test_an_unregistered_code_is_denied_even_under_a_star() -> None:
    law(
        'bindings: [{subject: "user:u", allow: ["*", "post:*"]}]\npermissions: [{code: "post:edit"}]',
        """
        user:u post:edit - = granted
        user:u post:nonsense - = unknown_permission
        user:u permsite.nonsense:go - = unknown_permission
        """,
    )


def test_a_wildcard_in_a_request_is_malformed() -> None:
    law('bindings: [{subject: "user:u", allow: ["*"]}]')
    for code in ("post:*", "post:ed?t", "*", "*:edit", "post:*:own"):
        malformed("user:u", code)


def test_naming_a_concrete_code_anywhere_registers_it() -> None:
    law(
        """
        permissions: [{code: "n:listed", requires: ["n:required"]}]
        groups: [{name: g, permissions: ["n:group", "pattern:*"]}]
        roles:
          - name: r
            permissions: ["n:role", {code: "n:conditional", condition: "true"}]
            deny: ["n:denied"]
            exclude: ["n:excluded"]
        bindings: [{subject: "user:u", allow: ["n:allowed"], deny: ["n:refused"]}, {subject: "user:all", allow: ["*"]}]
        """,
        """
        user:all n:listed - = granted
        user:all n:required - = granted
        user:all n:group - = granted
        user:all n:role - = granted
        user:all n:conditional - = granted
        user:all n:denied - = granted
        user:all n:excluded - = granted
        user:all n:allowed - = granted
        user:all n:refused - = granted
        user:all pattern:x - = unknown_permission
        """,
    )


def test_a_permission_is_allowed_only_where_all_it_requires_are() -> None:
    law(
        """
        permissions:
          - {code: "c:send", requires: ["c:view"]}
          - {code: "c:view", requires: ["c:join"]}
          - {code: "c:pin", requires: ["c:view", "c:mod"]}
        resources: [{id: "c:1"}, {id: "c:2", parent: "c:1"}]
        bindings:
          - {subject: "user:all", allow: ["c:send", "c:view", "c:join"], scope: "c:1"}
          - {subject: "user:gap", allow: ["c:send", "c:view"], scope: "c:1"}
          - {subject: "user:split", allow: ["c:send", "c:view"], scope: "c:1"}
          - {subject: "user:split", allow: ["c:join"], scope: "c:2"}
          - {subject: "user:barred", allow: ["c:send", "c:view", "c:join"], scope: "c:1"}
          - {subject: "user:barred", deny: ["c:join"], scope: "c:2"}
          - {subject: "user:late", allow: ["c:send", "c:view"], scope: "c:1"}
          - {subject: "user:late", allow: ["c:join"], scope: "c:1", valid_from: "2090-01-01T00:00:00Z"}
          - {subject: "user:cond", allow: ["c:send", "c:view"], scope: "c:1"}
          - {subject: "user:cond", allow: ["c:join"], scope: "c:1", condition: "context.ok == true"}
          - {subject: "user:pin", allow: ["c:pin", "c:view", "c:join"], scope: "c:1"}
        """,
        """
        user:all c:send c:1 = granted
        user:all c:send c:2 = granted
        user:gap c:send c:1 = requires
        user:gap c:view c:1 = requires
        user:gap c:join c:1 = no_grant
        user:split c:send c:1 = requires
        user:split c:send c:2 = granted
        user:barred c:send c:1 = granted
        user:barred c:send c:2 = requires
        user:barred c:join c:2 = explicit_deny
        user:late c:send c:1 = requires
        user:cond c:send c:1 = requires
        user:pin c:pin c:1 = requires
        """,
    )
    holds("user:cond c:send c:1 = granted", context={"ok": True})


BAD_CODES = ["post:", ":edit", "", "po st:\\nx", " post:edit", "post::edit", "post"]


def test_a_bundle_with_a_malformed_code_is_refused() -> None:
    for code in BAD_CODES:
        for line in (f'permissions: [{{code: "{code}"}}]', f'roles: [{{name: r, permissions: ["{code}"]}}]'):
            with pytest.raises(Refused):
                apply(line)


def test_a_pattern_is_no_permission_of_its_own() -> None:
    for line in ('permissions: [{code: "post:*"}]', 'permissions: [{code: "a:b", requires: ["post:*"]}]'):
        with pytest.raises(Refused):
            apply(line)
