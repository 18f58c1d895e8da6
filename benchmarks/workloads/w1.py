"""W1: 10,000 subjects with 1-4 of 200 roles over 1,000 permissions in 40 groups, every tenth with a wildcard; 16 % allowed."""

from __future__ import annotations

import random

from benchmarks.workloads.world import World
from permissions.engine.types import GroupFact, ModelFacts, PermissionFact, RoleFact, RoleLineFact

TYPES, ACTIONS, GROUPS, ROLES, SUBJECTS, CHECKS = 50, 20, 40, 200, 10_000, 20_000
# Chosen: with one group of 25 each, these many codes of a role's own make 16 % of random questions allowed.
OWN_CODES = 43


def build(seed: int = 1, *, subjects: int = SUBJECTS, checks: int = CHECKS, resources: int = 0) -> World:
    """`resources`: how many of each type are stored. They change no answer: all that is held is held everywhere."""
    draw = random.Random(seed)
    codes = [f"type{t}:action{a}" for t in range(TYPES) for a in range(ACTIONS)]
    shuffled = draw.sample(codes, len(codes))
    groups = tuple(GroupFact(f"group{g}", tuple(shuffled[g::GROUPS])) for g in range(GROUPS))
    roles = []
    for number in range(ROLES):
        lines = [RoleLineFact("allow", code) for code in draw.sample(codes, OWN_CODES)]
        if number % 10 == 0:
            lines.append(RoleLineFact("allow", f"type{draw.randrange(TYPES)}:*"))
        roles.append(RoleFact(f"role{number}", groups=(draw.choice(groups).name,), lines=tuple(lines)))
    model = ModelFacts("w1", permissions=tuple(PermissionFact(c) for c in codes), groups=groups, roles=tuple(roles))
    held = [tuple(f"role{r}" for r in draw.sample(range(ROLES), draw.randint(1, 4))) for _ in range(subjects)]
    asked = [(draw.randrange(subjects), draw.choice(codes)) for _ in range(checks)]
    stored = tuple(f"type{t}:type{t}-{n}" for t in range(TYPES) for n in range(resources))
    return World(model, held, asked, stored)
