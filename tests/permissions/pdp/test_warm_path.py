"""The warm path's shortcut: masks of subjects that a State has met; they go with it, are bounded, and say no more than is so."""

from __future__ import annotations

import pytest

from permissions import pdp
from permissions.cache import state as states
from permissions.cache.realm import STATES
from permissions.warm import HERE, SAMPLE
from tests.chaos.consistency import mutants
from tests.worlds import OFFICE, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _office() -> None:
    pdp.reset()
    apply(OFFICE)


def met(*subjects: str) -> dict[str, bytes]:
    """What the State keeps once each of them was asked about twice: first from the rows, then from memory."""
    for subject in subjects * 2:
        pdp.check(subject, "post:read")
    return STATES["default"].fast


def give(subject: str) -> None:
    apply(f'subjects: [{{id: "{subject}"}}]\nbindings: [{{subject: "{subject}", role: reader}}]')


def test_a_subject_with_roles_at_the_realm_alone_is_found_in_one_step() -> None:
    give("user:dora")
    assert "user:dora" in met("user:dora")
    assert pdp.check("user:dora", "post:read")
    assert not pdp.check("user:dora", "post:edit")


def test_one_with_anything_else_is_not() -> None:
    apply('bindings: [{subject: "user:erin", allow: ["post:read"]}, {subject: "user:frank", role: reader, scope: "blog:1"}]')
    apply('bindings: [{subject: "user:frank", role: reader}]')
    assert not met("user:erin", "user:frank", "user:nobody").keys() & {"user:erin", "user:frank", "user:nobody"}


def test_a_new_revision_begins_with_nothing() -> None:
    give("user:dora")
    before = met("user:dora")
    apply('subjects: [{id: "user:dora", locked: true}]')
    after = met("user:alice")
    assert after is not before
    assert "user:dora" not in after
    assert not pdp.check("user:dora", "post:read")


def test_a_wrong_cache_that_hands_them_on_serves_whom_it_must_not(monkeypatch: pytest.MonkeyPatch) -> None:
    mutants.apply("fast_kept", monkeypatch.setattr)
    give("user:dora")
    met("user:dora")
    apply('subjects: [{id: "user:dora", locked: true}]')
    pdp.check("user:alice", "post:read")  # the next State
    assert pdp.check("user:dora", "post:read"), "then nothing of the above would tell a right cache from a wrong one"


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "MAX_FAST", 3)
    names = [f"user:u{number}" for number in range(8)]
    for name in names:
        give(name)
    for name in names:
        assert len(met(name)) <= 3
        assert pdp.check(name, "post:read")


def test_a_subject_found_in_one_step_stays_among_the_last_used(monkeypatch: pytest.MonkeyPatch) -> None:
    give("user:dora")
    met("user:dora")
    layer = STATES["default"].subjects
    layer.demote(["user:dora"])
    monkeypatch.setattr(HERE.me, "l1", SAMPLE)  # the next check is the one of many that is looked at
    assert pdp.check("user:dora", "post:read")
    assert "user:dora" in layer.young


@pytest.mark.parametrize("odd", [["user:dora"], {"a": 1}, 7, None])
def test_what_is_no_text_is_refused_on_every_place(odd: object) -> None:
    give("user:dora")
    met("user:dora")
    for asked in ((odd, "post:read"), ("user:dora", odd), ("user:dora", "post:read", [odd])):
        with pytest.raises(pdp.InvalidRequestError):
            pdp.check(*asked)


def test_an_option_that_does_not_exist_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="colour"):
        pdp.check("user:alice", "post:read", colour="red")  # type: ignore[call-arg]


def test_of_a_role_with_a_condition_the_other_codes_need_no_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    apply(
        """
        roles:
          - {name: mixed, permissions: ["post:read", {code: "post:edit", condition: "context.mfa == true"}], deny: ["post:lock"]}
        subjects: [{id: "user:dora"}]
        bindings: [{subject: "user:dora", role: mixed}]
        """
    )
    assert "user:dora" not in met("user:dora")
    monkeypatch.setattr("permissions.warm._from_memory", lambda *_: pytest.fail("a walk"))
    assert pdp.check("user:dora", "post:read")
    monkeypatch.undo()
    assert not pdp.check("user:dora", "post:edit")
    assert pdp.check("user:dora", "post:edit", context={"mfa": True})
    assert pdp.check("user:dora", "post:lock").reason == "explicit_deny"
