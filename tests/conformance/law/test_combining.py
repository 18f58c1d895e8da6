"""Section "Combining": deny_overrides, overlay, and one beside the other."""

from __future__ import annotations

import itertools

import pytest

from permissions import pdp
from tests.conformance.law.world import holds, law
from tests.worlds import apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

TREE = """
permissions: [{code: "m:read"}, {code: "m:send"}]
resources:
  - {id: "server:7"}
  - {id: "channel:9", parent: "server:7"}
  - {id: "channel:8", parent: "server:7"}
  - {id: "thread:1", parent: "channel:9"}
teams:
  - {id: "team:outer", members: ["team:inner"]}
  - {id: "team:inner", members: ["user:u", "user:v", "user:w"]}
roles:
  - {name: reader, permissions: ["m:read"]}
  - {name: barring, deny: ["m:read"]}
  - {name: heir, inherits: [barring], permissions: ["m:send"]}
  - {name: torn, permissions: ["m:read"], deny: ["m:read"]}
"""

DENIES = [
    '{subject: "user:u", deny: ["m:read"]}',
    '{subject: "user:u", deny: ["m:*"], scope: "server:7"}',
    '{subject: "user:u", deny: ["*"], scope: "channel:9"}',
    '{subject: "team:inner", deny: ["m:read"]}',
    '{subject: "team:outer", deny: ["m:read"], scope: "server:7"}',
    '{subject: "team:outer", role: barring}',
    '{subject: "user:u", role: heir, scope: "channel:9"}',
    '{subject: "team:inner", role: heir}',
    '{subject: "user:*", deny: ["m:read"]}',
    '{subject: "user:*", role: heir, scope: "channel:9"}',
    '{subject: "user:u", role: torn}',
    '{subject: "user:u", allow: ["m:read"], deny: ["m:read"]}',
    '{subject: "user:u", deny: ["m:read"], scope: "channel:9", propagate: false}',
]


def test_any_deny_at_any_scope_from_any_source_wins_whatever_the_order() -> None:
    """Each realm holds the allows and one deny, the deny first and last by turns."""
    allows = '{subject: "user:u", allow: ["m:read"], scope: "channel:9"}, {subject: "team:inner", role: reader}'
    pdp.reset()
    for n, deny in enumerate(DENIES):
        lines = f"{deny}, {allows}" if n % 2 else f"{allows}, {deny}"
        apply(TREE + f"realm: r{n}\nbindings: [{lines}]\n")
        decision = pdp.check("user:u", "m:read", "channel:9", realm=f"r{n}")
        assert decision.reason == "explicit_deny", deny
        assert pdp.explain("user:u", "m:read", "channel:9", realm=f"r{n}").decision.reason == "explicit_deny"
        assert "user:u" not in pdp.who_can("m:read", "channel:9", realm=f"r{n}")


def test_a_deny_binds_only_below_its_scope_and_only_what_it_names() -> None:
    law(
        TREE
        + """
bindings:
  - {subject: "user:u", allow: ["*"]}
  - {subject: "user:u", deny: ["m:read"], scope: "channel:9"}
  - {subject: "user:v", deny: ["m:read"]}
""",
        """
        user:u m:read channel:9 = explicit_deny
        user:u m:read thread:1 = explicit_deny
        user:u m:send channel:9 = granted
        user:u m:read channel:8 = granted
        user:u m:read server:7 = granted
        user:u m:read - = granted
        user:v m:read channel:8 = explicit_deny
        user:w m:read channel:9 = no_grant
        """,
    )


# (bindings, is m:read at channel:9 allowed for user:u) under overlay. Order within a line never matters.
EVERYONE, TEAM, ROLE, OWN = '"user:*"', '"team:inner"', '"user:u"', '"user:u"'
C = ', scope: "channel:9"'
S = ', scope: "server:7"'


def _allow(subject: str, scope: str = "") -> str:
    return f'{{subject: {subject}, allow: ["m:read"]{scope}}}'


def _deny(subject: str, scope: str = "") -> str:
    return f'{{subject: {subject}, deny: ["m:read"]{scope}}}'


def _role(subject: str, name: str, scope: str = "") -> str:
    return f"{{subject: {subject}, role: {name}{scope}}}"


