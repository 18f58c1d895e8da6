"""Real `runcontrol` processes, PostgreSQL, Valkey and a webhook receiver: leaders killed, stores killed, nothing told twice."""

from __future__ import annotations

import hashlib
import hmac
import json
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

from controlplane.alerts import outbox
from permsite.launcher import Launcher, Server
from tests.controlplane.alerts.receivers import Hook, hook_server

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[3]
FACTOR = float(os.environ.get("CHAOS_FACTOR", "1"))
TAKEN_OVER_S = 15.0 * FACTOR
TOLD_S = 30.0 * FACTOR
PATIENCE_S = 60.0 * FACTOR
KEY = "for-tests-only-" + "k" * 50
SECRET = "pswh_of-the-test"
FOR_S = 20
T = TypeVar("T")


class Site:
    def __init__(self, database: Server, store: Server, folder: Path, hook: Hook) -> None:
        self.database, self.store, self.folder, self.hook = database, store, folder, hook
        self.env = {
            "PATH": os.defpath,
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": database.url,
            "REDIS_URL": store.url,
            "SECRET_KEY": KEY,
            "PERMSITE_VAR": str(folder),
            "ALERT_WEBHOOK_ALLOW": "127.0.0.1",
        }
        self.loops: list[subprocess.Popen[bytes]] = []

    def manage(self, *words: str) -> None:
        subprocess.run([sys.executable, "manage.py", *words], cwd=ROOT, env=self.env, check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        with (self.folder / f"log-{len(self.loops)}").open("wb") as log:
            words = [sys.executable, "manage.py", "runcontrol"]
            self.loops.append(subprocess.Popen(words, cwd=ROOT, env=self.env, stdout=log, stderr=log))

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database.url, autocommit=True) as database:
            cursor = database.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def until(self, found: Callable[[], T], within_s: float = PATIENCE_S) -> T:
        deadline = time.monotonic() + within_s
        while not (answer := found()):
            assert time.monotonic() < deadline, "\n".join(p.read_text()[-3000:] for p in sorted(self.folder.glob("log-*")))
            time.sleep(0.1)
        return answer

    def leader(self) -> subprocess.Popen[bytes] | None:
        rows = self.ask("SELECT holder FROM controlplane_looplease")
        pids = [int(holder.split(":")[1]) for (holder,) in rows if holder]
        return next((loop for loop in self.loops if loop.pid in pids and loop.poll() is None), None)

    def rounds_of(self) -> tuple[Any, ...]:
        rows = self.ask("SELECT leader, at FROM controlplane_alertround")
        return rows[0] if rows else ("", None)

    def kill_leader(self) -> float:
        """When it was killed; another evaluates within the bound."""
        leader = self.until(self.leader)
        assert leader is not None
        before = self.rounds_of()[0]
        leader.kill()
        leader.wait()
        at = time.monotonic()
        self.until(lambda: self.rounds_of()[0] != before, TAKEN_OVER_S)
        return at

    def told(self, rule: str) -> list[str]:
        bodies = [json.loads(got.body) for got in list(self.hook.got)]
        return [body["notice"] for body in bodies if body["rule"] == rule]


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    with Launcher() as launcher:
        yield launcher.postgres(), launcher.redis()


@pytest.fixture
def site(servers: tuple[Server, Server], tmp_path: Path, settings: Any) -> Iterator[Site]:
    settings.SECRET_KEY = KEY
    with hook_server() as hook:
        found = Site(*servers, tmp_path, hook)
        found.manage("migrate", "-v0")
        for table in ("looplease", "alertincident", "alertdelivery", "alertround"):
            found.ask(f"DELETE FROM controlplane_{table}")
        found.ask("DELETE FROM controlplane_alerthandler WHERE kind = 'webhook'")
        found.ask("DELETE FROM controlplane_alertrule WHERE name = 'probe'")
        found.ask(
            "INSERT INTO controlplane_alerthandler (name, kind, options, secret, is_enabled, is_default, version, updated_at, "
            "updated_by, last_error) VALUES ('pager', 'webhook', '{}', %s, true, true, 1, now(), 'test', '')",
            outbox.closed(SECRET, {"url": f"{hook.url}/hook"}),
        )
        try:
            yield found
        finally:
            for loop in found.loops:
                loop.kill()
                loop.wait()


