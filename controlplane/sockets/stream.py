"""What one socket is sent, in what order: first what it missed, then what comes, each event once and only those it may see."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from controlplane.live.hub import Hub
from controlplane.sockets import messages
from controlplane.sockets.messages import Filters, Message, Subscribe
from controlplane.sockets.outbox import Outbox

# Events in one message of a replay: some 20 KB, as messages.MAX_TEXT.
PIECE: Final = 50
# Seconds. An older frame is not sent to whoever subscribes: it would be shown as live (the page's badge, 3 s).
FRESH_S: Final = 3.0
# Realms whose answers one socket keeps.
MAX_REALMS: Final = 1_000

MaySee = Callable[[str], Awaitable[bool]]


class Stream:
    """Used on one event loop. `may_see` is asked once a realm, until `narrow`."""

    def __init__(self, hub: Hub, may_see: MaySee) -> None:
        self.outbox: Final = Outbox()
        self._hub = hub
        self._may_see = may_see
        self._realms: dict[str, bool] = {}
        self._topics: frozenset[str] = frozenset()
        self._filters: Filters = ()
        # Of the replay: the same events may wait in the outbox, since it was joined first.
        self._sent: set[str] = set()
        self._after: str | None = None
        self._greeting = ""
        self._last = ""

    @property
    def topics(self) -> frozenset[str]:
        return self._topics

    def subscribe(self, wanted: Subscribe, allowed: frozenset[str]) -> None:
        """From now on these; what came after `wanted.after` is sent first."""
        self._topics, self._filters = wanted.topics & allowed, wanted.filters
        self._after = wanted.after if wanted.after and "events" in self._topics else None
        self._greeting = messages.write({"type": "subscribed", "topics": sorted(self._topics)})
        self.outbox.put(Message("wake", ""))
        frame, age_s = self._hub.frame(), self._hub.frame_age_s()
        if "frame" in self._topics and frame is not None and age_s is not None and age_s < FRESH_S:
            self.outbox.put(Message("frame", messages.write({"type": "frame", "frame": frame})))
        if "nodes" in self._topics and self._hub.nodes():
            self.outbox.put(Message("nodes", messages.write({"type": "nodes", "nodes": self._hub.nodes()})))

    def narrow(self, allowed: frozenset[str]) -> None:
        """Rights have changed."""
        self._topics &= allowed
        self._realms.clear()

    def hear(self, message: Message) -> None:
        if message.kind in ("notice", "own") or ("events" if message.kind == "gap" else message.kind) in self._topics:
            self.outbox.put(message)

    async def texts(self) -> AsyncIterator[str]:
        """What is to be sent, one after the other, for as long as the socket lives."""
        while True:
            await self.outbox.wait()
            if self._greeting:
                text, self._greeting = self._greeting, ""
                yield text
                continue
            missed = self.outbox.gap()
            if missed is not None:
                self._last = missed[1] or self._last
                yield messages.gap(missed[0], self._last)
            elif self._after is not None:
                after, self._after = self._after, None
                async for text in self._replay(after):
                    yield text
            else:
                message = await self.outbox.get()
                text = message.text if message.kind != "events" else await self._shown(message)
                if text:
                    yield text

    async def _replay(self, after: str) -> AsyncIterator[str]:
        try:
            found = self._hub.replay(after)
        except ValueError:
            # No id of a store of ours: what was missed cannot be known.
            yield messages.gap(None, self._hub_last())
            return
        if found.is_gap:
            yield messages.gap(None, after if found.events else self._hub_last())
        self._sent = {str(event.get("id", "")) for event in found.events}
        for at in range(0, len(found.events), PIECE):
            seen = await self._seen(found.events[at : at + PIECE])
            if seen:
                self._last = str(seen[-1].get("id", ""))
                yield messages.events_text(seen)

    def _hub_last(self) -> str:
        newest = self._hub.events(limit=1)
        return str(newest[-1]["id"]) if newest else ""

    async def _shown(self, message: Message) -> str:
        """The text as all get it where nothing is to be left out."""
        events = message.events
        seen = await self._seen([event for event in events if event.get("id") not in self._sent] if self._sent else events)
        if message.last and message.last not in self._sent:
            self._sent.clear()  # the stream is past the replay
        if not seen:
            return ""
        self._last = str(seen[-1].get("id", ""))
        return message.text if len(seen) == len(events) else messages.events_text(seen)

    async def _seen(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = []
        for event in events:
            realm = event.get("realm")
            if isinstance(realm, str) and realm and not await self._sees(realm):
                continue
            if messages.matches(event, self._filters):
                found.append(event)
        return found

    async def _sees(self, realm: str) -> bool:
        known = self._realms.get(realm)
        if known is None:
            if len(self._realms) >= MAX_REALMS:
                self._realms.clear()
            known = self._realms[realm] = await self._may_see(realm)
        return known
