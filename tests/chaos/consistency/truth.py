"""What the law says on the model's present rows: `tests.reference`, the law written a second time, over facts of the model."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from permissions.engine.types import (
    REALM,
    BindingFact,
    ConditionError,
    GroupFact,
    MembershipFact,
    ModelFacts,
    PermissionFact,
    Request,
    ResourceFacts,
    ResourceNodeFact,
    RoleFact,
    RoleLineFact,
    SubjectFacts,
)
from tests import reference
from tests.chaos.consistency.world import MFA, STRICT_LEVEL, Realm

Slot = tuple[bool, str]


def ask(text: str, names: dict[str, Any]) -> bool:
    """The three conditions of this world, by hand."""
    level = names["subject"]["attributes"].get("level")
    if text == MFA:
        if "mfa" not in names["context"]:
            raise ConditionError("no mfa")
        return names["context"]["mfa"] is True
    if level is None:
        if text == STRICT_LEVEL:
            raise ConditionError("no level")
        return False
    return bool(level >= 3)


class Truth:
    """What the law says on the model's present rows. Facts are interned and answers kept by them, so a replay is linear."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._facts: list[Any] = []
        self._answers: dict[tuple[Any, ...], Slot] = {}
        self._bounds: dict[tuple[int, int], list[int]] = {}
        self._now: tuple[int, int] | None = None
        self._model = 0
        self._subjects: dict[str, int] = {}
        self._resources: dict[str, int] = {}

    def slots(self, realm: Realm, question: tuple[str, str, str | None, int], earliest_us: int, latest_us: int) -> set[Slot]:
        """Every answer that is right at some instant from `earliest_us` to `latest_us`. `question` ends with the context:
        0 none, 1 with mfa, 2 without."""
        subject, code, resource, context = question
        model = self._model_of(realm)
        who = self._subject_of(realm, subject)
        what = -1 if resource is None else self._resource_of(realm, resource)
        bounds = self._bounds_of(model, who)
        first, last = bisect_right(bounds, earliest_us), bisect_right(bounds, latest_us)
        found = set()
        for slot in range(first, last + 1):
            key = (model, who, what, code, resource, context, slot)
            answer = self._answers.get(key)
            if answer is None:
                at_us = bounds[slot - 1] if slot else (bounds[0] - 1 if bounds else earliest_us)
                answer = self._answers[key] = self._decide(model, who, what, question, at_us)
            found.add(answer)
        return found

    def model(self, realm: Realm) -> ModelFacts:
        return self._facts[self._model_of(realm)]

    def subject(self, realm: Realm, ref: str) -> SubjectFacts:
        self._fresh(realm)
        return self._facts[self._subject_of(realm, ref)]

    def resource(self, realm: Realm, ref: str) -> ResourceFacts:
        self._fresh(realm)
        return self._facts[self._resource_of(realm, ref)]

    def _decide(self, model: int, who: int, what: int, question: tuple[str, str, str | None, int], at_us: int) -> Slot:
        subject, code, resource, context = question
        request = Request(subject, code, resource, context={} if context == 0 else {"mfa": context == 1})
        answer = reference.decide(
            self._facts[model], self._facts[who], None if what < 0 else self._facts[what], request, at_us, ask
        )
        return answer.allowed, answer.reason

    def _fresh(self, realm: Realm) -> None:
        if self._now != (id(realm), realm.version):
            self._now = (id(realm), realm.version)
            self._model = -1
            self._subjects.clear()
            self._resources.clear()

    def _intern(self, key: Any, make: Callable[[], Any]) -> int:
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._facts)
            self._facts.append(make())
        return number

    def _model_of(self, realm: Realm) -> int:
        self._fresh(realm)
        if self._model < 0:
            everyone = tuple(_facts_of(realm, lambda holder: holder.endswith(":*")))
            roles = tuple(
                RoleFact(
                    name,
                    tuple(role.inherits),
                    tuple(role.groups),
                    tuple(RoleLineFact(e, p, c) for e, p, c in role.lines),  # type: ignore[arg-type]
                    role.start,
                    role.end,
                )
                for name, role in sorted(realm.roles.items())
            )
            permissions = tuple(PermissionFact(code, *row) for code, row in sorted(realm.permissions.items()))
            groups = tuple(GroupFact(name, patterns) for name, patterns in sorted(realm.groups.items()))
            law = (realm.name, realm.unknown, realm.suspended)
            self._model = self._intern(
                ("m", law, permissions, groups, roles, everyone),
                lambda: ModelFacts(
                    realm.name,
                    unknown_subjects=realm.unknown,  # type: ignore[arg-type]
                    suspended=realm.suspended,
                    permissions=permissions,
                    groups=groups,
                    roles=roles,
                    everyone=everyone,
                ),
            )
        return self._model

    def _subject_of(self, realm: Realm, ref: str) -> int:
        number = self._subjects.get(ref)
        if number is None:
            number = self._subjects[ref] = self._read_subject(realm, ref)
        return number

    def _read_subject(self, realm: Realm, ref: str) -> int:
        row = realm.subjects.get(ref)
        edges, seen, todo = [], {ref}, [ref]
        while todo:
            member = todo.pop()
            for (team, inner), (start, end) in realm.members.items():
                if inner == member:
                    edges.append(MembershipFact(member, team, start, end))
                    if team not in seen:
                        seen.add(team)
                        todo.append(team)
        memberships = tuple(sorted(edges, key=lambda edge: (edge.member, edge.team)))
        bindings = tuple(_facts_of(realm, lambda holder: holder in seen)) if row is not None else ()
        state = None if row is None else (row.active and row.user_active, row.locked, row.level)
        return self._intern(
            ("s", ref, state, memberships, bindings),
            lambda: SubjectFacts(
                ref,
                known=row is not None,
                active=state is None or state[0],
                locked=state is not None and state[1],
                attributes={} if state is None or state[2] is None else {"level": state[2]},
                memberships=memberships,
                bindings=bindings,
            ),
        )

    def _resource_of(self, realm: Realm, ref: str) -> int:
        number = self._resources.get(ref)
        if number is None:
            chain: list[ResourceNodeFact] = []
            known, node = ref in realm.resources, ref
            while node in realm.resources:
                parent, inherit = realm.resources[node]
                chain.insert(0, ResourceNodeFact(node, inherit))
                if parent is None:
                    break
                node = parent
            nodes = tuple(chain) if known else (ResourceNodeFact(ref),)
            number = self._intern(("r", ref, known, nodes), lambda: ResourceFacts(ref, known=known, chain=nodes))
            self._resources[ref] = number
        return number

    def _bounds_of(self, model: int, who: int) -> list[int]:
        bounds = self._bounds.get((model, who))
        if bounds is None:
            facts, subject = self._facts[model], self._facts[who]
            rows = [*facts.roles, *facts.everyone, *subject.memberships, *subject.bindings]
            bounds = sorted({at for row in rows for at in (row.valid_from_us, row.valid_until_us) if at is not None})
            self._bounds[(model, who)] = bounds
        return bounds


def _facts_of(realm: Realm, holds: Callable[[str], bool]) -> list[BindingFact]:
    found: list[BindingFact] = []
    for key in sorted((key for key in realm.bindings if holds(key[0])), key=repr):
        subject, role, allow, deny, scope, condition, start, end, propagate = key
        # Twice the same binding gives nothing more, and no step of this world names one by its id.
        found.append(
            BindingFact(
                len(found), subject, role, allow, deny, REALM if scope is None else scope, condition, start, end, propagate
            )
        )
    return found
