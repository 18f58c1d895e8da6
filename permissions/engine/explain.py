"""The decision that `evaluate` gives, with the path that decided, or the nearest missing grants.

Paths and grants are lists of plain dicts, ready for JSON: their keys stand at `Step.to_dict` (`engine/telling.py`) and in
`engine/nearest.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from permissions.engine import reasons
from permissions.engine.nearest import nearest_grants
from permissions.engine.scopes import ResourceSnapshot, SubjectSnapshot
from permissions.engine.table import RoleTable
from permissions.engine.telling import Step, TellingWalk
from permissions.engine.types import Decision, Request


@dataclass(slots=True)
class Explanation:
    """`steps`: every claim met, those that decided first. `requires`: the required code that is missing, which the steps then
    concern."""

    decision: Decision
    steps: list[Step] = field(default_factory=list)
    nearest: list[dict[str, Any]] = field(default_factory=list)
    requires: str | None = None
    combining: str = "deny_overrides"
    chain: tuple[str, ...] = ()

    @property
    def path(self) -> list[dict[str, Any]]:
        """The steps that decided; empty where no claim did (nothing granted, a superuser, an unknown subject)."""
        return [step.to_dict() for step in self.steps if step.decided]

    def to_dict(self) -> dict[str, Any]:
        decision = self.decision
        return {
            "allowed": decision.allowed,
            "reason": decision.reason,
            "revision": decision.revision,
            "source": decision.source,
            "combining": self.combining,
            "chain": list(self.chain),
            "requires": self.requires,
            "path": self.path,
            "considered": [step.to_dict() for step in self.steps if not step.decided],
            "nearest": self.nearest,
            "obligations": [dict(duty) for duty in decision.obligations],
        }

    def lines(self) -> list[str]:
        """For a person: what decided, then what would help."""
        told = [step.line() for step in self.steps if step.decided]
        if self.requires is not None:
            told.append(f"it requires {self.requires}, which is not allowed here")
        return told + [missing["text"] for missing in self.nearest]


def explain(
    table: RoleTable,
    subject: SubjectSnapshot,
    resource: ResourceSnapshot | None,
    request: Request,
    now_us: int,
    *,
    superuser_allowed: bool = False,
) -> Explanation:
    """`subject` must have kept its facts (ValueError otherwise)."""
    walk = TellingWalk(table, subject, resource, request, now_us)
    decision = walk.decide(request.permission, superuser_allowed=superuser_allowed)
    missing = walk.missing_requirement(request.permission) if decision.reason == reasons.REQUIRES else None
    code = request.permission if missing is None else missing
    steps = [] if decision.reason == reasons.SUPERUSER else walk.steps_of(code)
    return Explanation(
        decision,
        steps,
        [] if decision.allowed else nearest_grants(walk, code, decision.reason, steps),
        requires=missing,
        combining=table.combining_of(resource.type if resource is not None else None),
        chain=(f"realm:{table.model.realm}", *(resource.nodes if resource is not None else ())),
    )
