"""Section "Roles"."""

from __future__ import annotations

import pytest

from tests.conformance.law.world import holds, law

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def test_a_role_allows_the_union_of_its_own_its_groups_and_what_it_inherits() -> None:
    law(
        """
        groups: [{name: g1, permissions: ["p:g1"]}, {name: g2, permissions: ["q:*"]}]
        permissions: [{code: "q:x"}, {code: "p:none"}]
        roles:
          - {name: base, permissions: ["p:base"], groups: [g1]}
          - {name: middle, inherits: [base]}
          - {name: top, inherits: [middle], groups: [g2], permissions: ["p:own"]}
        bindings: [{subject: "user:u", role: top}]
        """,
        """
        user:u p:base - = granted
        user:u p:g1 - = granted
        user:u q:x - = granted
        user:u p:own - = granted
        user:u p:none - = no_grant
        """,
    )


EXCLUDING = """
groups: [{name: g, permissions: ["p:group"]}]
permissions: [{code: "p:other"}, {code: "p:pinned:a"}]
roles:
  - {name: narrow, permissions: ["p:*"], groups: [g], exclude: ["p:purge", "p:group", "p:pinned:*"]}
  - {name: purger, permissions: ["p:purge"]}
  - {name: child, inherits: [narrow], permissions: ["p:purge"]}
  - {name: cutting, inherits: [purger], exclude: ["p:purge"]}
  - {name: below, inherits: [cutting, purger]}
  - {name: grandchild, inherits: [narrow]}
  - {name: conditional, permissions: [{code: "p:*", condition: "true"}], exclude: ["p:purge"]}
  - {name: denying, deny: ["p:purge"], exclude: ["p:purge", "*"]}
bindings:
  - {subject: "user:narrow", role: narrow}
  - {subject: "user:both", role: narrow}
  - {subject: "user:both", role: purger}
  - {subject: "user:child", role: child}
  - {subject: "user:cutting", role: cutting}
  - {subject: "user:below", role: below}
  - {subject: "user:grandchild", role: grandchild}
  - {subject: "user:conditional", role: conditional}
  - {subject: "user:direct", role: narrow}
  - {subject: "user:direct", allow: ["p:purge"]}
  - {subject: "user:denying", role: denying}
  - {subject: "user:denying", role: purger}
"""


def test_an_exclusion_is_local_to_its_role() -> None:
    law(
        EXCLUDING,
        """
        user:narrow p:other - = granted
        user:narrow p:purge - = no_grant
        user:narrow p:group - = no_grant
        user:narrow p:pinned:a - = no_grant
        user:both p:purge - = granted
        user:child p:purge - = granted
        user:child p:group - = no_grant
        user:cutting p:purge - = no_grant
        user:below p:purge - = granted
        user:grandchild p:purge - = no_grant
        user:conditional p:purge - = no_grant
        user:conditional p:other - = granted
        user:direct p:purge - = granted
        user:denying p:purge - = explicit_deny
        """,
    )


def test_a_role_denies_by_its_own_patterns_and_those_it_inherits() -> None:
    law(
        """
        permissions: [{code: "p:a"}, {code: "p:b"}, {code: "p:c"}]
        roles:
          - {name: barring, deny: ["p:a"]}
          - {name: barred, inherits: [barring], permissions: ["p:*"], deny: ["p:b"]}
          - {name: deep, inherits: [barred]}
          - {name: wide, permissions: ["p:*"]}
        bindings:
          - {subject: "user:u", role: deep}
          - {subject: "user:u", role: wide}
        """,
        """
        user:u p:a - = explicit_deny
        user:u p:b - = explicit_deny
        user:u p:c - = granted
        """,
    )


CONDITIONED = """
permissions: [{code: "p:a"}, {code: "p:b"}, {code: "q:a"}]
roles:
  - {name: lined, permissions: [{code: "p:*", condition: "context.mfa == true"}, "q:a"]}
  - {name: heir, inherits: [lined]}
  - {name: loose, permissions: ["p:a"]}
bindings:
  - {subject: "user:lined", role: lined}
  - {subject: "user:heir", role: heir}
  - {subject: "user:two", role: lined}
  - {subject: "user:two", role: loose}
  - {subject: "user:both", role: lined, condition: "context.office == true"}
"""


def test_a_wildcard_keeps_its_condition_on_every_code_it_expands_to() -> None:
    law(CONDITIONED)
    holds(
        """
        user:lined p:a - = condition_false
        user:lined p:b - = condition_false
        user:lined q:a - = granted
        user:heir p:a - = condition_false
        user:two p:a - = granted
        user:two p:b - = condition_false
        """,
        context={"mfa": False},
    )
    holds(
        """
        user:lined p:a - = granted
        user:heir p:b - = granted
        user:both p:a - = condition_false
        user:both q:a - = condition_false
        """,
        context={"mfa": True, "office": False},
    )
    holds(
        """
        user:both p:a - = condition_false
        user:both q:a - = granted
        """,
        context={"mfa": False, "office": True},
    )
    holds("user:both p:a - = granted", context={"mfa": True, "office": True})


def test_a_conditional_deny_of_a_role_bars_only_while_it_holds() -> None:
    law(
        """
        roles: [{name: r, permissions: ["p:a"], deny: [{code: "p:*", condition: "context.night == true"}]}]
        bindings: [{subject: "user:u", role: r}]
        """
    )
    holds("user:u p:a - = granted", context={"night": False})
    holds("user:u p:a - = explicit_deny", context={"night": True})
    holds("user:u p:a - = condition_error")


def test_a_role_may_expire_and_begin() -> None:
    law(
        """
        roles:
          - {name: old, permissions: ["p:a"], valid_until: "2020-01-01T00:00:00Z"}
          - {name: coming, permissions: ["p:b"], valid_from: "2090-01-01T00:00:00Z"}
          - {name: heir, inherits: [old, coming], permissions: ["p:c"]}
          - {name: olddeny, deny: ["p:c"], valid_until: "2020-01-01T00:00:00Z"}
        bindings:
          - {subject: "user:u", role: heir}
          - {subject: "user:u", role: olddeny}
          - {subject: "user:o", role: old}
          - {subject: "user:o", role: coming}
        """,
        """
        user:u p:a - = expired
        user:u p:b - = not_yet_valid
        user:u p:c - = granted
        user:o p:a - = expired
        user:o p:b - = not_yet_valid
        """,
    )
