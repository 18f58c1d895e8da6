"""Bar 11: pages that only read, on one event loop, and who publishes to them; timed here on both ends, by one clock."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import statistics
import struct
import time
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from benchmarks import sides

# Sockets of one person, as many as one may open.
EACH = 5
SOON_S = 60.0
FRAME_BYTES = 1_900  # a frame is under 2 KB
# Above any leader's: what a loop of this site tells meanwhile is old news to the hub.
FENCE = 10**9
BATCH = 100
FLUSH_S = 0.2


class Page(asyncio.Protocol):
    """One socket. What a server sends is not masked: two bytes, at most eight more, and the text."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._data = b""
        self._is_open = False
        self.heard = asyncio.Event()
        self.texts: list[tuple[float, bytes]] = []
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        at = time.perf_counter()
        self._data += data
        if not self._is_open:
            head, mark, rest = self._data.partition(b"\r\n\r\n")
            if not mark:
                return
            assert head.startswith(b"HTTP/1.1 101 "), head[:200]
            self._is_open, self._data = True, rest
        while len(self._data) >= 4:
            size, start = self._data[1], 2
            if size == 126:
                size, start = struct.unpack_from("!H", self._data, 2)[0], 4
            elif size == 127:
                if len(self._data) < 10:
                    return
                size, start = struct.unpack_from("!Q", self._data, 2)[0], 10
            if len(self._data) < start + size:
                return
            opcode, text = self._data[0] & 15, self._data[start : start + size]
            self._data = self._data[start + size :]
            if opcode == 9:
                self._send(10, text)
            elif opcode == 1:
                self.texts.append((at, text))
                self.heard.set()

    def say(self, message: dict[str, Any]) -> None:
        self._send(1, json.dumps(message).encode())

    def _send(self, opcode: int, text: bytes) -> None:
        head = struct.pack("!BB", 128 | opcode, 128 | len(text)) if len(text) < 126 else b""
        head = head or struct.pack("!BBH", 128 | opcode, 128 | 126, len(text))
        self.transport.write(head + bytes(4) + text)  # masked with nothing: nobody stands between


class Pages:
    """`core`: held there, if it is given."""

    def __init__(self, address: str, count: int, core: int | None) -> None:
        sides.set_up()
        if core is not None:
            os.sched_setaffinity(0, {core})
        from controlplane.live.redis import RedisStore  # noqa: PLC0415 - needs the settings

        self._address, self._count = urlsplit(address), count
        self._loop = asyncio.new_event_loop()
        self._store = RedisStore(os.environ["REDIS_URL"])
        self._seq = 0
        self._pages: list[Page] = []
        self._cookies = [_session(f"page-{os.getpid()}-{number}") for number in range((count + EACH - 1) // EACH)]
        self._store.append([_event(0)])

    def open(self) -> int:
        self._loop.run_until_complete(self._open())
        return len(self._pages)

    async def _open(self) -> None:
        for number in range(self._count):
            request = self._request(self._cookies[number // EACH])
            page = Page(request)
            await self._loop.create_connection(partial(_same, page), self._address.hostname or "", self._address.port or 0)
            self._pages.append(page)
            await _until(page, b'"hello"')
            page.say({"type": "subscribe", "topics": ["frame", "events"]})
            await _until(page, b'"subscribed"')

    def _request(self, cookie: str) -> bytes:
        url = self._address
        key = base64.b64encode(os.urandom(16)).decode()
        return (
            f"GET /ws/control/ HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nOrigin: {url.scheme}://{url.netloc}\r\n"
            f"Cookie: sessionid={cookie}\r\n\r\n"
        ).encode()

    def frames(self, rate: float, seconds: float) -> dict[str, float]:
        """Milliseconds from publishing to each receipt."""
        return self._loop.run_until_complete(self._frames(rate, max(2, round(rate * seconds))))

    async def _frames(self, rate: float, count: int) -> dict[str, float]:
        for page in self._pages:
            page.texts.clear()
        sent: dict[int, float] = {}
        size = 0
        began = self._loop.time()
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / rate - self._loop.time()))
            self._seq += 1
            frame = {"v": 1, "seq": self._seq, "at": time.time(), "leader": "bench", "fence": FENCE, "more": "x" * FRAME_BYTES}
            body = json.dumps(frame).encode()
            size = len(body)
            sent[self._seq] = time.perf_counter()
            await asyncio.to_thread(self._store.publish, "frame", body)
        last = b'"seq":%d,' % self._seq
        for page in self._pages:
            await _until(page, last)
        took = []
        for page in self._pages:
            for at, text in page.texts:
                if text.startswith(b'{"type":"frame"'):
                    frame = json.loads(text)["frame"]
                    if frame["leader"] == "bench":
                        took.append((at - sent[frame["seq"]]) * 1000)
        took.sort()
        return {
            "p50_ms": statistics.median(took),
            "p95_ms": took[int(len(took) * 0.95)],
            "max_ms": took[-1],
            "lost": count * len(self._pages) - len(took),
            "bytes": size,
        }

    def stop_reading(self, events: int) -> int:
        """No page reads from now on, while so many events happen, as fast as a process flushes them."""
        self._loop.run_until_complete(self._stop_reading(events))
        return events

    async def _stop_reading(self, events: int) -> None:
        for page in self._pages:
            page.texts.clear()
            page.transport.pause_reading()
        for first in range(0, events, BATCH):
            batch = [_event(number) for number in range(first, min(first + BATCH, events))]
            await asyncio.to_thread(self._store.append, batch)
            await asyncio.to_thread(self._store.publish, "events", b"")
            await asyncio.sleep(FLUSH_S / 4)
        await asyncio.sleep(2.0)  # the hub's last look, and what it is written with

    def read_on(self) -> dict[str, int]:
        """The least and the most of what came and what was said to be missed, of all pages."""
        return self._loop.run_until_complete(self._read_on())

    async def _read_on(self) -> dict[str, int]:
        self._store.append([{**_event(0), "name": "storage.down"}])
        self._store.publish("events", b"")
        for page in self._pages:
            page.transport.resume_reading()
        counted = []
        for page in self._pages:
            await _until(page, b"storage.down")
            found = [json.loads(text) for _, text in page.texts]
            came = sum(event["name"] == "storage.up" for one in found if one["type"] == "events" for event in one["events"])
            counted.append(came + sum(one["dropped"] for one in found if one["type"] == "gap"))
        return {"least": min(counted), "most": max(counted)}


def _same(page: Page) -> Page:
    return page


async def _until(page: Page, part: bytes) -> None:
    async with asyncio.timeout(SOON_S):
        while not any(part in text for _, text in page.texts):
            page.heard.clear()
            await page.heard.wait()


def _event(number: int) -> dict[str, Any]:
    about = {"about": f"{number:06d}" + "x" * 300}
    return {"name": "storage.up", "at": time.time(), "severity": "info", "kind": "event", "realm": None, "data": about}


def _session(name: str) -> str:
    from django.contrib.auth.models import User  # noqa: PLC0415 - needs the settings
    from django.test import Client  # noqa: PLC0415 - the same

    client = Client()
    client.force_login(User.objects.create_superuser(name))
    return client.cookies["sessionid"].value
