"""News of a commit: sealed, only after the commit, never at the writer's cost, and not believed where it cannot be checked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db import transaction

from permissions import revisions
from permissions.cache import events
from permissions.cache.events import Event
from permissions.cache.sending import Sender
from permissions.models import Permission, Realm, Resource, Subject
from permissions.writing import MAX_OBJECTS, SYSTEM, Write, permission_write
from resilience import telemetry
from resilience.redis_bus import RedisBus

EVENT = Event("ab" * 16, 7, "default", 41, 11, 42, 12, (("s", "user:älice"), ("k", "abc")))


def counted(result: str) -> float:
    return telemetry.collect().get("permission_cache_events_total", {}).get((result,), 0)


def resealed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """A message of another content that our own key has sealed: what only a fault of ours could send."""
    message = events.encode(EVENT)
    fields = json.loads(message)
    del fields["mac"]
    change(fields)
    body = json.dumps(fields, separators=(",", ":")).encode()[:-1]
    from django.conf import settings

    return body + b',"mac":"' + events._mac(body, settings.SECRET_KEY) + b'"}'


class TestTheMessage:
    def test_what_is_told_is_what_is_heard(self) -> None:
        assert events.parse(events.encode(EVENT)) == EVENT
        assert events.parse(events.encode(replace(EVENT, objects=None))) == replace(EVENT, objects=None)

    def test_it_is_json_with_a_mac_over_the_rest(self) -> None:
        fields = json.loads(events.encode(EVENT))
        assert set(fields) == {"epoch", "realm", "name", "prev", "prev_stamp", "rev", "stamp", "objects", "mac"}

    def test_no_byte_of_it_can_be_changed(self) -> None:
        message = events.encode(EVENT)
        for place in range(len(message)):
            for flip in (1, 32, 128):
                forged = message[:place] + bytes([message[place] ^ flip]) + message[place + 1 :]
                assert events.parse(forged) is None, forged

    def test_nothing_can_be_cut_off_or_added(self) -> None:
        message = events.encode(EVENT)
        before = counted("forged") + counted("malformed")
        wrong = [message[:end] for end in range(len(message))] + [message + b" ", b" " + message, message * 2]
        assert [events.parse(one) for one in wrong] == [None] * len(wrong)
        assert counted("forged") + counted("malformed") - before == len(wrong)

    def test_one_revision_further_cannot_be_forged(self) -> None:
        """The mac of a true event does not carry over, nor does one made without the key."""
        fields = json.loads(events.encode(EVENT))
        before = counted("forged")
        for forged in ({**fields, "prev": 42, "rev": 43}, {**fields, "mac": "0" * 32}, {**fields, "realm": 8}):
            assert events.parse(json.dumps(forged, separators=(",", ":")).encode()) is None
        assert counted("forged") == before + 3

    def test_a_key_that_was_in_use_still_verifies_and_a_foreign_one_does_not(self, settings: Any) -> None:
        message = events.encode(EVENT)
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 60, [settings.SECRET_KEY]
        assert events.parse(message) == EVENT
        settings.SECRET_KEY_FALLBACKS = []
        assert events.parse(message) is None

    @pytest.mark.parametrize(
        "message",
        [b"", b"{}", b"x" * 40, b'{"epoch":1}', b"\xff\xfe" * 60, b'{"a":1,"mac":"' + b"0" * 32 + b'"}', b"[" * 5000],
    )
    def test_what_is_no_message_of_ours_is_dropped_and_counted(self, message: bytes) -> None:
        before = counted("forged") + counted("malformed")
        assert events.parse(message) is None
        assert counted("forged") + counted("malformed") == before + 1

    def test_a_message_that_is_too_long_is_not_even_looked_at(self) -> None:
        before = counted("oversized")
        assert events.parse(b"x" * (events.MAX_BYTES + 1)) is None
        assert counted("oversized") == before + 1

    @pytest.mark.parametrize(
        "change",
        [
            lambda f: f.update(rev=f["prev"]),
            lambda f: f.update(rev=f["prev"] - 1),
            lambda f: f.update(rev=f["prev"] + 2),  # objects of one revision do not stand for two
            lambda f: f.update(prev=-1),
            lambda f: f.update(rev=True),
            lambda f: f.update(prev=False),
            lambda f: f.update(rev=42.0),
            lambda f: f.update(rev="42"),
            lambda f: f.update(rev=None),
            lambda f: f.update(rev=2**63, objects=None),
            lambda f: f.update(stamp=-1),
            lambda f: f.update(stamp=2**31),
            lambda f: f.update(prev_stamp=1e400),
            lambda f: f.update(realm=float("nan")),
            lambda f: f.update(realm=None),
            lambda f: f.update(epoch="ab"),
            lambda f: f.update(epoch="AB" * 16),
            lambda f: f.update(epoch=7),
            lambda f: f.update(name=""),
            lambda f: f.update(name="n" * 256),
            lambda f: f.update(name=3),
            lambda f: f.update(objects=[]),
            lambda f: f.update(objects="s"),
            lambda f: f.update(objects=[["s"]]),
            lambda f: f.update(objects=[["s", "user:a", "x"]]),
            lambda f: f.update(objects=[["m", "editor"]]),
            lambda f: f.update(objects=[["*", "x"]]),
            lambda f: f.update(objects=[["s", ""]]),
            lambda f: f.update(objects=[["s", 5]]),
            lambda f: f.update(objects=[["s", "u" * 513]]),
            lambda f: f.update(objects=[["s", "user:a"]] * (MAX_OBJECTS + 1)),
            lambda f: f.update(more=1),
            lambda f: f.pop("stamp"),
        ],
    )
    def test_a_wrong_shape_is_dropped_even_under_our_own_seal(self, change: Callable[[dict[str, Any]], object]) -> None:
        before = counted("malformed")
        assert events.parse(resealed(change)) is None
        assert counted("malformed") == before + 1
        assert events.parse(resealed(lambda fields: None)) == EVENT

    def test_ids_too_long_for_a_message_are_left_out_of_it(self) -> None:
        long = replace(EVENT, objects=tuple(("s", f"user:{i}" + "é" * 500) for i in range(MAX_OBJECTS)))
        message = events.encode(long)
        assert len(message) <= events.MAX_BYTES
        assert events.parse(message) == replace(long, objects=None)


@pytest.fixture
def told() -> Iterator[list[Event]]:
    found: list[Event] = []
    leave = events.on_own(found.append)
    yield found
    leave()


def bob(write: Write, name: str = "bob") -> Subject:
    return Subject.objects.create(realm=write.realm, ref=f"user:{name}")


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
class TestWhatAWriteTells:
    def test_the_revision_before_it_its_own_and_all_that_changed(self, told: list[Event]) -> None:
        before = revisions.head("default")
        with permission_write("default", SYSTEM) as write:
            bob(write)
            Resource.objects.create(realm=write.realm, ref="server:7")
            assert told == [], "nothing may leave before the commit"
        after = revisions.head("default")
        objects = (("r", "server:7"), ("s", "user:bob"))
        assert told == [Event(after.epoch, after.realm_id, "default", before.rev, before.stamp, after.rev, after.stamp, objects)]

    def test_nothing_after_a_rollback_a_dry_run_or_a_write_without_change(self, told: list[Event]) -> None:
        with pytest.raises(ZeroDivisionError), permission_write("default", SYSTEM) as write:
            bob(write)
            _ = 1 / 0
        with permission_write("default", SYSTEM, dry_run=True) as write:
            bob(write)
        with permission_write("default", SYSTEM):
            pass
        assert told == []

    def test_a_number_that_was_rolled_back_is_told_with_the_stamp_of_its_second_life(self, told: list[Event]) -> None:
        with pytest.raises(ZeroDivisionError), permission_write("default", SYSTEM) as write:
            bob(write)
            lost = revisions.head("default")
            _ = 1 / 0
        with permission_write("default", SYSTEM) as write:
            bob(write, "carol")
        assert (told[0].rev, told[0].objects) == (lost.rev, (("s", "user:carol"),))
        assert told[0].stamp == revisions.head("default").stamp

    def test_a_change_of_the_model_names_nothing(self, told: list[Event]) -> None:
        with permission_write("default", SYSTEM) as write:
            bob(write)
            Permission.objects.create(realm=write.realm, code="post:read")
        assert told[0].objects is None
        assert write.objects == (("m", "post:read"), ("s", "user:bob"))

    @pytest.mark.parametrize(("number", "is_named"), [(MAX_OBJECTS, True), (MAX_OBJECTS + 1, False)])
    def test_a_bulk_write_names_nothing(self, told: list[Event], number: int, is_named: bool) -> None:
        with permission_write("default", SYSTEM) as write:
            Subject.objects.bulk_create(Subject(realm=write.realm, ref=f"user:{i}") for i in range(number))
        assert (told[0].objects is not None) == is_named

    def test_inside_a_callers_transaction_it_names_nothing_for_more_may_follow_under_the_same_revision(
        self, told: list[Event]
    ) -> None:
        with transaction.atomic():
            with permission_write("default", SYSTEM) as write:
                bob(write)
            with permission_write("default", SYSTEM) as write:
                bob(write, "carol")
            assert told == []
        assert [event.objects for event in told] == [None] * len(told)
        assert told[-1].rev <= revisions.head("default").rev

    def test_a_realm_born_and_a_realm_gone_are_told(self, told: list[Event]) -> None:
        with permission_write("fresh", SYSTEM, create=True):
            pass
        with permission_write("fresh", SYSTEM) as write:
            Realm.objects.get(pk=write.realm.pk).delete()
        assert [(event.name, event.objects) for event in told] == [("fresh", None)] * 2
        assert told[0].rev == told[1].prev

    def test_whoever_listens_in_this_process_is_told(self, told: list[Event]) -> None:
        happened = telemetry.Queue(prefix="permission.changed")
        with permission_write("default", SYSTEM) as write:
            bob(write)
        happened.close()
        assert [event.attributes for event in happened.drain()] == [
            {"realm": "default", "revision": write.revision, "objects": (("s", "user:bob"),)}
        ]

    def test_a_listener_that_fails_fails_no_write(self, told: list[Event]) -> None:
        leave = events.on_own(lambda event: 1 / 0)
        with permission_write("default", SYSTEM) as write:
            bob(write)
        leave()
        assert write.changed
        assert len(told) == 1


@pytest.fixture
def on_valkey(valkey_url: str, settings: Any, monkeypatch: pytest.MonkeyPatch, key_prefix: str) -> Iterator[str]:
    """This process's events on a real server, under a channel of this test alone."""
    channel = key_prefix + "events"
    settings.REDIS_URL = valkey_url
    monkeypatch.setattr(events, "CHANNEL", channel)
    monkeypatch.setattr(events, "SENDER", Sender(channel, events.bus))
    events.close()
    yield channel
    events.close()


