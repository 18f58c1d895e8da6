"""The law of a decision, written a second time: slow, obvious, straight from semantics.md over the fact records.

No masks, no snapshots, no memo, and nothing imported from the engine but its records, reasons and platform codes. Where the law
leaves a choice, the choice is the one that `permissions/engine/walk.py` numbers 1 to 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from permissions.engine import platform
from permissions.engine.types import (
    REALM,
    Attributes,
    BindingFact,
    ConditionError,
    ModelFacts,
    Request,
    ResourceFacts,
    SubjectFacts,
)

Ask = Callable[[str, dict[str, Any]], bool]
Window = tuple[int | None, int | None]

EVERYONE, ROLES_AND_TEAMS, OWN_DIRECT = 1, 2, 3


@dataclass
class Answer:
    allowed: bool
    reason: str
    obligations: list[Attributes] = field(default_factory=list)


@dataclass
class Way:
    """One way in which a role names a code."""

    windows: list[Window]
    condition: str
    roles: set[str]


@dataclass
class Claim:
    effect: str
    place: int
    tier: int
    outcome: str  # holds, false, error, expired, not_yet_valid
    roles: set[str]
    binding: BindingFact


# Patterns


def matches(pattern: str, code: str) -> bool:
    if code.startswith("permsite.") and not pattern.startswith("permsite."):
        return False
    return _segments_match(pattern.split(":"), code.split(":"))


def _segments_match(pattern: list[str], code: list[str]) -> bool:
    if pattern == ["*"]:
        return len(code) >= 1
    if not pattern or not code:
        return not pattern and not code
    return _segment_matches(pattern[0], code[0]) and _segments_match(pattern[1:], code[1:])


def _segment_matches(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return _segment_matches(pattern[1:], text) or (bool(text) and _segment_matches(pattern, text[1:]))
    return bool(text) and pattern[0] in ("?", text[0]) and _segment_matches(pattern[1:], text[1:])


# Time


def standing(now_us: int, windows: list[Window]) -> str:
    """Of several windows in a row: ended if any has ended, else not begun if any has not."""
    if any(until is not None and now_us >= until for _, until in windows):
        return "expired"
    if any(start is not None and now_us < start for start, _ in windows):
        return "not_yet_valid"
    return "holds"


# Roles


def role_ways(model: ModelFacts, name: str, code: str, effect: str, passed: tuple[str, ...] = ()) -> list[Way]:
    role = next((role for role in model.roles if role.name == name), None)
    if role is None or name in passed:
        return []
    if effect == "allow" and any(line.effect == "exclude" and matches(line.pattern, code) for line in role.lines):
        return []
    ways = [Way([], line.condition, set()) for line in role.lines if line.effect == effect and matches(line.pattern, code)]
    if effect == "allow":
        ways += [
            Way([], "", set()) for group in model.groups if group.name in role.groups for p in group.patterns if matches(p, code)
        ]
    for parent in role.inherits:
        ways += role_ways(model, parent, code, effect, (*passed, name))
    for way in ways:
        way.windows.append((role.valid_from_us, role.valid_until_us))
        if role.obligations and effect == "allow":
            way.roles.add(name)
    return ways


def has_role_cycle(model: ModelFacts) -> bool:
    parents = {role.name: role.inherits for role in model.roles}

    def above(name: str, seen: set[str]) -> set[str]:
        for parent in parents.get(name, ()):
            if parent not in seen:
                seen.add(parent)
                above(parent, seen)
        return seen

    return any(name in above(name, set()) for name in parents)


# Subjects


def team_standing(subject: SubjectFacts, team: str, now_us: int) -> str | None:
    """None: the subject never is in that team."""
    found = [standing(now_us, way) for way in _ways_to(subject, subject.ref, team, (subject.ref,))]
    for best in ("holds", "not_yet_valid", "expired"):
        if best in found:
            return best
    return None


def _ways_to(subject: SubjectFacts, member: str, team: str, passed: tuple[str, ...]) -> Iterator[list[Window]]:
    for edge in subject.memberships:
        if edge.member != member or edge.team in passed:
            continue
        window = (edge.valid_from_us, edge.valid_until_us)
        if edge.team == team:
            yield [window]
        else:
            for rest in _ways_to(subject, edge.team, team, (*passed, edge.team)):
                yield [window, *rest]


# Decisions


class Reference:
    def __init__(  # noqa: PLR0917 - the facts of one question
        self,
        model: ModelFacts,
        subject: SubjectFacts,
        resource: ResourceFacts | None,
        request: Request,
        now_us: int,
        ask: Ask,
    ) -> None:
        self.model = model
        self.subject = subject
        self.resource = resource
        self.request = request
        self.now_us = now_us
        self.ask = ask
        self.registered = {fact.code for fact in model.permissions} | set(platform.CODES)
        self.chain = [REALM, *(node.ref for node in (resource.chain if resource else ()))]
        private = [place for place, node in enumerate(resource.chain if resource else (), 1) if not node.inherit]
        self.private = set(private)
        self.open_from = max(private, default=0)

    def decide(self, *, superuser_allowed: bool = False) -> Answer:
        subject, code = self.subject, self.request.permission
        known = subject.known or bool(subject.memberships)
        if not known and self.model.unknown_subjects == "deny":
            return Answer(False, "unknown_subject")
        if not subject.active or subject.locked:
            return Answer(False, "subject_inactive")
        if self.model.suspended:
            return Answer(False, "realm_suspended")
        is_superuser = superuser_allowed and subject.superuser
        if code not in self.registered:
            return Answer(True, "superuser") if is_superuser else Answer(False, "unknown_permission")
        if is_superuser:
            denied = self.combining() == "deny_overrides" and self.denial(self.claims(code))
            return Answer(False, denied) if denied else Answer(True, "superuser")
        answer = self.alone(code)
        if not answer.allowed:
            return answer
        for needed in self.required(code):
            if needed not in self.registered or not self.alone(needed).allowed:
                return Answer(False, "requires")
        return answer

    def combining(self) -> str:
        if self.resource is None:
            return self.model.combining
        return self.model.type_combining.get(self.resource.ref.split(":")[0], self.model.combining)

    def required(self, code: str) -> set[str]:
        requires = {fact.code: fact.requires for fact in self.model.permissions}
        found: set[str] = set()
        todo = [code]
        while todo:
            for needed in requires.get(todo.pop(), ()):
                if needed not in found:
                    found.add(needed)
                    todo.append(needed)
        return found - {code}

    def alone(self, code: str) -> Answer:
        claims = self.claims(code)
        return self.overlay(claims) if self.combining() == "overlay" else self.deny_overrides(claims)

    def deny_overrides(self, claims: list[Claim]) -> Answer:
        denied = self.denial(claims)
        if denied:
            return Answer(False, denied)
        return self.concluded([c for c in claims if c.effect == "allow" and c.outcome == "holds"], claims)

    def denial(self, claims: list[Claim]) -> str:
        outcomes = {claim.outcome for claim in claims if claim.effect == "deny"}
        return "explicit_deny" if "holds" in outcomes else "condition_error" if "error" in outcomes else ""

    def overlay(self, claims: list[Claim]) -> Answer:
        mask, why = False, ""
        granting: list[Claim] = []
        for place in range(len(self.chain)):
            if place in self.private:
                mask, granting = False, []
            for tier in (EVERYONE, ROLES_AND_TEAMS, OWN_DIRECT):
                here = [claim for claim in claims if (claim.place, claim.tier) == (place, tier)]
                denied = self.denial(here)
                if denied:
                    why = "explicit_deny" if "explicit_deny" in (why, denied) else denied
                    mask, granting = False, []
                allowing = [claim for claim in here if claim.effect == "allow" and claim.outcome == "holds"]
                if allowing:
                    mask, why = True, ""
                    granting += allowing
        if mask:
            return self.concluded(granting, claims)
        return Answer(False, why) if why else self.concluded([], claims)

    def concluded(self, granting: list[Claim], claims: list[Claim]) -> Answer:
        if granting:
            names = sorted({name for claim in granting for name in claim.roles})
            duties = [duty for name in names for role in self.model.roles if role.name == name for duty in role.obligations]
            bindings = {claim.binding.id: claim.binding for claim in granting}
            duties += [duty for number in sorted(bindings) for duty in bindings[number].obligations]
            return Answer(True, "granted", duties)
        failed = {claim.outcome for claim in claims if claim.effect == "allow"}
        for outcome, reason in (
            ("error", "condition_error"),
            ("false", "condition_false"),
            ("expired", "expired"),
            ("not_yet_valid", "not_yet_valid"),
        ):
            if outcome in failed:
                return Answer(False, reason)
        return Answer(False, "no_grant")

    def claims(self, code: str) -> list[Claim]:
        """Every claim on `code` that reaches the resource; allows that a private node keeps away are left out."""
        found: list[Claim] = []
        kind = self.subject.ref.split(":")[0]
        for binding in self.model.everyone:
            if binding.holder == f"{kind}:*":
                found += self.claims_of(binding, code, EVERYONE, "holds")
        for binding in self.subject.bindings:
            own = binding.holder == self.subject.ref
            through = "holds" if own else team_standing(self.subject, binding.holder, self.now_us)
            if through is not None:
                found += self.claims_of(binding, code, OWN_DIRECT if own and binding.role is None else ROLES_AND_TEAMS, through)
        return [claim for claim in found if claim.effect == "deny" or claim.place >= self.open_from]

    def claims_of(self, binding: BindingFact, code: str, tier: int, through: str) -> Iterator[Claim]:
        if binding.scope not in self.chain:
            return
        if not binding.propagate and binding.scope != (self.resource.ref if self.resource else REALM):
            return
        window = (binding.valid_from_us, binding.valid_until_us)
        for effect, patterns in (("allow", binding.allow), ("deny", binding.deny)):
            if binding.role is not None:
                ways = role_ways(self.model, binding.role, code, effect)
            else:
                ways = [Way([], "", set())] if any(matches(pattern, code) for pattern in patterns) else []
            for way in ways:
                holds = standing(self.now_us, [window, *way.windows])
                if "expired" in (holds, through):
                    outcome = "expired"
                elif "not_yet_valid" in (holds, through):
                    outcome = "not_yet_valid"
                else:
                    outcome = self.joined([binding.condition, way.condition], code)
                yield Claim(effect, self.chain.index(binding.scope), tier, outcome, way.roles, binding)

    # Conditions

    def joined(self, conditions: list[str], code: str) -> str:
        outcomes = [self.outcome(text, code) for text in conditions if text]
        return "false" if "false" in outcomes else "error" if "error" in outcomes else "holds"

    def outcome(self, text: str, code: str) -> str:
        try:
            return "holds" if self.ask(text, self.names(code)) else "false"
        except ConditionError:
            return "error"

    def names(self, code: str) -> dict[str, Any]:
        request, mode = self.request, self.request.asserted
        resource = self.resource.ref if self.resource else f"realm:{self.model.realm}"
        stored = dict(self.resource.attributes) if self.resource else {}
        return {
            "subject": _entity(self.subject.ref, dict(self.subject.attributes), request.subject_properties, mode),
            "resource": _entity(resource, stored, request.resource_properties, mode),
            "permission": code,
            "action": {
                "name": code.split(":", 1)[1],
                "attributes": {} if mode == "ignore" else dict(request.action_properties),
            },
            "context": dict(request.context),
            "now_us": self.now_us,
        }


def _entity(ref: str, stored: dict[str, Any], brought: Attributes, mode: str) -> dict[str, Any]:
    attributes = dict(stored)
    for key, value in brought.items():
        if mode == "override" or (mode == "fill" and key not in stored):
            attributes[key] = value
    kind, _, ident = ref.partition(":")
    return {"type": kind, "id": ident, "ref": ref, "attributes": attributes}


def decide(  # noqa: PLR0917 - the same
    model: ModelFacts,
    subject: SubjectFacts,
    resource: ResourceFacts | None,
    request: Request,
    now_us: int,
    ask: Ask,
    *,
    superuser_allowed: bool = False,
) -> Answer:
    return Reference(model, subject, resource, request, now_us, ask).decide(superuser_allowed=superuser_allowed)
