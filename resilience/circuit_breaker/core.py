"""One breaker of one process: what all objects of its name and store share, and how calls begin and end.

1. No lock is held while a call runs, or while the store is asked. 2. A call counts in the epoch it began in, or nowhere.
3. A call needs both layers, the shared one and this process's own; a person's force overrides both.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import weakref
from typing import Final, NamedTuple

from resilience import telemetry
from resilience.circuit_breaker import metering
from resilience.circuit_breaker.driving import Steps
from resilience.circuit_breaker.options import Options, Rules
from resilience.circuit_breaker.outbox import Outbox
from resilience.circuit_breaker.solo import Solo, now_us, report_args
from resilience.circuit_breaker.view import Gate, View
from resilience.circuit_breaker.window import Batch, Counts
from resilience.clock import Clock
from resilience.errors import CircuitOpen, StorageError, StorageProtocolError, StorageTimeout
from resilience.laws.keyspace import Reply
from resilience.storage.base import Args, Storage

CHANNEL: Final = "resilience:events"
# Chosen: a frozen server costs a process one time-out a second, not one a call.
BLIND_US: Final = 1_000_000
SOLO_US: Final = 100_000  # our own layer hears of good calls this often: late ones would land in a wrong bucket
NEUTRAL: Final = Batch()
GOOD: Final = Batch(ok=1)


class Leave(NamedTuple):
    """Leave to make one call, and what its outcome belongs to. `shared`: whether the shared layer hears of it."""

    rules: Rules
    counts: Counts
    epoch: int
    solo_epoch: int
    probe: str = ""
    solo_probe: str = ""
    shared: bool = True
    generation: int = 0


class Core:
    """The state of one breaker in this process."""

    def __init__(self, name: str, store: Storage, clock: Clock) -> None:
        self.name = name
        self.clock = clock
        self.rules = Rules(Options())
        self.generation = 0
        self.channel = store.channel(CHANNEL)
        self.source = "memory" if store.name == "memory" else "redis"
        # Weakly: the breakers hold it, and a store that nobody uses may go.
        self._store = weakref.ref(store)
        self._serial = itertools.count()
        self._sent = itertools.count(1)
        # On memory the shared layer is this process's own: a second one would say the same.
        self.solo = None if store.name == "memory" else Solo(name, store.local, clock)
        self.begin_anew()

    def begin_anew(self) -> None:
        """At first, and in a forked child: the parent's lock, counts and probes are not the child's."""
        self.lock = threading.Lock()
        self.who = secrets.token_hex(6)
        self.generation += 1
        self.view = View()
        self.counts = Counts(0)
        self.gate = Gate(False, self.counts, 0)
        self.outbox = Outbox(self)
        self.used = False
        self.blind_until = 0
        self._adopted = 0
        self._announced = 0
        self._solo_told = 0
        self._shown = ("", "", "")

    @property
    def store(self) -> Storage | None:
        return self._store()

    def now(self) -> int:
        return now_us(self.clock)

    # How a call begins

    def beginning(self, rules: Rules) -> Steps[Leave | CircuitOpen]:
        """Leave for one call, or the refusal. An error of the store becomes an answer of this process's own layer."""
        self.rules = rules
        self.used = True
        view, now = self.view, self.now()
        blind = now < self.blind_until
        ask = not blind and (self.solo is None or rules.direct or not view.state)
        forced = view.forced(now)
        if not ask:
            if forced == "open":
                return self._forced_open(view, now)
            if forced == "closed":
                return self._leave(rules)
            if view.state == "O" and now < view.until:
                return self._refusal(view.until - now)
            ask = not blind and view.state != "C"
        # A person's word overrides this process's doubts.
        solo_probe = "" if forced == "closed" else self._solo_begins(rules)
        if isinstance(solo_probe, CircuitOpen):
            return solo_probe
        if blind:
            return self._alone(rules, view, solo_probe)
        if not ask:
            return self._leave(rules, solo_probe=solo_probe)
        probe, sent = self._new_probe(), self.next_sent()
        try:
            reply = yield "breaker_allow", (probe, rules.lease_us, rules.options.half_open_permits, self.channel, self.name)
        except StorageError as error:
            self.lost(error)
            if isinstance(error, StorageTimeout):
                self._owe(rules, probe, 0, NEUTRAL)
            return self._alone(rules, view, solo_probe)
        except BaseException:
            # Cancelled while asking: the probe may have been given out.
            self._owe(rules, probe, 0, NEUTRAL)
            self._solo_ends(rules, solo_probe, 0, NEUTRAL)
            raise
        self.adopt(reply, sent)
        if reply[0] != "refuse":
            return self._leave(rules, int(reply[4]), probe if reply[0] == "probe" else "", solo_probe)
        self._solo_ends(rules, solo_probe, 0, NEUTRAL)
        if reply[7] == "open":
            return self._forced_open(View.of(reply, now), now)
        return self._refusal(int(reply[1]))

    def _leave(
        self, rules: Rules, epoch: int | None = None, probe: str = "", solo_probe: str = "", *, shared: bool = True
    ) -> Leave:
        gate = self.gate
        epoch = gate.counts.epoch if epoch is None else epoch
        return Leave(rules, gate.counts, epoch, gate.solo_epoch, probe, solo_probe, shared, self.generation)

    def _new_probe(self) -> str:
        return f"{self.who}-{next(self._serial)}"

    def _refusal(self, left_us: int, source: str = "") -> CircuitOpen:
        return CircuitOpen(self.name, retry_after_s=max(0, left_us) / 1_000_000, source=source or self.source)

    def _forced_open(self, view: View, now: int) -> CircuitOpen:
        left_s = (view.force_until - now) / 1_000_000
        return CircuitOpen(self.name, retry_after_s=left_s, source=self.source, forced=True, reason=view.reason)

    def _alone(self, rules: Rules, view: View, solo_probe: str) -> Leave | CircuitOpen:
        """The store cannot be asked. What was open may be probed here, one process at a time, instead of admitting everybody."""
        if self.solo is not None and view.state in ("O", "H") and not solo_probe:
            with self.lock:
                if self.view is view:
                    self.view = view._replace(state="")
                    self.solo.half_open()
                    self.set_gate()
            begun = self._solo_begins(rules)
            if isinstance(begun, CircuitOpen):
                return begun
            solo_probe = begun
        return self._leave(rules, solo_probe=solo_probe, shared=False)

    def _solo_begins(self, rules: Rules) -> str | CircuitOpen:
        """The id of a probe where this process's own layer is half-open, "" where it is closed."""
        if self.solo is None or self.solo.closed:
            return ""
        probe = self._new_probe()
        with self.lock:
            reply = self.solo.allow(rules, probe)
            self.set_gate()
        if reply[0] == "refuse":
            return self._refusal(int(reply[1]), "solo")
        return probe if reply[0] == "probe" else ""

    # How a call ends

    def ending(self, leave: Leave, batch: Batch) -> Steps[None]:
        """One outcome: of `batch` only one of ok and bad is 1, none of them where it is neutral."""
        if leave.generation != self.generation:
            return  # begun in the process that this one was forked from
        neutral = batch.ok + batch.bad == 0
        self._solo_ends(leave.rules, leave.solo_probe, leave.solo_epoch, batch)
        told = self.solo is None or leave.rules.direct or bool(leave.probe)
        if self.solo is not None and not neutral:
            self._count(leave, batch, told=told)
        metering.ended(self.name, batch, told=told)
        if not (leave.shared and (leave.probe or (told and not neutral))):
            return
        sent = self.next_sent()
        try:
            reply = yield "breaker_report", self.report(leave.rules, leave.probe, leave.epoch, batch)
        except BaseException as error:
            # A probe's report names its probe, so telling it twice changes nothing; another's is never repeated.
            if leave.probe:
                self._owe(leave.rules, leave.probe, leave.epoch, batch)
            if not isinstance(error, StorageError):
                raise
            self.lost(error)
        else:
            self.told(reply, sent)

    def finished(self, gate: Gate, flush_s: float) -> None:
        """A good call that `gate` admitted, whether that still holds or no longer does."""
        if self.gate is gate:
            gate.ok()
        else:
            with self.lock:
                if gate.counts is self.counts:
                    gate.ok()
                    if gate.solo_epoch != self.gate.solo_epoch:
                        self.counts.solo.skip(1)
        if not self.outbox.dirty:
            self.outbox.wake(flush_s)

    def counted(self, leave: Leave) -> bool:
        """A good call that nothing depends on: counted without a lock. False where more is to be done."""
        gate = self.gate
        if leave.counts is not gate.counts or leave.solo_epoch != gate.solo_epoch or not gate.admits:
            return False
        if leave.probe or leave.solo_probe or leave.rules.direct:
            return False
        leave.counts.ok()
        if not self.outbox.dirty:
            self.outbox.wake(leave.rules.options.flush_s)
        return True

    def _count(self, leave: Leave, batch: Batch, *, told: bool) -> None:
        """Adds to what the layers will be told. `told`: the shared one hears of it anyway; ours hears of a failure at once."""
        with self.lock:
            counts = self.counts
            if leave.counts is not counts:
                return
            if batch.ok:
                counts.ok()
            oks = counts.oks
            if told:
                counts.shared.skip(batch.ok)
            else:
                counts.shared.add(oks, batch.bad, batch.slow)
            tripped = False
            if leave.solo_probe or leave.solo_epoch != self.gate.solo_epoch:
                counts.solo.skip(batch.ok)
            else:
                counts.solo.add(oks, batch.bad, batch.slow)
                tripped = self.tell_solo(pressing=bool(batch.bad or batch.slow))
        if tripped:
            self.outbox.wake(0.0)
        elif not told:
            self.outbox.wake(leave.rules.options.flush_s)

    def tell_solo(self, *, pressing: bool) -> bool:
        """Tells our own layer what it has not heard; whether it opened. The caller holds the lock."""
        now = self.now()
        if self.solo is None or not (pressing or now - self._solo_told >= SOLO_US):
            return False
        self._solo_told = now
        batch = self.counts.solo.take(self.counts.oks)
        if batch is None:
            return False
        tripped = self.solo.tell(self.rules, batch)
        self.set_gate()
        return tripped

    def _solo_ends(self, rules: Rules, probe: str, epoch: int, batch: Batch) -> None:
        if probe and self.solo is not None:
            with self.lock:
                self.solo.probe_ended(rules, probe, epoch, batch)
                self.set_gate()

    def report(self, rules: Rules, probe: str, epoch: int, batch: Batch) -> Args:
        return report_args(self.who, self.channel, self.name, probe=probe, epoch=epoch, batch=batch, figures=rules.figures)

    def _owe(self, rules: Rules, probe: str, epoch: int, batch: Batch) -> None:
        self.outbox.owe(self.report(rules, probe, epoch, batch), self.now() + rules.lease_us)

    # The shared layer, as this process knows it

    def next_sent(self) -> int:
        return next(self._sent)

    def adopt(self, reply: Reply, sent: int) -> None:
        """What any reply says of the shared state; what moved is told even by a reply too late to say how it stands."""
        gone = None
        with self.lock:
            view, before = View.of(reply, self.now()), self.view
            if sent >= self._adopted or view.epoch > before.epoch:
                self._adopted, self.view = max(sent, self._adopted), view
            self.blind_until = 0
            if self.view.epoch and self.view.epoch != before.epoch:
                gone = self.counts.shared.take(self.counts.oks)
                self.counts = Counts(self.view.epoch)
                if self.solo is not None:
                    self.solo.clear()
            self.set_gate()
        metering.sent(self.name, gone)
        metering.moved(self.name, reply, self.view.until - self.now())

    def set_gate(self) -> None:
        """The caller holds the lock. An equal gate stays: a call under way compares identities."""
        view, gate, solo = self.view, self.gate, self.solo
        solo_epoch = 0 if solo is None else solo.view.epoch
        admits = solo is not None and view.state == "C" and not view.force and solo.closed
        if gate.admits != admits or gate.counts is not self.counts or gate.solo_epoch != solo_epoch:
            self.gate = Gate(admits, self.counts, solo_epoch)
        seen = (view.state, view.force, "" if solo is None else solo.view.state)
        if seen != self._shown:
            self._shown = seen
            metering.shown(self.name, view, None if solo is None else solo.view, self.now())

    def told(self, reply: Reply, sent: int) -> None:
        """A report has arrived."""
        self.adopt(reply, sent)
        if reply[0] == "solo" and self.solo is not None:
            # Too few others see what this process sees.
            with self.lock:
                if self.solo.closed:
                    self.solo.open(self.rules)
                    self.set_gate()
        self.announce()

    def announce(self) -> None:
        """Says, once for each time, that this process stays open alone."""
        if self.solo is None:
            return
        alone, view = self.solo.view, self.view
        if alone.state == "O" and view.state in ("C", "") and self._announced != alone.epoch:
            self._announced = alone.epoch
            metering.alone(self.name, alone.until - self.now())

    def lost(self, error: StorageError) -> None:
        """The store did not answer: this process's own layer decides for a while."""
        self.blind_until = self.now() + BLIND_US
        if isinstance(error, StorageProtocolError):
            telemetry.internal_error("circuit_breaker", "store", error)
        self.announce()

    def refreshing(self) -> Steps[Reply]:
        """Asks for the shared state. Raises StorageError."""
        sent = self.next_sent()
        reply = yield "breaker_peek", (self.rules.window_us,)
        self.adopt(reply, sent)
        return reply
