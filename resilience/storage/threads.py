"""The connections of each thread: one a node, opened on first use, closed with the thread."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeVar

from resilience.storage.cluster import ASK_FOR_SLOTS, Routes
from resilience.storage.link import Link
from resilience.storage.wire import ASKING, Ask, Moved, Node, Pause, Reload, Stale, Step, Unseen, Unsent, gathered

T = TypeVar("T")


class _Own(threading.local):
    def __init__(self) -> None:
        self.links: dict[Node | None, Link] = {}


class ThreadLinks:
    """Links of all threads; each thread sees its own. A forked child makes a new object: the sockets are its parent's."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._own = _Own()
        self._all: weakref.WeakSet[Link] = weakref.WeakSet()
        self._lock = threading.Lock()

    def ask(self, node: Node | None, packed: bytes) -> object:
        """The reply. Raises Unsent, after one new connection where the old one had ended, or Unseen."""
        links = self._own.links
        link = links.get(node)
        if link is not None:
            try:
                return link.ask(packed)
            except Stale:
                pass
        return self._opened(node).ask(packed)

    def ask_many(self, groups: Mapping[Node | None, Sequence[int]], packed: Sequence[bytes]) -> list[object]:
        """For each call its reply, or the Unsent or Unseen that it met; `groups`: the places of each node's calls."""
        met: list[object] = [None] * len(packed)
        sent: list[tuple[Sequence[int], Link]] = []
        # Every node gets its share before the first is listened to, so that they work at the same time.
        for node, places in groups.items():
            try:
                sent.append((places, self._sent(node, b"".join(packed[place] for place in places))))
            except (Unsent, Unseen) as error:
                gathered(met, places, (), error)
        for places, link in sent:
            try:
                gathered(met, places, link.receive(len(places)))
            except Unseen as error:
                gathered(met, places, error.seen, error)
        return met

    def drive(self, steps: Generator[Step, Any, T]) -> T:
        """Does what a procedure asks for, to its end. Raises what it raises, and Unseen."""
        answer: object = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # what a generator returns has no type here
            answer = self._do(step)

    def _do(self, step: Step) -> object:
        match step:
            case Ask(node, packed, asking):
                try:
                    return self._sent(node, ASKING + packed).receive(2)[1] if asking else self.ask(node, packed)
                except Unsent as error:
                    return error
            case Pause(seconds):
                time.sleep(seconds)
            case Moved(slot, node):
                self._routes.moved(slot, node)
            case Reload(slot):
                self._reload()
                return self._routes.owner(slot)
        return None

    def _reload(self) -> None:
        for node in self._routes.to_ask():
            try:
                if self._routes.load(self.ask(node, ASK_FOR_SLOTS), node):
                    return
            except (Unsent, Unseen):
                continue

    def _sent(self, node: Node | None, packed: bytes) -> Link:
        """The link that a pipeline was sent on; its replies wait there."""
        link = self._own.links.get(node)
        if link is not None:
            try:
                link.send(packed, is_single=False)
            except Stale:
                pass
            else:
                return link
        link = self._opened(node)
        link.send(packed, is_single=False)
        return link

    def drop(self, node: Node | None) -> None:
        """This thread's next call connects anew, and so looks again for who is there."""
        link = self._own.links.pop(node, None)
        if link is not None:
            link.close()

    def close(self) -> None:
        """The links of all threads; a call under way fails, the next one connects anew."""
        with self._lock:
            links = list(self._all)
        for link in links:
            link.close()

    def _opened(self, node: Node | None) -> Link:
        link = self._own.links[node] = Link(self._routes.connection(node), self._routes.timeout_s)
        with self._lock:
            self._all.add(link)
        return link
