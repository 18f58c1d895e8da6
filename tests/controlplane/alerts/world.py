"""What the tests of alerts share: a lead, a moved clock, a book of what was told, and plain incidents."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
from django.db import OperationalError, transaction

from controlplane.alerts import ledger
from controlplane.alerts.evaluator import Evaluator
from controlplane.alerts.handlers.base import Handler, Message, NotDelivered, Settings
from controlplane.models import AlertDelivery, AlertHandler, AlertIncident, AlertRule
from controlplane.models.alerts import label_key
from resilience.clock import FakeClock

T0 = dt.datetime(2026, 1, 1, 12, 0, 0, tzinfo=dt.UTC)
WAIT_S = 20.0


class BookHandler(Handler):
    """Writes down what it is told, and fails while it is told to."""

    kind: ClassVar[str] = "book"
    book: ClassVar[list[tuple[str, str, str]]] = []
    keys: ClassVar[list[str]] = []
    failing: ClassVar[set[str]] = set()
    hold: ClassVar[threading.Event | None] = None

    def deliver(self, message: Message, settings: Settings) -> None:
        if BookHandler.hold is not None:
            BookHandler.hold.wait(WAIT_S)
        if settings.name in BookHandler.failing:
            raise NotDelivered("told to fail", is_final=True)
        BookHandler.keys.append(message.key)
        BookHandler.book.append((settings.name, message.payload["notice"], message.payload["rule"]))


class FakeLead:
    """Leads while `leads`; its database may be away."""

    def __init__(self) -> None:
        self.fence = 1
        self.database_away = False
        self.leads = True
        self.breaks = False  # the database goes in the middle of a round

    @contextmanager
    def acting(self) -> Iterator[None]:
        if not self.leads:
            raise LookupError("LostLease")
        with transaction.atomic():
            yield
            if self.breaks:
                raise OperationalError("the server closed the connection unexpectedly")


class World:
    """`at` moves by hand; every clock that a round reads shows it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        AlertRule.objects.all().delete()
        AlertHandler.objects.all().delete()
        AlertHandler.objects.create(name="book", kind="book")
        BookHandler.book.clear()
        BookHandler.keys.clear()
        BookHandler.failing.clear()
        BookHandler.hold = None
        self.clock = FakeClock(T0.timestamp())
        self.lead = FakeLead()
        self.means: dict[float, Mapping[str, Any]] = {}
        patch.setattr(ledger, "now", lambda: self.at)
        self.evaluators: list[Evaluator] = []
        self.evaluator = self.another()

    def another(self) -> Evaluator:
        """As of another process, without this one's memory."""
        made = Evaluator(means=lambda seconds: self.means.get(seconds, {}), clock=self.clock)
        self.evaluators.append(made)
        return made

    def close(self) -> None:
        if BookHandler.hold is not None:
            BookHandler.hold.set()
        for each in self.evaluators:
            each.close(WAIT_S)

    def rule(self, name: str = "lag", expr: str = "f.loop_lag_ms > 200", **more: Any) -> AlertRule:
        return AlertRule.objects.create(name=name, expr=expr, **more)

    def round(self, after_s: float = 5.0, *, evaluator: Evaluator | None = None, **figures: Any) -> list[tuple[str, str, str]]:
        """One round after so long; what was told by its end, sorted."""
        self.clock.advance(after_s)
        each = evaluator or self.evaluator
        before = len(BookHandler.book)
        each.tick(figures, self.lead)
        assert each.courier.idle(WAIT_S)
        return sorted(BookHandler.book[before:])

    @property
    def at(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.clock.now_us() / 1e6, dt.UTC)

    @property
    def open(self) -> list[AlertIncident]:
        return list(AlertIncident.objects.exclude(state="resolved").order_by("pk"))

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(row.notice, row.outcome) for row in AlertDelivery.objects.order_by("pk")]


KEY = label_key({})
