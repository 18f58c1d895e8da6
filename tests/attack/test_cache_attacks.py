"""Attacks on the permission cache: each got a wrong answer, a needless refusal, a hang or a dead thread out of an early one."""

from __future__ import annotations

import datetime as dt
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from permissions import pdp, revisions, writing
from permissions.bundle.specs import BindingSpec
from permissions.cache import catch_up, database, follower, live, reading, realm
from permissions.cache.realm import NEVER_NS, STATES
from permissions.cache.state import State
from permissions.cache.upkeep import UPKEEP
from permissions.engine.reasons import InvalidRequestError, Unavailable
from permissions.models import Changelog, Realm, Resource, RoleBinding, Subject
from permissions.services.bindings import binding_create
from permissions.writing import SYSTEM, permission_write
from tests.aging import never_age
from tests.permissions.acme import Acme

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

WHO, WHAT, OVER = "user:charlie", "post:read", "override"


@pytest.fixture
def acme() -> Acme:
    pdp.reset()
    return Acme().people().tree()


def ask(subject: str = WHO, **given: Any) -> pdp.Decision:
    return pdp.check(subject, WHAT, realm="acme", **given)


def state() -> State:
    return STATES["acme"]


def at_once(number: int, work: Callable[[], object]) -> list[object]:
    """What `work` gave in each of so many threads that begin together; an error as it is."""
    together = threading.Barrier(number)
    found: list[object] = []

    def run() -> None:
        together.wait()
        try:
            found.append(work())
        except Exception as error:  # noqa: BLE001 - looked at by the test
            found.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize(
    "question",
    [
        lambda: pdp.explain(WHO, WHAT, realm="acme").decision.allowed,
        lambda: pdp.who_can(WHAT, realm="acme") == ["user:alice", WHO],
        lambda: ask(subject_properties={"teams": ["team:eng"]}, asserted=OVER).allowed,
    ],
    ids=["explain", "search", "asserted"],
)
def test_a_healthy_database_refuses_none_of_many_at_once(acme: Acme, question: Callable[[], object]) -> None:
    ask()
    assert at_once(12, lambda: [question() for _ in range(5)]) == [[True] * 5] * 12


