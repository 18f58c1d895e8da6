"""Roll-ups: what the processes met lately, from Redis into rows, so that a cold start finds its hot list without Redis too."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from controlplane.loop.lease import Act, Term
from permissions.cache import hot
from permissions.models import Realm
from resilience.clock import SYSTEM, Clock

# Rows forgotten in one transaction: some ten milliseconds.
BATCH: Final = 1_000
# Seconds that one look may ask Redis for realm after realm; the rest waits for the next round: the lease must be renewed.
LOOK_S: Final = 1.0


@dataclass(slots=True)
class RollUps:
    """Realm after realm, then what is too old."""

    clock: Clock = SYSTEM
    batch: int = BATCH
    name: str = "rollups"
    interval_s: float = 60.0
    _left: deque[int | None] = field(default_factory=deque)  # None: time to forget
    _found: deque[tuple[int, hot.Collected]] = field(default_factory=deque)

    def look(self, term: Term) -> bool:
        """Asks Redis, before the transaction: in it, SQLite would let nobody else write while Redis is silent."""
        if self._found:
            return True
        if not self._left:
            self._left.extend([*Realm.objects.order_by("pk").values_list("pk", flat=True), None])
        until = self.clock.monotonic() + LOOK_S
        while self._left and self.clock.monotonic() < until:
            realm_id = self._left.popleft()
            if realm_id is None:
                return True
            collected = hot.collect(realm_id)
            if collected is not None:
                # An hour a transaction: some thousand rows.
                self._found.extend((realm_id, hot.Collected({hour: met})) for hour, met in collected.hours.items())
                return True
        return False

    def step(self, act: Act) -> bool:
        if self._found:
            hot.roll_up(*self._found.popleft())
            return True
        if hot.forget(self.batch) >= self.batch:
            self._left.append(None)
        return bool(self._left)
