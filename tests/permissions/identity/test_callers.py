"""Who is calling: found by key, remembered only while the realm stands still, forgotten with a revoke."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from dataclasses import replace
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from permissions import pdp
from permissions.cache import database
from permissions.cache.reading import CLOCK, boot_ns
from permissions.engine.keys import NewKey, new_key
from permissions.engine.reasons import Unavailable
from permissions.identity import keys
from permissions.models import ApiKey, Realm, Subject
from permissions.services.realms import realm_delete
from permissions.writing import SYSTEM, permission_write
from tests.worlds import OFFICE, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _office(monkeypatch: pytest.MonkeyPatch) -> None:
    age(monkeypatch, 0.0)  # time stands still, so that a slow machine forgets nothing in between
    pdp.reset()
    keys.reset()
    apply(OFFICE)


def issue(name: str = "ci", *, realm: str = "default", **fields: Any) -> NewKey:
    key = new_key()
    with permission_write(realm, SYSTEM) as write:
        ApiKey.objects.create(realm=write.realm, name=name, prefix=key.prefix, digest=key.digest, **fields)
    return key


def revoke(name: str = "ci") -> None:
    with permission_write("default", SYSTEM):
        ApiKey.objects.filter(name=name).update(revoked_at=timezone.now())


def warmed(key: NewKey) -> str:
    """The header, after a check and a look-up have filled the memory."""
    header = f"Bearer {key.plain}"
    pdp.check("user:alice", "post:read")
    assert keys.resolve(header) is not None
    return header


def as_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the writes that follow were another process's: nothing tells this one."""
    monkeypatch.setattr("permissions.writing._listeners", [])