class TestTheBus:
    def test_what_is_said_on_a_real_server_is_heard_and_what_is_forged_is_not(self, on_valkey: str, valkey_url: str) -> None:
        heard: list[Event] = []
        ready, came = threading.Event(), threading.Event()

        def take(event: Event) -> None:
            heard.append(event)
            if event.rev == 99:
                came.set()

        leave = events.listen(take, ready.set)
        assert ready.wait(30)
        other = RedisBus(valkey_url)
        message = events.encode(EVENT)
        for said in (message, b"rubbish", message[:-3] + b'0"}', message, events.encode(replace(EVENT, prev=98, rev=99))):
            other.publish(on_valkey, said)
        assert came.wait(30)
        assert heard == [EVENT, EVENT, replace(EVENT, prev=98, rev=99)], "doubled is heard twice: who listens compares revisions"
        leave()
        other.close()

    def test_a_write_is_heard_by_others(
        self, on_valkey: str, valkey_url: str, transactional_db: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = RedisBus(valkey_url)
        heard: list[Event | None] = []
        ready, came = threading.Event(), threading.Event()
        other.on_reconnect(ready.set)

        def take(message: bytes) -> None:
            heard.append(events.parse(message))
            came.set()

        other.subscribe(on_valkey, take)
        assert ready.wait(30)
        with permission_write("default", SYSTEM) as write:
            bob(write)
        assert came.wait(30)
        assert [event and (event.rev, event.objects) for event in heard] == [(write.revision, (("s", "user:bob"),))]
        other.close()

    def test_without_a_server_nothing_is_heard_and_nothing_fails(self, settings: Any) -> None:
        settings.REDIS_URL = ""
        events.close()
        assert events.bus() is None
        events.listen(lambda event: None, lambda: None)()
