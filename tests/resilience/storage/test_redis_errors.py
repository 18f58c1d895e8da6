"""What a server says, or fails to say, becomes exactly one class of ours; the driver's errors never leak."""

from __future__ import annotations

import select
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from permsite.launcher import Launcher, Server
from resilience import telemetry
from resilience.errors import (
    StorageAuthError,
    StorageError,
    StorageFull,
    StorageProtocolError,
    StorageTimeout,
    StorageUnavailable,
)
from resilience.storage.link import news_of
from resilience.storage.redis import RedisStore
from resilience.storage.wire import PING
from tests.resilience.storage.middlemen import Parrot, Wire

TAKE = ("take", 1, 1, 3_600_000_000, 1, 100)  # one an hour: none comes back while a test runs
PEEK = ("peek", 1, 1, 3_600_000_000, 1, 100)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Of our own, to fill up and lock."""
    with Launcher() as launcher:
        yield launcher.redis()


@pytest.fixture
def admin(server: Server) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=server.url.removeprefix("unix://"), decode_responses=True) as client:
        yield client
        client.config_set("maxmemory", "0")
        client.execute_command("ACL", "SETUSER", "default", "reset", "on", "nopass", "~*", "&*", "+@all")
        client.flushall()


def sides(store: RedisStore, loop: Any) -> list[Any]:
    """The four ways to call."""
    return [
        lambda: store.run("gcra", "a", TAKE),
        lambda: loop(store.arun("gcra", "a", TAKE)),
        lambda: _raise(store.run_many([("gcra", "a", TAKE)])[0]),
        lambda: _raise(loop(store.arun_many([("gcra", "a", TAKE)]))[0]),
    ]


def _raise(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise reply
    return reply


def assert_each_side_raises(store: RedisStore, loop: Any, kind: type[StorageError]) -> list[StorageError]:
    errors = []
    for number, side in enumerate(sides(store, loop)):
        before = telemetry.collect()["resilience_storage_errors_total"].get((kind.__name__,), 0)
        with pytest.raises(StorageError) as caught:
            side()
        assert type(caught.value) is kind, f"side {number}: {caught.value!r}"
        assert telemetry.collect()["resilience_storage_errors_total"][kind.__name__,] == before + 1
        errors.append(caught.value)
    loop(store.aclose())
    return errors


def test_a_full_server_is_full_and_its_health_says_so(server: Server, admin: redis.Redis, loop: Any) -> None:
    admin.config_set("maxmemory-policy", "noeviction")
    store = RedisStore(server.url, timeout_s=10)
    store.run("gcra", "a", TAKE)
    admin.config_set("maxmemory", "1")
    assert_each_side_raises(store, loop, StorageFull)
    assert not store.health().ok
    assert store.health().error.startswith("OOM")
    admin.config_set("maxmemory", "0")
    assert store.run("gcra", "a", TAKE)[0] == 1
    store.close()


def test_a_server_that_wants_a_password_is_misconfigured(server: Server, admin: redis.Redis, loop: Any) -> None:
    store = RedisStore(server.url, timeout_s=10)
    admin.execute_command("ACL", "SETUSER", "default", "on", ">secret", "resetpass", ">secret")
    errors = assert_each_side_raises(store, loop, StorageAuthError)
    assert "secret" not in str(errors)
    assert store.health().error.startswith("misconfigured: ")
    assert loop(store.ahealth()).error.startswith("misconfigured: ")
    loop(store.aclose())
    wrong = RedisStore(server.url.replace("unix://", "unix://:wrong@"), timeout_s=10)
    errors = assert_each_side_raises(wrong, loop, StorageAuthError)
    assert "wrong@" not in str(errors)
    right = RedisStore(server.url.replace("unix://", "unix://:secret@"), timeout_s=10)
    assert right.run("gcra", "a", TAKE)[0] == 1
    assert right.health().ok
    for each in (store, wrong, right):
        each.close()


def test_a_user_who_may_not_run_scripts_or_touch_the_keys_is_misconfigured(server: Server, admin: redis.Redis, loop: Any) -> None:
    url = server.url.replace("unix://", "unix://app:pw@")
    for rights in ("-@all +ping +info ~*", "+@all ~other:*", "-@all +ping +info +evalsha +eval +get ~*"):
        admin.execute_command("ACL", "SETUSER", "app", "reset", "on", ">pw", *rights.split())
        store = RedisStore(url, timeout_s=10)
        assert_each_side_raises(store, loop, StorageAuthError)
        store.close()


def test_an_account_with_no_more_rights_than_it_needs_is_well(server: Server, admin: redis.Redis) -> None:
    rights = "-@all +ping +info +eval +evalsha +get +set +time ~rate_limiter:*"
    admin.execute_command("ACL", "SETUSER", "app", "reset", "on", ">pw", *rights.split())
    store = RedisStore(server.url.replace("unix://", "unix://app:pw@"), timeout_s=10)
    assert store.run("gcra", "a", TAKE)[0] == 1
    assert store.health().ok
    store.close()


def test_a_key_of_another_type_is_our_own_bug(server: Server, admin: redis.Redis, loop: Any) -> None:
    admin.rpush("rate_limiter:{a}:gcra", "a list")
    store = RedisStore(server.url, timeout_s=10)
    assert_each_side_raises(store, loop, StorageProtocolError)
    store.close()


def test_a_replica_that_may_not_write_is_unavailable_and_its_health_says_so(
    server: Server, admin: redis.Redis, loop: Any
) -> None:
    """It answers PING: a check of no more than that would go back to it every second."""
    store = RedisStore(server.url, timeout_s=10)
    store.run("gcra", "a", TAKE)
    admin.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        admin.config_set("replica-serve-stale-data", "yes")
        assert admin.ping()
        assert_each_side_raises(store, loop, StorageUnavailable)
        assert store.health().error.startswith("READONLY")
        admin.config_set("replica-serve-stale-data", "no")
        errors = assert_each_side_raises(store, loop, StorageUnavailable)
        assert "MASTERDOWN" in str(errors[0])
        assert not store.health().ok
    finally:
        admin.execute_command("REPLICAOF", "NO", "ONE")
    assert store.run("gcra", "a", TAKE)[0] == 1
    store.close()


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("-LOADING Redis is loading the dataset in memory", StorageUnavailable),
        ("-CLUSTERDOWN The cluster is down", StorageUnavailable),
        ("-BUSY Redis is busy running a script", StorageUnavailable),
        ("-MISCONF Redis is configured to save RDB snapshots, but it is currently unable to persist to disk", StorageUnavailable),
        ("-ERR max number of clients reached", StorageUnavailable),
        ("-TRYAGAIN Multiple keys request during rehashing of slot", StorageUnavailable),
        ("-OOM command not allowed when used memory > 'maxmemory'.", StorageFull),
        ("-ERR Error running script (call to f_1): @user_script:5: -OOM command not allowed when used memory", StorageFull),
        ("-ERR Error running script (call to f_1): @user_script:5: -WRONGTYPE Operation against a key", StorageProtocolError),
        ("-WRONGPASS invalid username-password pair or user is disabled.", StorageAuthError),
        ("-ERR The user executing the script can't run this command or subcommand", StorageAuthError),
        ("-CROSSSLOT Keys in request don't hash to the same slot", StorageProtocolError),
        ("-NOSCRIPT No matching script. Please use EVAL.", StorageProtocolError),
        ("-MOVED 1 127.0.0.1:1", StorageUnavailable),
        ("-SOMETHING new in version 99", StorageProtocolError),
        ("+OK", StorageProtocolError),
        (":1", StorageProtocolError),
        ("$-1", StorageProtocolError),
    ],
)
def test_each_reply_that_is_no_answer_has_its_class(reply: str, kind: type[StorageError], loop: Any) -> None:
    with Parrot(f"{reply}\r\n".encode()) as server:
        store = RedisStore(server.url, timeout_s=10)
        assert_each_side_raises(store, loop, kind)
        store.close()


def test_garbage_for_a_reply_means_that_nobody_knows_what_has_run(loop: Any) -> None:
    with Parrot(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        store = RedisStore(server.url, timeout_s=10)
        assert_each_side_raises(store, loop, StorageTimeout)
        store.close()


def test_nobody_at_the_address_is_unavailable(tmp_path: Path, loop: Any) -> None:
    store = RedisStore(f"unix://{tmp_path}/nobody.sock")
    errors = assert_each_side_raises(store, loop, StorageUnavailable)
    assert all(error.is_whole_store for error in errors if isinstance(error, StorageUnavailable))
    health = store.health()
    assert (health.ok, health.latency_ms) == (False, None)
    assert "no connection" in health.error
    store.close()


@pytest.mark.parametrize("lost", [b"", None], ids=["swallowed", "cut"])
def test_a_lost_reply_is_a_timeout_and_the_call_is_never_repeated(
    server: Server, admin: redis.Redis, loop: Any, lost: Any
) -> None:
    """The server has counted; a second count would be the driver's retry."""
    direct = RedisStore(server.url, timeout_s=10)
    with Wire(server.url.removeprefix("unix://")) as wire:
        store = RedisStore(wire.url, timeout_s=0.3)
        for number, (_, side) in enumerate(zip(range(4), sides(store, loop), strict=True)):
            wire.replies = lambda data: data
            side()  # connected, and the script is known: what is lost now is the reply of a call
            left = direct.run("gcra", "a", PEEK)[1]
            wire.replies = lambda data: lost
            with pytest.raises(StorageTimeout):
                side()
            assert direct.run("gcra", "a", PEEK)[1] == int(left) - 1, f"side {number}"
        wire.replies = lambda data: data
        assert store.run("gcra", "b", TAKE)[0] == 1, "the next call opens a new connection"
        assert loop(store.arun("gcra", "b", TAKE))[0] == 1
        loop(store.aclose())
    direct.close()


