"""The two places where the fence is proven: where a run is taken, and in the transaction of what it writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from django.db.models.functions import Now

from controlplane.jobs import importing, runner, service
from controlplane.jobs.context import Context, Lost
from permissions.models import AuditEvent, Realm, Role
from tests.controlplane.jobs.conftest import PATIENCE_S, ROOT, Door

pytestmark = pytest.mark.django_db(transaction=True)
BUNDLE = "version: 1\nrealm: default\nroles: [{name: fenced}]"


def test_of_two_that_saw_a_run_wait_one_takes_it(
    realm: Realm, door: Door, attempts: Callable[..., Future[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    both, met = threading.Barrier(2), threading.local()

    def now() -> Now:
        # Called once the run was read, before it is taken: here each waits for the other to have read it too.
        if not getattr(met, "yes", False):
            met.yes = True
            if threading.current_thread().name != "job-heartbeat":
                both.wait(PATIENCE_S)
        return Now()

    run = service.start("stands", actor=ROOT)
    monkeypatch.setattr(runner, "Now", now)
    made = [attempts(run.id) for _ in range(2)]
    assert door.entered.wait(PATIENCE_S)
    door.opened.set()
    assert sorted(future.result(PATIENCE_S) for future in made) == ["", "done"]
    assert door.most == 1


def context(finish: Callable[[dict[str, Any]], None]) -> Context:
    given = importing.arguments({"bundle": BUNDLE})
    return Context("run", 1, arguments=given, actor=ROOT, reason="", request_id="", key="", finish=finish)


def test_an_import_whose_run_is_anothers_by_now_leaves_nothing(realm: Realm) -> None:
    def lost(result: dict[str, Any]) -> None:
        assert Role.objects.filter(name="fenced").exists()  # it is written, and not yet committed
        raise Lost

    with pytest.raises(Lost):
        importing.work(context(lost))
    assert not Role.objects.filter(name="fenced").exists()
    assert not AuditEvent.objects.filter(object_id="fenced").exists()


def test_an_import_that_holds_the_only_write_lock_goes_on_though_its_heart_cannot_beat(realm: Realm) -> None:
    ended: list[dict[str, Any]] = []
    silent = context(ended.append)
    silent.silent.set()
    with pytest.raises(Lost):
        silent.check()
    importing.work(silent)
    assert ended[0]["changes"] == 1 and Role.objects.filter(name="fenced").exists()
