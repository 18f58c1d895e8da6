"""The load of `demo_load`: a paced pool of plain HTTP clients against this machine alone, that counts and outlives a restart."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from permsite.traffic import MOST_HABITS, REASON, ROLE, Call, Day, World, busy, role_line

LOCAL: Final = ("127.0.0.1", "localhost")
TIMEOUT_S: Final = 5.0
# One client a ten calls a second, so that a slow answer does not stop the wave.
CALLS_A_CLIENT: Final = 10
MOST_CLIENTS: Final = 24
# Seconds between two writes at noon; each makes every process of the realm catch up.
CHANGE_S: Final = 2.0
# After a fault a client waits, longer each time: a server that restarts is not to be met by a queue.
WAITS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0)
# What a late schedule gives up: a machine that slept is not to be caught up with in one burst.
MOST_LATE_S: Final = 0.5
# Subjects, permissions, resources it learns of. A demo has some dozens.
MOST_LEARNT: Final = 1_000


class NotLocalError(ValueError):
    """The address is not on this machine, or not an address."""


class Refusal(RuntimeError):
    """The load cannot go on: no answer at the start, or the server does not know the key."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to call. The host is always the loopback's number: what `localhost` means is not left to a resolver."""

    url: str
    port: int


def local(url: str) -> Place:
    """Raises NotLocalError for everything but plain http on this machine."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise NotLocalError(f"{url[:80]!r} is no address: {error}") from None
    if parts.scheme != "http" or parts.hostname not in LOCAL:
        raise NotLocalError(f"{url[:80]!r}: the load is for this machine only, http://127.0.0.1:PORT or http://localhost:PORT")
    if parts.username or parts.password or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise NotLocalError(f"{url[:80]!r}: only a host and a port are meant, such as http://127.0.0.1:8000")
    number = 80 if port is None else port
    if not 1 <= number <= 65_535:
        raise NotLocalError(f"{url[:80]!r}: a port is a number from 1 to 65535")
    return Place(f"http://127.0.0.1:{number}", number)


@dataclass(slots=True)
class Tally:
    """What came of it. One lock: some hundred counts a second."""

    kinds: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    spent_s: float = 0.0
    slowest_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def answered(self) -> int:
        return sum(self.kinds.values())

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    def answer(self, call: Call, body: Any, took_s: float) -> None:
        with self._lock:
            self.kinds[call.counts] += 1
            self.spent_s += took_s
            self.slowest_s = max(self.slowest_s, took_s)
            for allowed in _decisions(body):
                self.answers["allowed" if allowed else "denied"] += 1

    def error(self, what: str) -> None:
        with self._lock:
            self.errors[what] += 1

    def short(self) -> str:
        return (
            f"{self.answered} answered, {self.answers['allowed']} allowed, {self.answers['denied']} denied, {self.failed} errors"
        )

    def lines(self) -> list[str]:
        mean_ms = self.spent_s / self.answered * 1000 if self.answered else 0.0
        told = [f"{self.short()}; mean {mean_ms:.1f} ms, slowest {self.slowest_s * 1000:.0f} ms"]
        told.append("asked: " + (", ".join(f"{name} {count}" for name, count in self.kinds.most_common()) or "nothing"))
        if self.errors:
            told.append("errors: " + ", ".join(f"{name} {count}" for name, count in self.errors.most_common()))
        return told


def _decisions(body: Any) -> list[bool]:
    if not isinstance(body, dict):
        return []
    found = [body, *(item for item in body.get("evaluations", ()) if isinstance(item, dict))]
    names = ("decision", "allowed")
    return [bool(item[name]) for item in found for name in names if isinstance(item.get(name), bool)]


class Client:
    """One connection, kept; made anew after any fault. Follows no redirect: it would lead away from this machine."""

    def __init__(self, place: Place, key: str) -> None:
        self._place = place
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._connection: http.client.HTTPConnection | None = None

    def send(self, call: Call) -> tuple[int, Any]:
        """(status, body). Raises OSError, HTTPException."""
        was_kept = self._connection is not None
        try:
            status, raw = self._exchange(call)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            # The server closed what stood idle, as it may; that is no fault of anybody's.
            self.close()
            if not was_kept:
                raise
            status, raw = self._exchange(call)
        try:
            return status, json.loads(raw) if raw else None
        except ValueError:
            return status, None

    def _exchange(self, call: Call) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._place.port, timeout=TIMEOUT_S)
        try:
            body = None if call.body is None else json.dumps(call.body)
            self._connection.request(call.method, call.path, body=body, headers=self._headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Load:
    """`run` is called once. Writes are one client's alone, so that a binding is taken back by whoever made it."""

    def __init__(self, place: Place, key: str, *, rate: float, seconds: float, chance: random.Random) -> None:
        self.tally = Tally()
        self._place = place
        self._key = key
        self._rate = rate
        self._seconds = seconds
        self._chance = chance
        self._due_s = 0.0
        self._turn = threading.Lock()
        self._began_s = 0.0
        self._refusal = ""

    def run(self, stop: threading.Event, tell: Callable[[float, str], None], *, start_s: float) -> None:
        """Returns after the time, or once `stop` is set. Raises Refusal."""
        world = self._learn(stop, start_s)
        if world is None:
            return
        habits = self._habits(world)
        self._began_s = time.monotonic()
        done = threading.Event()
        clients = min(MOST_CLIENTS, max(2, -(-int(self._rate) // CALLS_A_CLIENT)))
        threads = [threading.Thread(target=self._ask, args=(world, habits, done), daemon=True) for _ in range(clients)]
        threads.append(threading.Thread(target=self._change, args=(world, done), daemon=True))
        for thread in threads:
            thread.start()
        try:
            while not stop.wait(0.5):
                elapsed_s = time.monotonic() - self._began_s
                tell(min(elapsed_s, self._seconds), self.tally.short())
                if elapsed_s >= self._seconds or self._refusal:
                    break
        finally:
            done.set()
            for thread in threads:
                thread.join(TIMEOUT_S * 2)
        if self._refusal:
            raise Refusal(self._refusal)

    def _learn(self, stop: threading.Event, start_s: float) -> World | None:
        """The world as the API tells it, once the server answers. None: ended before."""
        client = Client(self._place, self._key)
        until_s = time.monotonic() + start_s
        while True:
            try:
                return self._world(client)
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() >= until_s:
                    raise Refusal(f"{self._place.url} does not answer ({error}): start the demo first (manage.py demo)") from None
            if stop.wait(0.5):
                return None

    def _world(self, client: Client) -> World:
        found = {
            name: self._names(client, name, key)
            for name, key in (("subjects", "id"), ("permissions", "code"), ("resources", "id"))
        }
        client.close()
        codes = [code for code in found["permissions"] if not code.startswith("permsite.")]
        if not (found["subjects"] and codes and found["resources"]):
            raise Refusal("the realm holds no subjects, permissions or resources to ask about: load the demo's world first")
        for names in (found["subjects"], codes, found["resources"]):
            self._chance.shuffle(names)
        return World(found["subjects"], codes, found["resources"])

    def _names(self, client: Client, noun: str, key: str) -> list[str]:
        status, body = client.send(Call("learn", "GET", f"/api/v1/{noun}/?limit={MOST_LEARNT}"))
        if status in (401, 403):
            raise Refusal(f"{self._place.url} does not take the demo's key ({status}): is it another server?")
        if status != 200 or not isinstance(body, dict):
            raise http.client.HTTPException(f"status {status}")
        return [str(line[key]) for line in body.get("results", ())]

    def _habits(self, world: World) -> list[dict[str, Any]]:
        """Questions that are answered yes, of a thousand drawn; a few are enough."""
        client = Client(self._place, self._key)
        asked = Day(world, self._chance).questions(MOST_LEARNT)
        answer = self._send(client, Call("learn", "POST", "/api/v1/check/batch", {"checks": asked}))
        client.close()
        results = answer[1].get("results", ()) if answer is not None and isinstance(answer[1], dict) else ()
        return [question for question, result in zip(asked, results, strict=False) if result.get("allowed")][:MOST_HABITS]

    def _ask(self, world: World, habits: list[dict[str, Any]], done: threading.Event) -> None:
        day = Day(world, random.Random(self._chance.random()), habits)  # noqa: S311 - nothing secret is drawn
        client = Client(self._place, self._key)
        faults = 0
        while not done.wait(self._pause_s()):
            faults = 0 if self._send(client, day.call()) is not None else faults + 1
            if faults and done.wait(WAITS_S[min(faults, len(WAITS_S)) - 1]):
                break
        client.close()

    def _pause_s(self) -> float:
        """Until this call's turn: all clients take their turns from one schedule, which follows the hour."""
        with self._turn:
            now_s = time.monotonic() - self._began_s
            self._due_s = max(self._due_s, now_s - MOST_LATE_S) + 1 / (self._rate * busy(now_s))
            return max(0.0, self._due_s - now_s)

    def _change(self, world: World, done: threading.Event) -> None:
        day = Day(world, random.Random(self._chance.random()))  # noqa: S311 - as above
        client = Client(self._place, self._key)
        self._clean(client)
        ready = False
        while not done.wait(CHANGE_S / busy(time.monotonic() - self._began_s)):
            if not ready:
                line = role_line(day.chance, world)
                status, _ = self._send(client, Call("role", "POST", f"/api/v1/roles/?reason={REASON}", line), (409,)) or (0, None)
                ready = status in (201, 409)
                continue
            call = day.change()
            answer = self._send(client, call, (404, 409))
            if answer is None and call.counts == "unbind":
                day.bindings.append(int(call.path.split("/")[4]))
            elif answer is not None and answer[0] == 404:
                ready = call.counts == "unbind"  # the role went: a reset demo
            elif answer is not None and call.counts == "bind" and isinstance(answer[1], dict) and "id" in answer[1]:
                day.bindings.append(int(answer[1]["id"]))
        self._clean(client)
        client.close()

    def _clean(self, client: Client) -> None:
        """Takes back what it made, also what one that was killed left behind."""
        answer = self._send(client, Call("list", "GET", f"/api/v1/bindings/?limit=200&role={ROLE}"))
        lines = answer[1].get("results", ()) if answer is not None and isinstance(answer[1], dict) else ()
        for line in lines:
            self._send(client, Call("unbind", "DELETE", f"/api/v1/bindings/{line['id']}/?reason={REASON}"), (404,))
        self._send(client, Call("role", "DELETE", f"/api/v1/roles/{ROLE}/?reason={REASON}"), (404,))

    def _send(self, client: Client, call: Call, expected: tuple[int, ...] = ()) -> tuple[int, Any] | None:
        """None: a fault, counted."""
        began_s = time.perf_counter()
        try:
            status, body = client.send(call)
        except (OSError, http.client.HTTPException) as error:
            self.tally.error("no answer" if isinstance(error, OSError) else "broken answer")
            return None
        if status == 401:
            self._refusal = f"{self._place.url} no longer takes the demo's key: it was revoked, or another server runs there"
        if status >= 400 and status not in expected:
            self.tally.error(f"status {status} of {call.counts}")
            return None
        self.tally.answer(call, body, time.perf_counter() - began_s)
        return status, body
