"""The channel layer of live pages on any Redis: channels-redis's own over our bus, which outlives the death of a node."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer, RedisSingleShardConnection
from channels_redis.utils import _wrap_close

from resilience.redis_bus import RedisBus

# Seconds that a page waits for its subscription. After that it goes on and is heard once the server is back: chosen.
HEARD_S: Final = 2.0


class ChannelLayer(RedisPubSubChannelLayer):  # type: ignore[misc]  # untyped
    """`url`: a Redis of any kind. Stock layers connect to one node, and hear nothing more once that one is dead."""

    def __init__(self, url: str, *, prefix: str = "permsite", **options: Any) -> None:
        super().__init__(prefix=prefix, **options)
        self._url = url

    def _get_layer(self) -> _LoopLayer:
        loop = asyncio.get_running_loop()
        layer: _LoopLayer | None = self._layers.get(loop)
        if layer is None:
            layer = self._layers[loop] = _LoopLayer(self._url, channel_layer=self, **self._kwargs)
            _wrap_close(self, loop)
        return layer


class _LoopLayer(RedisPubSubLoopLayer):  # type: ignore[misc]
    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(**options)
        self._shards = [_Shard(url, self)]


class _Shard(RedisSingleShardConnection):  # type: ignore[misc]
    """What the layer asks for: the whole of a Redis is one shard, since every node passes a message on to all others."""

    def __init__(self, url: str, layer: _LoopLayer) -> None:
        super().__init__({}, layer)
        self._loop = asyncio.get_running_loop()
        self._bus = RedisBus(url)
        self._ways_out: dict[str, Callable[[], None]] = {}
        self._news = asyncio.Event()
        self._forget = self._watch()

    async def publish(self, channel: str, message: bytes) -> None:
        await asyncio.to_thread(self._bus.publish, channel, message)

    async def subscribe(self, channel: str) -> None:
        if channel not in self._ways_out:
            self._ways_out[channel] = self._bus.subscribe(channel, lambda message: self._pass_on(channel, message))
        # Without a server the page goes on with what it has, while the bus goes on trying.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEARD_S):
                await self._heard(channel)

    async def _heard(self, channel: str) -> None:
        while not self._bus.is_heard(channel):
            self._news.clear()
            if not self._bus.is_heard(channel):  # asked again: it may have become true before the event was cleared
                await self._news.wait()

    async def unsubscribe(self, channel: str) -> None:
        leave = self._ways_out.pop(channel, None)
        if leave is not None:
            leave()

    async def flush(self) -> None:
        self._ways_out.clear()
        # Not in a thread: a loop that is being closed, which flushes too, has none to give any more. At most 2 s.
        self._bus.close()
        self._forget = self._watch()

    def _watch(self) -> Callable[[], None]:
        return self._bus.on_reconnect(lambda: self._soon(self._news.set))

    def _pass_on(self, channel: str, message: bytes) -> None:
        self._soon(self._receive_message, {"channel": channel, "data": message})

    def _soon(self, call: Callable[..., object], *args: object) -> None:
        """From the bus's thread into the loop."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *args)
