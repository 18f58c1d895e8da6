"""Frames and events reach the socket that asked for them, once, in order, and only what its person may see."""

from __future__ import annotations

import pytest

from controlplane.live.hub import HUB
from controlplane.sockets import messages
from tests.controlplane.sockets.conftest import SOON_S
from tests.worlds import apply

pytestmark = pytest.mark.django_db(transaction=True)

OTHER_REALM = """
version: 1
realm: other
subjects: [{id: "user:bob"}]
roles: [{name: watcher, permissions: ["permsite.control:view"]}]
bindings: [{subject: "user:alice", role: watcher}]
"""


def names(message: dict) -> list[str]:
    return [event["name"] for event in message["events"]]


def test_nothing_is_sent_before_it_is_asked_for(site):
    page, other = site.open("alice"), site.watching("bob")
    page.next()
    site.happen("storage.down")
    site.frame(checks_per_s=7)
    other.wait_for("frame")
    page.say({"type": "ping"})
    assert page.next()["type"] == "pong"


def test_frames_and_events_reach_every_socket_that_asked(site):
    pages = [site.watching("alice"), site.watching("bob")]
    site.frame(checks_per_s=7)
    (event,) = site.happen("storage.down")
    for page in pages:
        assert page.wait_for("frame")["frame"]["checks_per_s"] == 7
        told = page.wait_for("events")
        assert names(told) == ["storage.down"] and told["last"] == event


def test_whoever_asks_is_sent_the_newest_frame_at_once_unless_it_is_old(site, monkeypatch):
    first = site.watching("alice")
    site.frame(checks_per_s=7)
    first.wait_for("frame")
    assert site.watching("bob").wait_for("frame")["frame"]["checks_per_s"] == 7
    monkeypatch.setattr(HUB, "frame_age_s", lambda: 60.0)
    late = site.watching("bob")
    late.say({"type": "ping"})
    assert late.next()["type"] == "pong"


def test_what_was_missed_is_sent_after_a_return_and_nothing_twice(site):
    page = site.watching("alice")
    seen = site.happen("storage.down")
    page.wait_for("events")
    page.connection.close()
    missed = site.happen("storage.up", "breaker.one", "breaker.two")
    site.watching("bob", after=seen[0]).wait_for("events")  # the hub has read them
    back = site.watching("alice", after=seen[0])
    more = site.happen("storage.down")
    ids: list[str] = []
    while more[0] not in ids:
        ids += [event["id"] for event in back.wait_for("events")["events"]]
    assert ids == [*missed, *more]
    assert not any(message["type"] == "gap" for message in back.heard)


def test_an_id_older_than_the_stream_is_told_as_a_gap(site):
    first = site.watching("alice")
    site.happen("storage.down")
    first.wait_for("events")
    back = site.watching("alice", after="0000000000001-000000")
    assert back.next()["type"] == "gap"
    assert names(back.wait_for("events"))[-1:] == ["storage.down"]
    for wrong in ("no id", "1-x"):
        gap = site.watching("bob", after=wrong).next()
        assert gap["type"] == "gap" and gap["dropped"] is None and gap["last"]


def test_clearing_the_stream_leaves_a_gap_for_who_comes_back(site):
    page = site.watching("alice")
    before = site.happen("storage.down")
    page.wait_for("events")
    page.connection.close()
    other = site.watching("bob")
    site.store.clear_events({"name": "events.cleared", "at": 0, "severity": "info", "kind": "event", "realm": None})
    site.store.publish("events", b"")
    other.wait_for("events")
    assert site.watching("alice", after=before[0]).next()["type"] == "gap"


def test_filters_choose_events_and_a_later_choice_replaces_them(site):
    page = site.watching("alice", filters={"name": "storage.", "severity": ["critical", "warning"]})
    site.happen("storage.down", severity="critical")
    site.happen("storage.up", "config.applied")
    site.happen("storage.down", severity="warning", subject="user:x")
    assert [event["severity"] for event in page.events(2)] == ["critical", "warning"]
    page.subscribe(filters={"subject": "user:x"})
    site.happen("storage.down", subject="user:y")
    site.happen("config.applied", subject="user:x")
    assert names(page.wait_for("events")) == ["config.applied"]


