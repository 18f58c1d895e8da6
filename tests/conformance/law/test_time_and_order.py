"""Sections "Time", "Order of a decision" and "Consistency"."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest
from django.contrib.auth.models import User

from permissions import pdp
from permissions.revisions import head
from tests.conformance.law.world import at, holds, law, malformed, refuses
from tests.worlds import apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

TICK = dt.timedelta(microseconds=1)
WINDOW = 'valid_from: "2090-01-01T00:00:00Z", valid_until: "2091-01-01T00:00:00+00:00"'
WINDOWS = f"""
permissions: [{{code: "p:a"}}]
roles:
  - {{name: r, permissions: ["p:a"], {WINDOW}}}
  - {{name: always, permissions: ["p:a"]}}
  - {{name: heir, inherits: [r]}}
teams:
  - {{id: "team:t", members: [{{id: "user:member", {WINDOW}}}, {{id: "team:inner", {WINDOW}}}]}}
  - {{id: "team:inner", members: ["user:nested"]}}
bindings:
  - {{subject: "user:binding", role: always, {WINDOW}}}
  - {{subject: "user:role", role: r}}
  - {{subject: "user:heir", role: heir}}
  - {{subject: "team:t", role: always}}
  - {{subject: "user:barred", role: always}}
  - {{subject: "user:barred", deny: ["p:a"], {WINDOW}}}
"""
HOLDERS = ("user:binding", "user:role", "user:heir", "user:member", "user:nested")


def test_a_window_holds_from_its_first_instant_and_not_at_its_last() -> None:
    law(WINDOWS)
    for instant, reason, barred in (
        (at("2089-12-31T23:59:59.999999+00:00"), "not_yet_valid", "granted"),
        (at("2090-01-01T00:00:00+00:00"), "granted", "explicit_deny"),
        (at("2090-01-01T01:00:00+01:00"), "granted", "explicit_deny"),
        (at("2091-01-01T00:00:00+00:00") - TICK, "granted", "explicit_deny"),
        (at("2091-01-01T00:00:00+00:00"), "expired", "granted"),
    ):
        table = "\n".join(f"{who} p:a - = {reason}" for who in HOLDERS) + f"\nuser:barred p:a - = {barred}"
        holds(table, at=instant)
    holds("\n".join(f"{who} p:a - = not_yet_valid" for who in HOLDERS) + "\nuser:barred p:a - = granted")


def test_dates_reach_from_year_1_to_9999() -> None:
    law(
        """
        bindings:
          - {subject: "user:u", allow: ["p:a"], valid_from: "0001-01-01T00:00:00Z", valid_until: "9999-12-31T23:59:59.999999Z"}
        """,
        "user:u p:a - = granted",
    )


WINDOWS_THAT_ARE_NONE = [
    'valid_from: "2090-01-01T00:00:00"',
    'valid_from: "tomorrow"',
    'valid_from: "2090-13-01T00:00:00Z"',
    "valid_until: 5",
    'valid_until: "10000-01-01T00:00:00Z"',
    'valid_from: "2091-01-01T00:00:00Z", valid_until: "2090-01-01T00:00:00Z"',
    'valid_from: "2090-01-01T00:00:00Z", valid_until: "2090-01-01T00:00:00Z"',
]


def test_a_window_that_is_none_is_refused() -> None:
    for window in WINDOWS_THAT_ARE_NONE:
        refuses(f'bindings: [{{subject: "user:u", allow: ["p:a"], {window}}}]')


STEPS = """
permissions: [{code: "p:a"}, {code: "p:none"}]
subjects:
  - {id: "user:off", active: false}
  - {id: "user:locked", locked: true}
  - {id: "service:off", active: false}
bindings:
  - {subject: "user:*", allow: ["p:a"]}
  - {subject: "user:off", deny: ["p:a"]}
  - {subject: "user:u", allow: ["p:a"], condition: "context.missing == 1"}
