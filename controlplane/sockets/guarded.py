"""A permission in front of your own consumer: asked when a socket opens, and again while it stays open.

    class Chat(GuardedConsumerMixin, AsyncJsonWebsocketConsumer):
        permission = "channel:read"

        def guarded_resource(self) -> str | None:
            return f"channel:{self.scope['url_route']['kwargs']['channel']}"

The mixin stands first. It works outside of the consumer, on what goes in and out of it, so that the consumer may be of any kind,
and cannot forget to ask: before the answer is yes, its `connect` is not called.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, ClassVar, Final

from django.conf import settings

from controlplane.metrics import SOCKET_CLOSED, SOCKET_REFUSED
from controlplane.sockets import messages, people, watch
from controlplane.sockets.messages import FORBIDDEN, SIGNED_OUT, Message
from controlplane.sockets.room import ROOM
from controlplane.sockets.watch import Ending, Watch
from permissions import conf, pdp
from permissions.asking import in_thread
from permissions.engine.types import Request
from permissions.entities import subject_of
from resilience import maintenance, telemetry
from resilience.asgi import client_address
from resilience.maintenance import SWITCH

# Seconds that a consumer has for its own end, once its socket is closed.
END_S: Final = 5.0
_GONE: Final = Ending(FORBIDDEN, "permission denied")
_NOBODY: Final = Ending(SIGNED_OUT, "no session: sign in")


class GuardedConsumerMixin:
    """Name the permission; the resource and the realm where they are not the whole realm of Django's own models.

    A socket is refused with 403 (503 while no decision can be given); a yes with an obligation is a no. One that is open is
    closed with 4403 at once when its right goes, within `ask_again_s` where no news of it comes; with 4401 when its session or
    account ends; with 1011 when no decision could be given for `max_unknown_s`; with 1013 when maintenance begins.
    """

    permission: ClassVar[str] = ""
    resource: ClassVar[str | None] = None
    realm: ClassVar[str] = ""  # empty: DJANGO_REALM
    ask_again_s: ClassVar[float] = watch.ASK_S
    max_unknown_s: ClassVar[float] = watch.MAX_UNKNOWN_S

    scope: Any

    def guarded_subject(self) -> str | None:
        """Whose permission is asked, `user:alice`; None: nobody's, which is refused. Called in a thread, each time anew.

        By default the account behind Django's session cookie, if the session and the account are still valid and the page that
        opened the socket is of this site. Override it for another authentication, and check the Origin there if that is a
        cookie's.
        """
        request = people.request_of(self.scope)
        if not people.is_own_origin(request):
            return None
        account = people.account_of(people.session_key(request))
        return None if account is None else subject_of(account)

    def guarded_resource(self) -> str | None:
        """What it is asked on; None: the realm. Called in a thread."""
        return self.resource

    def guarded_context(self) -> dict[str, Any]:
        """For conditions. Called in a thread."""
        return {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        if scope["type"] != "websocket":
            raise ValueError(f"{type(self).__name__} is for sockets, not for {scope['type']}")
        await _Guard(self, scope, receive, send).run(super().__call__)  # type: ignore[misc]  # the consumer's


class _Guard:
    """One socket. A peer of the room, which tells it of changed rights and of maintenance."""

    is_ours = False

    def __init__(self, consumer: GuardedConsumerMixin, scope: Any, receive: Any, send: Any) -> None:
        self._consumer, self._scope, self._receive, self._send = consumer, scope, receive, send
        self.loop = asyncio.get_running_loop()
        self.subject = ""
        self.realm = consumer.realm or conf.django_realm()
        self._first: Any = None
        self._is_closed = False
        self._ending: asyncio.Future[Ending] = self.loop.create_future()
        self._ask = in_thread(self._answer)
        self._watch = Watch(self._ask, ask_s=consumer.ask_again_s, max_unknown_s=consumer.max_unknown_s)

    async def run(self, app: Any) -> None:
        self._first = await self._receive()
        if self._first["type"] != "websocket.connect":
            return
        await in_thread(ROOM.open)()
        version = ROOM.rights_version
        try:
            ending = await self._ask()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no yes
            if not isinstance(error, pdp.Unavailable):
                telemetry.internal_error("sockets", "guard", error)
            await self._refuse_for_now()
            return
        if ending is not None:
            telemetry.count(SOCKET_REFUSED, "session" if ending.code == SIGNED_OUT else "permission")
            await self._send({"type": "websocket.close"})
            return
        ROOM.enter(self)
        if ROOM.rights_version != version:
            self._watch.wake()
        await self._guarded(app)

    async def _guarded(self, app: Any) -> None:
        inner = asyncio.ensure_future(app(self._scope, self._hand_in, self._hand_out))
        watching = asyncio.ensure_future(self._watch.ended())
        try:
            await asyncio.wait([inner, watching, self._ending], return_when=asyncio.FIRST_COMPLETED)
            if not inner.done():
                await self._drop(self._ending.result() if self._ending.done() else watching.result())
                # It is told by its server that the socket is closed, and ends as it always does.
                await asyncio.wait([inner], timeout=END_S)
        finally:
            ROOM.leave(self)
            watching.cancel()
            if not inner.done():
                inner.cancel()
            outcome = (await asyncio.gather(inner, watching, return_exceptions=True))[0]
        # What it stumbled over because its socket was closed under it is no fault of its own.
        if isinstance(outcome, BaseException) and not self._is_closed:
            raise outcome

    async def _drop(self, ending: Ending) -> None:
        telemetry.count(SOCKET_CLOSED, str(ending.code))
        self._is_closed = True
        close = {"type": "websocket.close", "code": ending.code, "reason": messages.close_reason(ending.reason)}
        with contextlib.suppress(Exception):  # gone meanwhile
            async with asyncio.timeout(END_S):
                await self._send(close)

    async def _hand_in(self) -> Any:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await self._receive()

    async def _hand_out(self, message: Any) -> None:
        if not self._is_closed:
            await self._send(message)

    async def _refuse_for_now(self) -> None:
        telemetry.count(SOCKET_REFUSED, "unavailable")
        if "websocket.http.response" in (self._scope.get("extensions") or {}):
            headers = [(b"retry-after", b"5"), (b"content-type", b"text/plain")]
            await self._send({"type": "websocket.http.response.start", "status": 503, "headers": headers})
            await self._send({"type": "websocket.http.response.body", "body": b"no decision can be given\n"})
        else:
            await self._send({"type": "websocket.close", "code": messages.MAINTENANCE})

    def _answer(self) -> Ending | None:
        """In a thread. Raises pdp.Unavailable."""
        consumer = self._consumer
        if not consumer.permission:
            raise ValueError(f"{type(consumer).__name__} names no permission")
        subject = consumer.guarded_subject()
        if not subject:
            return _NOBODY
        if self.subject and subject != self.subject:
            return _NOBODY  # another person's session took its place
        self.subject = subject
        request = Request(
            subject, consumer.permission, consumer.guarded_resource(), context=consumer.guarded_context(), asserted="ignore"
        )
        # The door has let it in, or sees to it that it goes: see `maintenance`.
        with maintenance.exempt():
            try:
                decision = pdp.decide(request, realm=self.realm, full=True)
                # An obligation that nobody here fulfils makes a yes a no.
                return None if decision.allowed and not decision.obligations else _GONE
            except pdp.InvalidRequestError as error:
                telemetry.internal_error("sockets", "guard", error)
                return _GONE

    # As a peer of the room.
    def hear(self, message: Message) -> None:
        """Its consumer has its own news."""

    def rights_changed(self) -> None:
        self._watch.wake()

    def maintenance(self, notice: Message) -> None:
        address = client_address(self._scope, settings.NUM_PROXIES)
        refused = SWITCH.active(path=self._scope["path"], permission=self._consumer.permission, address=address)
        if refused is not None and not self._ending.done():
            self._ending.set_result(Ending(messages.MAINTENANCE, maintenance.message(refused)))
