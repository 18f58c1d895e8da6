"""A closed connection stays closed for its thread, also when its descriptor's number has become another socket's."""

from __future__ import annotations

import contextlib
import socket

import pytest

from resilience import RedisStore


@pytest.mark.parametrize("many", [False, True])
def test_the_next_call_connects_anew_though_the_descriptor_lives_on(valkey_url: str, key_prefix: str, many: bool) -> None:
    store = RedisStore(valkey_url, prefix=key_prefix, timeout_s=5.0)
    call = ("breaker_peek", "billing", (10_000_000,))
    due = store.run(*call)
    for _ in range(3):
        store.close()
        with contextlib.ExitStack() as others:
            # Quiet sockets, of which one takes the number over.
            for _ in range(8):
                for other in socket.socketpair():
                    others.enter_context(other)
            assert (store.run_many([call]) if many else [store.run(*call)]) == [due]
    store.close()