def test_the_follower_outlives_a_realm_that_vanishes_between_two_looks(acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    ask()

    class Fickle:
        """Has a State at each first look and none at each second, as when another thread withdraws it between the two."""

        name, used_ns, looks = "fickle", 1 << 62, 0

        @property
        def state(self) -> State | None:
            self.looks += 1
            return found if self.looks % 2 else None

    found = state()
    monkeypatch.setitem(catch_up._caches, "fickle", Fickle())
    own = follower.Follower()
    for _ in range(4):
        own._interval_s()
        own.poll()
    catch_up.expire("fickle")


def test_a_child_has_all_places_for_live_checks(acme: Acme) -> None:
    ask()
    for _ in range(live.MOST_AT_ONCE):
        live._room.acquire()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        free = [live._room.acquire(blocking=False) for _ in range(live.MOST_AT_ONCE)]
        os.write(write, b"free" if all(free) else b"held")
        os._exit(0)
    os.waitpid(child, 0)
    for _ in range(live.MOST_AT_ONCE):
        live._room.release()
    said = os.read(read, 10)
    os.close(read)
    os.close(write)
    assert said == b"free"


def test_a_token_of_a_realm_made_anew_under_the_name_is_honoured(acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    ask()
    never_age("acme")
    monkeypatch.setattr(writing, "_listeners", [])  # another process does it
    with permission_write("acme", SYSTEM):
        Realm.objects.filter(name="acme").update(name="gone")
    Acme().people()
    assert ask(token=revisions.mint(revisions.head("acme"))).allowed
    with pytest.raises(InvalidRequestError, match="another realm"):
        ask(token=revisions.mint(revisions.head("gone")))


def test_an_explanation_ends_with_the_validity_however_badly_the_clock_is_known(acme: Acme) -> None:
    acme.subject("user:eve")
    end = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    binding_create(actor=SYSTEM, realm=acme.realm, spec=BindingSpec("user:eve", allow=(WHAT,), valid_until=end))
    ask()
    RoleBinding.objects.filter(subject__ref="user:eve").update(valid_until=dt.datetime.now(dt.UTC))
    ask(full=True)
    never_age("acme")
    state().offset_us -= 400_000
    state().slack_us = 400_001
    assert not pdp.explain("user:eve", WHAT, realm="acme").decision.allowed
    assert not ask("user:eve", subject_properties={"teams": ["team:eng"]}, asserted=OVER).allowed


def test_a_batch_waits_for_a_slow_database_once_and_not_for_each_part(acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    ask()
    never_age("acme")
    parts: list[int] = []
    clock = reading.boot_ns
    of_database = database.read_snapshots

    def slow(*asked: Any) -> Any:
        parts.append(len(asked[2]))
        return of_database(*asked)

    monkeypatch.setattr(database, "read_snapshots", slow)
    monkeypatch.setattr("permissions.cache.filling.boot_ns", lambda: clock() + 400_000_000 * len(parts))
    with pytest.raises(Unavailable):
        pdp.check_many([(f"user:n{number}", WHAT) for number in range(1000)], realm="acme")
    assert 1 <= len(parts) <= 4


def behind(rows: int, revisions_: int) -> None:
    """So many revisions, each of so many subjects, that nobody has told this process of."""
    head = revisions.head("acme")
    with connection.cursor() as cursor:
        for rev in range(head.rev + 1, head.rev + 1 + revisions_):
            Changelog.objects.bulk_create(
                Changelog(
                    realm_id=head.realm_id, rev=rev, kind="s", object_id=f"user:i{number}", stamp=5, at=dt.datetime.now(dt.UTC)
                )
                for number in range(rows)
            )
            mark = -1 if connection.vendor == "postgresql" else 0
            cursor.execute(
                "UPDATE permissions_realm SET rev = %s, stamp = 5, write_state = %s WHERE id = %s", [rev, mark, head.realm_id]
            )


def test_a_process_that_slept_through_an_import_starts_over_instead_of_reading_it(acme: Acme) -> None:
    Acme("other").people()
    known = ask().revision
    behind(rows=10_000, revisions_=3)
    assert database.read_head("acme", known).tail is None
    assert len(database.read_model("acme", None, None).reading.tail or ()) <= reading.MOST_ROWS
    for _ in range(6):
        assert ask(full=True).revision == revisions.head("acme").rev
        assert pdp.check(WHO, WHAT, realm="other", full=True).allowed
    pdp.reset()
    assert ask().allowed


def test_after_lost_commits_nobody_is_answered_until_a_new_epoch_is_drawn(acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    ask()
    old, cache = state(), catch_up.cache_of("acme")
    # What this process knows under the newest number is not what the database has there.
    cache.window.stamps[old.rev] = old.head.stamp ^ 1
    old.head = replace(old.head, stamp=old.head.stamp ^ 1)

    def read_only(*_given: object) -> None:
        raise OperationalError("cannot execute UPDATE in a read-only transaction")

    with monkeypatch.context() as patched:
        patched.setattr(database, "new_epoch", read_only)
        for _ in range(3):
            with pytest.raises(Unavailable):
                ask(full=True)
    database.reset()
    assert ask(full=True).allowed
    assert state().head.epoch != old.head.epoch


def test_what_is_written_without_autocommit_is_seen_by_its_writer_alone(acme: Acme) -> None:
    acme.subject("user:eve")
    eve = Subject.objects.get(ref="user:eve")
    assert not ask("user:eve")
    transaction.set_autocommit(False)
    try:
        RoleBinding.objects.create(realm=acme.realm, subject=eve, allow=[WHAT])
        assert ask("user:eve").source == "live"
        assert [bool(answer) for answer in at_once(2, lambda: ask("user:eve"))] == [False, False]
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    assert not ask("user:eve", full=True)


# Attacks that it withstood from the first; kept, so that it goes on doing so.


def test_a_batch_larger_than_the_memory_is_answered_whole(acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realm, "SIZE", 20)
    monkeypatch.setattr(realm, "SIZE_ABSENT", 20)
    pdp.reset()
    questions = [(f"user:n{number}", WHAT, f"post:{number}") for number in range(300)]
    assert {answer.reason for answer in pdp.check_many(questions, realm="acme")} == {"unknown_subject"}


def test_a_filter_never_denies_what_was_made_after_it(acme: Acme) -> None:
    ask()
    UPKEEP._filters_ns["acme"] = NEVER_NS
    UPKEEP._filters(catch_up.cache_of("acme"))
    assert ask("user:new").reason == "unknown_subject"
    acme.binding("user:new", allow=(WHAT,))
    acme.resource("server:9", inherit=False)
    assert ask("user:new", full=True).allowed
    assert not ask("user:new", resource="server:9", full=True).allowed
    Subject.objects.filter(ref="user:new").update(ref="user:renamed")
    Resource.objects.filter(ref="server:9").update(ref="server:10")
    assert ask("user:renamed", full=True).allowed
    assert not ask("user:renamed", resource="server:10", full=True).allowed
    assert not ask("user:new", full=True).allowed


def test_a_changelog_pruned_past_what_is_known_brings_no_grant_back(acme: Acme) -> None:
    assert ask().allowed
    RoleBinding.objects.filter(subject__ref=WHO).delete()
    acme.subject("user:later")
    head = revisions.head("acme")
    Changelog.objects.filter(realm_id=head.realm_id, rev__lt=head.rev).delete()
    assert not ask(full=True).allowed
    Changelog.objects.filter(realm_id=head.realm_id).delete()
    pdp.reset()
    assert not ask().allowed


def test_static_grace_is_for_plain_questions_alone(acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    acme.permission("post:purge", critical=True)
    Realm.objects.filter(name="acme").update(static_grace_s=30.0)
    token = revisions.mint(revisions.head("acme"))
    assert ask("user:alice", full=True).allowed
    assert pdp.check("user:alice", "post:purge", realm="acme").allowed

    def away(*_given: object) -> None:
        raise OperationalError("away")

    for name in ("read_heads", "read_snapshots"):
        monkeypatch.setattr(database._port(), name, away)
    state().known_head_ns -= 1_000_000_000
    assert ask("user:alice").stale
    for refused in (
        lambda: ask("user:alice", token=token),
        lambda: ask("user:alice", full=True),
        lambda: pdp.check("user:alice", "post:purge", realm="acme"),
        lambda: pdp.check_many([("user:alice", WHAT), ("user:alice", "post:purge")], realm="acme"),
    ):
        with pytest.raises(Unavailable):
            refused()
