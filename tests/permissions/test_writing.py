"""The one door for writes: what joins, what rolls back, what is recorded, when it counts as a change."""

from __future__ import annotations

import pytest

from permissions import audit, revisions
from permissions.errors import Conflict, NotFound
from permissions.models import AuditEvent, Permission, Realm
from permissions.writing import SYSTEM, Write, current_write, permission_write, run_write

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def add(write: Write, code: str) -> None:
    Permission.objects.create(realm=write.realm, code=code)
    write.record("permission.create", "permission", code, None, {"code": code})


def codes() -> list[str]:
    return list(Permission.objects.order_by("code").values_list("code", flat=True))


def test_a_write_is_one_revision_with_its_token_and_its_audit() -> None:
    before = revisions.head("default").rev
    with permission_write("default", SYSTEM, "because") as write:
        add(write, "post:edit")
        add(write, "post:read")
    assert (write.changed, write.revision) == (True, before + 1)
    assert revisions.parse(write.token).rev == before + 1
    events = AuditEvent.objects.filter(revision=before + 1).order_by("seq")
    assert [(e.object_id, e.reason, e.actor, e.actor_kind) for e in events] == [
        ("post:edit", "because", "system", "administrator"),
        ("post:read", "because", "system", "administrator"),
    ]
    assert audit.verify("default").first_bad is None


def test_a_write_that_changes_nothing_makes_no_revision() -> None:
    with permission_write("default", SYSTEM) as write:
        pass
    assert not write.changed
    assert write.revision == revisions.head("default").rev


def test_an_error_leaves_nothing_behind() -> None:
    with pytest.raises(ZeroDivisionError), permission_write("default", SYSTEM) as write:
        add(write, "post:edit")
        _ = 1 / 0
    assert codes() == []
    assert AuditEvent.objects.count() == 0
    assert current_write() is None


def test_a_dry_run_runs_everything_and_keeps_nothing() -> None:
    before = revisions.head("default")
    with permission_write("default", SYSTEM, dry_run=True) as write:
        add(write, "post:edit")
        assert codes() == ["post:edit"]
    assert write.changed
    assert codes() == []
    assert revisions.head("default") == before


def test_an_inner_write_joins_the_outer_one() -> None:
    before = revisions.head("default").rev
    with permission_write("default", SYSTEM) as outer:
        add(outer, "post:edit")
        with permission_write("default", SYSTEM) as inner:
            add(inner, "post:read")
        assert inner is outer
    assert outer.revision == before + 1


def test_a_refusal_that_the_outer_write_catches_leaves_nothing_of_the_inner_one() -> None:
    with permission_write("default", SYSTEM) as outer:
        add(outer, "post:edit")
        with pytest.raises(Conflict), permission_write("default", SYSTEM) as inner:
            add(inner, "post:read")
            raise Conflict("no")
    assert codes() == ["post:edit"]
    assert list(AuditEvent.objects.values_list("object_id", flat=True)) == ["post:edit"]
    assert audit.verify("default").first_bad is None


def test_another_realm_cannot_be_written_inside() -> None:
    Realm.objects.create(name="other")
    with permission_write("default", SYSTEM), pytest.raises(RuntimeError, match="other"), permission_write("other", SYSTEM):
        pass


def test_a_realm_that_is_not_there_is_refused_or_made() -> None:
    with pytest.raises(NotFound, match="'new'"), permission_write("new", SYSTEM):
        pass
    with permission_write("new", SYSTEM, create=True) as write:
        pass
    assert (write.changed, write.revision) == (True, 1)
    with permission_write("newer", SYSTEM, create=True) as write:
        add(write, "post:edit")
    assert (write.changed, write.revision) == (True, 1)


def test_work_after_the_commit_runs_once_and_never_after_a_rollback() -> None:
    ran: list[int] = []
    with permission_write("default", SYSTEM) as write:
        add(write, "post:edit")
        write.after(lambda w: ran.append(w.revision))
        assert ran == []
    assert ran == [write.revision]
    with permission_write("default", SYSTEM, dry_run=True) as write:
        write.after(lambda w: ran.append(-1))
    with pytest.raises(ZeroDivisionError), permission_write("default", SYSTEM) as write:
        write.after(lambda w: ran.append(-2))
        _ = 1 / 0
    assert len(ran) == 1


def test_a_write_given_up_for_another_is_repeated_as_a_whole() -> None:
    from django.db import OperationalError

    class Deadlock(Exception):
        sqlstate = "40P01"

    tries: list[int] = []

    def work(write: Write) -> str:
        tries.append(1)
        add(write, "post:edit")
        if len(tries) < 3:
            raise OperationalError("deadlock detected") from Deadlock()
        return "done"

    result, write = run_write("default", SYSTEM, "", work)
    assert (result, len(tries), write.changed) == ("done", 3, True)
    assert codes() == ["post:edit"]


def test_an_altered_event_is_found_and_named() -> None:
    for code in ("a:b", "c:d", "e:f"):
        with permission_write("default", SYSTEM) as write:
            add(write, code)
    event = AuditEvent.objects.get(realm_name="default", seq=2)
    for field, value in {"actor": "mallory", "after": {"code": "x:y"}, "reason": "?", "prev_hash": "0" * 64}.items():
        kept = getattr(event, field)
        setattr(event, field, value)
        problem = audit.problem_of(event, 2, AuditEvent.objects.get(seq=1).hash)
        setattr(event, field, kept)
        assert problem, field
    assert audit.problem_of(event, 2, AuditEvent.objects.get(seq=1).hash) == ""
    assert audit.verify("default").checked == 3


@pytest.mark.parametrize("value", [1e22, -0.0, 0.1, 1e-7, 2**63, [1.0, {"é": "\u2028"}], {"z": None, "a": True}])
def test_the_seal_survives_how_each_database_keeps_numbers_and_texts(value: object) -> None:
    with permission_write("default", SYSTEM) as write:
        write.record("x", "y", "z", {"v": value}, {"v": value})
    assert audit.verify("default").first_bad is None
