"""The channel layer as the settings choose it: messages and groups on any Redis, from one process to another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.layers import get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.utils.module_loading import import_string

from permsite import channel_layer as ours
from permsite.settings import channel_layer
from resilience.errors import StorageUnavailable
from resilience.redis_client import node_client

pytestmark = pytest.mark.cluster

SOON_S = 20


@pytest.fixture(params=["none", "standalone", "cluster"])
def url(request) -> str:
    if request.param == "none":
        return ""
    found: str = request.getfixturevalue("valkey_url" if request.param == "standalone" else "cluster_url")
    return found


def layers(url: str, key_prefix: str, count: int = 1) -> list[Any]:
    """As many processes would have them."""
    entry = channel_layer(url)
    if url:
        entry["CONFIG"]["prefix"] = key_prefix.replace(":", "-")
    return [import_string(entry["BACKEND"])(**entry.get("CONFIG", {})) for _ in range(count)]


async def received(layer: Any, channel: str) -> Any:
    async with asyncio.timeout(SOON_S):
        return await layer.receive(channel)


def test_the_settings_name_it(settings, valkey_url):
    settings.CHANNEL_LAYERS = {"default": channel_layer(valkey_url)}
    layer = get_channel_layer()
    assert isinstance(layer, ours.ChannelLayer) and isinstance(layer, RedisPubSubChannelLayer)
    settings.CHANNEL_LAYERS = {"default": channel_layer("")}
    assert type(get_channel_layer()).__name__ == "InMemoryChannelLayer"


def test_a_message_and_a_group_reach_every_process(url, key_prefix):
    async def talk() -> None:
        pages = layers(url, key_prefix, 1 if not url else 3)
        speaker = pages[-1]
        channels = [await page.new_channel() for page in pages]
        for page, channel in zip(pages, channels, strict=True):
            await page.group_add("news", channel)
        await speaker.send(channels[0], {"type": "hello", "n": 1})
        assert await received(pages[0], channels[0]) == {"type": "hello", "n": 1}
        for number in range(20):
            await speaker.group_send("news", {"type": "event", "n": number})
        for page, channel in zip(pages, channels, strict=True):
            assert [(await received(page, channel))["n"] for _ in range(20)] == list(range(20))
        await pages[0].group_discard("news", channels[0])
        await speaker.group_send("news", {"type": "event", "n": 99})
        await speaker.send(channels[0], {"type": "last"})
        assert await received(pages[0], channels[0]) == {"type": "last"}
        for page in pages:
            await page.flush()

    asyncio.run(talk())


def test_it_is_an_own_layer_for_each_event_loop_and_usable_after_a_flush(valkey_url, key_prefix):
    (layer,) = layers(valkey_url, key_prefix)

    async def talk() -> None:
        for _ in range(2):
            channel = await layer.new_channel()
            await layer.send(channel, {"type": "hello"})
            assert await received(layer, channel) == {"type": "hello"}
            await layer.flush()

    asyncio.run(talk())
    asyncio.run(talk())


def test_a_page_that_is_closed_leaves_its_channel(valkey_url, key_prefix):
    async def talk() -> None:
        (layer,) = layers(valkey_url, key_prefix)
        channel = await layer.new_channel()
        waiting = asyncio.create_task(layer.receive(channel))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert channel not in layer.channels and channel not in layer._shards[0]._bus.channels()
        await layer.flush()

    asyncio.run(talk())


def test_a_listener_that_was_thrown_out_hears_again(valkey_url, key_prefix):
    async def talk() -> None:
        page, speaker = layers(valkey_url, key_prefix, 2)
        channel = await page.new_channel()
        await page.group_add("news", channel)
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()
        page._shards[0]._bus.on_reconnect(lambda: loop.call_soon_threadsafe(begun.set))
        with node_client(valkey_url) as server:
            await asyncio.to_thread(server.execute_command, "CLIENT", "KILL", "TYPE", "PUBSUB")
        async with asyncio.timeout(SOON_S):
            await begun.wait()
        await speaker.group_send("news", {"type": "again"})
        assert await received(page, channel) == {"type": "again"}
        for layer in (page, speaker):
            await layer.flush()

    asyncio.run(talk())


def test_without_its_server_a_page_opens_and_a_speaker_is_told(tmp_path, key_prefix, monkeypatch):
    monkeypatch.setattr(ours, "HEARD_S", 0.05)

    async def talk() -> None:
        (layer,) = layers(f"unix://{tmp_path}/nobody.sock", key_prefix)
        channel = await layer.new_channel()
        assert channel.startswith("test-")
        with pytest.raises(StorageUnavailable):
            await layer.group_send("news", {"type": "x"})
        await layer.flush()

    asyncio.run(talk())
