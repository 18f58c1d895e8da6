"""Tells the live stream: one event a notice, which open pages show at once."""

from __future__ import annotations

from typing import ClassVar, Final

from controlplane.alerts.handlers.base import Handler, Message, Settings
from resilience import telemetry

_EVENTS: Final = {
    "firing": "alert.fired",
    "repeat": "alert.repeated",
    "resolved": "alert.resolved",
    "test": "alert.test_fired",
}


class EventHandler(Handler):
    kind: ClassVar[str] = "event"

    def deliver(self, message: Message, settings: Settings) -> None:
        payload = message.payload
        telemetry.emit(
            _EVENTS[payload["notice"]],
            incident=payload["id"],
            rule=payload["rule"],
            severity=payload["severity"],
            labels=dict(payload["labels"]),
        )
