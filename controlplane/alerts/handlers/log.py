"""Tells the log: one line a notice, at the level of its severity."""

from __future__ import annotations

import logging
from typing import ClassVar, Final

from controlplane.alerts.handlers.base import Handler, Message, Settings
from controlplane.alerts.notices import headline

log = logging.getLogger("controlplane.alerts")

_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}


class LogHandler(Handler):
    kind: ClassVar[str] = "log"

    def deliver(self, message: Message, settings: Settings) -> None:
        payload = message.payload
        level = _LEVELS.get(payload["severity"], logging.WARNING) if payload["state"] == "firing" else logging.INFO
        facts = {name: payload[name] for name in ("id", "state", "rule", "severity", "labels", "figures", "detail")}
        log.log(level, "alert: %s", headline(dict(payload)), extra={"alert": facts})
