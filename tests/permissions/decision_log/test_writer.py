"""The writer: everything goes out in order, a sink that fails is tried again and told once, and what is lost is counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from permissions.decision_log import buffer, note
from permissions.decision_log.buffer import BUFFER
from permissions.decision_log.options import options_of
from permissions.decision_log.running import BATCH, MAX_RETRY_S, Writer
from permissions.decision_log.sinks import StreamSink
from permissions.engine.types import Decision
from resilience import telemetry
from resilience.redis_client import redis_client

ROOT = Path(__file__).resolve().parents[3]
YES = Decision(True, "granted", 7, "l1")


class Memory:
    """A sink that can be away."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.tried = 0
        self.is_away = False

    def write(self, lines: Sequence[bytes]) -> None:
        self.tried += 1
        if self.is_away:
            raise OSError("away")
        self.lines += lines

    def close(self) -> None:
        return None


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def events() -> Iterator[list[str]]:
    told: list[str] = []
    way_out = telemetry.subscribe(lambda event: told.append(event.name), "decision_log.")
    yield told
    way_out()


def ask(number: int) -> None:
    for n in range(number):
        note("default", "e" * 32, f"user:u{n}", "post:read", None, YES)


def writer(sink: Memory, clock: Clock) -> Writer:
    made = Writer(lambda options: sink, clock)
    made.options = options_of({"sink": "file"})
    return made


def counted(result: str) -> float:
    return telemetry.collect()["permission_decision_log_lines_total"].get((result,), 0)


def test_everything_goes_out_once_in_order() -> None:
    sink, before = Memory(), counted("written")
    ask(2 * BATCH + 5)
    made = writer(sink, Clock())
    while made.turn():
        pass
    assert [json.loads(line)["subject"] for line in sink.lines] == [f"user:u{n}" for n in range(2 * BATCH + 5)]
    assert len({json.loads(line)["id"] for line in sink.lines}) == len(sink.lines) == counted("written") - before


def test_a_sink_that_fails_is_told_once_tried_again_and_loses_nothing(events: list[str]) -> None:
    sink, clock = Memory(), Clock()
    made = writer(sink, clock)
    sink.is_away = True
    ask(3)
    for _ in range(5):
        assert not made.turn()
    assert sink.tried == 1 and events == ["decision_log.failing"]  # not before its time
    waited = []
    for _ in range(10):
        tried, started_s = sink.tried, clock.now_s
        while sink.tried == tried:
            clock.now_s += 0.1
            made.turn()
        waited.append(clock.now_s - started_s)
    assert waited[0] < waited[3] < MAX_RETRY_S + 0.2 > waited[-1]
    sink.is_away = False
    clock.now_s += MAX_RETRY_S
    assert made.turn()
    assert len(sink.lines) == 3 and events == ["decision_log.failing", "decision_log.recovered"]


def test_what_a_full_buffer_dropped_is_counted_and_told_once(events: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "MOST", 10)
    before, clock = counted("dropped"), Clock()
    made = writer(Memory(), clock)
    for _ in range(3):
        ask(15)
        while made.turn():
            pass
    assert counted("dropped") - before == 15 and events == ["decision_log.lost"]
    clock.now_s += 61
    ask(15)
    made.turn()
    assert events == ["decision_log.lost"] * 2


def test_a_stop_hands_out_what_waits() -> None:
    sink = Memory()
    made = Writer(lambda options: sink)
    made.options = options_of({"sink": "file"})
    made.ensure()
    ask(700)
    made.stop()
    assert len(sink.lines) == 700


def test_a_stop_ends_though_the_sink_is_away_and_counts_what_is_lost() -> None:
    sink, before = Memory(), counted("failed")
    sink.is_away = True
    made = Writer(lambda options: sink)
    made.options = options_of({"sink": "file"})
    made.ensure()
    ask(300)
    made.stop()
    assert counted("failed") - before == 300 and not BUFFER.entries


def test_a_fault_of_ours_ends_no_thread() -> None:
    class Faulty(Memory):
        def write(self, lines: Sequence[bytes]) -> None:
            super().write(lines)
            if self.tried == 1:
                raise KeyError("ours")

    sink, before = Faulty(), counted("failed")
    made = writer(sink, Clock())
    ask(2)
    assert not made._turn()
    assert counted("failed") - before == 2
    ask(1)
    assert made._turn() and json.loads(sink.lines[-1])["subject"] == "user:u0"


@pytest.mark.parametrize("server", ["valkey_url", pytest.param("cluster_url", marks=pytest.mark.cluster)])
def test_a_stream_gets_the_lines_and_stays_bounded(server: str, key_prefix: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(server)
    key, client = f"{key_prefix}decisions", redis_client(url)
    sink = StreamSink(200, url=url, key=key)
    for number in range(20):
        sink.write([b'{"n": %d}\n' % (100 * number + n) for n in range(100)])
    entries = client.xrange(key)
    assert 200 <= len(entries) < 500  # about: a node of the stream goes as a whole
    assert [json.loads(fields[b"line"])["n"] for _, fields in entries[-3:]] == [1997, 1998, 1999]
    client.delete(key)
    sink.close()
    client.close()


def test_a_redis_that_is_not_there_is_a_failure_and_no_fault() -> None:
    made = Writer(lambda options: StreamSink(100, url="redis://127.0.0.1:1/0"), Clock())
    made.options = options_of({"sink": "redis"})
    ask(1)
    assert not made.turn() and made._is_failing and len(made._pending) == 1
    made.stop()


FORKING = """
import os, sys, django
django.setup()
from permissions import decision_log
from permissions.engine.types import Decision
from resilience import config
decision_log.start()
config.change("decision_log", {"sink": "file"})
YES = Decision(True, "granted", 7, "l1")
def ask(who, number):
    for n in range(number):
        decision_log.note("default", "e" * 32, f"user:{who}{n}", "post:read", None, YES)
ask("before", 50)
child = os.fork()
ask("child" if child == 0 else "parent", 100)
decision_log.stop()
if child == 0:
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_writes_its_own_lines_and_none_of_the_parents(tmp_path: Path) -> None:
    env = {
        **{name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")},
        "DJANGO_SETTINGS_MODULE": "permsite.settings",
        "PERMSITE_VAR": str(tmp_path),
        "SECRET_KEY": "k" * 50,
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", FORKING], cwd=ROOT, env=env, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = [json.loads(line) for line in (tmp_path / "decisions.jsonl").read_text().splitlines()]
    wanted = [("before", 50), ("child", 100), ("parent", 100)]
    assert sorted(line["subject"] for line in found) == sorted(f"user:{who}{n}" for who, number in wanted for n in range(number))
    assert len({line["id"] for line in found}) == 250
