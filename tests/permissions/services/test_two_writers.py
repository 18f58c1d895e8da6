"""Two writers at once, on real connections: the second sees what the first has done, and no revoke is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections
from pytest_django import DjangoDbBlocker

from permissions import audit, revisions
from permissions.bundle.specs import BindingSpec, CodeSpec, RealmSpec, RoleSpec
from permissions.errors import Conflict, Escalation, LastAdministrator, NotFound, Refused
from permissions.models import AuditEvent, RoleBinding
from permissions.services.bindings import binding_create, binding_delete
from permissions.services.catalog import role_create, role_update
from permissions.services.realms import realm_create
from permissions.services.specs import spec_of
from permissions.writing import SYSTEM, permission_write
from tests.permissions.acme import CHARLIE, Acme

pytestmark = pytest.mark.both_databases

PATIENCE_S = 20


@pytest.fixture
def db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """With commits that other connections see; emptied afterwards."""
    with django_db_blocker.unblock():
        yield
        call_command("flush", interactive=False, verbosity=0, reset_sequences=False)


@pytest.fixture
def acme(db: None) -> Acme:
    return Acme()


class Rival:
    """A writer in a thread of its own. What it raised is kept for the test."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.error: BaseException | None = None
        self.result: Any = None
        self._work = work
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._work()
        except Refused as error:
            self.error = error
        finally:
            connections.close_all()

    def join(self) -> Rival:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self

    @property
    def is_waiting(self) -> bool:
        return self._thread.is_alive()


def _until_it_waits(rival: Rival) -> None:
    """Until the rival stands before the realm's lock. SQLite shows no waiter: there a moment must do, which weakens the test."""
    if connection.vendor != "postgresql":
        time.sleep(0.2)
        return
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    raise AssertionError("the rival never came to wait")


def test_a_revoke_that_waited_for_the_grant_takes_it_away(acme: Acme) -> None:
    """The lost revoke: taken after its statement began, the lock would leave the grant of the other writer alive."""
    started = threading.Event()

    def revoke() -> int:
        started.wait(PATIENCE_S)
        with permission_write(acme.realm.name, SYSTEM) as write:
            for row in RoleBinding.objects.filter(subject__ref="user:bob"):
                binding_delete(actor=SYSTEM, realm=acme.realm, binding_id=row.pk)
        return write.revision

    rival = Rival(revoke)
    with permission_write(acme.realm.name, SYSTEM) as write:
        started.set()
        _until_it_waits(rival)
        binding_create(actor=SYSTEM, realm=acme.realm, spec=BindingSpec("user:bob", allow=("post:edit",)))
        assert rival.is_waiting
    assert rival.join().error is None
    assert rival.result == write.revision + 1
    assert not RoleBinding.objects.filter(subject__ref="user:bob").exists()
    assert not acme.may("user:bob", "post:edit")


def test_of_two_who_revoke_one_binding_the_second_finds_nothing(acme: Acme) -> None:
    row = acme.binding("user:bob", allow=("post:edit",))
    gate = threading.Barrier(2)

    def revoke() -> None:
        gate.wait(PATIENCE_S)
        binding_delete(actor=SYSTEM, realm=acme.realm, binding_id=row.pk)

    rivals = [Rival(revoke), Rival(revoke)]
    errors = [rival.join().error for rival in rivals]
    assert sorted(type(error).__name__ for error in errors) == ["NoneType", "NotFound"]
    assert AuditEvent.objects.filter(realm_name="acme", action="binding.delete").count() == 1
    assert isinstance(next(e for e in errors if e is not None), NotFound)


def test_two_administrators_cannot_revoke_each_other(acme: Acme) -> None:
    rows = [acme.binding(f"user:{name}", allow=("permsite.*:*",)) for name in ("alice", "anna")]
    gate = threading.Barrier(2)

    def revoke(row: RoleBinding) -> None:
        gate.wait(PATIENCE_S)
        binding_delete(actor=SYSTEM, realm=acme.realm, binding_id=row.pk)

    rivals = [Rival(partial(revoke, row)) for row in rows]
    errors = [rival.join().error for rival in rivals]
    assert [type(error) for error in errors if error is not None] == [LastAdministrator]


def test_an_author_who_loses_their_right_meanwhile_hands_nothing_out(acme: Acme) -> None:
    own = acme.binding("user:charlie", allow=("post:edit",))
    acme.binding("user:charlie", allow=("permsite.binding:create",))
    started = threading.Event()

    def give() -> None:
        started.wait(PATIENCE_S)
        binding_create(actor=CHARLIE, realm=acme.realm, spec=BindingSpec("user:bob", allow=("post:edit",)))

    rival = Rival(give)
    with permission_write(acme.realm.name, SYSTEM):
        started.set()
        _until_it_waits(rival)
        binding_delete(actor=SYSTEM, realm=acme.realm, binding_id=own.pk)
    assert isinstance(rival.join().error, Escalation)
    assert not acme.may("user:bob", "post:edit")


def test_two_halves_of_a_circle_cannot_both_be_written(acme: Acme) -> None:
    for name in ("a", "b"):
        role_create(actor=SYSTEM, realm=acme.realm, spec=RoleSpec(name, permissions=(CodeSpec("post:read"),)))
    gate = threading.Barrier(2)

    def inherit(name: str, parent: str) -> None:
        gate.wait(PATIENCE_S)
        role_update(actor=SYSTEM, realm=acme.realm, name=name, spec=RoleSpec(name, inherits=(parent,)))

    rivals = [Rival(partial(inherit, "a", "b")), Rival(partial(inherit, "b", "a"))]
    errors = [rival.join().error for rival in rivals]
    assert [type(error) for error in errors if error is not None] == [Conflict]


def test_many_writers_leave_one_unbroken_history(acme: Acme) -> None:
    before = revisions.head("acme").rev

    def write(number: int) -> None:
        for turn in range(5):
            binding_create(actor=SYSTEM, realm=acme.realm, spec=BindingSpec(f"user:w{number}", allow=(f"post:t{turn}",)))

    rivals = [Rival(partial(write, n)) for n in range(4)]
    assert [rival.join().error for rival in rivals] == [None] * 4
    assert revisions.head("acme").rev == before + 20
    assert audit.verify("acme").first_bad is None
    numbers = list(AuditEvent.objects.filter(realm_name="acme").order_by("seq").values_list("seq", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_write_gives_the_revision_and_the_token_it_made(acme: Acme) -> None:
    with permission_write(acme.realm.name, SYSTEM) as write:
        row = binding_create(actor=SYSTEM, realm=acme.realm, spec=BindingSpec("user:bob", allow=("post:edit",)))
    head = revisions.head("acme")
    assert write.changed
    assert write.revision == head.rev == revisions.parse(write.token).rev
    assert AuditEvent.objects.filter(realm_name="acme", action="binding.create").latest("seq").revision == head.rev
    with permission_write(acme.realm.name, SYSTEM) as again:
        spec = spec_of(row)
        assert isinstance(spec, BindingSpec)
    assert not again.changed
    assert again.revision == head.rev


def test_of_two_who_make_one_realm_the_second_is_told(acme: Acme) -> None:
    gate = threading.Barrier(2)

    def make() -> None:
        gate.wait(PATIENCE_S)
        realm_create(actor=SYSTEM, spec=RealmSpec("twins"))

    errors = [rival.join().error for rival in [Rival(make), Rival(make)]]
    assert [type(error) for error in errors if error is not None] == [Conflict]
