"""Every way of asking leaves its line, with the revision it was answered at; the log never changes an answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from permissions import decision_log, params, pdp
from permissions.decision_log import buffer
from permissions.engine.questions import question
from resilience import config
from resilience.errors import ConfigInvalid
from resilience.params import validate
from tests.worlds import OFFICE, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
ASKED: dict[str, Callable[[], Any]] = {
    "check": lambda: [pdp.check("user:alice", "post:read")],
    "check on a resource": lambda: [pdp.check("user:bob", "post:read", "post:7")],
    "check with context": lambda: [pdp.check("user:alice", "post:edit", context={"n": 1})],
    "decide": lambda: [pdp.decide(question("user:charlie", "post:read"))],
    "check_many": lambda: pdp.check_many([("user:alice", "post:read"), ("user:charlie", "post:edit", "post:8")]),
    "decide_many": lambda: pdp.decide_many([question("user:alice", "post:edit"), question("user:bob", "post:purge")], full=True),
    "explain": lambda: [pdp.explain("user:alice", "post:edit").decision],
}


@pytest.fixture
def log(tmp_path: Path, settings: Any) -> Path:
    settings.DECISION_LOG_FILE = str(tmp_path / "log.jsonl")
    apply(OFFICE)
    decision_log.start()
    config.change("decision_log", {"sink": "file"})
    return tmp_path / "log.jsonl"


def lines(log: Path) -> list[dict[str, Any]]:
    decision_log.stop()
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("name", ASKED)
def test_each_way_of_asking_leaves_its_lines_cold_and_warm(log: Path, name: str) -> None:
    decisions = [decision for _ in range(4) for decision in ASKED[name]()]
    found = lines(log)
    assert [(line["allowed"], line["reason"], line["revision"]) for line in found] == [
        (decision.allowed, decision.reason, decision.revision) for decision in decisions
    ]
    assert {line["realm"] for line in found} == {"default"} and all(len(line["epoch"]) == 32 for line in found)


def test_off_nothing_is_kept(log: Path) -> None:
    config.change("decision_log", {"sink": "off"})
    for ask in ASKED.values():
        ask()
    assert not buffer.BUFFER.entries and buffer.ON.mask == 63 and not log.exists()


def test_a_log_that_fails_changes_no_answer(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.mkdir()
    before = [bool(d) for ask in ASKED.values() for d in ask()]
    monkeypatch.setattr(buffer, "Entry", None)  # what makes one raises from now on
    assert [bool(d) for ask in ASKED.values() for d in ask()] == before


def test_a_change_of_the_configuration_holds_at_once(log: Path) -> None:
    pdp.check("user:alice", "post:read")
    config.change("decision_log", {"sink": "file", "sample_ratio": 0.0, "always_denied": True})
    assert pdp.check("user:alice", "post:read") and not pdp.check("user:charlie", "post:read")
    assert [line["subject"] for line in lines(log)] == ["user:alice", "user:charlie"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sink": "syslog"}, "sink"),
        ({"sample_ratio": 1.5}, "sample_ratio"),
        ({"sample_ratio": float("nan")}, "sample_ratio"),
        ({"sample_ratio": True}, "sample_ratio"),
        ({"sample_ratio": -0.1}, "sample_ratio"),
        ({"max_file_mb": 0}, "max_file_mb"),
        ({"kept_files": 2.5}, "kept_files"),
        ({"redact": "password"}, "redact"),
        ({"redact": [""]}, "redact"),
        ({"hash_subjects": 1}, "hash_subjects"),
        ({"path": "/etc/passwd"}, "path"),
    ],
)
def test_a_wrong_value_is_refused_and_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigInvalid, match=said):
        validate(params.DECISION_LOG.name, values)