def test_leaders_killed_while_an_alert_is_pending_and_while_it_fires_tell_it_once(site: Site) -> None:
    for _ in range(3):
        site.start()
    site.until(lambda: site.rounds_of()[1])
    site.ask(
        "INSERT INTO controlplane_alertrule (name, expr, for_s, severity, labels, handlers, text_en, text_zh, is_enabled, "
        "is_shipped, version, updated_at, updated_by) "
        "VALUES ('probe', 'f.database_up > 0', %s, 'critical', '{}', '[]', '', '', true, false, 1, now(), 'test')",
        FOR_S,
    )
    incident = "SELECT key, state, extract(epoch FROM fired_at - pending_at) FROM controlplane_alertincident WHERE rule = 'probe'"
    site.until(lambda: site.ask(incident))
    [(key, state, _)] = site.ask(incident)
    assert state == "pending"
    site.kill_leader()
    site.until(lambda: site.told("probe"))
    [(same, state, waited_s)] = site.ask(incident)
    assert (same, state) == (key, "firing")
    # Begun anew by the second leader it would have waited for the takeover as well: 8 s at least.
    assert float(waited_s) < FOR_S + 7 * FACTOR
    site.until(lambda: site.ask("SELECT 1 FROM controlplane_alertdelivery WHERE handler = 'pager' AND outcome = 'sent'"))
    site.kill_leader()
    rounds = site.rounds_of()[1]
    site.until(lambda: site.rounds_of()[1] > rounds)
    assert site.told("probe") == ["firing"], "the third leader told it again"
    site.ask("UPDATE controlplane_alertrule SET expr = 'f.database_up > 1' WHERE name = 'probe'")
    site.until(lambda: len(site.told("probe")) == 2)
    assert site.told("probe") == ["firing", "resolved"]
    for got in site.hook.got:
        signed = got.headers["X-Permsite-Timestamp"].encode() + b"." + got.body
        wanted = "v1=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(got.headers["X-Permsite-Signature"], wanted)


def test_a_killed_store_is_told_within_thirty_seconds_and_its_return_too(site: Site) -> None:
    site.start()
    site.start()
    site.until(lambda: site.rounds_of()[1])
    answers = "SELECT results -> 'redis_unreachable' ->> 'result' FROM controlplane_alertround"
    site.until(lambda: site.ask(answers) == [("false",)])
    process = site.store.processes[-1]
    process.kill()
    process.wait()
    site.until(lambda: site.told("redis_unreachable"), TOLD_S)
    folder = site.store.folder
    assert folder is not None
    with (folder / "server.log").open("ab") as log:
        again = subprocess.Popen(process.args, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    site.store.processes.append(again)
    site.until(lambda: len(site.told("redis_unreachable")) == 2)
    assert site.told("redis_unreachable") == ["firing", "resolved"]
    for loop in site.loops:
        loop.send_signal(signal.SIGTERM)
    assert [loop.wait(timeout=60) for loop in site.loops] == [0, 0]


def test_a_leader_without_its_database_tells_of_it_and_stores_it_later(site: Site) -> None:
    site.start()
    site.start()
    site.until(lambda: site.rounds_of()[1])
    answers = "SELECT results -> 'database_unreachable' ->> 'result' FROM controlplane_alertround"
    site.until(lambda: site.ask(answers) == [("false",)])
    process = site.database.processes[-1]
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    try:
        site.until(lambda: site.told("database_unreachable"), TOLD_S)
    finally:
        folder = site.database.folder
        assert folder is not None
        with (folder / "server.log").open("ab") as log:
            again = subprocess.Popen(process.args, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        site.database.processes.append(again)

    def stored() -> bool:
        try:
            rows = site.ask("SELECT state FROM controlplane_alertincident WHERE rule = 'database_unreachable'")
        except psycopg.OperationalError:
            return False
        return rows == [("resolved",)]

    site.until(stored)
    site.until(lambda: len(site.told("database_unreachable")) == 2)
    assert site.told("database_unreachable") == ["firing", "resolved"]