def test_the_drivers_default_retry_would_have_counted_twice(server: Server, admin: redis.Redis) -> None:
    """The planted fault: the test above sees it."""
    with Wire(server.url.removeprefix("unix://")) as wire:
        with redis.Redis(port=wire.port, socket_timeout=0.2) as client:
            client.ping()
            seen = []

            def swallow_first(data: bytes) -> bytes:
                seen.append(data)
                return b"" if len(seen) == 1 else data

            wire.replies = swallow_first
            client.incr("counted")
        assert admin.get("counted") == "2"


def test_a_reply_in_many_pieces_is_one_reply(server: Server, admin: redis.Redis, loop: Any) -> None:
    with Wire(server.url.removeprefix("unix://")) as wire:
        store = RedisStore(wire.url, timeout_s=10)
        store.run("gcra", "a", TAKE)
        store.run("lock_acquire", "l", ("token" * 50_000, 3_600_000_000))
        for _ in range(3):
            assert "token" * 50_000 in store.run("lock_inspect", "l")
            assert "token" * 50_000 in loop(store.arun("lock_inspect", "l"))
        loop(store.aclose())
        store.close()


def test_a_server_that_trickles_cannot_stretch_the_timeout(loop: Any) -> None:
    """Each piece comes in time, the whole never does."""

    class Trickle(Parrot):
        pieces = 0

        def serve(self, client: Any) -> None:
            while data := client.recv(65_536):
                if b"INFO" in data:
                    client.sendall(b"$28\r\n# Cluster\r\ncluster_enabled:0\r\n")
                    continue
                client.sendall(b"*1\r\n$1000\r\n")
                while True:
                    client.sendall(b"x")
                    Trickle.pieces += 1
                    self._pause.wait(0.05)

        def __init__(self) -> None:
            import threading

            self._pause = threading.Event()
            super().__init__(b"")

    with Trickle() as server:
        store = RedisStore(server.url, timeout_s=0.2)
        with pytest.raises(StorageTimeout):
            store.run("gcra", "a", TAKE)
        with pytest.raises(StorageTimeout):
            loop(store.arun("gcra", "a", TAKE))
        loop(store.aclose())
        store.close()


