"""What the evaluator works on, free of the database: rules ready to be asked, incidents, handlers, silences, notices."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from controlplane.services.alert_expressions import Expression, Verdict

State = Literal["pending", "firing", "resolved"]
Kind = Literal["firing", "repeat", "resolved", "test"]
Labels = Mapping[str, str]

# Incidents that no rule makes.
RULE_ERROR: Final = "rule_error"
HANDLER_FAILED: Final = "handler_failed"
OWN_TEXTS: Final[Mapping[str, Mapping[str, str]]] = {
    RULE_ERROR: {
        "en": "An alert rule cannot be evaluated: it would never fire.",
        "zh-hans": "告警规则无法求值：它将永远不会触发。",
    },
    HANDLER_FAILED: {"en": "A notice could not be delivered by this handler.", "zh-hans": "此处理器未能送达通知。"},
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule in use. `expression` None: `problem` says why it cannot be asked."""

    name: str
    expr: str
    for_s: float
    severity: str
    labels: Labels
    label_key: str
    handlers: tuple[str, ...]
    repeat_s: float | None
    texts: Mapping[str, str]
    expression: Expression | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A handler as configured; `secret` is sealed still."""

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    secret: str = ""
    is_default: bool = True
    failing_since: dt.datetime | None = None
    last_error: str = ""


@dataclass(slots=True)
class Incident:
    """As the row of its name. `key` is drawn where it begins, so that it is the same in memory and in the row stored later."""

    rule: str
    labels: Labels
    label_key: str
    severity: str
    expr: str
    pending_at: dt.datetime
    seen_at: dt.datetime
    key: str = field(default_factory=lambda: secrets.token_hex(16))
    state: State = "pending"
    values: Mapping[str, Any] = field(default_factory=dict)
    detail: str = ""
    fired_at: dt.datetime | None = None
    resolved_at: dt.datetime | None = None
    told_at: dt.datetime | None = None
    notices: int = 0
    acknowledged: bool = False

    @property
    def subject(self) -> tuple[str, str]:
        return self.rule, self.label_key


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to be judged in one round: a rule with its labels, or one of our own conditions with its."""

    name: str
    labels: Labels
    label_key: str
    verdict: Verdict
    for_s: float = 0.0
    severity: str = "warning"
    expr: str = ""
    handlers: tuple[str, ...] = ()
    repeat_s: float | None = None
    detail: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell every handler of a subject. `number` counts repeats."""

    kind: Kind
    number: int
    incident: Incident
    handlers: tuple[str, ...]
    texts: Mapping[str, str]

    @property
    def state(self) -> str:
        return "firing" if self.kind == "repeat" else self.kind


@dataclass(slots=True)
class Delivery:
    """A notice for one handler. `row`: its row's number, None while there is none. `payload`: what every handler is given."""

    incident: str
    rule: str
    handler: str
    notice: str
    number: int
    payload: dict[str, Any]
    created_at: dt.datetime
    row: int | None = None
    outcome: str = "due"
    attempts: int = 0
    error: str = ""
    ended_at: dt.datetime | None = None

    @property
    def idempotency_key(self) -> str:
        """Doubles of one notice, which a leader cut off may send, have the same."""
        return f"{self.incident}:{self.notice}" + (f":{self.number}" if self.number else "")
