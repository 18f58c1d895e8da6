"""Real candidates on a real PostgreSQL: killed, frozen, cut off from their database. One leads, and no two act at once.

One test waits for a lease of the length it has in a site; the others' candidates have one of three seconds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from controlplane.loop.lease import LEASE_S
from permsite.launcher import Launcher, Server

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[3]
WORKER = Path(__file__).with_name("worker.py")
FACTOR = float(os.environ.get("CHAOS_FACTOR", "1"))
TAKEN_OVER_S = 15.0 * FACTOR
SHORT_S = 3.0
PATIENCE_S = 60.0 * FACTOR
MARKS = """
CREATE TABLE loop_marks (
  id bigserial PRIMARY KEY, fence bigint, pid int, number int, at timestamptz DEFAULT clock_timestamp())
"""
T = TypeVar("T")


class Site:
    """One database and the candidates on it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.env = environment(server, folder)
        self.candidates: list[subprocess.Popen[bytes]] = []

    def start(self, *options: str, lease_s: float = SHORT_S) -> subprocess.Popen[bytes]:
        log = (self.folder / f"log-{len(self.candidates)}").open("wb")
        with log:
            process = subprocess.Popen(
                [sys.executable, WORKER, self.folder, str(lease_s), *options], cwd=ROOT, env=self.env, stdout=log, stderr=log
            )
        self.candidates.append(process)
        return process

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.server.url, autocommit=True) as database:
            return database.execute(sql, values).fetchall()

    def marks_of(self, process: subprocess.Popen[bytes]) -> int:
        return int(self.ask("SELECT count(*) FROM loop_marks WHERE pid = %s", process.pid)[0][0])

    def acts(self, process: subprocess.Popen[bytes]) -> None:
        """Waits until it has acted once more."""
        before = self.marks_of(process)
        self.until(lambda: self.marks_of(process) > before)

    def until(self, found: Callable[[], T], *, within_s: float = PATIENCE_S) -> T:
        deadline = time.monotonic() + within_s
        while not (answer := found()):
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.05)
        return answer

    def freeze(self, where: str) -> subprocess.Popen[bytes]:
        """Has whoever leads freeze there."""
        (self.folder / where).touch()

        def frozen() -> list[subprocess.Popen[bytes]]:
            return [p for p in self.candidates if (self.folder / f"frozen-{p.pid}").exists() and state_of(p) == "T"]

        return self.until(frozen)[0]

    def log_of(self, process: subprocess.Popen[bytes]) -> str:
        return (self.folder / f"log-{self.candidates.index(process)}").read_text()

    def stop_database(self) -> None:
        process = self.server.processes[-1]
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)

    def start_database(self) -> None:
        assert self.server.folder is not None
        with (self.server.folder / "server.log").open("ab") as log:
            again = subprocess.Popen(
                self.server.processes[-1].args, cwd=self.server.folder, stdout=log, stderr=log, start_new_session=True
            )
        self.server.processes.append(again)
        self.until(self.database_answers)

    def database_answers(self) -> bool:
        try:
            self.ask("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("log-*")))

    def out_of_order(self) -> list[tuple[Any, ...]]:
        """Acts under an older fence than one before, and repeated or skipped steps of the cursor."""
        return self.ask(
            "SELECT * FROM (SELECT id, fence, pid, number, max(fence) OVER (ORDER BY id) AS newest, "
            "row_number() OVER (ORDER BY id) AS should FROM loop_marks) m WHERE fence < newest OR number <> should"
        )


def state_of(process: subprocess.Popen[bytes]) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


def environment(server: Server, folder: Path) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": server.url,
        "SECRET_KEY": "for-tests-only-" + "k" * 50,
        "PERMSITE_VAR": str(folder),
    }


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Of this module alone: it is stopped and started."""
    with Launcher() as launcher:
        server = launcher.postgres()
        env = environment(server, tmp_path_factory.mktemp("var"))
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=env, check=True)
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(MARKS)
        yield server


@pytest.fixture
def site(database: Server, tmp_path: Path) -> Iterator[Site]:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("TRUNCATE loop_marks RESTART IDENTITY")
        connection.execute("DELETE FROM controlplane_looplease")
    found = Site(database, tmp_path)
    try:
        yield found
    finally:
        for process in found.candidates:
            process.kill()
            process.wait()


def test_a_killed_leader_is_replaced_and_its_work_goes_on_where_it_was(site):
    first = site.start(lease_s=LEASE_S)
    site.acts(first)
    second = site.start(lease_s=LEASE_S)
    first.kill()
    first.wait()
    site.until(lambda: site.marks_of(second), within_s=TAKEN_OVER_S)
    site.acts(second)
    assert site.out_of_order() == []


def test_a_leader_that_ends_lets_another_take_over_without_waiting_for_the_lease(site):
    first = site.start(lease_s=LEASE_S)
    site.acts(first)
    second = site.start(lease_s=LEASE_S)
    site.until(lambda: "stands by" in site.logs())
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=30) == 0
    site.acts(second)
    # By the database's clock, between the last act of one and the first of the other: a lease that ran out would be 7 s at least.
    gap = site.ask(
        "SELECT extract(epoch FROM min(at) FILTER (WHERE pid = %s) - max(at) FILTER (WHERE pid <> %s)) FROM loop_marks",
        second.pid,
        second.pid,
    )
    assert gap[0][0] < 6 * FACTOR
    assert site.out_of_order() == []


@pytest.mark.parametrize("where", ["before", "inside"])
def test_a_leader_that_was_frozen_past_its_lease_writes_nothing_when_it_goes_on(site, where):
    """Frozen before its transaction, when memory still says that it leads; or inside, with the lease's row locked."""
    candidates = [site.start(), site.start()]
    site.until(lambda: "stands by" in site.logs())
    first = site.freeze(where)
    second = next(process for process in candidates if process is not first)
    before, lost = site.marks_of(first), site.log_of(first).count("no longer")
    site.acts(second)
    first.send_signal(signal.SIGCONT)
    site.until(lambda: site.log_of(first).count("no longer") > lost)
    site.acts(second)
    assert site.marks_of(first) == before
    assert site.out_of_order() == []
    # It stands by, as good as any: with the other gone it leads again.
    second.send_signal(signal.SIGTERM)
    site.acts(first)
    assert site.out_of_order() == []


