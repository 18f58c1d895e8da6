"""Two server processes over one database: a revoke in one is refused by the other; and what a database gone does to both."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from permsite.launcher import Launcher, Server
from tests.chaos.test_maintenance_survives import KEY, WITHIN_S, address_of, manage, until
from tests.permsite.commands import run
from tests.permsite.test_site import ask

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

BUNDLE = """
version: 1
roles: [{name: editor, permissions: ["post:edit"]}]
subjects: [{id: "user:alice"}, {id: "user:charlie"}]
"""
BINDING = {"subject": "user:alice", "role": "editor"}
QUESTION = {"subject": {"type": "user", "id": "alice"}, "action": {"name": "edit"}, "resource": {"type": "post", "id": "7"}}
BOUND_S = 0.5
TOKEN = "X-Permission-Token"


@dataclass
class Pair:
    """Two server processes, their caller, and the servers below them."""

    urls: tuple[str, str]
    caller: dict[str, str]
    database: Server
    redis: Server | None

    def decide(self, place: int, **headers: str) -> bool:
        status, _, text = ask(f"{self.urls[place]}/access/v1/evaluation", body=QUESTION, **self.caller, **headers)
        assert status == 200, text
        return '"decision":true' in text.replace(" ", "")

    def grant(self) -> str:
        """The new binding's id."""
        status, _, text = ask(f"{self.urls[0]}/api/v1/bindings/", body=BINDING, **self.caller)
        assert status == 201, text
        return str(json.loads(text)["id"])

    def revoke(self, binding: str) -> str:
        """The token of the revoke."""
        status, headers, text = ask(f"{self.urls[0]}/api/v1/bindings/{binding}/", method="DELETE", **self.caller)
        assert status in {200, 204}, text
        return str(headers[TOKEN])


@dataclass
class Site:
    """A database with the model in it, and what a process needs to serve it."""

    database: Server
    there: dict[str, str]
    caller: dict[str, str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with Launcher() as launcher:
        database = launcher.postgres()
        there = {**KEY, "DATABASE_URL": database.url}
        manage(folder, "migrate", "-v0", **there)
        bundle = folder / "bundle.yaml"
        bundle.write_text(BUNDLE)
        manage(folder, "apply", str(bundle), **there)
        key = manage(folder, "api_key", "create", "ops", "--admin", **there).strip()
        yield Site(database, there, {"Authorization": f"Bearer {key}"})


@pytest.fixture(params=["with redis", "without redis", "redis gone from the start"])
def pair(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Iterator[Pair]:
    with Launcher() as launcher, ExitStack() as stack:
        there = dict(site.there)
        redis = None
        if request.param != "without redis":
            redis = launcher.redis()
            there["REDIS_URL"] = redis.url
        if request.param == "redis gone from the start":
            assert redis is not None
            os.kill(redis.processes[0].pid, signal.SIGKILL)
            redis.processes[0].wait()
        servers = [stack.enter_context(run("serve", "--port", "0", folder=tmp_path, **there)) for _ in range(2)]
        first, second = (address_of(server) for server in servers)
        pair = Pair((first, second), site.caller, site.database, redis)
        for url in pair.urls:
            until(200, url, site.caller)
        yield pair


def test_a_revoke_in_one_is_refused_by_the_other(pair: Pair) -> None:
    for _ in range(5):
        binding = pair.grant()
        begun = time.monotonic()
        while not pair.decide(1):
            assert time.monotonic() - begun < WITHIN_S
        assert pair.decide(1), "the grant is warm in the other process"
        token = pair.revoke(binding)
        assert not pair.decide(1, **{TOKEN: token}), "with the token at once"
        binding = pair.grant()
        begun = time.monotonic()
        while not pair.decide(1):
            assert time.monotonic() - begun < WITHIN_S
        pair.revoke(binding)
        answered = time.monotonic()
        while time.monotonic() - answered <= BOUND_S:
            pair.decide(1)
        assert not pair.decide(1), "without one within the bound"


def family(pid: int) -> list[int]:
    """The process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def evaluation(pair: Pair, place: int) -> tuple[int, Any]:
    status, headers, _ = ask(f"{pair.urls[place]}/access/v1/evaluation", body=QUESTION, **pair.caller)
    return status, headers


@pytest.mark.parametrize("pair", ["without redis"], indirect=True)
def test_a_database_gone_longer_than_the_bound_fails_closed_and_comes_back_by_itself(pair: Pair) -> None:
    binding = pair.grant()
    begun = time.monotonic()
    while not pair.decide(1):
        assert time.monotonic() - begun < WITHIN_S
    stopped_too = family(pair.database.processes[0].pid)
    for pid in stopped_too:
        os.kill(pid, signal.SIGSTOP)
    try:
        stopped = time.monotonic()
        while time.monotonic() - stopped <= BOUND_S:
            time.sleep(0.01)
        for place in (0, 1):
            status, headers = evaluation(pair, place)
            assert status == 503
            assert int(headers["Retry-After"]) >= 1
    finally:
        for pid in stopped_too:
            os.kill(pid, signal.SIGCONT)
    back = time.monotonic()
    while evaluation(pair, 1)[0] != 200:
        assert time.monotonic() - back < 3.0 + WITHIN_S / 20, "it serves again by itself within three seconds"
        time.sleep(0.02)
    pair.revoke(binding)
