"""Two processes over one database and a real Valkey: what one commits, the other knows; whatever the network does to the news."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from permissions.cache import events
from permissions.cache.sending import Sender
from permissions.models import RoleBinding, Subject
from permissions.writing import SYSTEM, permission_write
from resilience.redis_bus import RedisBus
from resilience.redis_client import node_client
from tests.worlds import apply

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

ROOT = Path(__file__).resolve().parents[3]
BOUND_NS = 500_000_000
WORLD = """
version: 1
realm: default
permissions: [{code: "post:read"}]
roles: [{name: reader, permissions: ["post:read"]}]
subjects: [{id: "user:alice"}, {id: "user:bob"}, {id: "user:carol"}]
bindings: [{subject: "user:alice", role: reader}]
"""
PEOPLE = ("user:alice", "user:bob", "user:carol")


class Other:
    """The other process."""

    def __init__(self, how: str, redis_url: str) -> None:
        database = {k: str(connection.settings_dict[k]) for k in ("NAME", "HOST", "PORT", "USER", "PASSWORD")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.permissions.cache.news_child", how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONWARNINGS": "ignore"},
        )
        self._say({"database": database, "redis_url": redis_url})

    def _say(self, what: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def __call__(self, do: str, **more: Any) -> Any:
        assert self._process.stdout is not None
        self._say({"do": do, **more})
        line = self._process.stdout.readline()
        assert line, "the other process has ended"
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def site(valkey_url: str, settings: Any) -> Iterator[Callable[[str], Other]]:
    """Begins another process; this one publishes to the real server."""
    settings.REDIS_URL = valkey_url
    apply(WORLD)
    events.close()
    begun: list[Other] = []

    def begin(how: str) -> Other:
        begun.append(Other(how, valkey_url))
        assert begun[-1]("listens")["came"]
        if how == "news":
            begun[-1]("dealt", with_=1)  # the look that follows the beginning of listening
        return begun[-1]

    yield begin
    for other in begun:
        other.close()
    events.close()


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What this process would have published: nothing of it leaves."""
    messages: list[bytes] = []

    class Kept(Sender):
        def put(self, message: bytes) -> None:
            messages.append(message)

    monkeypatch.setattr(events, "SENDER", Kept(events.CHANNEL, lambda: None))
    return messages


def grant(ref: str) -> Any:
    with permission_write("default", SYSTEM) as write:
        subject, role = Subject.objects.get(realm=write.realm, ref=ref), write.realm.roles.get(name="reader")
        RoleBinding.objects.create(realm=write.realm, subject=subject, role=role)
    return write


def revoke(ref: str) -> Any:
    with permission_write("default", SYSTEM) as write:
        RoleBinding.objects.filter(realm=write.realm, subject__ref=ref).delete()
    return write


def truth() -> dict[str, bool]:
    return {ref: RoleBinding.objects.filter(subject__ref=ref).exists() for ref in PEOPLE}


def test_news_comes_by_event_alone_without_a_query(site: Callable[[str], Other]) -> None:
    other = site("news")
    assert other("check", subject="user:alice")["allowed"]
    before = other("status")
    for number in range(10):
        write = grant("user:bob") if number % 2 else revoke("user:bob" if number else "user:alice")
        assert other("until", rev=write.revision)["came"]
    found = other("dealt", with_=before["dealt"] + 10)
    assert found["applied"] == before["applied"] + found["rev"] - before["rev"]
    assert found["pulls"] == before["pulls"], "no event needed a look at the changelog"
    assert not other("check", subject="user:alice")["allowed"]


def test_a_change_of_the_model_and_a_flush_come_by_one_look_at_the_changelog(site: Callable[[str], Other]) -> None:
    from permissions.cache import flush

    other = site("news")
    with permission_write("default", SYSTEM) as write:
        write.realm.roles.get(name="reader").lines.all().delete()
    assert other("until", rev=write.revision)["came"]
    assert not other("check", subject="user:alice")["allowed"]
    done = flush.flush("default", flush.target("subject", "user:*"), actor=SYSTEM)
    found = other("until", rev=done.revision)
    assert found["came"]
    assert found["applied"] == 0


def test_when_every_event_is_lost_the_token_is_kept_at_once_and_the_bound_soon(
    site: Callable[[str], Other], kept: list[bytes]
) -> None:
    other = site("poll")
    assert other("check", subject="user:alice")["allowed"]
    write = revoke("user:alice")
    committed_ns = time.monotonic_ns()
    answer = other("check", subject="user:alice", token=write.token)
    assert (answer["allowed"], answer["revision"] >= write.revision) == (False, True)
    write = grant("user:bob")
    write = revoke("user:bob")
    committed_ns = time.monotonic_ns()
    while True:
        answer = other("check", subject="user:bob")
        if answer["began_ns"] > committed_ns + BOUND_NS:
            break
    assert (answer["allowed"], answer["revision"] >= write.revision) == (False, True)
    assert len(kept) == 3


def test_events_doubled_out_of_order_old_and_forged_change_nothing_but_the_moment(
    site: Callable[[str], Other], kept: list[bytes], valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = site("news")
    other("mode", setting="aggressive")  # each is to be looked at by itself: a flood of them would be gathered
    assert {ref: other("check", subject=ref)["allowed"] for ref in PEOPLE} == truth()
    before = other("status")["dealt"]
    draw = random.Random(4)
    for _ in range(30):
        ref = draw.choice(PEOPLE)
        revoke(ref) if truth()[ref] else grant(ref)
    messages = kept * 2
    draw.shuffle(messages)
    head = events.parse(kept[-1])
    assert head is not None
    ahead = replace(head, prev=head.rev, prev_stamp=head.stamp, rev=head.rev + 1, objects=(("s", "user:nobody"),))
    forged = events.encode(ahead).replace(b'"mac":"', b'"mac":"0')[:-3] + b'"}'
    # What we sealed ourselves about a future that the database has lost since: the revision before it bears another stamp.
    lost = events.encode(replace(ahead, prev_stamp=head.stamp ^ 1))
    bus = RedisBus(valkey_url)
    for message in (*messages, forged, b"{}", lost, forged):
        bus.publish(events.CHANNEL, message)
    # Before any question, since a question would notice by itself that it is ahead of the database.
    assert other("dealt", with_=before + len(messages) + 1)["rev"] == head.rev, "one revision further cannot be forged"
    assert {ref: other("check", subject=ref)["allowed"] for ref in PEOPLE} == truth()
    monkeypatch.setattr(events, "SENDER", Sender(events.CHANNEL, events.bus))
    last = revoke("user:carol") if truth()["user:carol"] else grant("user:carol")
    assert other("until", rev=last.revision)["came"], "and it goes on from there"
    assert {ref: other("check", subject=ref)["allowed"] for ref in PEOPLE} == truth()
    bus.close()


def test_who_has_lost_the_bus_looks_at_the_changelog_once_it_hears_again(
    site: Callable[[str], Other], kept: list[bytes], valkey_url: str
) -> None:
    other = site("news")
    write = revoke("user:alice")
    client = node_client(valkey_url)
    client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    client.close()
    assert other("listens")["came"]
    assert other("until", rev=write.revision)["came"]
    assert not other("check", subject="user:alice")["allowed"]
