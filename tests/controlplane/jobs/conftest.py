"""Kinds that stand still until they are told, a worker of the test's own, and threads that are waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django_tasks_db.models import DBTaskResult

from controlplane.jobs import kinds, runner
from controlplane.jobs.context import Context
from controlplane.jobs.kinds import Kind
from permissions.models import Realm
from permissions.writing import Actor

PATIENCE_S = 30.0
ROOT = Actor("command", "command:test", administrator=True)


@pytest.fixture
def realm(transactional_db: None) -> Realm:
    return Realm.objects.get_or_create(name="default")[0]


class Door:
    """A job of the kind `stands` goes through only while it is open; `inside` counts the attempts that stand in it."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Event()
        self.inside = 0
        self.most = 0
        self._lock = threading.Lock()

    def work(self, context: Context) -> dict[str, Any]:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        context.log("stands at the door")
        self.entered.set()
        try:
            context.progress(1, 2, "half")
            while not self.opened.wait(0.01):
                context.check()
        finally:
            with self._lock:
                self.inside -= 1
        return {"through": True}


def of(name: str, work: Callable[[Context], dict[str, Any]], **more: Any) -> Kind:
    return Kind(name, name, "", work, dict, lambda actor, arguments: None, **more)


@pytest.fixture
def door() -> Iterator[Door]:
    found = Door()
    kinds.register(of("stands", found.work, slot=lambda given: str(given.get("slot", ""))))
    kinds.register(of("once", found.work, again=False))
    yield found
    found.opened.set()
    kinds.unregister("stands")
    kinds.unregister("once")


@pytest.fixture
def attempts() -> Iterator[Callable[..., Future[str]]]:
    """Makes an attempt in a thread of its own, with a connection of its own; the threads are waited for."""
    pool = ThreadPoolExecutor(max_workers=8)

    def begin(run_id: UUID, worker: runner.Worker | None = None, **paces: float) -> Future[str]:
        def make() -> str:
            try:
                runner.working.set(worker)
                return runner.attempt(run_id, **({"beat_s": 0.02} | paces))
            finally:
                connection.close()

        return pool.submit(make)

    yield begin
    pool.shutdown(wait=True)


def queued(status: str = "READY") -> int:
    return DBTaskResult.objects.filter(status=status).count()
