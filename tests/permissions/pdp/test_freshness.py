"""How old an answer may be: the writer's process, other processes, tokens, transactions."""

from __future__ import annotations

import datetime as dt
import time

import pytest
from django.db import connection, transaction

from permissions import pdp, revisions
from permissions.cache.realm import STATES
from permissions.errors import Invalid
from permissions.models import RoleBinding
from permissions.writing import SYSTEM, permission_write
from tests.aging import age, as_another_process, never_age
from tests.worlds import OFFICE, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

REVOKE = "DELETE FROM permissions_rolebinding WHERE role_id IS NOT NULL"


@pytest.fixture(autouse=True)
def _office() -> None:
    pdp.reset()
    apply(OFFICE)


def revoke() -> str:
    with permission_write("default", SYSTEM) as write:
        RoleBinding.objects.filter(subject__ref="user:alice").delete()
    return write.token


def test_the_writer_sees_its_own_revoke_at_once() -> None:
    assert pdp.check("user:alice", "post:edit", "post:7")
    revoke()
    assert not pdp.check("user:alice", "post:edit", "post:7")


def test_a_second_check_comes_from_memory_without_a_query(django_assert_num_queries) -> None:
    pdp.check("user:alice", "post:edit", "post:7")
    never_age()
    with django_assert_num_queries(0):
        decision = pdp.check("user:alice", "post:edit", "post:7")
    assert decision.source == "l1"
    assert decision.revision == revisions.head("default").rev


def test_another_process_sees_a_revoke_within_the_bound(monkeypatch) -> None:
    assert pdp.check("user:alice", "post:edit")
    as_another_process(monkeypatch)
    revoke()
    age(0.51)
    assert not pdp.check("user:alice", "post:edit")


def test_a_token_is_obeyed_however_young_the_state(monkeypatch) -> None:
    assert pdp.check("user:alice", "post:edit")
    as_another_process(monkeypatch)
    token = revoke()
    assert not pdp.check("user:alice", "post:edit", token=token)


def test_the_word_full_asks_for_the_newest_state(monkeypatch) -> None:
    assert pdp.check("user:alice", "post:edit")
    as_another_process(monkeypatch)
    revoke()
    assert not pdp.check("user:alice", "post:edit", token="full")


def test_a_critical_permission_always_asks_for_the_newest_state(monkeypatch) -> None:
    apply('bindings: [{subject: "user:alice", allow: ["post:purge"]}]')
    assert pdp.check("user:alice", "post:purge")
    as_another_process(monkeypatch)
    revoke()
    assert not pdp.check("user:alice", "post:purge")


def test_a_token_from_the_future_is_refused() -> None:
    head = revisions.head("default")
    ahead = revisions.mint(revisions.Head(head.realm_id, head.name, head.epoch, head.rev + 5, 0))
    with pytest.raises(pdp.TokenFromFuture):
        pdp.check("user:alice", "post:edit", token=ahead)


def test_a_token_of_another_history_means_full() -> None:
    head = revisions.head("default")
    foreign = revisions.mint(revisions.Head(head.realm_id, head.name, "f" * 32, head.rev + 5, 0))
    assert pdp.check("user:alice", "post:edit", token=foreign)


@pytest.mark.parametrize("text", ["", "x", "v1.1.aaaaaaaa.5.forged", "v1.1.aaaaaaaa.5", "v2.1.a.5.x", "é" * 30, "v1" * 500])
def test_a_token_nobody_signed_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="not a token"):
        pdp.check("user:alice", "post:edit", token=text)


def test_a_token_of_another_realm_is_refused() -> None:
    other = apply("realm: other\nroles: [{name: r, permissions: ['a:b']}]")
    with pytest.raises(pdp.InvalidRequestError, match="another realm"):
        pdp.check("user:alice", "post:edit", token=other.token)


def test_inside_a_transaction_a_check_sees_its_own_writes_and_keeps_nothing() -> None:
    assert pdp.check("user:alice", "post:edit")
    with pytest.raises(ZeroDivisionError), transaction.atomic(), permission_write("default", SYSTEM):
        RoleBinding.objects.all().delete()
        decision = pdp.check("user:alice", "post:edit")
        assert (decision.allowed, decision.source) == (False, "live")
        _ = 1 / 0
    assert pdp.check("user:alice", "post:edit")


def test_raw_sql_that_no_signal_sees_is_seen() -> None:
    assert pdp.check("user:alice", "post:edit")
    with connection.cursor() as cursor:
        cursor.execute(REVOKE)
    assert not pdp.check("user:alice", "post:edit", full=True)


def test_a_revision_number_used_again_after_a_rollback_is_told_apart() -> None:
    with pytest.raises(ZeroDivisionError), permission_write("default", SYSTEM) as lost:
        RoleBinding.objects.all().delete()
        assert not pdp.check("user:alice", "post:edit")
        _ = 1 / 0
    assert lost.token == ""
    apply('bindings: [{subject: "user:charlie", role: reader}]')
    assert pdp.check("user:alice", "post:edit")
    assert pdp.check("user:charlie", "post:read")


def test_a_change_of_bindings_keeps_the_compiled_table() -> None:
    pdp.check("user:alice", "post:edit")
    table = STATES["default"].table
    apply('bindings: [{subject: "user:charlie", role: reader}]')
    assert pdp.check("user:charlie", "post:read")
    assert STATES["default"].table is table


def test_a_change_of_a_role_compiles_another_table() -> None:
    pdp.check("user:alice", "post:edit")
    apply('roles: [{name: reader, permissions: ["post:read", "post:list"]}]')
    assert pdp.check("user:bob", "post:list", "blog:1")


def soon(seconds: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)


def wait_for(end: dt.datetime) -> None:
    time.sleep(max(0.0, (end - dt.datetime.now(dt.UTC)).total_seconds()) + 0.01)


def test_a_membership_that_ends_is_noticed_at_its_end_without_any_write() -> None:
    end = soon(1.5)
    apply(f'teams: [{{id: "team:writers", members: [{{id: "user:bob", valid_until: "{end.isoformat()}"}}]}}]')
    assert pdp.check("user:bob", "post:read", "blog:1")
    wait_for(end)
    decision = pdp.check("user:bob", "post:read", "blog:1")
    assert (decision.allowed, decision.reason) == (False, "expired")


def test_a_kept_snapshot_is_not_served_past_the_next_boundary() -> None:
    apply('bindings: [{subject: "user:charlie", role: reader, valid_until: "2030-01-01T00:00:00Z"}]')
    assert pdp.check("user:charlie", "post:read")
    assert pdp.check("user:charlie", "post:read").source == "l1"
    STATES["default"].offset_us += 1_893_456_000_000_000 - time.time_ns() // 1_000
    never_age()
    # The database, asked, does not agree that it is 2030: its clock decides.
    decision = pdp.check("user:charlie", "post:read")
    assert (decision.allowed, decision.source) == (True, "db")


def test_a_batch_is_decided_at_one_revision() -> None:
    decisions = pdp.check_many(
        [
            ("user:alice", "post:edit", "post:7"),
            ("user:bob", "post:read", "post:7"),
            {"subject": "user:charlie", "permission": "post:read"},
        ]
    )
    assert [d.allowed for d in decisions] == [True, True, False]
    assert len({d.revision for d in decisions}) == 1
