"""The walk of one check over the scope chain, in full: tiers, windows, conditions, private nodes, `requires` and reasons.

Rules that the law leaves to care:
1. A claim (a binding's direct list, or one line of its role) holds when every window on its way holds and its conditions do. Two
   conditions, the binding's and the line's, are joined as CEL joins them: any false makes it false, else any error an error. So
   the order in which they are asked never matters, and a deny whose binding's condition is false does not apply, whatever its
   line's.
2. Claims do not weaken one another: a code given both under a condition and without one is given, and a deny stands against every
   allow alike. An exclusion was taken out of the masks, lines under conditions included, before a walk begins (`compile.py`).
3. A claim out of its window gives nothing and its conditions are not asked; as a reason, ended counts before not begun.
4. An allow that a private node keeps away is no reason for a denial: `no_grant`, as though it were not there.
5. What a code requires is asked as if it had been asked for itself: `permission` and `action.name` are its own. So where a code
   is allowed, a check for each that it requires says yes too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from permissions.engine import reasons
from permissions.engine.attributes import names_of
from permissions.engine.claims import Claim, Deny, Failure, Outcome, Spot, Tier, Verdict
from permissions.engine.scopes import ResourceSnapshot, SubjectSnapshot
from permissions.engine.table import NOTHING, PLAIN, Held, Holdings, Line, RoleSet, RoleTable, Standing, roles_in, standing_at
from permissions.engine.types import NO_ATTRIBUTES, REALM, Attributes, BindingFact, Condition, ConditionError, Decision, Request

_FAILED_REASONS: Final = (
    (Failure.CONDITION_ERROR, reasons.CONDITION_ERROR),
    (Failure.CONDITION_FALSE, reasons.CONDITION_FALSE),
    (Failure.EXPIRED, reasons.EXPIRED),
    (Failure.NOT_YET_VALID, reasons.NOT_YET_VALID),
)
_DENIED_REASONS: Final = {Deny.PLAIN: reasons.EXPLICIT_DENY, Deny.BY_ERROR: reasons.CONDITION_ERROR}
_FAILED_STANDINGS: Final = {Standing.NOT_YET_VALID: Failure.NOT_YET_VALID, Standing.EXPIRED: Failure.EXPIRED}
_FAILED_OUTCOMES: Final = {Outcome.FALSE: Failure.CONDITION_FALSE, Outcome.ERROR: Failure.CONDITION_ERROR}


class Walk:
    """One question, asked of one table and two snapshots at one instant. Not shared between threads."""

    __slots__ = (
        "_code",
        "_conditions",
        "_n",
        "_names",
        "_places",
        "now_us",
        "request",
        "resource",
        "slack_us",
        "spots",
        "subject",
        "table",
    )

    def __init__(  # noqa: PLR0917 - the positions of evaluate
        self,
        table: RoleTable,
        subject: SubjectSnapshot,
        resource: ResourceSnapshot | None,
        request: Request,
        now_us: int,
        slack_us: int = 0,
    ) -> None:
        self.table = table
        self.subject = subject
        self.resource = resource
        self.request = request
        self.now_us = now_us
        self.slack_us = slack_us
        nodes = resource.nodes if resource is not None else ()
        self._places = {REALM: 0, **{node: place for place, node in enumerate(nodes, 1)}}
        self.spots = list(self._spots())
        self._code, self._n = "", 0
        self._names: dict[str, Any] | None = None
        self._conditions: dict[str, Outcome] = {}

    # The order of a decision

    def decide(self, code: str, *, superuser_allowed: bool = False) -> Decision:
        refusal = self.gate()
        if refusal is not None:
            return Decision(False, refusal)
        is_superuser = superuser_allowed and self.subject.superuser
        if not self.table.is_registered(code):
            return Decision(True, reasons.SUPERUSER) if is_superuser else Decision(False, reasons.UNKNOWN_PERMISSION)
        if is_superuser:
            self._ask(code)
            denied = Deny.NONE if self.is_overlay else self._denied_anywhere([])
            return Decision(False, _DENIED_REASONS[denied]) if denied else Decision(True, reasons.SUPERUSER)
        verdict = self.verdict(code)
        if not verdict.allowed:
            return Decision(False, verdict.reason)
        if self.missing_requirement(code) is not None:
            return Decision(False, reasons.REQUIRES)
        return Decision(True, reasons.GRANTED, obligations=self._obligations(verdict.deciding))

    def gate(self) -> str | None:
        """The reason for which nothing at all is allowed, if there is one."""
        if not self.subject.known and self.table.model.unknown_subjects == "deny":
            return reasons.UNKNOWN_SUBJECT
        if not self.subject.is_active:
            return reasons.SUBJECT_INACTIVE
        return reasons.REALM_SUSPENDED if self.table.model.suspended else None

    def missing_requirement(self, code: str) -> str | None:
        """A code that `code` requires and that is not allowed here. One that is not registered never is."""
        for needed in self.table.required.get(code, ()):
            if not self.table.is_registered(needed) or not self.verdict(needed).allowed:
                return needed
        return None

    @property
    def is_overlay(self) -> bool:
        resource_type = self.resource.type if self.resource is not None else None
        return self.table.combining_of(resource_type) == "overlay"

    def verdict(self, code: str) -> Verdict:
        """On a registered code."""
        self._ask(code)
        return self._overlay() if self.is_overlay else self._deny_overrides()

    def _ask(self, code: str) -> None:
        self._code, self._n = code, self.table.index.bits[code]
        self._names = None
        self._conditions = {}

    def _deny_overrides(self) -> Verdict:
        denying: list[Claim] = []
        denied = self._denied_anywhere(denying)
        if denied:
            return Verdict(False, _DENIED_REASONS[denied], tuple(denying))
        granting: list[Claim] = []
        failures = Failure.NONE
        for spot in self.spots:
            if spot.place >= self.open_from:
                failed = self._allowed_at(spot, granting)
                if failed is not Failure.NONE:  # flags of Python's enum: to join two takes longer than a look at a mask
                    failures |= failed
        return self._concluded(granting, failures)

    def _denied_anywhere(self, denying: list[Claim]) -> Deny:
        denied = Deny.NONE
        for spot in self.spots:
            denied = max(denied, self._denied_at(spot, denying))
            if denied is Deny.PLAIN:
                break
        return denied

    def _overlay(self) -> Verdict:
        """From the realm to the leaf. At a private node nothing from above is allowed any more, and a deny from above has nothing
        left to clear: so an allow counts from the last private node on, and a deny from anywhere, as under deny_overrides."""
        denied = Deny.NONE
        failures = Failure.NONE
        granting: list[Claim] = []
        denying: list[Claim] = []
        for spot in self.spots:
            # With an allow in between, an earlier deny is history; without, the plainer of the two is the reason.
            denied = max(denied, self._denied_at(spot, denying))
            if denied:
                granting.clear()
            if spot.place < self.open_from:
                continue
            given: list[Claim] = []
            failures |= self._allowed_at(spot, given)
            if given:
                denied = Deny.NONE
                denying.clear()
                granting.extend(given)
        if denied:
            return Verdict(False, _DENIED_REASONS[denied], tuple(denying))
        return self._concluded(granting, failures)

    def _concluded(self, granting: list[Claim], failures: Failure) -> Verdict:
        if granting:
            return Verdict(True, reasons.GRANTED, tuple(granting))
        if self.subject.apart:
            failures |= self._failures_apart()
        if failures is not Failure.NONE:
            for failure, reason in _FAILED_REASONS:
                if failures & failure:
                    return Verdict(False, reason)
        return Verdict(False, reasons.NO_GRANT)

    # What is held where

    @property
    def open_from(self) -> int:
        return self.resource.open_from if self.resource is not None else 0

    def _spots(self) -> Iterator[Spot]:
        """Every (node, tier) at which something is held, in the order of the overlay."""
        everyone, subject = self._holdings()
        for node, place in self._places.items():
            if everyone is not None:
                roles, lines = _at(everyone, node)
                if roles is not None or lines:
                    yield Spot(place, Tier.EVERYONE, roles, self._reaching(lines))
            roles, lines = _at(subject, node)
            if roles is not None or lines:
                reaching = self._reaching(lines)
                own = tuple(held for held in reaching if held.own and held.binding.role is None)
                others = tuple(held for held in reaching if not (held.own and held.binding.role is None)) if own else reaching
                if roles is not None or others:
                    yield Spot(place, Tier.ROLES_AND_TEAMS, roles, others)
                if own:
                    yield Spot(place, Tier.OWN_DIRECT, None, own)

    def _holdings(self) -> tuple[Holdings | None, Holdings]:
        return self.table.everyone.get(self.subject.type), self.subject

    @property
    def nodes(self) -> tuple[str, ...]:
        """The chain, the realm first."""
        return tuple(self._places)

    @property
    def _asked(self) -> str:
        return self.resource.ref if self.resource is not None else REALM

    def _reaching(self, lines: tuple[Held, ...]) -> tuple[Held, ...]:
        return tuple(held for held in lines if self.reaches(held)) if lines else lines

    def reaches(self, held: Held) -> bool:
        """A binding that does not propagate reaches its own node only: at the realm, a check without a resource. The resource
        asked about need not be the last node of the chain: one the platform has never seen is on no chain."""
        return held.binding.propagate or held.binding.scope == self._asked

    def is_on_chain(self, binding: BindingFact) -> bool:
        return binding.scope in self._places and (binding.propagate or binding.scope == self._asked)

    # Claims on the code asked for

    def _denied_at(self, spot: Spot, denying: list[Claim]) -> Deny:
        """Appends the claims that apply, up to the first that leaves nothing to ask."""
        denied = Deny.NONE
        for claim in self.claims(spot, is_deny=True):
            if claim.standing is Standing.HOLDS:
                outcome = self.outcome(claim.conditions)
                if outcome is not Outcome.FALSE:
                    denying.append(claim)
                if outcome is Outcome.TRUE:
                    return Deny.PLAIN
                if outcome is Outcome.ERROR:
                    denied = Deny.BY_ERROR
        return denied

    def _allowed_at(self, spot: Spot, granting: list[Claim]) -> Failure:
        """Appends the claims that hold, and answers why the others do not."""
        failures = Failure.NONE
        for claim in self.claims(spot, is_deny=False):
            if claim.standing is not Standing.HOLDS:
                failures |= _FAILED_STANDINGS[claim.standing]
                continue
            outcome = self.outcome(claim.conditions)
            if outcome is Outcome.TRUE:
                granting.append(claim)
            else:
                failures |= _FAILED_OUTCOMES[outcome]
        return failures

    def _failures_apart(self) -> Failure:
        failures = Failure.NONE
        for held in self.subject.apart:
            place = self._places.get(held.binding.scope)
            if place is None or place < self.open_from or not self.reaches(held):
                continue
            for claim in self._claims_of(held, is_deny=False):
                failures |= _FAILED_STANDINGS.get(claim.standing, Failure.NONE)
        return failures

    def claims(self, spot: Spot, *, is_deny: bool) -> Iterator[Claim]:
        if spot.roles is not None:
            masks = self.table.masks(spot.roles)
            always = masks.deny if is_deny else masks.allow
            if always[self._n >> 3] >> (self._n & 7) & 1:
                yield Claim(None)
            for line in masks.deny_lines if is_deny else masks.allow_lines:
                if line.mask >> self._n & 1:
                    yield self._line_claim(None, line, Standing.HOLDS, (), is_deny=is_deny)
        for held in spot.lines:
            yield from self._claims_of(held, is_deny=is_deny)

    def _claims_of(self, held: Held, *, is_deny: bool) -> Iterator[Claim]:
        binding = held.binding
        standing = max(held.standing, self._standing(binding.valid_from_us, binding.valid_until_us, is_deny=is_deny))
        conditions = (self.table.condition(binding.condition),) if binding.condition else ()
        if binding.role is None:
            if self.table.direct(binding.deny if is_deny else binding.allow) >> self._n & 1:
                yield Claim(held, PLAIN, standing, conditions)
            return
        role = self.table.roles.get(binding.role, NOTHING)
        if (role.deny if is_deny else role.allow) >> self._n & 1:
            yield Claim(held, PLAIN, standing, conditions)
        for line in role.deny_lines if is_deny else role.allow_lines:
            if line.mask >> self._n & 1:
                yield self._line_claim(held, line, standing, conditions, is_deny=is_deny)

    def _line_claim(
        self, held: Held | None, line: Line, standing: Standing, conditions: tuple[Condition, ...], *, is_deny: bool
    ) -> Claim:
        key = line.key
        if line.condition is not None:
            conditions = (*conditions, line.condition)
        return Claim(held, key, max(standing, self._standing(key.from_us, key.until_us, is_deny=is_deny)), conditions)

    def _standing(self, from_us: int | None, until_us: int | None, *, is_deny: bool) -> Standing:
        """Of a window, by a clock that may be off by `slack_us`. That counts against the holder: an allow begins late and ends
        early, a deny the reverse."""
        if from_us is None and until_us is None:
            return Standing.HOLDS
        if not self.slack_us:
            return standing_at(self.now_us, from_us, until_us)
        earliest = standing_at(self.now_us - self.slack_us, from_us, until_us)
        latest = standing_at(self.now_us + self.slack_us, from_us, until_us)
        return min(earliest, latest) if is_deny else max(earliest, latest)

    # Conditions

    def outcome(self, conditions: tuple[Condition, ...]) -> Outcome:
        joined = Outcome.TRUE
        for condition in conditions:
            outcome = self._conditions.get(condition.text)
            if outcome is None:
                outcome = self._conditions[condition.text] = self._evaluate(condition)
            if outcome is Outcome.FALSE:
                return outcome
            joined = min(joined, outcome)
        return joined

    def _evaluate(self, condition: Condition) -> Outcome:
        try:
            if self._names is None:
                self._names = names_of(
                    self.request,
                    self._code,
                    self.now_us,
                    realm=self.table.model.realm,
                    subject_attributes=self.subject.attributes,
                    resource_attributes=self.resource.attributes if self.resource is not None else NO_ATTRIBUTES,
                )
            return Outcome.TRUE if condition.evaluate(self._names) else Outcome.FALSE
        except ConditionError:
            return Outcome.ERROR

    # Everything at once

    def mentioned(self) -> int:
        """The mask of all codes that any allow on the chain names, whether it holds or not."""
        mask = 0
        for spot in self.spots:
            if spot.place < self.open_from:
                continue
            roles = roles_in(spot.roles) if spot.roles is not None else ()
            for name in (*roles, *(held.binding.role for held in spot.lines if held.binding.role is not None)):
                role = self.table.roles.get(name, NOTHING)
                mask |= role.allow
                for line in role.allow_lines:
                    mask |= line.mask
            for held in spot.lines:
                if held.binding.role is None:
                    mask |= self.table.direct(held.binding.allow)
        return mask

    def _obligations(self, granting: tuple[Claim, ...]) -> tuple[Attributes, ...]:
        """Of every role and binding that granted, each once: roles by name, then bindings by id."""
        obliging = sorted({name for claim in granting for name in claim.key.obliging})
        bindings = {claim.held.binding.id: claim.held.binding for claim in granting if claim.held is not None}
        return (
            *(duty for name in obliging for duty in self.table.obligations.get(name, ())),
            *(duty for _, binding in sorted(bindings.items()) for duty in binding.obligations),
        )


def _at(holdings: Holdings, node: str) -> tuple[RoleSet | None, tuple[Held, ...]]:
    roles = holdings.realm_roles if node == REALM else holdings.scopes.get(node)
    return roles, holdings.lines.get(node, ())
