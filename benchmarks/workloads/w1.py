"""W1: 10,000 subjects with 1-4 of 200 roles over 1,000 permissions in 40 groups, every tenth role with a wildcard."""

from __future__ import annotations

import random
from dataclasses import dataclass

from permissions.engine.types import BindingFact, GroupFact, ModelFacts, PermissionFact, RoleFact, RoleLineFact, SubjectFacts

TYPES, ACTIONS, GROUPS, ROLES, SUBJECTS, CHECKS = 50, 20, 40, 200, 10_000, 20_000


@dataclass(frozen=True)
class Workload:
    model: ModelFacts
    subjects: dict[str, SubjectFacts]
    checks: list[tuple[str, str]]


def build(seed: int = 1, *, subjects: int = SUBJECTS, checks: int = CHECKS) -> Workload:
    draw = random.Random(seed)
    codes = [f"type{t}:action{a}" for t in range(TYPES) for a in range(ACTIONS)]
    groups = tuple(GroupFact(f"group{g}", tuple(draw.sample(codes, 25))) for g in range(GROUPS))
    roles = []
    for number in range(ROLES):
        lines = [RoleLineFact("allow", code) for code in draw.sample(codes, 30)]
        if number % 10 == 0:
            lines.append(RoleLineFact("allow", f"type{draw.randrange(TYPES)}:*"))
        roles.append(RoleFact(f"role{number}", groups=tuple(g.name for g in draw.sample(groups, 1)), lines=tuple(lines)))
    model = ModelFacts("bench", permissions=tuple(PermissionFact(c) for c in codes), groups=groups, roles=tuple(roles))
    people = {}
    for number in range(subjects):
        ref = f"user:{number}"
        held = draw.sample(range(ROLES), draw.randint(1, 4))
        people[ref] = SubjectFacts(
            ref, bindings=tuple(BindingFact(number * 4 + i, ref, role=f"role{r}") for i, r in enumerate(held))
        )
    asked = [(f"user:{draw.randrange(subjects)}", draw.choice(codes)) for _ in range(checks)]
    return Workload(model, people, asked)
