"""The sockets of this process: how many there may be, and what each is told, by one callback for all of them.

News comes in the threads of others (the live hub's, a writer's); each event loop is handed it once, and gives it to its sockets.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from controlplane.live import hub
from controlplane.metrics import SOCKETS_OPEN
from controlplane.services import maintenance as switching
from controlplane.sockets.messages import Message, write
from permissions.cache import events
from resilience import telemetry
from resilience.maintenance import SWITCH

# Of the control plane's own, in one process: bar 11 is measured with as many.
MAX_SOCKETS: Final = 200
# Of one person in one process: as many pages as one looks at, and a phone.
MAX_PERSON: Final = 5

Subjects = frozenset[str] | None


class Peer(Protocol):
    """One socket. All are called on its loop, and return at once."""

    loop: asyncio.AbstractEventLoop
    # Whose rights it stands on, and in which realm: `user:alice`, "default".
    subject: str
    realm: str
    # False: another's consumer, which is only watched over.
    is_ours: bool

    def hear(self, message: Message) -> None: ...

    def rights_changed(self) -> None:
        """Ask again."""
        ...

    def maintenance(self, notice: Message) -> None:
        """The switch has turned: go, or tell."""
        ...


class Full(Exception):
    """No more sockets. `is_person`: of this one alone."""

    def __init__(self, is_person: bool) -> None:
        super().__init__("too many sockets of this person" if is_person else "too many sockets")
        self.is_person = is_person


class Room:
    """`rights_version` grows with each change of rights: compared, it tells whether an answer may be of before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._peers: dict[asyncio.AbstractEventLoop, list[Peer]] = {}
        self._ways_out: list[Callable[[], object]] = []
        self.rights_version = 0

    def open(self) -> None:
        """Listens from now on; at the first socket. Again: nothing."""
        with self._lock:
            if self._ways_out:
                return
            self._ways_out = [
                # What this process writes, and what the others do where there is a bus; without one the minute's asking finds it.
                telemetry.subscribe(
                    lambda event: self._written(event.attributes["realm"], event.attributes["objects"]), "permission.changed"
                ),
                events.listen(lambda event: self._written(event.name, event.objects), lambda: self.rights_changed(None, None)),
                telemetry.subscribe(self._switched, "maintenance."),
                telemetry.add_source(lambda: [(SOCKETS_OPEN, (), float(self.count()))]),
            ]
            self._ways_out.append(hub.HUB.listen(self._news))

    def close(self) -> None:
        """Listens no more: at the end of the server."""
        with self._lock:
            ways_out, self._ways_out = self._ways_out, []
        for way_out in ways_out:
            way_out()

    def enter(self, peer: Peer) -> None:
        """Raises Full."""
        with self._lock:
            if peer.is_ours:
                ours = [other.subject for peers in self._peers.values() for other in peers if other.is_ours]
                if len(ours) >= MAX_SOCKETS:
                    raise Full(is_person=False)
                if Counter(ours)[peer.subject] >= MAX_PERSON:
                    raise Full(is_person=True)
            # A new list: who is told just now walks along the old one.
            self._peers[peer.loop] = [*self._peers.get(peer.loop, ()), peer]

    def leave(self, peer: Peer) -> None:
        """One that never entered too."""
        loop = getattr(peer, "loop", None)
        if loop is None:
            return
        with self._lock:
            left = [other for other in self._peers.get(loop, ()) if other is not peer]
            if left:
                self._peers[loop] = left
            else:
                self._peers.pop(loop, None)

    def count(self) -> int:
        return sum(len(peers) for peers in self._peers.values())

    # What comes, in the threads of others.
    def _news(self, kind: str, payload: bytes) -> None:
        if kind == "rights":
            try:
                told = json.loads(payload)
                subjects = told.get("subjects")
                realm = told.get("realm")
                self.rights_changed(realm, None if subjects is None else frozenset(subjects))
            except (ValueError, AttributeError, TypeError) as error:
                telemetry.internal_error("sockets", "rights", error)
                self.rights_changed(None, None)
            return
        pieces = Message.pieces(kind, payload)

        def tell(peer: Peer) -> None:
            for piece in pieces:
                peer.hear(piece)

        self._each(tell)

    def _written(self, realm: str, objects: Iterable[tuple[str, str]] | None) -> None:
        subjects: Subjects = None
        # Teams, nodes and the rest reach people that the event does not name.
        if objects is not None and all(kind == "s" for kind, _ in objects):
            subjects = frozenset(ref for _, ref in objects)
        self.rights_changed(realm, subjects)

    def rights_changed(self, realm: str | None, subjects: Subjects) -> None:
        """None: of whatever realm, of everybody."""
        self.rights_version += 1
        named = subjects if subjects is None or not any(ref.endswith(":*") for ref in subjects) else None

        def tell(peer: Peer) -> None:
            if realm in (None, peer.realm) and (named is None or peer.subject in named):
                peer.rights_changed()

        self._each(tell)

    def _switched(self, event: telemetry.Event) -> None:
        notice = Message("notice", write({"type": "notice", "notice": switching.notice(SWITCH.on)}))
        self._each(lambda peer: peer.maintenance(notice))

    def _each(self, tell: Callable[[Peer], None]) -> None:
        for loop in list(self._peers):
            # At its end a loop may close between the look and the call.
            try:
                loop.call_soon_threadsafe(self._tell, loop, tell)
            except RuntimeError:
                continue

    def _tell(self, loop: asyncio.AbstractEventLoop, tell: Callable[[Peer], None]) -> None:
        for peer in self._peers.get(loop, ()):
            try:
                tell(peer)
            except Exception as error:  # noqa: BLE001 - one socket's fault must not keep the news from the others
                telemetry.internal_error("sockets", "tell", error)


ROOM: Final = Room()
