"""The bus: one contract for a process, a server and a cluster; and what between processes must not stop the listening."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import resilience.bus
from resilience import redis_bus
from resilience.bus import Bus, LocalBus
from resilience.errors import StorageAuthError, StorageTimeout, StorageUnavailable
from resilience.redis_bus import RedisBus
from resilience.redis_client import node_client, parse
from tests.resilience.clients.conftest import counted, forked
from tests.resilience.clients.proxies import Proxy

SOON_S = 20  # until a test gives up; nothing waits so long unless it is broken


class Listening:
    """What was heard on one channel; made, it waits until the channel is heard."""

    def __init__(self, bus: Bus, channel: str) -> None:
        self.messages: queue.Queue[bytes] = queue.Queue()
        self.begun = threading.Semaphore(0)
        self._ways_out = [bus.on_reconnect(self.begun.release), bus.subscribe(channel, self.messages.put)]
        if isinstance(bus, RedisBus):
            while not bus.is_heard(channel):
                self.wait()

    def wait(self) -> None:
        assert self.begun.acquire(timeout=SOON_S), "listening did not begin"

    def next(self) -> bytes:
        return self.messages.get(timeout=SOON_S)

    def leave(self) -> None:
        for way_out in self._ways_out:
            way_out()


@pytest.fixture
def bus(valkey_url) -> Iterator[RedisBus]:
    made = RedisBus(valkey_url)
    yield made
    made.close()


@pytest.fixture
def line(proxy: Proxy) -> Iterator[RedisBus]:
    """A bus whose line to its server a test can cut."""
    made = RedisBus(proxy.url)
    yield made
    made.close()


class TestEveryBus:
    @pytest.fixture(params=["local", "standalone", "cluster", "a cluster behind redis://"])
    def bus(self, request, valkey_url, cluster_url) -> Iterator[Bus]:
        address = parse(cluster_url)
        urls = {"standalone": valkey_url, "cluster": cluster_url}
        url = urls.get(request.param, str(address.at(*address.hosts[0])))
        made: Bus = LocalBus() if request.param == "local" else RedisBus(url)
        yield made
        made.close()

    def test_text_and_bytes_are_heard_as_bytes_in_order(self, bus, key_prefix):
        heard = Listening(bus, f"{key_prefix}a")
        for message in ("text", b"\x00\xff", "", "ü", "x" * 100_000):
            bus.publish(f"{key_prefix}a", message)
        assert [heard.next() for _ in range(5)] == [b"text", b"\x00\xff", b"", "ü".encode(), b"x" * 100_000]

    def test_only_the_channel_subscribed_to_is_heard(self, bus, key_prefix):
        first, second = Listening(bus, f"{key_prefix}a"), Listening(bus, f"{key_prefix}ü")
        bus.publish(f"{key_prefix}b", "nobody's")
        bus.publish(f"{key_prefix}ü", "2")
        bus.publish(f"{key_prefix}a", "1")
        assert first.next() == b"1" and second.next() == b"2"
        assert first.messages.empty() and second.messages.empty()

    def test_every_listener_hears_each_until_it_leaves(self, bus, key_prefix):
        first, second = Listening(bus, f"{key_prefix}a"), Listening(bus, f"{key_prefix}a")
        bus.publish(f"{key_prefix}a", "1")
        assert first.next() == second.next() == b"1"
        second.leave()
        second.leave()
        bus.publish(f"{key_prefix}a", "2")
        assert first.next() == b"2" and second.messages.empty()

    def test_a_listener_that_fails_hinders_nobody_and_is_counted(self, bus, key_prefix):
        before = counted("resilience_internal_errors_total", "bus", "listener")
        bus.subscribe(f"{key_prefix}a", lambda message: 1 / 0)
        heard = Listening(bus, f"{key_prefix}a")
        for number in range(3):
            bus.publish(f"{key_prefix}a", str(number))
        assert [heard.next() for _ in range(3)] == [b"0", b"1", b"2"]
        assert counted("resilience_internal_errors_total", "bus", "listener") == before + 3

    def test_a_listener_may_publish_and_subscribe(self, bus, key_prefix):
        answers = Listening(bus, f"{key_prefix}answers")

        def answer(message: bytes) -> None:
            bus.subscribe(f"{key_prefix}more", print)
            bus.publish(f"{key_prefix}answers", b"re: " + message)

        bus.subscribe(f"{key_prefix}a", answer)
        Listening(bus, f"{key_prefix}a")
        bus.publish(f"{key_prefix}a", "1")
        assert answers.next() == b"re: 1"

    @pytest.mark.parametrize("channel", ["", None, 7, b"bytes"])
    def test_a_channel_that_cannot_be_is_refused(self, bus, channel):
        for call in (lambda: bus.publish(channel, ""), lambda: bus.subscribe(channel, print)):
            with pytest.raises(ValueError, match="a channel is a text that is not empty"):
                call()

    @pytest.mark.parametrize("message", [None, 7, 1.5, ["a"], {"a": 1}])
    def test_a_message_that_cannot_be_is_refused(self, bus, message):
        with pytest.raises(ValueError, match="a message is text or bytes, not"):
            bus.publish("a", message)

    def test_after_close_nothing_is_heard_and_it_may_be_used_again(self, bus, key_prefix):
        old = Listening(bus, f"{key_prefix}a")
        bus.close()
        bus.close()
        new = Listening(bus, f"{key_prefix}a")
        bus.publish(f"{key_prefix}a", "1")
        assert new.next() == b"1" and old.messages.empty()


def test_the_contracts_name_leads_to_the_same_class():
    assert resilience.bus.RedisBus is RedisBus
    with pytest.raises(AttributeError):
        _ = resilience.bus.Nothing


def test_nothing_is_connected_before_the_first_use(proxy):
    threads = threading.active_count()
    bus = RedisBus(proxy.url)
    bus.on_reconnect(print)
    assert proxy.accepted == 0 and threading.active_count() == threads
    bus.close()


def test_two_processes_hear_each_other(valkey_url, key_prefix):
    one, other = RedisBus(valkey_url), RedisBus(valkey_url)
    heard = Listening(one, f"{key_prefix}a")
    other.publish(f"{key_prefix}a", "1")
    assert heard.next() == b"1"
    one.close()
    other.close()


# What must not stop it.


def test_a_listener_that_is_thrown_out_hears_again_and_is_told_to_read(bus, valkey_url, key_prefix):
    heard = Listening(bus, f"{key_prefix}a")
    before = counted("resilience_bus_lost_total")
    for _ in range(3):
        with node_client(valkey_url) as server:
            assert server.execute_command("CLIENT", "KILL", "TYPE", "PUBSUB") >= 1
        heard.wait()
        bus.publish(f"{key_prefix}a", "again")
        assert heard.next() == b"again"
    assert counted("resilience_bus_lost_total") == before + 3


def test_garbage_ends_the_line_and_not_the_listening(line, proxy, key_prefix):
    heard = Listening(line, f"{key_prefix}a")
    for garbage in (
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"*3\r\n:1\r\n:2\r\n:3\r\n*3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n",
        b"-ERR no\r\n",
    ):
        proxy.garbage = garbage
        with node_client(str(proxy._target)) as server:  # past the proxy, whose next bytes are the garbage
            server.publish(f"{key_prefix}a", "lost in it")
        heard.wait()
        line.publish(f"{key_prefix}a", "again")
        assert heard.next() == b"again"


def test_a_callback_of_a_new_start_that_fails_is_counted(bus, key_prefix):
    before = counted("resilience_internal_errors_total", "bus", "on_reconnect")
    remove = bus.on_reconnect(lambda: 1 / 0)
    heard = Listening(bus, f"{key_prefix}a")
    bus.publish(f"{key_prefix}a", "1")
    assert heard.next() == b"1"
    assert counted("resilience_internal_errors_total", "bus", "on_reconnect") == before + 1
    remove()


def test_a_line_that_swallows_everything_is_noticed(line, proxy, key_prefix, monkeypatch):
    monkeypatch.setattr(redis_bus, "PING_S", 0.05)
    lost = counted("resilience_bus_lost_total")
    heard = Listening(line, f"{key_prefix}a")
    proxy.is_mute = True
    accepted = proxy.accepted
    while proxy.accepted == accepted:  # until it gives up on the silent line, and asks for another
        threading.Event().wait(0.01)
    proxy.is_mute = False
    heard.wait()
    line.publish(f"{key_prefix}a", "again")
    assert heard.next() == b"again"
    assert counted("resilience_bus_lost_total") > lost


def test_it_begins_to_listen_when_the_server_comes(tmp_path, launcher, key_prefix):
    folder = tmp_path / "kv"
    bus = RedisBus(f"unix://{folder}/valkey.sock")
    messages: queue.Queue[bytes] = queue.Queue()
    begun = threading.Event()
    bus.on_reconnect(begun.set)
    bus.subscribe(f"{key_prefix}a", messages.put)
    with pytest.raises(StorageUnavailable):
        bus.publish(f"{key_prefix}a", "to nobody")
    assert not begun.is_set() and not bus.is_heard(f"{key_prefix}a")
    launcher.redis(folder=folder)
    assert begun.wait(SOON_S)
    bus.publish(f"{key_prefix}a", "1")
    assert messages.get(timeout=SOON_S) == b"1"
    bus.close()


def test_a_publisher_outlives_a_restart_of_its_server(line, proxy, key_prefix):
    line.publish(f"{key_prefix}a", "1")
    proxy.cut()
    line.publish(f"{key_prefix}a", "2")
    assert proxy.accepted == 3  # one asked what it is, one published, and one did after the cut


def test_a_publisher_says_when_nobody_was_told(proxy, tmp_path, launcher):
    gone = RedisBus(f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(StorageUnavailable, match="publish: unix://"):
        gone.publish("a", "1")
    silent = RedisBus(proxy.url)
    silent.publish("a", "1")
    proxy.is_mute = True
    with pytest.raises(StorageTimeout, match="does not answer"):
        silent.publish("a", "2")
    server = launcher.redis()
    with node_client(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "narrow", "on", ">pw", "+@all", "resetchannels", "&mine:*")
    narrow = RedisBus(server.url.replace("unix://", "unix://narrow:pw@"))
    narrow.publish("mine:a", "1")
    with pytest.raises(StorageAuthError) as raised:
        narrow.publish("theirs", "1")
    assert "pw" not in str(raised.value)
    for bus in (gone, silent, narrow):
        bus.close()


def test_publishing_on_an_event_loop_is_counted(bus):
    async def block() -> None:
        bus.publish("a", "1")

    before = counted("resilience_blocking_calls_total")
    asyncio.run(block())
    assert counted("resilience_blocking_calls_total") == before + 1


def test_a_forked_child_listens_anew_with_a_thread_of_its_own(bus, key_prefix):
    heard = Listening(bus, f"{key_prefix}a")
    other = RedisBus(bus._nodes.address)

    def child(answers: Any) -> None:
        begun = threading.Event()
        mine: queue.Queue[bytes] = queue.Queue()
        bus.on_reconnect(begun.set)
        bus.subscribe(f"{key_prefix}a", mine.put)
        answers.put(begun.wait(SOON_S))
        bus.publish(f"{key_prefix}a", "from the child")
        answers.put(mine.get(timeout=SOON_S))

    assert forked(child) == [True, b"from the child"]
    assert heard.next() == b"from the child"
    other.publish(f"{key_prefix}a", "still")
    assert heard.next() == b"still"
    other.close()


def test_a_busy_channel_keeps_no_new_subscription_waiting(bus, valkey_url, key_prefix, monkeypatch):
    monkeypatch.setattr(redis_bus, "MAX_TAKEN", 2)
    heard = Listening(bus, f"{key_prefix}busy")
    with node_client(valkey_url) as server:
        pipeline = server.pipeline(transaction=False)
        for number in range(1_000):
            pipeline.publish(f"{key_prefix}busy", number)
        pipeline.execute()
    Listening(bus, f"{key_prefix}late")
    assert [heard.next() for _ in range(1_000)] == [str(number).encode() for number in range(1_000)]