"""


def test_who_may_not_ask_at_all_is_denied_before_anything_else() -> None:
    law(
        STEPS,
        """
        user:u p:a - = granted
        user:off p:a - = subject_inactive
        user:off p:nonsense - = subject_inactive
        user:locked p:a - = subject_inactive
        service:off p:a - = subject_inactive
        user:unseen p:a - = unknown_subject
        user:unseen p:nonsense - = unknown_subject
        user:u p:nonsense - = unknown_permission
        user:u p:none - = no_grant
        """,
    )


def test_a_suspended_realm_denies_everyone_until_it_is_not() -> None:
    law(STEPS + "settings: {suspended: true}\n")
    holds("user:u p:a - = realm_suspended\nuser:u p:nonsense - = realm_suspended")
    apply("settings: {suspended: false}")
    holds("user:u p:a - = granted")


def test_the_malformed_comes_before_every_denial() -> None:
    law(STEPS + "settings: {suspended: true}\n")
    malformed("user:off", "p:*")
    malformed("user:unseen", "p:a", "x")


def test_a_denial_names_what_came_nearest() -> None:
    law(
        """
        permissions: [{code: "p:a"}]
        bindings:
          - {subject: "user:all", allow: ["p:a"], condition: "context.missing == 1"}
          - {subject: "user:f", allow: ["p:a"], condition: "false"}
          - {subject: "user:f", allow: ["p:a"], valid_until: "2020-01-01T00:00:00Z"}
          - {subject: "user:x", allow: ["p:a"], valid_until: "2020-01-01T00:00:00Z"}
          - {subject: "user:n", allow: ["p:a"], valid_from: "2090-01-01T00:00:00Z"}
        """,
        """
        user:all p:a - = condition_error
        user:f p:a - = condition_false
        user:x p:a - = expired
        user:n p:a - = not_yet_valid
        """,
    )


def test_a_superuser_of_django_is_a_subject_like_others_where_nothing_enables_them() -> None:
    User.objects.create_superuser("root")
    law(
        'permissions: [{code: "post:edit"}]',
        """
        user:root post:edit - = no_grant
        user:root post:nonsense - = unknown_permission
        user:root permsite.binding:create - = no_grant
        """,
    )


def test_a_token_is_at_least_that_fresh_and_the_revision_says_so() -> None:
    law('bindings: [{subject: "user:u", allow: ["p:a"]}]', "user:u p:a - = granted")
    applied = apply('subjects: [{id: "user:u", locked: true}]')
    assert applied.token
    decision = pdp.check("user:u", "p:a", token=applied.token)
    assert (decision.reason, decision.revision) == ("subject_inactive", head("default").rev)
    assert pdp.check("user:u", "p:a", full=True).revision == applied.revision


def test_the_async_twins_answer_as_their_elders_do() -> None:
    law(STEPS)

    several: list[Any] = [("user:u", "p:a"), ("user:off", "p:a", "doc:1"), {"subject": "user:u", "permission": "p:none"}]

    async def ask() -> list[object]:
        return [
            (await pdp.acheck("user:u", "p:a")).reason,
            [d.reason for d in await pdp.acheck_many(several)],
            (await pdp.aexplain("user:u", "p:none")).decision.reason,
            await pdp.awho_can("p:a"),
            await pdp.awhat_can("user:u", resource="doc:1"),
        ]

    reasons = ["granted", "subject_inactive", "no_grant"]
    assert asyncio.run(ask()) == ["granted", reasons, "no_grant", pdp.who_can("p:a"), pdp.what_can("user:u", resource="doc:1")]
    assert bool(pdp.check("user:u", "p:a")) and not pdp.check("user:u", "p:none")


def test_searches_name_the_concrete_and_enabled_alone() -> None:
    law(
        """
        permissions: [{code: "doc:read"}, {code: "doc:edit"}]
        subjects: [{id: "user:off", active: false}, {id: "user:locked", locked: true}, {id: "user:plain"}]
        teams: [{id: "team:t", members: ["user:member"]}]
        resources: [{id: "doc:1"}, {id: "doc:2", inherit: false}, {id: "doc:3", parent: "doc:1"}]
        bindings:
          - {subject: "user:*", allow: ["doc:read"]}
          - {subject: "team:t", allow: ["doc:*"], scope: "doc:2"}
        """
    )
    assert sorted(pdp.who_can("doc:read", "doc:1")) == ["user:member", "user:plain"]
    assert pdp.who_can("doc:edit", "doc:2", type="team") == ["team:t"]
    assert sorted(pdp.who_can("doc:edit", "doc:2", type="user")) == ["user:member"]
    assert pdp.who_can("doc:edit", "doc:1") == []
    found = {(a.permission, a.resource) for a in pdp.what_can("user:member", type="doc")}
    assert found == {("doc:read", "doc:1"), ("doc:read", "doc:2"), ("doc:read", "doc:3"), ("doc:edit", "doc:2")}
    assert {(a.permission, a.resource) for a in pdp.what_can("user:plain", type="doc")} == {
        ("doc:read", "doc:1"),
        ("doc:read", "doc:3"),
    }
    assert pdp.what_can("user:off", type="doc") == []
