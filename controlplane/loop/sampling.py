"""The sampler: while its process leads, one frame a second of the whole site; alerts and roll-ups go by its frames.

1. Frames have a thread of their own: neither a database that hangs nor an alert that is slow holds them up.
2. Who leads, the leader's lease says. When the database goes while this process leads, it goes on, since no other can take over;
   frames of a later term that are heard meanwhile end that.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
from django.db import DatabaseError, InterfaceError, connection

from controlplane.insight.verdict import of_frame
from controlplane.live import history
from controlplane.live import store as stores
from controlplane.live.frames import Nodes, figures_of, instances
from controlplane.live.history import RECENT, shortened
from controlplane.live.hub import FENCE_S, HUB, Hub
from controlplane.live.port import FRAME, NODES, LiveError, LiveStore
from controlplane.loop import lease, probing
from controlplane.loop.lease import LostLease, Term
from resilience import telemetry
from resilience.clock import SYSTEM, Clock
from resilience.maintenance import SWITCH

log = logging.getLogger("controlplane.loop")

EVERY_S: Final = 1.0
NODES_EVERY: Final = 2  # frames
ALERTS_S: Final = 1.0  # how often the evaluator is asked; it keeps its own interval
ROLL_UP_S: Final = 60.0
STOP_S: Final = 5.0


class Leads(Protocol):
    """Of a Leader: its term, and whether the database is away."""

    @property
    def term(self) -> Term | None: ...
    @property
    def is_away(self) -> bool: ...


class Evaluates(Protocol):
    """Of the alerts' evaluator."""

    def tick(self, frame: Mapping[str, Any], lead: Lead) -> None: ...


@dataclass(frozen=True, slots=True)
class Lead:
    """One time of leading. `database_away`: it went meanwhile, so nothing can be written, and no other can take over."""

    term: Term
    database_away: bool = False

    @property
    def fence(self) -> int:
        return self.term.fence

    @contextmanager
    def acting(self) -> Iterator[None]:
        """A transaction under the fence. Raises LostLease where another leads, or where nobody can know."""
        if self.database_away:
            raise LostLease("the database does not answer: nobody can know who leads")
        with lease.acting(self.term, "sampler"):
            yield


