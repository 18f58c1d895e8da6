"""Real processes: on Redis, a cluster, without either; kill -9 of a worker, of Redis, of the leader; the database gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controlplane.live.redis import RedisStore
from permsite.launcher import Launcher
from tests.permsite.commands import ROOT, run
from tests.permsite.test_launcher import wait_until

KEY = {"SECRET_KEY": "s3cret-" * 10}
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


def prepared(folder: Path, **environment: str) -> str:
    """Migrated; a key that may see and operate."""
    env = {"PATH": os.environ["PATH"], "PERMSITE_VAR": str(folder), **KEY, **environment}
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=env, check=True)
    argv = [sys.executable, "manage.py", "api_key", "create", "live", "--admin"]
    return subprocess.run(argv, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("live")
    return folder, prepared(folder)


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    with Launcher() as found:
        yield found


class Watched:
    """A site over HTTP. `seen`: every status that was read."""

    def __init__(self, address: str, key: str) -> None:
        self.address, self.key = address, key
        self.seen: list[dict[str, Any]] = []

    def read(self, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/api/v1/{path}", data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def change(self, path: str, body: Any) -> None:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}/api/v1/{path}", json.dumps(body).encode(), headers, method="PUT")
        with urllib.request.urlopen(request, timeout=30):
            pass

    def status(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.read("system/status")
        except OSError:
            return {"live": False, "status": "none"}
        self.seen.append(found)
        return found

    def ask(self, number: int = 20) -> None:
        for _ in range(number):
            self.read("check", {"subject": "user:nobody", "permission": "post:edit"})

    def until(self, condition: Callable[[dict[str, Any]], bool], why: str) -> dict[str, Any]:
        def holds() -> bool:
            return condition(self.status())

        assert wait_until(holds, 60), (why, self.seen[-3:])
        return self.seen[-1]

    def nodes(self) -> dict[int, dict[str, Any]]:
        return {node["pid"]: node for node in self.read("system/performance?window=live")["slowest"]}

    def assert_no_rate_was_negative(self) -> None:
        rates = [value for one in self.seen for name, value in one.items() if name.endswith("_per_s") and value is not None]
        assert rates and all(rate >= 0 for rate in rates)


def serving(folder: Path, key: str, **environment: str) -> Any:
    return run("serve", "--port", "0", "--workers", "2", "--no-jobs", folder=folder, **KEY, **environment)


def watched(serve: Any, key: str) -> Watched:
    return Watched(serve.wait_for(r"on (http://127\.0\.0\.1:\d+) with")[1], key)


@pytest.mark.cluster
@pytest.mark.parametrize("store", ["none", "redis", "cluster"])
def test_every_worker_is_seen_and_its_checks_are_counted(site: tuple[Path, str], launcher: Launcher, store: str) -> None:
    folder, key = site
    environment = {}
    if store != "none":
        environment["REDIS_URL"] = (launcher.cluster() if store == "cluster" else launcher.redis()).url
    with serving(folder, key, **environment) as serve:
        site_ = watched(serve, key)
        # The supervisor with the loop, and both workers.
        site_.until(lambda found: found["live"] and found.get("nodes") == 3, "three processes")
        site_.ask()
        site_.until(lambda found: (found.get("checks_per_s") or 0) > 0 or _asked(site_), "its checks")
        assert site_.seen[-1]["status"] == "ok"
        assert {node["kind"] for node in site_.nodes().values()} == {"server", "loop"}
        found = site_.read("system/events?kind=event&type=loop.")
        assert [event["name"] for event in found["events"]][:1] == ["loop.led"]
        # The loop's process too lives by the configuration: else it told of no maintenance, and counted as behind for ever.
        site_.change("maintenance", {"mode": "read_only", "reason": f"while {store} is tried"})
        site_.until(lambda found: found.get("maintenance") == "read_only" and found.get("config_behind") == 0, "maintenance")
        site_.change("maintenance", {"mode": "off", "reason": "done"})
        site_.until(lambda found: found.get("maintenance") == "off" and found["status"] == "ok", "its end")
        serve.end(signal.SIGTERM)
        assert not any("Traceback" in line for line in serve.printed), serve.printed


def _asked(site: Watched) -> bool:
    site.ask(5)
    return False


def test_a_killed_worker_leaves_the_figures_and_its_successor_joins_them(site: tuple[Path, str], launcher: Launcher) -> None:
    folder, key = site
    with serving(folder, key, REDIS_URL=launcher.redis().url) as serve:
        site_ = watched(serve, key)
        site_.until(lambda found: found["live"] and found.get("nodes") == 3, "three processes")
        site_.ask(50)

        def servers() -> list[int]:
            return [pid for pid, node in site_.nodes().items() if node["kind"] == "server"]

        assert wait_until(lambda: len(servers()) == 2, 30), site_.nodes()
        before = servers()
        os.kill(before[0], signal.SIGKILL)

        def is_replaced() -> bool:
            site_.status()
            try:
                site_.ask(3)
                servers = {pid for pid, node in site_.nodes().items() if node["kind"] == "server" and not node["late"]}
            except OSError:
                return False
            return before[0] not in servers and before[1] in servers and len(servers) == 2

        assert wait_until(is_replaced, 60), site_.nodes()
        site_.assert_no_rate_was_negative()
        serve.end(signal.SIGTERM)


def test_redis_may_die_and_come_back_while_people_look(site: tuple[Path, str], launcher: Launcher, tmp_path: Path) -> None:
    folder, key = site
    server = launcher.redis(folder=tmp_path / "kv")
    with serving(folder, key, REDIS_URL=server.url) as serve:
        site_ = watched(serve, key)
        site_.until(lambda found: found["live"] and found.get("nodes") == 3 and found["status"] == "ok", "all well")
        server.processes[0].kill()
        server.processes[0].wait()
        # By way of the rows: live still, and told as what it is.
        site_.until(lambda found: found["live"] and found["status"] == "degraded" and found["nodes"] == 3, "live without Redis")
        names = {event["name"] for event in site_.read("system/events?kind=event")["events"]}
        assert "storage.down" in names or wait_until(
            lambda: "storage.down" in {e["name"] for e in site_.read("system/events?kind=event")["events"]}, 30
        )
        again = launcher.redis(folder=tmp_path / "kv")
        assert again.url == server.url
        site_.until(lambda found: found["live"] and found["status"] == "ok" and found["nodes"] == 3, "all well again")
        site_.assert_no_rate_was_negative()
        serve.end(signal.SIGTERM)


def test_when_the_leader_is_killed_another_makes_the_frames(site: tuple[Path, str], launcher: Launcher) -> None:
    folder, _ = site
    url = launcher.redis().url
    store = RedisStore(url)
    with run("runcontrol", folder=folder, REDIS_URL=url, **KEY) as one:
        one.wait_for("The control loop runs as")
        assert wait_until(lambda: bool(newest(store)), 60)
        with run("runcontrol", folder=folder, REDIS_URL=url, **KEY) as two:
            two.wait_for("The control loop runs as")
            first = newest(store)
            one.process.send_signal(signal.SIGKILL)
            assert wait_until(lambda: newest(store).get("fence", 0) > first["fence"], 60)
            assert newest(store)["leader"] != first["leader"]
            two.end(signal.SIGTERM)
    store.close()


def test_the_last_leader_goes_on_without_the_database(tmp_path: Path, launcher: Launcher) -> None:
    database, url = launcher.postgres(), launcher.redis().url
    prepared(tmp_path, DATABASE_URL=database.url)
    store = RedisStore(url)
    with run("runcontrol", folder=tmp_path, REDIS_URL=url, DATABASE_URL=database.url, **KEY) as loop:
        loop.wait_for("The control loop runs as")
        assert wait_until(lambda: newest(store).get("database_up") == 1, 60)
        first = newest(store)
        database.processes[0].send_signal(signal.SIGQUIT)
        database.processes[0].wait()
        assert wait_until(lambda: newest(store).get("database_up") == 0, 60)
        since = newest(store)["seq"]
        assert wait_until(lambda: newest(store)["seq"] >= since + 8, 60)
        assert newest(store)["fence"] == first["fence"] and newest(store)["state"] == "down"
        loop.end(signal.SIGTERM)
    store.close()


def newest(store: RedisStore) -> dict[str, Any]:
    frames = store.frames(30.0)
    return msgspec.json.decode(frames[-1]) if frames else {}
