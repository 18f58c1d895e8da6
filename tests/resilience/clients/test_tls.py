"""TLS: every client speaks it and checks the certificate. The proxy speaks it, since not every server that we start can."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
import redis

from resilience.connections import Maker, Timeouts
from resilience.redis_bus import RedisBus
from resilience.redis_client import check_connection, connection_info, new_connection, parse, redis_client
from tests.resilience.clients.proxies import TLS, Proxy
from tests.resilience.clients.test_bus import Listening


def connected(url: str) -> Any:
    """A decision's time-out is short for a handshake on a machine under load: asked again until it is done."""
    while True:
        connection = new_connection(url, timeout_s=0.1)
        with contextlib.suppress(redis.TimeoutError):
            connection.connect()
            return connection


def test_every_kind_of_client_speaks_it(tls_proxy: Proxy, key_prefix):
    url = tls_proxy.url
    with redis_client(url) as client:
        assert client.set(f"{key_prefix}a", 1, px=60_000) and client.get(f"{key_prefix}a") == b"1"
    connection = connected(url)
    assert connection._sock.version().startswith("TLSv1.")
    connection.disconnect()

    async def use() -> None:
        async with redis_client(url, asynchronous=True) as asynchronous:
            assert await asynchronous.get(f"{key_prefix}a") == b"1"

    asyncio.run(use())
    bus = RedisBus(url)
    heard = Listening(bus, f"{key_prefix}a")
    for message in (b"1", b"x" * 200_000):  # longer than one record of TLS, and than one read of the parser
        bus.publish(f"{key_prefix}a", message)
        assert heard.next() == message
    bus.close()


def test_what_comes_behind_the_handshake_is_not_taken_for_a_reply(tls_proxy):
    connection = connected(tls_proxy.url)
    # A pool refuses a connection that can be read before anything was asked. Tickets come at once or within this wait.
    assert not connection.can_read(0.2)
    connection.disconnect()


def test_the_report_names_it_without_its_files(tls_proxy):
    assert check_connection(tls_proxy.url).ok
    assert connection_info(tls_proxy.url)["url"] == f"rediss://localhost:{tls_proxy.port}/0"


@pytest.mark.parametrize(
    ("host", "options", "is_trusted"),
    [
        ("localhost", f"ssl_ca_certs={TLS / 'server.crt'}", True),
        ("127.0.0.1", f"ssl_ca_certs={TLS / 'server.crt'}", True),
        ("localhost", "", False),  # the system's own authorities have not signed it
        ("127.0.0.2", f"ssl_ca_certs={TLS / 'server.crt'}", False),  # another name than the certificate's
        ("127.0.0.2", f"ssl_ca_certs={TLS / 'server.crt'}&ssl_check_hostname=false", True),
        ("127.0.0.2", "ssl_cert_reqs=none", True),
    ],
)
def test_the_certificate_is_checked_unless_the_url_says_otherwise(valkey_url, host, options, is_trusted):
    with Proxy(valkey_url, tls=True, host=host) as proxy:
        report = check_connection(f"rediss://{host}:{proxy.port}/0?{options}")
    assert report.ok is is_trusted, report.error
    assert is_trusted or "certificate verify failed" in report.error.lower()


def test_plain_and_tls_do_not_mistake_each_other(proxy, tls_proxy):
    assert not check_connection(f"rediss://localhost:{proxy.port}/0?ssl_cert_reqs=none").ok
    assert not check_connection(f"redis://localhost:{tls_proxy.port}/0").ok


def test_nodes_sentinels_and_masters_get_it_too():
    options = "ssl_ca_certs=/ca.pem&ssl_certfile=/me.pem&ssl_keyfile=/me.key"
    cluster = Maker(parse(f"rediss+cluster://u:p@h1,h2/?{options}"), Timeouts(1, 1)).client(cluster=True, asynchronous=True)
    given = cluster.connection_kwargs
    assert given["connection_class"] is redis.asyncio.connection.SSLConnection and given["ssl_certfile"] == "/me.pem"
    client = Maker(parse(f"rediss+sentinel://h1,h2/main?{options}"), Timeouts(1, 1)).client(cluster=False)
    pool = client.connection_pool
    assert pool.connection_class is redis.sentinel.SentinelManagedSSLConnection
    assert pool.connection_kwargs["ssl_keyfile"] == "/me.key"
    for sentinel in pool.sentinel_manager.sentinels:
        assert sentinel.connection_pool.connection_class is redis.SSLConnection
        assert sentinel.connection_pool.connection_kwargs["ssl_ca_certs"] == "/ca.pem"
