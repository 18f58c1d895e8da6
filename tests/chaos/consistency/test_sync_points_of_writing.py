"""A writer stopped between lock and first write, and between commit and news: the same on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from permissions import pdp
from permissions.bundle.specs import BindingSpec
from permissions.models import Realm, RoleBinding
from permissions.services.bindings import binding_create, binding_delete
from permissions.writing import SYSTEM, permission_write
from tests.cast import CHANNEL, assemble
from tests.chaos.consistency.test_sync_points import WAIT_S, Stop

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]
QUESTION = ("user:charlie", "channel:read", CHANNEL)


@pytest.fixture
def realm() -> Realm:
    return assemble().realm


class Beside:
    """Work in a thread with a connection of its own; `result` waits for it."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._found: list[Any] = []
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(work,))
        self._thread.start()

    def _run(self, work: Callable[[], object]) -> None:
        try:
            self._found.append(work())
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            self._errors.append(error)
        finally:
            connection.close()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> Any:
        self._thread.join(WAIT_S)
        assert self.is_over
        if self._errors:
            raise self._errors[0]
        return self._found[0]


def grant(realm: Realm) -> str:
    with permission_write(realm, SYSTEM) as write:
        binding_create(actor=SYSTEM, realm=realm, spec=BindingSpec("user:charlie", allow=("channel:read",), scope=CHANNEL))
    return write.token


def revoke(realm: Realm) -> tuple[int, str]:
    with permission_write(realm, SYSTEM) as write:
        found = list(RoleBinding.objects.filter(realm=write.realm, subject__ref="user:charlie").values_list("pk", flat=True))
        for pk in found:
            binding_delete(actor=SYSTEM, realm=realm, binding_id=pk)
    return len(found), write.token


def test_a_revoke_that_waited_for_the_lock_removes_what_was_granted_meanwhile(realm):
    with Stop("write.locked") as stop:
        granting = Beside(lambda: grant(realm))
        stop.wait()
        revoking = Beside(lambda: revoke(realm))
        revoking._thread.join(0.2)
        assert not revoking.is_over, "the lock is taken before anything is read"
    granted = granting.result()
    removed, token = revoking.result()
    assert removed == 1
    assert isinstance(granted, str)
    assert not pdp.check(*QUESTION, token=token)
    assert not pdp.check(*QUESTION, token=granted)
    assert not RoleBinding.objects.filter(subject__ref="user:charlie").exists()


def test_a_commit_of_which_nobody_was_told_is_seen_by_who_asks_the_head(realm):
    assert not pdp.check(*QUESTION)
    with Stop("write.committed") as stop:
        granting = Beside(lambda: grant(realm))
        stop.wait()
        before = pdp.check(*QUESTION)
        newest = pdp.check(*QUESTION, full=True)
        assert newest
        assert newest.revision == before.revision + (0 if before else 1)
    assert pdp.check(*QUESTION, token=granting.result())
    assert pdp.check(*QUESTION), "the writer's process sees its own write at once"


def test_a_check_beside_an_open_write_sees_nothing_of_it(realm):
    held = pdp.check(*QUESTION)
    with permission_write(realm, SYSTEM):
        binding_create(actor=SYSTEM, realm=realm, spec=BindingSpec("user:charlie", allow=("channel:read",), scope=CHANNEL))
        assert pdp.check(*QUESTION), "in the transaction itself it is asked live"
        other = Beside(lambda: pdp.check(*QUESTION, full=True)).result()
        assert not other
        assert other.revision == held.revision
    assert pdp.check(*QUESTION)
