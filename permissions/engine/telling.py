"""A walk that tells what it met: each claim on a code with its binding, the way it came and what became of it.

It walks over bindings one by one instead of over role sets, so that each claim knows its binding; the rules are those of
`walk.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from permissions.engine.claims import Claim, Outcome, Spot, Tier
from permissions.engine.names import EVERYONE_ID
from permissions.engine.patterns import matches
from permissions.engine.provenance import Origin, origin_of, team_path
from permissions.engine.scopes import ResourceSnapshot, SubjectSnapshot, team_standings
from permissions.engine.table import Held, Holdings, HoldingsRecord, RoleTable, Standing
from permissions.engine.types import BindingFact, Request
from permissions.engine.walk import Walk

HOLDS: Final = "holds"
PRIVATE: Final = "private"
_STANDINGS: Final = {Standing.NOT_YET_VALID: "not_yet_valid", Standing.EXPIRED: "expired"}
_OUTCOMES: Final = {Outcome.TRUE: HOLDS, Outcome.FALSE: "condition_false", Outcome.ERROR: "condition_error"}


@dataclass(frozen=True, slots=True)
class Step:
    """One claim on a code. `outcome`: holds, condition_false, condition_error, expired, not_yet_valid, or private (an allow that
    a private node below its scope keeps away). `decided`: the decision rests on it.

    `via`: subject, teams, holder; empty for a binding of everyone. `conditions`: (text, outcome) of the binding's and the line's.
    """

    code: str
    effect: str
    outcome: str
    place: int
    tier: Tier
    binding: BindingFact
    via: tuple[str, ...]
    origin: Origin | None
    pattern: str
    conditions: tuple[tuple[str, str], ...]
    until_us: int | None
    from_us: int | None
    decided: bool

    def to_dict(self) -> dict[str, Any]:
        origin = self.origin
        return {
            "permission": self.code,
            "effect": self.effect,
            "outcome": self.outcome,
            "binding": self.binding.id,
            "holder": self.binding.holder,
            "via": list(self.via),
            "scope": self.binding.scope or None,
            "tier": self.tier.name.lower(),
            "role": self.binding.role,
            "inherits": list(origin.roles[1:]) if origin is not None else [],
            "group": (origin.group or None) if origin is not None else None,
            "pattern": self.pattern,
            "conditions": [{"text": text, "outcome": outcome} for text, outcome in self.conditions],
        }

    def line(self) -> str:
        """For a person."""
        origin = self.origin
        parts = [" → ".join(self.via) if self.via else f"everyone ({self.binding.holder})"]
        parts.append(f"role {' → '.join(origin.roles)}" if origin is not None else "directly")
        if origin is not None and origin.group:
            parts.append(f"group {origin.group}")
        parts.append(f"at {self.binding.scope or 'the realm'}")
        parts.append(f"binding {self.binding.id}")
        by = f" by {self.pattern}" if self.pattern != self.code else ""
        said = "".join(f"; {text} → {outcome}" for text, outcome in self.conditions)
        return f"{self.effect} {self.code}{by}: {', '.join(parts)}: {self.outcome}{said}"


class TellingWalk(Walk):
    """Raises ValueError where the snapshot was built without its facts."""

    __slots__ = ("_standings", "facts")

    def __init__(
        self, table: RoleTable, subject: SubjectSnapshot, resource: ResourceSnapshot | None, request: Request, now_us: int
    ) -> None:
        if subject.facts is None:
            raise ValueError(f"the snapshot of {subject.ref} was built without its facts")
        self.facts = subject.facts
        teams = team_standings(self.facts.ref, self.facts.memberships, now_us)
        self._standings = {**teams, self.facts.ref: Standing.HOLDS}
        super().__init__(table, subject, resource, request, now_us)

    def _holdings(self) -> tuple[Holdings | None, Holdings]:
        mine = (binding for binding in self.facts.bindings if binding.holder in self._standings)
        everyone = f"{self.subject.type}:{EVERYONE_ID}"
        theirs = (binding for binding in self.table.model.everyone if binding.holder == everyone)
        return self._one_by_one(theirs), self._one_by_one(mine)

    def _one_by_one(self, bindings: Iterable[BindingFact]) -> Holdings:
        """Everything as lines, what is out of its window too: a standing that does not hold makes a claim that does not count."""
        lines: dict[str, list[Held]] = {}
        for binding in sorted(bindings, key=lambda binding: binding.id):
            standing = self._standings.get(binding.holder, Standing.HOLDS)
            held = Held(binding, own=binding.holder == self.facts.ref, standing=standing)
            lines.setdefault(binding.scope, []).append(held)
        return HoldingsRecord(None, {}, {scope: tuple(held) for scope, held in lines.items()}, ())

    def steps_of(self, code: str) -> list[Step]:
        """Every claim on `code`, those that decided first, then in the order of the walk."""
        if not self.table.is_registered(code) or self.gate() is not None:
            return []
        verdict = self.verdict(code)
        steps: dict[tuple[Any, ...], Step] = {}
        for spot in self.spots:
            for is_deny in (True, False):
                for claim in self.claims(spot, is_deny=is_deny):
                    if claim.held is None:
                        continue  # cannot be: there are no role sets here
                    decided = is_deny is not verdict.allowed and claim in verdict.deciding
                    step = self._step(code, spot, claim, claim.held, is_deny=is_deny, decided=decided)
                    # A role with obligations names a code twice, as always given and as the line that brings them.
                    key = (step.binding.id, step.effect, claim.key._replace(obliging=()))
                    if key not in steps or step.decided:
                        steps[key] = step
        return sorted(steps.values(), key=lambda step: not step.decided)

    def _step(self, code: str, spot: Spot, claim: Claim, held: Held, *, is_deny: bool, decided: bool) -> Step:
        binding = held.binding
        if claim.standing is not Standing.HOLDS:
            outcome = _STANDINGS[claim.standing]
        elif not is_deny and spot.place < self.open_from:
            outcome = PRIVATE
        else:
            outcome = _OUTCOMES[self.outcome(claim.conditions)]
        conditions: tuple[tuple[str, str], ...] = ()
        if claim.standing is Standing.HOLDS:
            conditions = tuple((condition.text, _OUTCOMES[self.outcome((condition,))]) for condition in claim.conditions)
        origin = None
        if binding.role is not None:
            origin = origin_of(self.table, binding.role, code, "deny" if is_deny else "allow", claim.key)
            pattern = origin.pattern if origin is not None else code
        else:
            patterns = binding.deny if is_deny else binding.allow
            pattern = next(pattern for pattern in patterns if matches(pattern, code))
        return Step(
            code=code,
            effect="deny" if is_deny else "allow",
            outcome=outcome,
            place=spot.place,
            tier=spot.tier,
            binding=binding,
            via=() if spot.tier is Tier.EVERYONE else self._via(held),
            origin=origin,
            pattern=pattern,
            conditions=conditions,
            from_us=claim.key.from_us,
            until_us=claim.key.until_us,
            decided=decided,
        )

    def _via(self, held: Held) -> tuple[str, ...]:
        return team_path(self.facts.ref, held.binding.holder, self.facts.memberships, self.now_us, held.standing)