def age(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.clock_gettime_ns(CLOCK) + int(seconds * 1e9)
    monkeypatch.setattr("time.clock_gettime_ns", lambda _: now)


def test_a_key_says_who_is_calling() -> None:
    alice = Subject.objects.get(ref="user:alice")
    key = issue("bot", asserted="ignore", subject=alice)
    caller = keys.resolve(f"Bearer {key.plain}")
    assert caller is not None
    assert (caller.kind, caller.name, caller.realm, caller.asserted) == ("key", "bot", "default", "ignore")
    assert (caller.subject, caller.is_admin) == ("user:alice", False)
    assert caller.key_id == ApiKey.objects.get(name="bot").pk


def test_the_scheme_may_be_left_out() -> None:
    key = issue(is_admin=True)
    caller = keys.resolve(key.plain)
    assert caller is not None
    assert caller.is_admin


def test_nobody_is_found_by_anything_else() -> None:
    key = issue()
    for header in ("", "Bearer", "Bearer x", f"Basic {key.plain}", new_key().plain, key.digest, key.prefix):
        assert keys.resolve(header) is None
        assert keys.warm(header) is None


def test_the_prefix_alone_proves_nothing() -> None:
    key, other = issue(), new_key()
    forged = f"ps_{key.prefix}_{other.plain[12:]}"
    assert keys.resolve(forged) is None
    assert keys.resolve(key.plain) is not None
    assert keys.resolve(forged) is None


def test_a_remembered_key_costs_no_query(django_assert_num_queries: Any) -> None:
    header = warmed(issue())
    with django_assert_num_queries(0):
        assert keys.warm(header) == keys.resolve(header)
        assert keys.warm(header) is not None


def test_an_unknown_key_costs_one_query(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    read = keys._read

    def counted(prefix: str, digest: str) -> Any:
        with CaptureQueriesContext(connection) as queries:
            found = read(prefix, digest)
        asked.append(len(queries))
        return found

    monkeypatch.setattr(keys, "_read", counted)
    keys.resolve(issue().plain)
    assert keys.resolve(new_key().plain) is None
    assert keys.resolve("Bearer no key at all") is None
    assert asked == [1, 1]


def test_what_is_remembered_is_not_the_key() -> None:
    key = issue()
    warmed(key)
    assert key.plain not in repr(keys._remembered)
    # The secret itself may hold "_": what follows the second one is all of it.
    assert key.plain.split("_", 2)[2] not in repr(keys._remembered)


def test_a_revoked_key_stops_at_once_where_it_was_revoked() -> None:
    header = warmed(issue())
    revoke()
    assert keys.warm(header) is None
    assert keys.resolve(header) is None


def test_a_revoked_key_stops_elsewhere_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    header = warmed(issue())
    as_another_process(monkeypatch)
    revoke()
    age(monkeypatch, 0.51)
    assert keys.warm(header) is None
    assert keys.resolve(header) is None


def test_a_deleted_key_stops() -> None:
    header = warmed(issue())
    with permission_write("default", SYSTEM):
        ApiKey.objects.all().delete()
    assert keys.warm(header) is None
    assert keys.resolve(header) is None


def test_a_key_goes_with_its_realm() -> None:
    apply("realm: other\nsubjects: [{id: 'user:alice'}]")
    header = f"Bearer {issue(realm='other').plain}"
    pdp.check("user:alice", "post:read", realm="other")
    assert keys.resolve(header) is not None
    realm_delete(actor=SYSTEM, realm=Realm.objects.get(name="other"))
    assert keys.warm(header) is None
    assert keys.resolve(header) is None


def test_a_change_of_a_key_is_seen() -> None:
    header = warmed(issue())
    with permission_write("default", SYSTEM):
        ApiKey.objects.update(asserted="override")
    caller = keys.resolve(header)
    assert caller is not None
    assert caller.asserted == "override"


def test_when_memory_is_too_old_only_the_head_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    header = warmed(issue())
    age(monkeypatch, 0.51)
    assert keys.warm(header) is None
    heads = 0
    read_heads = database.read_heads

    def counted(asked: Any) -> Any:
        nonlocal heads
        heads += 1
        return read_heads(asked)

    monkeypatch.setattr(database, "read_heads", counted)
    monkeypatch.setattr(keys, "_read", None)  # the key itself is not read again
    assert keys.resolve(header) is not None
    assert heads == 1
    assert keys.warm(header) is not None


def test_a_change_of_something_else_leaves_a_key_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    header = warmed(issue())
    apply('roles: [{name: another, permissions: ["post:list"]}]')
    monkeypatch.setattr(keys, "_read", None)
    assert keys.resolve(header) is not None


def test_an_expired_key_is_nobody() -> None:
    now = timezone.now()
    assert keys.resolve(issue("old", valid_until=now - dt.timedelta(seconds=1)).plain) is None
    assert keys.resolve(issue("young", valid_until=now + dt.timedelta(hours=1)).plain) is not None


def test_a_remembered_key_ends_in_time() -> None:
    header = warmed(issue(valid_until=timezone.now() + dt.timedelta(hours=1)))
    assert keys.warm(header) is not None
    mark = keys._mark_of(header)
    until_us = keys._remembered[mark].until_us
    assert until_us is not None
    assert 3_590_000_000 < until_us - boot_ns() // 1_000 <= 3_600_000_000
    keys._remembered[mark] = replace(keys._remembered[mark], until_us=boot_ns() // 1_000)
    assert keys.warm(header) is None


def test_a_revoke_inside_an_open_transaction_holds_there_and_is_not_remembered() -> None:
    header = warmed(issue())
    with transaction.atomic():
        with permission_write("default", SYSTEM):
            ApiKey.objects.update(revoked_at=timezone.now())
        assert keys.resolve(header) is None
        transaction.set_rollback(True)
    assert keys.resolve(header) is not None


def test_a_key_made_in_a_transaction_that_fails_is_not_remembered() -> None:
    pdp.check("user:alice", "post:read")
    key = new_key()
    with transaction.atomic():
        with permission_write("default", SYSTEM) as write:
            ApiKey.objects.create(realm=write.realm, name="x", prefix=key.prefix, digest=key.digest)
        assert keys.resolve(key.plain) is not None
        transaction.set_rollback(True)
    assert keys.warm(key.plain) is None
    assert keys.resolve(key.plain) is None


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MAX_REMEMBERED", 3)
    headers = [warmed(issue(f"key {n}")) for n in range(5)]
    for header in headers:
        assert keys.resolve(header) is not None
    assert len(keys._remembered) <= 3


def test_a_database_that_does_not_answer_is_not_a_wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise DatabaseError("gone")

    key = issue()
    monkeypatch.setattr(keys, "_read", fail)
    with pytest.raises(Unavailable):
        keys.resolve(key.plain)


def test_the_async_twin_says_the_same() -> None:
    key = issue()

    async def ask() -> list[keys.Caller | None]:
        return [await keys.aresolve(header) for header in (f"Bearer {key.plain}", "Bearer x", new_key().plain)]

    found = asyncio.run(ask())
    assert found == [keys.resolve(key.plain), None, None]
    assert found[0] is not None


def test_a_thousand_callers_at_once_are_one_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    header = warmed(issue())
    age(monkeypatch, 0.51)
    real, looked_up = keys.resolve, []

    def counted(sent: str) -> keys.Caller | None:
        looked_up.append(sent)
        return real(sent)

    monkeypatch.setattr(keys, "resolve", counted)

    async def all_of_them() -> list[keys.Caller | None]:
        return await asyncio.gather(*(keys.aresolve(header) for _ in range(1_000)))

    assert None not in asyncio.run(all_of_them())
    assert looked_up == [header]


def test_a_fault_or_a_cancelled_look_up_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    header = warmed(issue())
    age(monkeypatch, 0.51)
    real, faults = keys.resolve, [Unavailable("gone")]

    def fails_once(sent: str) -> keys.Caller | None:
        if faults:
            raise faults.pop()
        return real(sent)

    monkeypatch.setattr(keys, "resolve", fails_once)

    async def ask() -> list[keys.Caller | BaseException | None]:
        first = asyncio.ensure_future(keys.aresolve(header))
        others = [asyncio.ensure_future(keys.aresolve(header)) for _ in range(3)]
        found = await asyncio.gather(first, *others, return_exceptions=True)
        leaving = asyncio.ensure_future(keys.aresolve("Bearer " + new_key().plain))
        await asyncio.sleep(0)
        leaving.cancel()
        return [*found, *await asyncio.gather(leaving, keys.aresolve(header), return_exceptions=True)]

    first, *others, cancelled, last = asyncio.run(ask())
    assert isinstance(first, Unavailable)
    assert all(isinstance(caller, keys.Caller) for caller in [*others, last])
    assert isinstance(cancelled, asyncio.CancelledError)


def test_a_joined_look_up_never_outlives_a_revoke(monkeypatch: pytest.MonkeyPatch) -> None:
    """The revoke commits while another request's look-up is on its way back; whoever waited for it must see the revoke."""
    header = warmed(issue())
    age(monkeypatch, 0.51)
    real = keys.resolve

    def revoked_behind(sent: str) -> keys.Caller | None:
        caller = real(sent)
        if caller is not None:
            revoke()
        return caller

    monkeypatch.setattr(keys, "resolve", revoked_behind)

    async def ask() -> list[keys.Caller | None]:
        return await asyncio.gather(*(keys.aresolve(header) for _ in range(3)))

    first, *others = asyncio.run(ask())
    assert first is not None  # it asked before the revoke
    assert others == [None, None]
