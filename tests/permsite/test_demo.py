"""`manage.py demo`: from nothing to an answered check, the same again on a second start, and nothing left behind."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sqlite3
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from permsite import child, server
from tests.permsite.commands import Running, run
from tests.permsite.test_launcher import wait_until

LINES = ("site", "login", "API key", "database", "store", "world")


def told(demo: Running) -> dict[str, str]:
    demo.wait_for(r"^curl ")
    return {name: re.sub(rf"^  {name} +", "", line) for name in LINES for line in demo.printed if line.startswith(f"  {name} ")}


def ask(demo: Running) -> object:
    """Sends what the printed line would: a bare machine has no curl."""
    words = shlex.split(demo.wait_for(r"^curl .+")[0])
    assert words[:2] == ["curl", "-s"]
    options = list(zip(words[3::2], words[4::2], strict=True))
    headers = dict(value.split(": ", 1) for name, value in options if name == "-H")
    data = next(value for name, value in options if name == "-d")
    with urllib.request.urlopen(urllib.request.Request(words[2], data.encode(), headers), timeout=20) as answer:
        return json.loads(answer.read())


def children(demo: Running) -> list[int]:
    path = Path(f"/proc/{demo.process.pid}/task")
    return [int(pid) for task in path.iterdir() for pid in (task / "children").read_text().split()]


def test_the_printed_check_is_answered_and_a_second_start_prints_the_same(tmp_path):
    said = []
    for _ in range(2):
        with run("demo", folder=tmp_path) as demo:
            said.append(told(demo))
            assert ask(demo) == {"decision": True}
            demo.wait_for(r'the answer is \{"decision":true\}')
            assert demo.end() == 0
    first, second = said
    assert first["world"] == "demo.yaml was loaded" and second["world"].startswith("as you left it")
    for name in ("login", "API key", "database", "store"):
        assert first[name] == second[name]
    assert re.fullmatch(r"admin / \S{12,}", first["login"])
    for name in ("secret_key", "admin_password", "api_key"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_the_administrator_logs_in_with_what_was_printed(tmp_path):
    with run("demo", folder=tmp_path) as demo:
        user, _, password = told(demo)["login"].partition(" / ")
        base = told(demo)["site"]
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with browser.open(f"{base}login/", timeout=20) as answer:
            found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', answer.read().decode())
        assert found is not None
        form = {"csrfmiddlewaretoken": found[1], "username": user, "password": password}
        with browser.open(f"{base}login/?next=/admin/", urllib.parse.urlencode(form).encode(), timeout=20) as answer:
            assert answer.url == base and answer.status == 200


def test_a_taken_port_is_passed_over_and_a_named_one_is_not(tmp_path):
    with server.bind("127.0.0.1", server.DEFAULT_PORT, or_next=True) as taken:
        number = taken.getsockname()[1]
        with run("demo", "--port", str(number), folder=tmp_path) as refused:
            refused.wait_for(f"CommandError: port {number} of 127.0.0.1 is taken; name another with --port")
            assert refused.process.wait(timeout=20) == 1
        with run("demo", folder=tmp_path) as demo:
            site = told(demo)["site"]
            assert re.fullmatch(r"http://127\.0\.0\.1:8\d\d\d/admin/", site) and f":{number}/" not in site
            assert ask(demo) == {"decision": True}


def test_without_any_valkey_it_answers_from_memory_and_says_so(tmp_path):
    """A machine without a program of the system, and the wheel's passed over."""
    with run("demo", "--port", "0", folder=tmp_path, path=str(tmp_path), PERMSITE_SERVERS="system") as demo:
        assert told(demo)["store"].startswith("in memory, this one process")
        demo.wait_for(r"^No Valkey: no Valkey or Redis of version 6\.2 or newer found")
        assert ask(demo) == {"decision": True}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ending_it_ends_its_children(tmp_path, how):
    with run("demo", "--port", "0", folder=tmp_path) as demo:
        told(demo)
        pids = children(demo)
        assert pids and all(map(child.is_alive, pids))
        assert demo.end(how) == 0
        assert not any(map(child.is_alive, pids))


@pytest.mark.chaos
def test_killing_it_leaves_no_child(tmp_path):
    with run("demo", "--port", "0", folder=tmp_path) as demo:
        told(demo)
        pids = children(demo)
        demo.end(signal.SIGKILL)
        assert pids and wait_until(lambda: not any(map(child.is_alive, pids)))


def test_what_was_changed_stays_and_reset_starts_anew(tmp_path):
    with run("demo", "--port", "0", folder=tmp_path) as demo:
        first = told(demo)
    with sqlite3.connect(tmp_path / "permsite.sqlite3") as database:
        database.execute("UPDATE permissions_role SET title = 'changed by hand' WHERE name = 'platform.administrator'")
    database.close()
    with run("demo", "--port", "0", folder=tmp_path) as demo:
        assert told(demo)["login"] == first["login"]
    assert title(tmp_path) == "changed by hand"
    with run("demo", "--port", "0", "--reset", folder=tmp_path) as demo:
        anew = told(demo)
    assert anew["world"] == "demo.yaml was loaded"
    assert anew["login"] != first["login"] and anew["API key"] != first["API key"]
    assert title(tmp_path) != "changed by hand"


def title(folder: Path) -> str:
    database = sqlite3.connect(folder / "permsite.sqlite3")
    try:
        row = database.execute("SELECT title FROM permissions_role WHERE name = 'platform.administrator'").fetchone()
    finally:
        database.close()
    return str(row[0])


def test_reset_leaves_a_named_database_alone(tmp_path):
    with run("demo", "--reset", folder=tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/mine.sqlite3") as demo:
        demo.wait_for("CommandError: --reset forgets the demo's own SQLite file; DATABASE_URL names another")
        assert demo.process.wait(timeout=20) == 1


def test_a_password_of_ones_own_is_not_printed(tmp_path):
    with run("demo", "--port", "0", folder=tmp_path) as demo:
        told(demo)
    (tmp_path / "admin_password").write_text("another one\n")
    with run("demo", "--port", "0", folder=tmp_path) as demo:
        assert told(demo)["login"] == "admin / (the one you have set)"


def test_a_port_that_is_none_is_refused(tmp_path):
    with run("demo", "--port", "99999", folder=tmp_path) as demo:
        demo.wait_for("'99999' is no port: it is a number up to 65535")
        assert demo.process.wait(timeout=20) == 2
