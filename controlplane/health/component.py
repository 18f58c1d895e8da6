"""One component of the health page: its state, since when, and what is told of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Word = Literal["ok", "degraded", "down", "none"]


@dataclass(slots=True)
class Component:
    """`state` none: not configured, so nothing can be wrong with it. `error`: the fault's kind; its text may hold addresses."""

    state: Word
    since: float
    latency_ms: float | None = None
    error: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)

    def measured(
        self, state: Word, latency_ms: float | None = None, error: str = "", more: Mapping[str, Any] | None = None
    ) -> None:
        """`more` None: what was told last stays, as a version does while its server is away."""
        if state != self.state:
            self.state, self.since = state, time.time()
        self.latency_ms, self.error = latency_ms, error
        if more is not None:
            self.more = more

    def to_dict(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"state": self.state, "since_s": round(time.time() - self.since, 1)}
        if self.latency_ms is not None:
            shown["latency_ms"] = round(self.latency_ms, 2)
        if self.error:
            shown["last_error"] = self.error
        return {**shown, **self.more}