def test_events_of_a_realm_reach_those_alone_who_may_see_that_realm(site):
    apply(OTHER_REALM)
    alice, bob = site.watching("alice"), site.watching("bob")
    site.happen("permission.decided", realm="other")
    site.happen("permission.decided", realm="no-such-realm")
    site.happen("storage.up", realm="default")
    assert [event["realm"] for event in alice.events(2)] == ["other", "default"]
    assert [event["realm"] for event in bob.events(1)] == ["default"]


def test_a_topic_is_left_out_without_its_right(site):
    apply(
        """
        version: 1
        realm: default
        roles: [{name: one_page, permissions: ["permsite.control:view"]}]
        resources: [{id: "permsite.control:overview"}, {id: "permsite.control:events"}]
        bindings: [{subject: "user:charlie", role: one_page, scope: "permsite.control:events"}]
        """
    )
    assert site.refused("charlie") == 403
    page = site.open("charlie", path="/ws/control/?page=events")
    assert page.next()["topics"] == ["events", "frame"]
    assert page.subscribe()["topics"] == ["events", "frame"]


def test_a_hidden_page_asks_for_nothing_and_is_sent_nothing(site):
    page, other = site.watching("alice"), site.watching("bob")
    page.subscribe(topics=[])
    site.frame()
    other.wait_for("frame")
    page.say({"type": "ping"})
    assert page.next()["type"] == "pong"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("[" * 4000, "not JSON"),
        ("7", "a message is a JSON object"),
        ("null", "a message is a JSON object"),
        ("{}", "type must be subscribe or ping"),
        ('{"type": ["ping"]}', "type must be subscribe or ping"),
        ('{"type": "subscribe", "topics": "frame"}', "topics must be a list of events, frame, nodes"),
        ('{"type": "subscribe", "topics": ["rights"]}', "topics must be a list of events, frame, nodes"),
        ('{"type": "subscribe", "topics": [true]}', "topics must be a list of events, frame, nodes"),
        ('{"type": "subscribe", "topics": [], "after": 7}', "after must be the id of an event"),
        ('{"type": "subscribe", "topics": [], "after": "é"}', "after must be the id of an event"),
        ('{"type": "subscribe", "topics": [], "filters": []}', None),
        ('{"type": "subscribe", "topics": [], "filters": ["x"]}', "filters must be an object"),
        ('{"type": "subscribe", "topics": [], "filters": {"data": "x"}}', "filters.data is none of name, severity"),
        ('{"type": "subscribe", "topics": [], "filters": {"name": 1}}', "filters.name must be a text, or a list"),
        ('{"type": "subscribe", "topics": [], "filters": {"name": [NaN]}}', "filters.name must be a text, or a list"),
        ('{"type": "subscribe", "topics": [], "more": 1}', "subscribe has no 'more'"),
        (
            '{"type": "subscribe", "topics": [], "filters": {"name": "' + "x" * 300 + '"}}',
            "filters.name must be a text, or a list",
        ),
        ('{"type": "subscribe", "topics": [], "filters": {"name": [' + ", ".join(['"x"'] * 21) + "]}}", "has more than 20 texts"),
    ],
)
def test_a_message_that_is_none_is_named(text, told):
    if told is None:
        assert messages.read(text) == messages.Subscribe(frozenset(), (), "")
        return
    with pytest.raises(messages.Malformed) as refused:
        messages.read(text)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        ("{", 4400, "not JSON"),
        ('{"type": "shout"}', 4400, "type must be subscribe or ping"),
        (b"\x00\x01", 1003, "messages are text"),
        ('{"type": "ping", "x": "' + "y" * 4096 + '"}', 1009, ""),
        ("é" * 2100, 1009, ""),
        ("y" * 500_000, 1009, ""),
    ],
)
def test_what_is_no_message_closes_the_socket_and_hurts_no_other(site, said, code, told):
    page, other = site.watching("alice"), site.watching("bob")
    page.say(said)
    found = page.closed()
    assert found[0] == code and told in found[1]
    site.frame()
    other.wait_for("frame")
    assert SOON_S


def test_a_flood_closes_the_socket(site):
    page = site.open("alice")
    page.next()
    for _ in range(12):
        page.say({"type": "ping"})
    assert page.closed()[0] == 4429
    assert page.heard[-1]["type"] == "bye" and page.heard[-1]["retry_after"] > 0
