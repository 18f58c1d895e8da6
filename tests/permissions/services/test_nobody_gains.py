"""Random writes in random worlds: whatever the guards let through, nobody can do what the author could not do there before.

The guards judge patterns; here the decisions themselves are compared, by the PDP, before and after each write.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from permissions import pdp
from permissions.bundle.specs import (
    BindingSpec,
    CodeSpec,
    GroupSpec,
    MemberSpec,
    PermissionSpec,
    RealmSpec,
    ResourceSpec,
    RoleSpec,
    SubjectSpec,
    TeamSpec,
)
from permissions.errors import Escalation, Refused
from permissions.models import RoleBinding, Subject
from permissions.services.bindings import binding_create, binding_delete, binding_update
from permissions.services.catalog import group_update, permission_update, role_update
from permissions.services.realms import realm_update
from permissions.services.resources import resource_delete, resource_update
from permissions.services.subjects import subject_delete, subject_update
from permissions.services.teams import member_add, member_remove, team_delete, team_update
from permissions.writing import SYSTEM, Actor
from tests.permissions.acme import CHARLIE, Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

PEOPLE = ("user:bob", "user:charlie", "user:eve")
TEAMS = ("team:a", "team:b", "team:c")
NODES = ("node:1", "node:2", "node:3", "node:4")
CODES = ("post:a", "post:b", "page:a")
ROLES = ("r1", "r2", "r3")
GROUPS = ("g1",)
PATTERNS = (*CODES, "post:*", "*", "*:a", "post:?")
CONDITIONS = ("", "", "context.mfa == true")
DATES = (None, None, dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2100, 1, 1, tzinfo=dt.UTC))
# Enough to manage everything, at every node whatever is private, and nothing beyond it.
MANAGES = tuple(f"permsite.{noun}:*" for noun in ("binding", "role", "group", "permission", "subject", "team", "resource"))

Question = tuple[str, str, str | None, bool]


class Dice:
    """Random specs."""

    def __init__(self, seed: int) -> None:
        self.of = random.Random(seed)

    def some(self, choices: tuple[str, ...], most: int = 2) -> tuple[str, ...]:
        return tuple(self.of.sample(choices, self.of.randint(0, min(most, len(choices)))))

    def window(self) -> dict[str, Any]:
        start, end = self.of.choice(DATES), self.of.choice(DATES)
        return {"valid_from": start, "valid_until": end} if start is None or end is None or start < end else {}

    def lines(self, most: int = 2) -> tuple[CodeSpec, ...]:
        return tuple(CodeSpec(pattern, self.of.choice(CONDITIONS)) for pattern in self.some(PATTERNS, most))

    def role(self, name: str) -> RoleSpec:
        below = ROLES[: ROLES.index(name)]
        return RoleSpec(
            name,
            inherits=self.some(below),
            groups=self.some(GROUPS),
            permissions=self.lines(),
            exclude=self.some(PATTERNS, 1),
            deny=self.lines(1) if self.of.random() < 0.3 else (),
            **self.window(),
        )

    def binding(self) -> BindingSpec:
        holder = self.of.choice((*PEOPLE, *TEAMS, "user:*"))
        given: dict[str, Any] = {
            "scope": self.of.choice((None, *NODES)),
            "condition": self.of.choice(CONDITIONS),
            "propagate": self.of.random() < 0.7,
            **self.window(),
        }
        if self.of.random() < 0.5:
            return BindingSpec(holder, role=self.of.choice(ROLES), **given)
        allow, deny = self.some(PATTERNS), self.some(PATTERNS, 1) if self.of.random() < 0.5 else ()
        return BindingSpec(holder, allow=allow or ("post:a",), deny=deny, **given)

    def team(self, name: str) -> TeamSpec:
        below = TEAMS[: TEAMS.index(name)]
        return TeamSpec(name, members=tuple(MemberSpec(ref, **self.window()) for ref in self.some((*PEOPLE, *below), 3)))

    def resource(self, name: str) -> ResourceSpec:
        above = NODES[: NODES.index(name)]
        return ResourceSpec(name, parent=self.of.choice((None, *above)), inherit=self.of.random() < 0.75)


def _write(dice: Dice, acme: Acme, actor: Actor) -> None:
    """One random write."""
    realm, of = acme.realm, dice.of
    rows = list(RoleBinding.objects.filter(realm=realm).exclude(reason="manages").order_by("pk").values_list("pk", flat=True))
    role, team, node, person = of.choice(ROLES), of.choice(TEAMS), of.choice(NODES), of.choice(PEOPLE)
    writes: list[Callable[[], object]] = [
        lambda: binding_create(actor=actor, realm=realm, spec=dice.binding()),
        lambda: role_update(actor=actor, realm=realm, name=role, spec=dice.role(role)),
        lambda: group_update(actor=actor, realm=realm, name="g1", spec=GroupSpec("g1", permissions=dice.some(PATTERNS))),
        lambda: team_update(actor=actor, realm=realm, ref=team, spec=dice.team(team)),
        lambda: member_add(actor=actor, realm=realm, team=team, spec=MemberSpec(person, **dice.window())),
        lambda: member_remove(actor=actor, realm=realm, team=team, member=person),
        lambda: resource_update(actor=actor, realm=realm, ref=node, spec=dice.resource(node)),
        lambda: subject_update(
            actor=actor, realm=realm, ref=person, spec=SubjectSpec(person, active=of.random() < 0.8 or person == "user:charlie")
        ),
        lambda: permission_update(
            actor=actor, realm=realm, code="post:b", spec=PermissionSpec("post:b", requires=dice.some(("post:a", "page:a")))
        ),
    ]
    if rows:
        writes += [
            lambda: binding_update(actor=actor, realm=realm, binding_id=of.choice(rows), spec=dice.binding()),
            lambda: binding_delete(actor=actor, realm=realm, binding_id=of.choice(rows)),
        ]
    if of.random() < 0.1:
        writes += [
            lambda: subject_delete(actor=actor, realm=realm, ref="user:eve"),
            lambda: team_delete(actor=actor, realm=realm, ref="team:c"),
            lambda: resource_delete(actor=actor, realm=realm, ref="node:4"),
        ]
    of.choice(writes)()


def _world(dice: Dice, acme: Acme, combining: str) -> None:
    realm_update(actor=SYSTEM, realm=acme.realm, spec=RealmSpec("acme", combining=combining))  # type: ignore[arg-type]
    for code in CODES:
        acme.permission(code)
    for name in GROUPS:
        acme.group(name)
    for name in ROLES:
        acme.role(name)
    for ref in PEOPLE:
        acme.subject(ref)
    for ref in TEAMS:
        acme.team(ref)
    for ref in NODES:
        acme.resource(ref)
    for scope in (None, *NODES):
        acme.binding("user:charlie", allow=MANAGES, scope=scope, reason="manages")
    for _ in range(14):
        _try(lambda: _write(dice, acme, SYSTEM))


def _try(write: Callable[[], object]) -> bool:
    try:
        write()
    except Escalation:
        return False
    except Refused:
        pass
    return True


def _known(acme: Acme) -> list[str]:
    """Whom the realm knows: what `type:*` gives to one it comes to know is handed out already."""
    return list(Subject.objects.filter(realm=acme.realm, ref__in=[*PEOPLE, *TEAMS]).values_list("ref", flat=True))


def _allowed(acme: Acme, people: list[str]) -> set[Question]:
    asked: list[Question] = list(product(people, CODES, [None, *NODES], [False, True]))
    questions = [
        {"subject": who, "permission": code, "resource": node, "context": {"mfa": mfa}} for who, code, node, mfa in asked
    ]
    answers = pdp.check_many(questions, realm=acme.realm.name, full=True)
    return {question for question, answer in zip(asked, answers, strict=True) if answer}


@pytest.mark.parametrize("combining", ["deny_overrides", "overlay"])
@pytest.mark.parametrize("seed", range(5))
def test_what_passes_gives_nobody_what_its_author_lacked_there(db: None, seed: int, combining: str) -> None:
    acme, dice = Acme(), Dice(seed)
    _world(dice, acme, combining)
    passed = 0
    for _ in range(15):
        people = _known(acme)
        before = _allowed(acme, people)
        if not _try(lambda: _write(dice, acme, CHARLIE)):
            continue
        gained = _allowed(acme, people) - before
        passed += 1
        for who, code, node, mfa in gained:
            assert ("user:charlie", code, node, mfa) in before, f"{who} gained {code} at {node} (mfa {mfa})"
    assert passed