def test_it_speaks_tls(server: Server, admin: redis.Redis, tmp_path: Path, loop: Any) -> None:
    context = _certified(tmp_path)
    with Wire(server.url.removeprefix("unix://"), context=context) as wire:
        url = f"rediss://127.0.0.1:{wire.port}/0?ssl_ca_certs={tmp_path}/cert.pem"
        store = RedisStore(url, timeout_s=10)
        for left in (99, 97, 95):
            assert store.run("gcra", "a", TAKE)[1] == left
            assert loop(store.arun("gcra", "a", TAKE))[1] == left - 1
        made_before = wire.connections
        assert [reply[1] for reply in store.run_many([("gcra", "b", TAKE)] * 3)] == [99, 98, 97]  # type: ignore[index]
        assert [reply[1] for reply in loop(store.arun_many([("gcra", "b", TAKE)] * 3))] == [96, 95, 94]
        token = "t" * 3_000_000
        store.run("lock_acquire", "big", (token, 3_600_000_000))
        assert token in store.run("lock_inspect", "big")
        assert token in loop(store.arun("lock_inspect", "big"))
        assert wire.connections == made_before, "one connection a thread, one a loop"
        wire.drop_all()
        assert store.run("gcra", "c", TAKE)[1] == 99
        assert loop(store.arun("gcra", "c", TAKE))[1] == 98
        wire.replies = lambda data: None
        with pytest.raises(StorageTimeout):
            store.run("gcra", "c", TAKE)
        with pytest.raises(StorageTimeout):
            loop(store.arun("gcra", "c", TAKE))
        loop(store.aclose())
        store.close()


def test_a_servers_tickets_are_no_idle_connections_end(server: Server, tmp_path: Path) -> None:
    """TLS 1.3 sends them after the handshake: bytes to read before anything was asked."""
    with Wire(server.url.removeprefix("unix://"), context=_certified(tmp_path)) as wire:
        trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        plain = socket.create_connection(("127.0.0.1", wire.port), timeout=10)
        with trusting.wrap_socket(plain, server_hostname="localhost") as sock:
            has_ended = news_of(sock)
            assert select.select([sock], [], [], 10)[0], "the tickets came"
            assert not has_ended(0)
            sock.sendall(PING)
            assert sock.recv(100) == b"+PONG\r\n"
            assert not has_ended(0)
            wire.drop_all()
            assert select.select([sock], [], [], 10)[0], "the end came"
            assert has_ended(0)


def _certified(folder: Path) -> ssl.SSLContext:
    """A server's context with a certificate of its own, in `folder`."""
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(made, cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
