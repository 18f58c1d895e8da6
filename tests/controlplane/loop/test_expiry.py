"""Expiry events: each end is told once, in order, across leaders; what is told depends on rows alone, and decides nothing."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from controlplane.loop import lease
from controlplane.loop.expiry import KINDS, SHOWN, Expiry
from controlplane.loop.leader import Leader
from controlplane.models import LoopLease
from permissions.models import ApiKey, Membership, Realm, Role, RoleBinding, Subject
from resilience import telemetry
from resilience.telemetry import Event
from tests.controlplane.loop.rows import database_now_us, run_out, taken

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def now() -> dt.datetime:
    return EPOCH + dt.timedelta(microseconds=database_now_us())


@pytest.fixture
def realm(db: None) -> Realm:
    return Realm.objects.get_or_create(name="default")[0]


@pytest.fixture
def heard() -> Iterator[list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []

    def hear(event: Event) -> None:
        events.append(dict(event.attributes))

    close = telemetry.subscribe(hear, "permission.expired")
    yield events
    close()


def subject(realm: Realm, ref: str, kind: str = "subject") -> Subject:
    return Subject.objects.get_or_create(realm=realm, ref=ref, defaults={"kind": kind})[0]


def binding(realm: Realm, until: dt.datetime | None, ref: str = "user:bob") -> RoleBinding:
    role = Role.objects.get_or_create(realm=realm, name="reader")[0]
    return RoleBinding.objects.create(realm=realm, subject=subject(realm, ref), role=role, valid_until=until)


def look(task: Expiry | None = None) -> Leader:
    leader = Leader([task or Expiry()])
    assert leader.once() and leader.failed == []
    return leader


def began(at: dt.datetime) -> None:
    """As if the first leader of all had come then."""
    look()
    at_us = (at - EPOCH) // dt.timedelta(microseconds=1)
    LoopLease.objects.update(cursors={"expiry": {kind: [at_us, 0] for kind in KINDS}})


def test_every_kind_of_end_is_told_with_what_it_ended_for_whom(realm, heard):
    began(now() - HOUR)
    ends = [now() - dt.timedelta(seconds=s) for s in (40, 30, 20, 10)]
    held = binding(realm, ends[0])
    team = subject(realm, "team:ops", "team")
    member = Membership.objects.create(team=team, member=subject(realm, "user:alice"), valid_until=ends[1])
    Role.objects.create(realm=realm, name="guest", valid_until=ends[2])
    ApiKey.objects.create(
        realm=realm, name="k", prefix="abc", digest="d", valid_until=ends[3], subject=subject(realm, "user:bob")
    )
    look()
    us = [(end - EPOCH) // dt.timedelta(microseconds=1) for end in ends]
    assert sorted(heard, key=lambda item: item["until_us"]) == [
        {"kind": "binding", "realm": "default", "id": str(held.pk), "subject": "user:bob", "until_us": us[0]},
        {"kind": "membership", "realm": "default", "id": str(member.pk), "subject": "user:alice", "until_us": us[1]},
        {"kind": "role", "realm": "default", "id": "guest", "subject": "", "until_us": us[2]},
        {"kind": "key", "realm": "default", "id": "abc", "subject": "user:bob", "until_us": us[3]},
    ]


def test_each_is_told_once_whoever_leads(realm, heard):
    began(now() - HOUR)
    binding(realm, now() - dt.timedelta(seconds=5))
    for _ in range(3):
        look()
    assert len(heard) == 1
    binding(realm, now() - dt.timedelta(seconds=1), "user:alice")
    look()
    assert [item["subject"] for item in heard] == ["user:bob", "user:alice"]


def test_what_ends_while_nobody_leads_is_told_by_the_next_leader(realm, heard):
    began(now() - 48 * HOUR)
    binding(realm, now() - 30 * HOUR)
    look()
    assert len(heard) == 1


def test_what_had_ended_before_the_first_leader_of_all_is_no_news(realm, heard):
    binding(realm, now() - HOUR)
    look()
    look()
    assert heard == []


def test_what_has_no_end_or_has_not_ended_yet_is_not_told(realm, heard):
    began(now() - HOUR)
    binding(realm, None)
    binding(realm, now() + HOUR, "user:alice")
    look()
    assert heard == []


def test_an_end_that_was_put_off_is_not_told(realm, heard):
    began(now() - HOUR)
    held = binding(realm, now() - dt.timedelta(seconds=5))
    RoleBinding.objects.filter(pk=held.pk).update(valid_until=now() + HOUR)
    look()
    assert heard == []


def test_what_was_removed_before_its_end_is_not_told(realm, heard):
    began(now() - HOUR)
    binding(realm, now() - dt.timedelta(seconds=5)).delete()
    look()
    assert heard == []


def test_a_key_that_was_revoked_had_its_end_before(realm, heard):
    began(now() - HOUR)
    ApiKey.objects.create(
        realm=realm, name="k", prefix="abc", digest="d", valid_until=now() - dt.timedelta(seconds=1), revoked_at=now() - HOUR
    )
    look()
    assert heard == []


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 200])
def test_ends_of_the_same_moment_are_told_once_however_the_batches_fall(realm, heard, batch):
    began(now() - HOUR)
    end = now() - dt.timedelta(seconds=5)
    kept = [str(binding(realm, end, f"user:u{number}").pk) for number in range(7)]
    for number in range(3):
        Role.objects.create(realm=realm, name=f"r{number}", valid_until=end)
    look(Expiry(batch=batch))
    assert [item["id"] for item in heard if item["kind"] == "binding"] == kept
    assert sorted(item["id"] for item in heard if item["kind"] == "role") == ["r0", "r1", "r2"]
    assert len(heard) == 10


def test_a_step_tells_no_more_than_its_batch(realm, heard):
    began(now() - HOUR)
    for number in range(5):
        binding(realm, now() - dt.timedelta(seconds=5), f"user:u{number}")
    task, term = Expiry(batch=2), taken("a")
    assert task.look(term)
    with lease.acting(term, "expiry") as act:
        assert task.step(act)
    assert len(heard) == 2


def test_the_time_of_the_database_decides_to_the_microsecond(realm, heard):
    began(now() - HOUR)
    term = taken("a")
    end = now() + HOUR
    binding(realm, end)
    end_us = (end - EPOCH) // dt.timedelta(microseconds=1)
    for at_us, told in ((end_us - 1, 0), (end_us, 1), (end_us + 1, 1)):
        with lease.acting(term, "expiry") as act:
            act.now_us = at_us
            Expiry().step(act)
        assert len(heard) == told, at_us


def test_a_step_that_is_rolled_back_tells_nothing_and_is_done_again(realm, heard):
    began(now() - HOUR)
    binding(realm, now() - dt.timedelta(seconds=5))
    task, term = Expiry(), taken("a")
    with pytest.raises(RuntimeError), lease.acting(term, "expiry") as act:
        task.step(act)
        raise RuntimeError
    assert heard == []
    with lease.acting(term, "expiry") as act:
        task.step(act)
    assert len(heard) == 1


def test_who_lost_the_lease_tells_nothing(realm, heard):
    began(now() - HOUR)
    binding(realm, now() - dt.timedelta(seconds=5))
    task, term = Expiry(), taken("a")
    assert task.look(term)
    run_out()
    with pytest.raises(lease.LostLease), lease.acting(term, "expiry") as act:
        task.step(act)
    assert heard == []
    look()
    assert len(heard) == 1


def test_two_realms_are_told_apart(realm, heard):
    began(now() - HOUR)
    other = Realm.objects.create(name="other")
    for each in (realm, other):
        binding(each, now() - dt.timedelta(seconds=5))
    look()
    assert sorted(item["realm"] for item in heard) == ["default", "other"]


def test_a_look_costs_one_statement_however_many_kinds(realm, django_assert_num_queries):
    began(now() - HOUR)
    binding(realm, now() + HOUR)
    task, term = Expiry(), taken("a")
    with django_assert_num_queries(1):
        assert not task.look(term)


@pytest.mark.parametrize("kind", KINDS)
def test_a_look_finds_each_kind_until_it_has_been_told(realm, kind):
    began(now() - HOUR)
    end = now() - dt.timedelta(seconds=5)
    match kind:
        case "binding":
            binding(realm, end)
        case "membership":
            Membership.objects.create(team=subject(realm, "team:t", "team"), member=subject(realm, "user:m"), valid_until=end)
        case "role":
            Role.objects.create(realm=realm, name="guest", valid_until=end)
        case _:
            ApiKey.objects.create(realm=realm, name="k", prefix="abc", digest="d", valid_until=end)
    task, term = Expiry(), taken("a")
    assert task.look(term)
    with lease.acting(term, "expiry") as act:
        task.step(act)
    assert not task.look(term)


def test_a_look_does_not_find_for_ever_what_is_never_told(realm):
    """Each find opens a transaction, which on SQLite keeps everybody from writing."""
    began(now() - HOUR)
    gone = {"valid_until": now() - dt.timedelta(seconds=5), "revoked_at": now() - HOUR}
    ApiKey.objects.create(realm=realm, name="k", prefix="abc", digest="d", **gone)
    assert not Expiry().look(taken("a"))


def test_what_ended_is_logged_line_by_line_and_a_flood_by_its_number(realm, caplog):
    began(now() - HOUR)
    for number in range(SHOWN + 3):
        binding(realm, now() - dt.timedelta(seconds=5), f"user:u{number}")
    with caplog.at_level(logging.INFO, logger="controlplane.loop"):
        look()
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("has ended")]
    assert len(lines) == SHOWN + 1 and lines[-1] == "has ended: 3 more"


def test_it_is_counted_by_kind(realm):
    began(now() - HOUR)
    before = telemetry.collect()["permsite_loop_expired_total"].get(("binding",), 0)
    binding(realm, now() - dt.timedelta(seconds=5))
    look()
    assert telemetry.collect()["permsite_loop_expired_total"][("binding",)] == before + 1


def test_a_listener_that_fails_costs_nobody_else_the_news(realm, heard):
    def fail(event: Event) -> None:
        raise ValueError("a listener's fault")

    close = telemetry.subscribe(fail, "permission.expired")
    began(now() - HOUR)
    binding(realm, now() - dt.timedelta(seconds=5))
    look()
    close()
    assert len(heard) == 1