class Sampler:
    """`start` and `stop` its threads; `turn` is one second, for tests too."""

    def __init__(
        self,
        leader: Leads,
        evaluator: Evaluates | None = None,
        *,
        clock: Clock = SYSTEM,
        make: Callable[[], LiveStore] = stores.current,
        hub: Hub = HUB,
        counts: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._leader, self._evaluator, self._counts = leader, evaluator, counts
        self._clock, self._make, self._hub = clock, make, hub
        self._last: Lead | None = None
        self._nodes: Nodes | None = None
        self._frame: dict[str, Any] | None = None
        self._seq = 0
        self._is_away = False
        self._rolled_at = -ROLL_UP_S
        self._probes: dict[str, probing.Probe] = {}
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(self._ended, work, seconds), name=name, daemon=True)
            for name, work, seconds in (("live-sampler", self.turn, EVERY_S), ("live-alerts", self.turn_rows, ALERTS_S))
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(STOP_S)
        self._stand_down()

    def _run(self, ended: threading.Event, work: Callable[[], object], seconds: float) -> None:
        next_at = self._clock.monotonic()
        while not ended.is_set():
            try:
                work()
            except Exception as error:  # noqa: BLE001 - a thread that ended would leave the page without a word
                telemetry.internal_error("live", threading.current_thread().name, error)
            # By the clock, not by pauses: frames of a second each, whatever one costs; what was slept through is left out.
            next_at = max(next_at + seconds, self._clock.monotonic())
            ended.wait(max(0.0, next_at - self._clock.monotonic()))
        if not connection.in_atomic_block:
            connection.close()

    def lead(self) -> Lead | None:
        """Whether this process leads, as its leader says; and after the database went, as long as no other is heard."""
        term = self._leader.term
        if term is not None:
            self._last = Lead(term)
        elif self._last is not None:
            self._last = Lead(self._last.term, database_away=True) if self._leader.is_away else None
        if self._last is not None and self._is_outdone(self._last):
            return None
        return self._last

    def _is_outdone(self, lead: Lead) -> bool:
        """Frames of a later term come: this process was cut off, or stopped for a while, and knows it not yet."""
        frame, age_s = self._hub.frame(), self._hub.frame_age_s()
        return bool(frame is not None and age_s is not None and age_s < FENCE_S and frame.get("fence", 0) > lead.fence)

    def turn(self) -> None:
        """One frame, where this process leads."""
        lead = self.lead()
        if lead is None:
            self._stand_down()
            return
        if self._nodes is None:
            self._begin()
        store = self._make()
        nodes = self._nodes
        assert nodes is not None  # noqa: S101 - just begun
        nodes.beat_s = store.beat_s
        try:
            nodes.take(_decoded(store.nodes()))
        except LiveError as error:
            # What is not heard of grows old by itself: the frame says so, with figures that are not known.
            self._away(error)
        frame = self._made(lead, nodes)
        self._frame = frame
        RECENT.add(frame)
        try:
            self._send(store, frame, nodes)
        except LiveError as error:
            self._away(error)
        else:
            self._is_away = False

    def _send(self, store: LiveStore, frame: dict[str, Any], nodes: Nodes) -> None:
        body = msgspec.json.encode(frame)
        store.publish(FRAME, body)
        store.put_frame(int(frame["at"] * 1000), body)
        if self._seq % NODES_EVERY == 1:
            store.publish(NODES, msgspec.json.encode(instances(nodes)))

    def _away(self, error: LiveError) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning("frames reach nobody: %s", error)

    def _begin(self) -> None:
        self._nodes = Nodes(self._clock.monotonic)
        try:
            RECENT.begin(history.stored(900.0, self._make()))
        except LiveError:
            RECENT.begin(())
        found = probing.database(self._clock), probing.redis(self._clock)
        self._probes = {probe.name: probe for probe in found if probe is not None}
        for probe in self._probes.values():
            probe.start()

    def _stand_down(self) -> None:
        if self._nodes is None:
            return
        self._nodes = self._frame = None
        RECENT.end()
        for probe in self._probes.values():
            probe.stop()
        self._probes = {}

    def _made(self, lead: Lead, nodes: Nodes) -> dict[str, Any]:
        self._seq += 1
        database, redis = self._probes.get("database"), self._probes.get("redis")
        maintenance = SWITCH.on
        frame: dict[str, Any] = {
            "v": 1,
            "seq": self._seq,
            "fence": lead.fence,
            "at": round(time.time(), 3),
            "beat_s": nodes.beat_s,
            **figures_of(nodes),
            "database_up": None if database is None else database.up,
            "database_ms": None if database is None else database.ms,
            "redis_ms": None if redis is None else redis.ms,
            "maintenance": "off" if maintenance is None else maintenance.mode,
            "maintenance_open_ended": maintenance is not None and maintenance.until is None,
            "leader": lead.term.holder.rpartition(":")[2],
            **{"firing": None, "pending": None, "alerts_at": None, **self._counts()},
        }
        if lead.database_away:
            frame["database_up"], frame["database_ms"] = 0, None
        if redis is not None and (redis.up == 0 or frame.get("storage_up") is None):
            # Where no process uses the store, the probe alone knows that it answers again: an alert about it would never end.
            frame["storage_up"] = redis.up
        frame["state"] = of_frame(frame).state
        return {
            name: shortened(value) if isinstance(value, float) and name not in ("at", "alerts_at") else value
            for name, value in frame.items()
        }

    # The other thread: what writes.

    def turn_rows(self) -> None:
        """Alerts, and once a minute the roll-ups."""
        frame, lead = self._frame, self.lead()
        if frame is None or lead is None:
            return
        if self._evaluator is not None:
            try:
                self._evaluator.tick(frame, lead)
            except LostLease:
                return
            except (DatabaseError, InterfaceError) as error:
                log.warning("alerts were not evaluated: the database did not answer (%s)", type(error).__name__)
            except Exception as error:  # noqa: BLE001 - a fault of the alerts must not stop the roll-ups
                telemetry.internal_error("alerts", "evaluator", error)
        now = self._clock.monotonic()
        # A database that stands still would hold up the alerts that are to tell of it.
        if now - self._rolled_at >= ROLL_UP_S and not lead.database_away and frame["database_up"] != 0:
            self._rolled_at = now
            self._roll_up(lead)

    def _roll_up(self, lead: Lead) -> None:
        try:
            with lead.acting():
                history.roll_up(time.time())
            tidy = getattr(_rows_of(self._make()), "tidy", None)
            if tidy is not None:
                tidy()
        except (LostLease, LiveError):
            pass  # the next leader, or the next minute: what was missed is still in the store
        except (DatabaseError, InterfaceError) as error:
            log.warning("frames were not rolled up: the database did not answer (%s)", type(error).__name__)
        finally:
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()


def _decoded(bodies: Mapping[str, bytes]) -> Iterator[Any]:
    for body in bodies.values():
        try:
            yield msgspec.json.decode(body)
        except msgspec.DecodeError:
            continue


def _rows_of(store: LiveStore) -> LiveStore:
    return getattr(store, "second", store)
