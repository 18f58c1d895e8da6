"""Maintenance outlives what it is about: Redis killed, the server killed and started again, still on; and off by the API."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from permsite.launcher import Launcher
from tests.permsite.commands import ROOT, Running, run
from tests.permsite.test_site import ask

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

KEY = {"SECRET_KEY": "s3cret-" * 10}
REASON = "new disks"
QUESTION = {"subject": {"type": "user", "id": "alice"}, "action": {"name": "read"}, "resource": {"type": "post", "id": "1"}}
WITHIN_S = 20.0 * float(os.environ.get("CHAOS_FACTOR", "1"))


def manage(folder: Path, *argv: str, **extra: str) -> str:
    env = {"PATH": os.defpath, "PERMSITE_VAR": str(folder), **KEY, **extra}
    return subprocess.run(
        [sys.executable, "manage.py", *argv], cwd=ROOT, env=env, check=True, capture_output=True, text=True
    ).stdout


def address_of(serve: Running) -> str:
    return str(serve.wait_for(r"on (http://127\.0\.0\.1:\d+) with")[1])


def until(status: int, url: str, caller: dict[str, str]) -> str:
    deadline = time.monotonic() + WITHIN_S
    while True:
        found, _, text = ask(f"{url}/access/v1/evaluation", body=QUESTION, **caller)
        if found == status:
            return text
        assert time.monotonic() < deadline, (found, text)
        time.sleep(0.05)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    manage(tmp_path, "migrate", "-v0")
    yield tmp_path, {"Authorization": f"Bearer {manage(tmp_path, 'api_key', 'create', 'ops', '--admin').strip()}"}


def test_it_is_still_on_after_redis_and_the_server_were_killed(site):
    folder, caller = site
    with Launcher() as launcher:
        redis = launcher.redis()
        there = {**KEY, "REDIS_URL": redis.url}
        with run("serve", "--port", "0", "--workers", "2", folder=folder, **there) as serve:
            url = address_of(serve)
            until(200, url, caller)
            body = {"mode": "full", "reason": REASON}
            assert ask(f"{url}/api/v1/maintenance", body=body, method="PUT", **caller)[0] == 200
            # Each request may meet the other worker: both must know.
            for _ in range(10):
                assert REASON in until(503, url, caller)
            os.kill(redis.processes[0].pid, signal.SIGKILL)
            redis.processes[0].wait()
            for _ in range(10):
                assert REASON in until(503, url, caller)
            serve.end(signal.SIGKILL)
        with run("serve", "--port", "0", folder=folder, **there) as serve:
            url = address_of(serve)
            assert REASON in until(503, url, caller)
            for path in ("/healthz", "/readyz", "/admin/login/"):
                assert ask(url + path)[0] == 200, path
            assert ask(f"{url}/api/v1/maintenance", body={"mode": "off"}, method="PUT", **caller)[0] == 200
            until(200, url, caller)
