"""Real workers: killed in the middle of a job, frozen and woken, told to end; and the one that `serve` has beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from django.conf import settings
from django.db import connection

from controlplane.jobs import kinds, service
from controlplane.loop.jobs import Reclaim
from controlplane.loop.leader import Leader
from controlplane.models import OperationRun
from permissions.models import Realm
from tests.controlplane.jobs.conftest import ROOT as ACTOR
from tests.controlplane.jobs.conftest import of
from tests.permsite.commands import ROOT, run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180), pytest.mark.chaos]
WORKER = Path(__file__).with_name("worker.py")
PATIENCE_S = 60.0
# A worker beats once a second.
LOST_S = 6.0
T = TypeVar("T")


def url() -> str:
    given = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{given['NAME']}"
    return f"postgresql://{given['USER']}@/{given['NAME']}?host={given['HOST']}&port={given['PORT'] or ''}"


def environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": url(),
        "SECRET_KEY": settings.SECRET_KEY,
        "PERMSITE_VAR": str(folder),
    }


def until(found: Callable[[], T]) -> T:
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return answer


class Workers:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, WORKER, self.folder, *options], cwd=ROOT, env=environment(self.folder))
        self.started.append(process)
        return process

    def inside(self, process: subprocess.Popen[bytes]) -> None:
        until((self.folder / f"inside-{process.pid}").exists)

    def open(self) -> None:
        (self.folder / "open").touch()


@pytest.fixture
def workers(realm: Realm, tmp_path: Path) -> Iterator[Workers]:
    kinds.register(of("stands", lambda context: {}))
    found = Workers(tmp_path)
    yield found
    kinds.unregister("stands")
    for process in found.started:
        process.kill()
        process.wait()


def state_of(job: OperationRun) -> str:
    job.refresh_from_db()
    return job.state


def reclaimed(job: OperationRun) -> bool:
    assert Leader([Reclaim(lost_s=LOST_S)]).once()
    return state_of(job) != "running"


def test_a_job_whose_worker_is_killed_is_made_by_another(workers: Workers) -> None:
    job = service.start("stands", actor=ACTOR)
    first = workers.start()
    workers.inside(first)
    assert not reclaimed(job)  # its heart beats
    first.kill()
    until(lambda: reclaimed(job))
    assert state_of(job) == "waiting" and any("lost" in text for _, text in job.log)
    workers.open()
    second = workers.start()
    until(lambda: state_of(job) == "done")
    assert job.result == {"by": second.pid}


def test_a_frozen_worker_that_wakes_after_its_job_was_given_away_changes_nothing(workers: Workers) -> None:
    job = service.start("stands", actor=ACTOR)
    first = workers.start()
    workers.inside(first)
    first.send_signal(signal.SIGSTOP)
    until(lambda: reclaimed(job))
    workers.open()
    second = workers.start()
    until(lambda: state_of(job) == "done")
    ended: Any = (job.result, job.ended_at, job.worker)
    first.send_signal(signal.SIGCONT)
    # It finds its run another's, and goes on working: the next job is made by one of the two.
    again = service.start("stands", actor=ACTOR)
    until(lambda: state_of(again) == "done")
    first.terminate()
    assert first.wait(PATIENCE_S) == 0
    job.refresh_from_db()
    assert (job.result, job.ended_at, job.worker) == ended and ended[0] == {"by": second.pid}


def test_a_worker_that_is_told_to_end_puts_its_job_back_and_ends_within_its_grace(workers: Workers) -> None:
    job = service.start("stands", actor=ACTOR)
    first = workers.start()
    workers.inside(first)
    first.terminate()
    assert first.wait(PATIENCE_S) == 0
    assert state_of(job) == "waiting" and job.log[-1][1] == "the worker was stopped"


def test_serve_has_a_worker_beside_it_that_is_replaced_when_it_dies_and_ends_with_the_server(
    realm: Realm, tmp_path: Path
) -> None:
    with run("serve", "--port", "0", folder=tmp_path, **environment(tmp_path)) as server:
        server.wait_for("Serving")
        job = service.start("verify_audit", actor=ACTOR)
        until(lambda: state_of(job) == "done")
        pid = int(job.worker.split(":")[1])
        assert pid != server.process.pid
        os.kill(pid, signal.SIGKILL)
        server.wait_for("another follows")
        again = service.start("verify_audit", actor=ACTOR)
        until(lambda: state_of(again) == "done")
        other = int(again.worker.split(":")[1])
        assert other not in (pid, server.process.pid)
        assert server.end(signal.SIGTERM) == 0
        until(lambda: not Path(f"/proc/{other}").exists())


def test_a_worker_never_outlives_its_server(realm: Realm, tmp_path: Path) -> None:
    with run("serve", "--port", "0", folder=tmp_path, **environment(tmp_path)) as server:
        server.wait_for("Serving")
        job = service.start("verify_audit", actor=ACTOR)
        until(lambda: state_of(job) == "done")
        pid = int(job.worker.split(":")[1])
        server.process.kill()
        until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2])


def test_runjobs_once_makes_what_waits(realm: Realm, tmp_path: Path) -> None:
    job = service.start("verify_audit", actor=ACTOR)
    with run("runjobs", "--once", folder=tmp_path, **environment(tmp_path)) as command:
        command.wait_for("Looked at 1 place in the queue")
    assert state_of(job) == "done" and (job.result or {})["ok"] is True
