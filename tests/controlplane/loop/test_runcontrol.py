"""`manage.py runcontrol`, and the loop that runs beside a server, each as a process of its own."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.permsite.commands import ROOT, Running, run

pytestmark = pytest.mark.timeout(180)

KEY = {"SECRET_KEY": "s3cret-" * 10}
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("migrated")
    assert manage(folder, "migrate", "-v0").returncode == 0
    return folder


@pytest.fixture
def folder(migrated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(migrated, tmp_path / "site"))


def manage(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.defpath, "PERMSITE_VAR": str(folder), **KEY}
    return subprocess.run([sys.executable, "manage.py", *argv], cwd=ROOT, env=env, check=False, capture_output=True, text=True)


@contextlib.contextmanager
def database(folder: Path) -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(folder / "permsite.sqlite3", timeout=30)
    try:
        with opened:
            yield opened
    finally:
        opened.close()


def ask(folder: Path, sql: str) -> Any:
    with database(folder) as opened:
        return opened.execute(sql).fetchone()[0]


def until(found: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def holder(folder: Path) -> str:
    return str(ask(folder, "SELECT holder FROM controlplane_looplease"))


def make_old(folder: Path) -> None:
    """As after 300,000 revisions, of which the first two are two days old."""
    with database(folder) as opened:
        opened.execute("UPDATE permissions_realm SET rev = rev + 300000")
        opened.execute(
            "INSERT INTO permissions_changelog SELECT realm_id, rev + 1, kind, object_id, stamp, at FROM permissions_changelog"
        )
        opened.execute("UPDATE permissions_changelog SET at = '2020-01-01 00:00:00.000000' WHERE rev <= 2")
    assert oldest(folder) == 1


def oldest(folder: Path) -> Any:
    return ask(folder, "SELECT min(rev) FROM permissions_changelog")


def end_a_role(folder: Path) -> None:
    soon = (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)).strftime("%Y-%m-%d %H:%M:%S.%f")
    role = "INSERT INTO permissions_role (realm_id, name, title, description, obligations, valid_until)"
    with database(folder) as opened:
        opened.execute(f"{role} SELECT id, 'guest', '', '', '[]', ? FROM permissions_realm", [soon])


def test_once_does_everything_and_ends(folder):
    make_old(folder)
    done = manage(folder, "runcontrol", "--once")
    assert (done.returncode, done.stdout) == (0, "Every task has been run.\n"), done.stderr
    assert oldest(folder) is None and holder(folder) == ""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_leads_until_it_is_told_to_end(folder, how):
    with run("runcontrol", folder=folder, **KEY) as loop:
        name = loop.wait_for(r"The control loop runs as (\S+)\.$")[1]
        loop.wait_for('"leads the control loop"')
        assert holder(folder) == name
        assert loop.end(how) == 0
        loop.wait_for("The control loop has ended.")
    assert holder(folder) == ""


def test_of_two_one_leads_and_the_other_takes_over_when_it_ends(folder):
    with run("runcontrol", folder=folder, **KEY) as first:
        first.wait_for('"leads the control loop"')
        with run("runcontrol", folder=folder, **KEY) as second:
            second.wait_for("stands by: another process leads")
            done = manage(folder, "runcontrol", "--once")
            assert done.returncode == 0 and "Nothing was done" in done.stdout and holder(folder) in done.stdout
            first.end(signal.SIGTERM)
            second.wait_for('"leads the control loop"')
            make_old(folder)
            end_a_role(folder)
            second.wait_for('"has ended: role guest"')
            second.end(signal.SIGTERM)


def test_before_migrate_it_waits_and_once_says_what_to_do(tmp_path):
    done = manage(tmp_path, "runcontrol", "--once")
    assert done.returncode == 1 and re.search(r"no such table: .*has migrate been run\?", done.stderr)
    with run("runcontrol", folder=tmp_path, **KEY) as loop:
        loop.wait_for("the database does not answer")
        assert manage(tmp_path, "migrate", "-v0").returncode == 0
        loop.wait_for('"leads the control loop"')


def test_an_option_it_does_not_know_is_refused(tmp_path):
    done = manage(tmp_path, "runcontrol", "--twice")
    assert done.returncode == 2 and "unrecognized arguments: --twice" in done.stderr


def component(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}/api/v1/system/health", timeout=30) as answer:
        return dict(json.loads(answer.read())["components"]["loop"])


def prunes_and_tells(server: Running, folder: Path, address: str) -> None:
    until(lambda: oldest(folder) != 1)
    end_a_role(folder)
    server.wait_for("has ended: role guest")
    until(lambda: component(address)["state"] == "ok")
    shown = component(address)
    assert holder(folder).endswith(f":{shown['leader']}") and shown["fence"] >= 1 and shown["led_for_s"] >= 0
    # It is open to strangers: no host, no process.
    assert set(shown) == {"state", "since_s", "leader", "fence", "led_for_s"}
    assert sum('"leads the control loop"' in line for line in server.printed) == 1
    server.end(signal.SIGTERM)
    assert holder(folder) == "" and not any("Traceback" in line for line in server.printed), server.printed


def test_beside_the_demo_it_runs_without_another_command(folder):
    make_old(folder)
    with run("demo", "--port", "0", folder=folder) as demo:
        demo.wait_for(r"^curl ")
        site = demo.wait_for(r"site +(http://127\.0\.0\.1:\d+)/admin/")[1]
        prunes_and_tells(demo, folder, site)


@pytest.mark.parametrize("workers", [1, 2])
def test_beside_serve_it_runs_once_however_many_workers(folder, workers):
    make_old(folder)
    with run("serve", "--port", "0", "--workers", str(workers), folder=folder, **KEY) as serve:
        address = serve.wait_for(r"on (http://127\.0\.0\.1:\d+) with")[1]
        serve.wait_for('"leads the control loop"')
        until(lambda: answers(address))
        prunes_and_tells(serve, folder, address)


def answers(address: str) -> bool:
    try:
        return bool(component(address))
    except OSError:
        return False