OVERLAYS: list[tuple[list[str], bool]] = [
    ([], False),
    ([_allow(EVERYONE)], True),
    # Within a tier all denies, then all allows.
    ([_allow(EVERYONE, C), _deny(EVERYONE, C)], True),
    ([_allow(TEAM, C), _deny('"team:outer"', C)], True),
    ([_allow(OWN, C), _deny(OWN, C)], True),
    ([_role(ROLE, "reader", C), _deny(TEAM, C)], True),
    ([_role(ROLE, "barring", C), _allow(TEAM, C)], True),
    ([_role(ROLE, "torn", C)], True),
    ([_role(EVERYONE, "torn", C)], True),
    ([_role(TEAM, "reader", C), _role(ROLE, "barring", C)], True),
    # At one node: everyone, then teams and roles, then the subject's own.
    ([_allow(EVERYONE, C), _deny(TEAM, C)], False),
    ([_deny(EVERYONE, C), _allow(TEAM, C)], True),
    ([_role(EVERYONE, "reader", C), _deny(TEAM, C)], False),
    ([_role(EVERYONE, "barring", C), _role(TEAM, "reader", C)], True),
    ([_allow(TEAM, C), _deny(OWN, C)], False),
    ([_deny(TEAM, C), _allow(OWN, C)], True),
    ([_role(ROLE, "reader", C), _deny(OWN, C)], False),
    ([_role(ROLE, "barring", C), _allow(OWN, C)], True),
    ([_allow(EVERYONE, C), _role(ROLE, "barring", C)], False),
    ([_allow(EVERYONE, C), _role(ROLE, "heir", C)], False),
    ([_allow(EVERYONE, C), _deny(OWN, C)], False),
    ([_deny(EVERYONE, C), _allow(OWN, C)], True),
    # From the realm to the leaf: the later node wins over every tier of an earlier one.
    ([_allow(OWN), _deny(EVERYONE, C)], False),
    ([_deny(OWN), _allow(EVERYONE, C)], True),
    ([_deny(OWN, S), _allow(TEAM, C)], True),
    ([_allow(OWN, S), _role(TEAM, "barring", C)], False),
    ([_deny(OWN), _allow(EVERYONE, S)], True),
    ([_allow(EVERYONE), _deny(EVERYONE, S), _allow(EVERYONE, C)], True),
    ([_deny(EVERYONE), _allow(EVERYONE, S), _deny(EVERYONE, C)], False),
    ([_allow(OWN), _deny(EVERYONE, S + ", propagate: false")], True),
    ([_allow(OWN), _deny(EVERYONE, C + ", propagate: false")], False),
    ([_allow(OWN, S + ", propagate: false")], False),
    ([_deny(EVERYONE, ', scope: "channel:8"'), _allow(OWN)], True),
]


def test_overlay_walks_from_the_realm_to_the_leaf_in_three_tiers() -> None:
    pdp.reset()
    wrong: list[tuple[list[str], object]] = []
    for n, (lines, allowed) in enumerate(OVERLAYS):
        orders = list(itertools.permutations(lines))
        chosen = orders[n % len(orders)]
        apply(TREE + f"realm: o{n}\ncombining: overlay\nbindings: [{', '.join(chosen)}]\n")
        decision = pdp.check("user:u", "m:read", "channel:9", realm=f"o{n}")
        if decision.allowed is not allowed:
            wrong.append((lines, decision.reason))
        found = pdp.who_can("m:read", "channel:9", realm=f"o{n}", type="user")
        if ("user:u" in found) is not allowed:
            wrong.append((lines, found))
    assert not wrong


def test_a_team_that_asks_under_overlay_has_lists_of_its_own() -> None:
    law(
        TREE
        + """
combining: overlay
bindings:
  - {subject: "team:inner", deny: ["m:read"], scope: "server:7"}
  - {subject: "team:outer", allow: ["m:read"], scope: "server:7"}
  - {subject: "team:inner", allow: ["m:send"], scope: "server:7"}
  - {subject: "team:outer", deny: ["m:send"], scope: "server:7"}
""",
        """
        team:inner m:read server:7 = denied
        team:inner m:send server:7 = granted
        team:outer m:read server:7 = granted
        user:u m:read server:7 = granted
        """,
    )


def test_a_resource_type_may_combine_otherwise_than_its_realm() -> None:
    bindings = """
bindings:
  - {subject: "user:u", deny: ["m:read"]}
  - {subject: "user:u", allow: ["m:read"], scope: "server:7"}
"""
    law(
        TREE + "resource_types: {channel: {combining: overlay}}\n" + bindings,
        """
        user:u m:read channel:9 = granted
        user:u m:read server:7 = explicit_deny
        user:u m:read thread:1 = explicit_deny
        user:u m:read - = explicit_deny
        """,
    )
    law(
        TREE + "realm: second\ncombining: overlay\nresource_types: {channel: {combining: deny_overrides}}\n" + bindings,
        """
        user:u m:read channel:9 = explicit_deny
        user:u m:read server:7 = granted
        user:u m:read thread:1 = granted
        user:u m:read - = denied
        """,
        realm="second",
    )


def test_overlay_keeps_private_nodes_conditions_and_requirements() -> None:
    law(
        """
combining: overlay
permissions: [{code: "m:read"}, {code: "m:send", requires: ["m:read"]}]
resources: [{id: "s:1"}, {id: "c:p", parent: "s:1", inherit: false}, {id: "t:1", parent: "c:p"}, {id: "c:o", parent: "s:1"}]
bindings:
  - {subject: "user:u", allow: ["m:*"]}
  - {subject: "user:*", deny: ["m:read"], scope: "c:o", condition: "context.closed == true"}
  - {subject: "user:v", allow: ["m:read"], scope: "c:p"}
  - {subject: "user:w", allow: ["m:send"], scope: "c:o"}
  - {subject: "user:e", allow: ["m:read"], scope: "c:o", condition: "context.nothing.here == 1"}
""",
    )
    holds(
        """
        user:u m:read c:p = denied
        user:u m:read t:1 = denied
        user:v m:read t:1 = granted
        user:u m:read c:o = granted
        user:u m:send c:o = granted
        user:w m:send c:o = requires
        user:e m:read c:o = condition_error
        """,
        context={"closed": False},
    )
    holds(
        """
        user:u m:read c:o = denied
        user:u m:send c:o = requires
        """,
        context={"closed": True},
    )
    holds("user:u m:read c:o = denied")
