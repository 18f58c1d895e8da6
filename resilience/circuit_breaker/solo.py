"""This process's own layer: the same law on its own memory. It opens alone, and decides alone when the store is lost."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Final

from resilience.circuit_breaker.options import Rules
from resilience.circuit_breaker.view import View
from resilience.circuit_breaker.window import Batch
from resilience.clock import Clock
from resilience.laws.keyspace import Reply
from resilience.storage.base import Args, Storage

# Its own, for a thread of ours must not move the sequence that a program has seeded for itself.
_draw = random.Random()  # noqa: S311 - it spreads a load, it guards nothing

AT_ONCE: Final = (0, 1_000, 0, 0)  # an opening that may be probed in the same microsecond
JITTER: Final = 200  # thousandths
_serials: Final = itertools.count()


def report_args(who: str, channel: str, name: str, *, probe: str, epoch: int, batch: Batch, figures: Sequence[int]) -> Args:
    """As breaker_report takes them. The jitter is drawn here, since a law must not draw."""
    return (probe, who, channel, name, epoch, *batch, *figures, _draw.randint(-JITTER, JITTER))


class Solo:
    """Its callers hold the core's lock: memory answers at once."""

    def __init__(self, name: str, store: Storage, clock: Clock) -> None:
        self.name = name
        self.view = View()
        self._store = store
        self._clock = clock
        # No breaker's name has a colon, so this tag is nobody else's in the process's store.
        self._tag = f"{name}:solo:{next(_serials)}"

    @property
    def closed(self) -> bool:
        return self.view.state == "C"

    def allow(self, rules: Rules, probe: str) -> Reply:
        return self._run("breaker_allow", (probe, rules.lease_us, rules.options.half_open_permits, "", self.name))

    def probe_ended(self, rules: Rules, probe: str, epoch: int, batch: Batch) -> None:
        self._run("breaker_report", report_args("", "", self.name, probe=probe, epoch=epoch, batch=batch, figures=rules.figures))

    def tell(self, rules: Rules, batch: Batch) -> bool:
        """Whether it opened."""
        for _ in range(2):
            reply = self._run(
                "breaker_report",
                report_args("me", "", self.name, probe="", epoch=self.view.epoch, batch=batch, figures=rules.figures),
            )
            if reply[0] != "late" or reply[3] != "C":
                break
            # Idle for an hour, it began a new epoch just now: told once more.
        return reply[2] == "opened"

    def open(self, rules: Rules) -> None:
        self._run("breaker_set", ("open", "", self.name, *rules.opening, 0))

    def half_open(self) -> None:
        """What was open for all may be probed here."""
        self._run("breaker_set", ("open", "", self.name, *AT_ONCE))

    def clear(self) -> None:
        """Closed, its counts forgotten, under a new epoch."""
        if self.view.epoch:
            self._run("breaker_set", ("closed", "", self.name, *AT_ONCE))

    def refresh(self, rules: Rules) -> Reply:
        return self._run("breaker_peek", (rules.window_us,))

    def _run(self, op: str, args: Args) -> Reply:
        reply = self._store.attempt(op, self._tag, args, self._clock.stamp_us())
        self.view = View.of(reply, now_us(self._clock))
        return reply


def now_us(clock: Clock) -> int:
    """Microseconds that never run back."""
    return round(clock.monotonic() * 1_000_000)
