"""The socket of the control plane's pages: frames and events to people who may see them, and nobody who may not any more."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any, Final
from urllib.parse import parse_qs

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from controlplane.live.hub import HUB
from controlplane.metrics import SOCKET_CLOSED, SOCKET_REFUSED
from controlplane.pages import find
from controlplane.services import maintenance as switching
from controlplane.services import rights
from controlplane.sockets import messages, people, watch
from controlplane.sockets.control import Standing, may_see_realm, standing_of
from controlplane.sockets.messages import Message, Ping, Subscribe
from controlplane.sockets.outbox import Pace
from controlplane.sockets.room import ROOM, Full
from controlplane.sockets.stream import Stream
from controlplane.sockets.watch import Ending, Watch
from permissions import pdp
from permissions.asking import in_thread
from resilience import maintenance, telemetry
from resilience.asgi import client_address
from resilience.maintenance import SWITCH

# Bytes of a message that is read; permsite's server reads no longer one anyway.
MAX_MESSAGE: Final = 4_096
# Seconds that the last words may take: who does not read is not waited for.
LAST_WORDS_S: Final = 1.0
# Of this server's own extension, see permsite/websocket.py.
FAREWELL: Final = "permsite.farewell"
# Seconds within which the pages of a server that ended come back, so that its successor is not met by all at once.
COME_BACK_S: Final = (0.5, 5.0)
# Seconds after which whoever was refused a place may try again: pages are closed rarely.
NO_PLACE_S: Final = 30.0

TOO_FAST: Final = "too many messages in a second"

# Its own, for a thread of ours must not move the sequence that a program has seeded for itself.
_draw: Final = random.Random()  # noqa: S311 - it spreads a load, it guards nothing
_standing = in_thread(standing_of)
_may_see_realm = in_thread(may_see_realm)
_open_room = in_thread(ROOM.open)


class ControlConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """`?page=` names the page that is open, `overview` by default: its right is the one asked."""

    # No layer: news comes by the hub, once a process. A layer would be a subscription at Redis for each socket.
    channel_layer_alias = "permsite: none"
    is_ours = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._tasks: list[asyncio.Task[Any]] = []
        try:
            await super().__call__(scope, receive, send)
        finally:
            # However it ends: a place that is not given back is lost until the process ends.
            ROOM.leave(self)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def connect(self) -> None:
        page = find(parse_qs(self.scope.get("query_string", b"").decode("latin-1")).get("page", ["overview"])[-1])
        request = people.request_of(self.scope)
        if not people.is_own_origin(request):
            await self._refuse("origin")
            return
        if page is None:
            await self._refuse("page")
            return
        self._question = (people.session_key(request), page.name, page.view_code)
        if not self._question[0]:
            await self._refuse("session")
            return
        await _open_room()
        version = ROOM.rights_version
        try:
            standing = await self._ask()
        except pdp.Unavailable:
            await self._refuse("unavailable")
            return
        if isinstance(standing, Ending):
            await self._refuse("session" if standing.code == messages.SIGNED_OUT else "permission")
            return
        await self._begin(standing, is_stale=ROOM.rights_version != version)

    async def _ask(self) -> Standing | Ending:
        # The door has let it in: what it asks is not what maintenance stands in front of.
        with maintenance.exempt():
            return await _standing(self.scope, *self._question)

    async def _refuse(self, reason: str) -> None:
        """Before the handshake: 403, or 503 where a later try may succeed."""
        telemetry.count(SOCKET_REFUSED, reason)
        if reason == "unavailable" and "websocket.http.response" in (self.scope.get("extensions") or {}):
            headers = [(b"retry-after", b"5"), (b"content-type", b"text/plain")]
            await self.base_send({"type": "websocket.http.response.start", "status": 503, "headers": headers})
            await self.base_send({"type": "websocket.http.response.body", "body": b"no decision can be given\n"})
        else:
            await self.close()

    async def _begin(self, standing: Standing, *, is_stale: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.subject, self.realm = standing.subject, rights.control_realm()
        self._standing = standing
        self._pace = Pace()
        self._ending: asyncio.Task[None] | None = None
        self._stream = Stream(HUB, lambda realm: _may_see_realm(self._standing.actor, realm))
        self._watch = Watch(self._ask_again, ask_s=watch.ASK_S)
        try:
            ROOM.enter(self)
        except Full as full:
            # Accepted first: a browser tells its page no more than that a handshake failed.
            telemetry.count(SOCKET_REFUSED, "person" if full.is_person else "full")
            await self.accept()
            ending = Ending(messages.TOO_MANY if full.is_person else messages.FULL, str(full))
            await self._end(ending, messages.bye(NO_PLACE_S, str(full)))
            return
        if is_stale:
            self._watch.wake()
        await self.accept()
        self._say_goodbye_at_the_end()
        await self.send(text_data=self._hello())
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._watch_over())]

    def _hello(self) -> str:
        return messages.write(
            {
                "type": "hello",
                "v": 1,
                "topics": sorted(self._standing.topics),
                "notice": switching.notice(SWITCH.on),
                "ask_again_s": watch.ASK_S,
            }
        )

    def _say_goodbye_at_the_end(self) -> None:
        place = (self.scope.get("extensions") or {}).get(FAREWELL)
        if place is not None:
            place["text"] = messages.bye(_draw.uniform(*COME_BACK_S), "the server stops")

    # Its two tasks.
    async def _write(self) -> None:
        try:
            async for text in self._stream.texts():
                try:
                    await self.send(text_data=text)
                except OSError:  # ASGI's word for a client that has gone; its reader hears of it too
                    return
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - our bug, which ends it
            if self._ending is None:
                telemetry.internal_error("sockets", "write", error)
                self.drop(Ending(messages.NO_DECISION, "an error of the server"))

    async def _watch_over(self) -> None:
        self.drop(await self._watch.ended())

    async def _ask_again(self) -> Ending | None:
        standing = await self._ask()
        if isinstance(standing, Ending):
            return standing
        self._standing = standing
        self._stream.narrow(standing.topics)
        return None

    # As a peer of the room.
    def hear(self, message: Message) -> None:
        self._stream.hear(message)

    def rights_changed(self) -> None:
        self._watch.wake()

    def maintenance(self, notice: Message) -> None:
        self._stream.hear(notice)
        refused = SWITCH.active(path=self.scope["path"], address=client_address(self.scope, settings.NUM_PROXIES))
        if refused is not None:
            text = maintenance.message(refused)
            self.drop(Ending(messages.MAINTENANCE, text), messages.bye(maintenance.retry_after(refused), text))

    # What comes in.
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self._ending is not None:
            return
        if text_data is None:
            self.drop(Ending(messages.BINARY, "messages are text"))
        elif len(text_data) > MAX_MESSAGE or len(text_data.encode()) > MAX_MESSAGE:
            self.drop(Ending(messages.TOO_BIG, f"a message has at most {MAX_MESSAGE} bytes"))
        elif not self._pace.allows():
            self.drop(Ending(messages.TOO_MANY, TOO_FAST), messages.bye(NO_PLACE_S, TOO_FAST))
        else:
            try:
                self._take(messages.read(text_data))
            except messages.Malformed as error:
                self.drop(Ending(messages.MALFORMED, str(error)))

    def _take(self, message: Subscribe | Ping) -> None:
        if isinstance(message, Subscribe):
            self._stream.subscribe(message, self._standing.topics)
        else:
            self._stream.hear(Message("own", messages.write({"type": "pong"})))

    # The end.
    def drop(self, ending: Ending, *words: str) -> None:
        """On its loop: closes it; what waits is not sent any more, but for notices and `words`."""
        if self._ending is None:
            notices = [message.text for message in self._stream.outbox.take("notice")]
            self._ending = asyncio.create_task(self._end(ending, *notices, *words))

    async def _end(self, ending: Ending, *words: str) -> None:
        telemetry.count(SOCKET_CLOSED, str(ending.code))
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        with contextlib.suppress(Exception):  # gone meanwhile
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    for text in words:
                        await self.send(text_data=text)
            await self.close(code=ending.code, reason=messages.close_reason(ending.reason))