@pytest.mark.long
def test_without_the_fence_the_frozen_leader_would_have_acted(site):
    """The planted fault: the proof above can fail."""
    candidates = [site.start("unfenced"), site.start("unfenced")]
    first = site.freeze("before")
    before = site.marks_of(first)
    site.acts(next(process for process in candidates if process is not first))
    first.send_signal(signal.SIGCONT)
    site.until(lambda: site.marks_of(first) > before)
    assert site.out_of_order() != []


def test_it_survives_a_database_that_goes_and_comes_back(site):
    candidates = [site.start(), site.start()]
    site.until(lambda: site.ask("SELECT count(*) FROM loop_marks")[0][0])
    site.stop_database()
    site.until(lambda: site.logs().count("the database does not answer") >= 2)
    site.start_database()
    before = site.ask("SELECT count(*) FROM loop_marks")[0][0]
    site.until(lambda: site.ask("SELECT count(*) FROM loop_marks")[0][0] > before, within_s=TAKEN_OVER_S)
    assert [process.poll() for process in candidates] == [None, None]
    assert site.out_of_order() == []


def test_of_four_whose_leader_is_frozen_and_killed_at_random_no_two_ever_act_at_once(site):
    processes = [site.start() for _ in range(4)]
    for how in (signal.SIGSTOP, signal.SIGKILL):
        site.until(lambda: site.ask("SELECT pid FROM loop_marks WHERE at > clock_timestamp() - interval '1 s' LIMIT 1"))
        leads = site.ask("SELECT pid FROM loop_marks ORDER BY id DESC LIMIT 1")[0][0]
        process = next(p for p in processes if p.pid == leads)
        newest = site.ask("SELECT max(fence) FROM loop_marks")[0][0]
        process.send_signal(how)
        site.until(lambda seen=newest: site.ask("SELECT max(fence) FROM loop_marks")[0][0] > seen, within_s=TAKEN_OVER_S)
        process.send_signal(signal.SIGCONT)
    assert site.out_of_order() == []
