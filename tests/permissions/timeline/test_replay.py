"""A log written while everything changes replays without a difference; whatever was altered in it is found."""

from __future__ import annotations

import json
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from permissions import decision_log, pdp
from permissions.decision_log import running
from permissions.timeline.replay import read_line
from resilience import config
from tests.permissions.timeline.changes import Changing

pytestmark = pytest.mark.both_databases


@pytest.fixture
def log(tmp_path: Path, settings: Any) -> Any:
    settings.DECISION_LOG_FILE = str(tmp_path / "decisions.jsonl")
    decision_log.start()
    config.change("decision_log", {"sink": "file"})
    yield tmp_path / "decisions.jsonl"
    decision_log.stop()


def ask(changing: Changing, stop: threading.Event) -> None:
    rnd = random.Random(7)
    requests = changing.requests
    try:
        while not stop.is_set():
            for request in rnd.sample(requests, 10):
                try:
                    if rnd.random() < 0.5:
                        pdp.check(request.subject, request.permission, request.resource, realm=changing.realm.name)
                    else:
                        pdp.decide(request, realm=changing.realm.name)
                except pdp.Unavailable:  # more changes than a loaded machine can follow: no decision, no line
                    pass
            stop.wait(0.05)
    finally:
        connections.close_all()


def replayed(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = 0
    try:
        call_command("replay_decisions", str(path))
    except SystemExit as end:
        code = int(str(end.code))
    return code, capsys.readouterr().out


def written(changing: Changing, log: Path) -> list[dict[str, Any]]:
    """A busy run: two threads ask while the realm changes."""
    pdp.decide_many(changing.requests, realm=changing.realm.name)  # so much at least, however late the threads run
    stop = threading.Event()
    threads = [threading.Thread(target=ask, args=(changing, stop)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(12):
        changing.change()
        time.sleep(0)
    stop.set()
    for thread in threads:
        thread.join(60)
    pdp.check_many([("user:a", "post:read"), ("user:b", "doc:read", "ch:2")], realm=changing.realm.name, full=True)
    decision_log.stop()
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_busy_run_replays_without_a_difference(changing: Changing, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = written(changing, log)
    assert len({line["revision"] for line in lines}) > 1
    changing.change()
    code, told = replayed(log, capsys)
    assert (code, told) == (0, told), told
    assert f"{len(lines)} decisions: {len(lines)} the same, 0 different, 0 that cannot" in told


def test_each_tampered_line_is_found(changing: Changing, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = written(changing, log)
    lines[3]["allowed"] = not lines[3]["allowed"]
    lines[5]["reason"] = "superuser"
    texts = [json.dumps(line) for line in lines]
    texts[7] = texts[7][:-9]
    log.write_text("\n".join(texts) + "\n")
    code, told = replayed(log, capsys)
    assert code == 1
    assert "line 4 different" in told and "line 6 different" in told and "line 8 unreadable: it is not JSON" in told
    assert f"{len(lines) - 3} the same, 2 different, 0 that cannot be replayed, 1 lines" in told


def test_what_does_not_say_enough_is_told_and_is_no_difference(
    changing: Changing, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.change("decision_log", {"sink": "file", "hash_subjects": True, "hash_resources": True})
    pdp.check("user:a", "post:read", "ch:2", realm=changing.realm.name)
    while decision_log.buffer.BUFFER.entries or running._running.writer._pending:
        time.sleep(0.01)
    config.change("decision_log", {"sink": "file", "attributes": False})
    pdp.check("user:a", "post:read", realm=changing.realm.name, context={"mfa": True})
    while decision_log.buffer.BUFFER.entries or running._running.writer._pending:
        time.sleep(0.01)
    config.change("decision_log", {"sink": "file"})
    pdp.check("user:a", "post:read", realm=changing.realm.name, context={"Password": "x", "mfa": True})
    decision_log.stop()
    code, told = replayed(log, capsys)
    assert code == 0
    assert "line 1 skipped: subject, resource is hashed" in told
    assert "line 2 skipped: attributes was left out" in told
    assert "line 3 skipped: context.Password is redacted" in told
    assert "0 different, 3 that cannot be replayed" in told


def test_a_line_of_another_history_is_told(changing: Changing, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pdp.check("user:a", "post:read", realm=changing.realm.name)
    decision_log.stop()
    line = json.loads(log.read_text())
    log.write_text(json.dumps(line | {"epoch": "0" * 32}) + "\n" + json.dumps(line | {"revision": 10**6}) + "\n")
    code, told = replayed(log, capsys)
    assert code == 0
    assert "belongs to another history" in told and "has not reached revision 1000000" in told


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"v": 2}, "v is '2'"),
        ({"v": True}, "v is 'True'"),
        ({"allowed": 1}, "allowed must be true or false, not int"),
        ({"revision": True}, "revision must be a whole number, not bool"),
        ({"revision": None}, "revision must be a whole number, not NoneType"),
        ({"subject": "nocolon"}, "subject"),
        ({"at": "yesterday"}, "at is 'yesterday'"),
        ({"at": "2026-01-01T00:00:00"}, "names no zone"),
        ({"epoch": "xyz"}, "epoch is 'xyz'"),
        ({"context": []}, "context must be an object, not list"),
        ({"asserted": "always"}, "asserted is 'always'"),
        ({"hashed": "subject"}, "hashed must be a list, not str"),
    ],
)
def test_a_line_that_cannot_be_says_what_is_wrong(change: dict[str, Any], said: str) -> None:
    line = {
        "v": 1,
        "at": "2026-01-01T00:00:00Z",
        "subject": "user:a",
        "permission": "post:read",
        "resource": None,
        "allowed": True,
        "reason": "granted",
        "revision": 1,
        "epoch": "0" * 32,
    }
    assert read_line(json.dumps(line)).revision == 1
    with pytest.raises((ValueError, pdp.InvalidRequestError), match=said):
        read_line(json.dumps(line | change))


def test_a_file_that_is_not_there_or_empty_is_an_error(db: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replayed(tmp_path / "none", capsys)[0] == 2
    (tmp_path / "empty").write_text("\n")
    assert replayed(tmp_path / "empty", capsys)[0] == 2
