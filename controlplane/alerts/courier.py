"""The courier: takes what is due to its handlers, a thread a handler, so that a slow one delays neither rounds nor the others.

1. A row is claimed by compare-and-set before each attempt, for as long as that may take: of two leaders in a row one sends it.
   A claim whose process was killed runs out, and the next leader sends; a receiver that had it already knows it by its key.
2. What could not be written (the database went) is kept, and written when it answers.
3. Nothing here raises: a handler's fault becomes the delivery's outcome, and the handler is marked as failing.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

from controlplane.alerts import handlers, outbox
from controlplane.alerts.handlers.base import Message, NotDelivered
from controlplane.alerts.outbox import MARGIN_S
from controlplane.alerts.records import Delivery, Target
from controlplane.services.alert_secrets import Unreadable
from resilience import telemetry

log = logging.getLogger("controlplane.alerts")

# Seconds before the second and the third attempt.
BACKOFF_S: Final = (0.5, 2.0)
# Seconds between two looks while something waits to be written.
HOUSE_S: Final = 2.0
# A notice held back by an open breaker is given up after this: by then it is history, and the next repeat tells.
GIVE_UP_S: Final = 600.0
# Outcomes kept for a database that is away.
MAX_KEPT: Final = 1_000
# Rows taken at once; the rest with the next round.
BATCH: Final = 200


class Courier:
    """`keep_house`: called between deliveries while it says that something is left; see the evaluator's journal."""

    def __init__(self, keep_house: Callable[[], bool] = lambda: False, *, chance: random.Random | None = None) -> None:
        self.name = secrets.token_hex(8)
        self._keep_house = keep_house
        self._chance = chance or random.Random()  # noqa: S311 - it spreads attempts, it keeps no secret
        self._changed = threading.Condition()
        self._targets: Mapping[str, Target] = {}
        self._timeout_s = 5.0
        self._wants_rows = self._looks = self._runs = self._closed = False
        self._lanes: dict[str, deque[Delivery]] = {}
        self._taken: set[int] = set()
        self._kept: deque[Delivery] = deque(maxlen=MAX_KEPT)

    # From the evaluator's thread: never waits for a delivery

    def hand(self, deliveries: Iterable[Delivery]) -> None:
        """Without rows: the database is away."""
        with self._changed:
            for delivery in deliveries:
                self._enlane(delivery)

    def wake(self, targets: Iterable[Target], timeout_s: float, *, rows: bool) -> None:
        """There may be something to send. `rows`: look for it in the database."""
        with self._changed:
            self._targets = {target.name: target for target in targets}
            self._timeout_s = timeout_s
            self._wants_rows |= rows
            if not self._runs and not self._closed:
                self._runs = True
                threading.Thread(target=self._run, name="alert-courier", daemon=True).start()
            self._changed.notify_all()

    def idle(self, timeout_s: float) -> bool:
        """Waits until nothing is on its way; False where it took longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._wants_rows or self._looks or self._lanes), timeout_s)

    def close(self, timeout_s: float) -> None:
        """What is being sent is sent; what waits is left for the next leader."""
        with self._changed:
            self._closed = True
            for lane in self._lanes.values():
                lane.clear()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._lanes and not self._runs, timeout_s)

    # The courier's own thread

    def _run(self) -> None:
        is_tidy = True
        while True:
            with self._changed:
                if not self._wants_rows and not self._closed:
                    self._changed.wait(None if is_tidy else HOUSE_S)
                if self._closed:
                    self._runs = False
                    self._changed.notify_all()
                    return
                wants, taken = self._wants_rows, set(self._taken)
                self._wants_rows, self._looks = False, True
            try:
                is_tidy = self._write_kept() and not self._keep_house()
                found = outbox.due(BATCH, taken) if wants else []
            except (DatabaseError, InterfaceError) as error:
                is_tidy, found = False, []
                log.info("deliveries wait for the database (%s)", type(error).__name__)
            except Exception as error:  # noqa: BLE001 - the thread outlives a fault of its own, or no notice would ever leave again
                telemetry.internal_error("alerts", "courier", error)
                is_tidy, found = False, []
            finally:
                connection.close()
            with self._changed:
                self._looks = False
                for delivery in found:
                    self._enlane(delivery)
                self._changed.notify_all()

    def _enlane(self, delivery: Delivery) -> None:
        """The caller holds the lock. A lane without work ends its thread, so there are as many as handlers that are busy."""
        if self._closed or (delivery.row is not None and delivery.row in self._taken):
            return
        if delivery.row is not None:
            self._taken.add(delivery.row)
        lane = self._lanes.get(delivery.handler)
        if lane is not None:
            lane.append(delivery)
            return
        self._lanes[delivery.handler] = deque([delivery])
        name = f"alert-{delivery.handler}"[:40]
        threading.Thread(target=self._drive, args=(delivery.handler,), name=name, daemon=True).start()

    # A thread a handler

    def _drive(self, handler: str) -> None:
        while True:
            with self._changed:
                lane = self._lanes[handler]
                if not lane:
                    del self._lanes[handler]
                    self._changed.notify_all()
                    break
                delivery, target, timeout_s = lane.popleft(), self._targets.get(handler), self._timeout_s
            try:
                self._deliver(delivery, target, timeout_s)
            except Exception as error:  # noqa: BLE001 - one delivery's fault must not keep the next from leaving
                telemetry.internal_error("alerts", "deliver", error)
            finally:
                with self._changed:
                    self._taken.discard(delivery.row or 0)
        connection.close()

    def _deliver(self, delivery: Delivery, target: Target | None, timeout_s: float) -> None:
        kind = None if target is None else handlers.find(target.kind)
        if target is None or kind is None:
            delivery.outcome, delivery.error = "dropped", "the handler is gone, or switched off"
        else:
            try:
                settings = outbox.settings_of(target)
            except Unreadable as error:
                delivery.outcome, delivery.error = "failed", str(error)
            else:
                message = Message(delivery.payload, delivery.idempotency_key, timeout_s)
                if not self._attempts(delivery, kind.tries, timeout_s, lambda: kind.deliver(message, settings)):
                    return
        delivery.ended_at = timezone.now()
        telemetry.count("permsite_alert_notices_total", delivery.notice, delivery.outcome)
        if delivery.outcome == "failed":
            log.warning("alert %s was not delivered by %s: %s", delivery.rule, delivery.handler, delivery.error)
            telemetry.emit("alert.not_delivered", handler=delivery.handler, rule=delivery.rule, incident=delivery.incident)
        self._write(delivery)

    def _attempts(self, delivery: Delivery, tries: int, timeout_s: float, send: Callable[[], None]) -> bool:
        """Whether the delivery has come to an end here."""
        for attempt in range(1, tries + 1):
            if not self._claim(delivery, timeout_s):
                return False
            delivery.attempts += 1
            try:
                send()
            except NotDelivered as error:
                delivery.outcome, delivery.error = "failed", str(error)[:300]
                if error.retry_after_s is not None and self._put_off(delivery, error.retry_after_s):
                    return False
                if error.is_final or error.retry_after_s is not None:
                    return True
            except Exception as error:  # noqa: BLE001 - a handler's own fault is an outcome like any other; its text may hold secrets
                delivery.outcome, delivery.error = "failed", type(error).__name__
                telemetry.internal_error("alerts", delivery.handler, error)
            else:
                delivery.outcome, delivery.error = "sent", ""
                return True
            if attempt < tries:
                time.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S)) - 1] * self._chance.uniform(0.8, 1.2))
        return True

    def _claim(self, delivery: Delivery, timeout_s: float) -> bool:
        if delivery.row is None:
            return True
        try:
            return outbox.claim(delivery.row, self.name, timeout_s + MARGIN_S)
        except (DatabaseError, InterfaceError):
            # The database went with the notice in our hands. Nobody else can lead, or claim it, until it is back: it is sent.
            connection.close()
            return True

    def _put_off(self, delivery: Delivery, seconds: float) -> bool:
        try:
            return outbox.put_off(delivery, self.name, seconds, GIVE_UP_S)
        except (DatabaseError, InterfaceError):
            connection.close()  # the claim runs out by itself
            return True

    def _write(self, delivery: Delivery) -> None:
        try:
            outbox.write(delivery)
        except (DatabaseError, InterfaceError):
            connection.close()
            with self._changed:
                self._kept.append(delivery)
                self._changed.notify_all()

    def _write_kept(self) -> bool:
        """Whether everything is written. Raises DatabaseError, InterfaceError."""
        while True:
            with self._changed:
                if not self._kept:
                    return True
                delivery = self._kept[0]
            outbox.write(delivery)
            with self._changed:
                if self._kept and self._kept[0] is delivery:
                    self._kept.popleft()
