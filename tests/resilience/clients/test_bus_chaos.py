"""The bus on a cluster whose nodes die and freeze: everything said from five seconds after is heard by everyone again."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from permsite.launcher import Server
from resilience.errors import StorageError
from resilience.redis_bus import RedisBus
from resilience.redis_client import node_client, parse
from tests.resilience.clients.test_bus import SOON_S, Listening

pytestmark = [pytest.mark.chaos, pytest.mark.cluster, pytest.mark.timeout(120)]

WITHIN_S = 5.0


def listened_to(cluster: Server, channel: str) -> dict[str, int]:
    """The nodes that somebody listens to `channel` at: address and process."""
    found = {}
    for host, port in parse(cluster.url).hosts:
        with node_client(f"redis://{host}:{port}", timeout_s=5, as_text=True) as node:
            if dict(node.pubsub_numsub(channel))[channel]:
                found[f"{host}:{port}"] = node.info("server")["process_id"]
    return found


def speak(speaker: RedisBus, channel: str, begun: float, until_s: float) -> list[tuple[float, bytes]]:
    """What was said, and when, in seconds since `begun`; what no node took is not among it."""
    said: list[tuple[float, bytes]] = []
    while (at := time.monotonic() - begun) < until_s:
        message = f"{len(said)}-{at:.3f}".encode()
        try:
            speaker.publish(channel, message)
        except StorageError:
            continue
        said.append((at, message))
        threading.Event().wait(0.02)
    return said


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_the_death_of_the_node_listened_to_is_survived(own_cluster, how):
    # The URL names one node alone, which then dies: the others are known from it.
    address = parse(own_cluster.url)
    speaker = RedisBus(own_cluster.url)
    speaker.publish("news", "before")
    listeners = [RedisBus(own_cluster.url) for _ in range(3)]
    heard = [Listening(bus, "news") for bus in listeners]
    place, pid = next(iter(listened_to(own_cluster, "news").items()))
    host, _, port = place.rpartition(":")
    lone = RedisBus(address.at(host, int(port)))
    heard.append(Listening(lone, "news"))
    # Also the one that is spoken to: publish again until the speaker's own connection leads to the node that is to die.
    speaker.close()
    speaker = RedisBus(address.at(host, int(port)))
    while speaker._speaker is None or speaker._speaker.port != int(port):
        speaker.close()
        speaker.publish("news", "before")
    os.kill(pid, how)
    begun = time.monotonic()
    said = speak(speaker, "news", begun, until_s=WITHIN_S + 3)
    late = [message for at, message in said if at >= WITHIN_S]
    assert late and said[0][0] < WITHIN_S
    speaker.publish("news", "the end")
    for listening in heard:
        messages: list[bytes] = []
        while not messages or messages[-1] != b"the end":
            messages.append(listening.next())
        missed = [message for message in late if message not in messages]
        assert missed == []
    # Those whose node it was were told to read what they may have missed.
    assert heard[-1].begun.acquire(timeout=SOON_S)
    for bus in (speaker, lone, *listeners):
        bus.close()
    if how == signal.SIGSTOP:
        os.kill(pid, signal.SIGCONT)


def test_a_single_server_that_freezes_is_heard_again_when_it_thaws(launcher):
    server = launcher.redis()
    bus = RedisBus(server.url)
    heard = Listening(bus, "news")
    with node_client(server.url) as node:
        pid = node.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(StorageError):
        bus.publish("news", "into the ice")
    while bus.is_heard("news"):
        threading.Event().wait(0.01)
    os.kill(pid, signal.SIGCONT)
    heard.wait()
    bus.publish("news", "again")
    while heard.next() != b"again":
        pass  # what was said into the ice may come out of it first
    bus.close()
