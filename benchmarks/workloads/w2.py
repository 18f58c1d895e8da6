"""W2: W1's shape on real role catalogues, 1,000,000 subjects; without a folder of catalogues, a drawn model of the same size."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

from benchmarks.workloads.world import World
from permissions.bundle.specs import Bundle
from permissions.engine.names import is_pattern
from permissions.engine.types import ModelFacts, PermissionFact, RoleFact, RoleLineFact

SUBJECTS, CHECKS = 1_000_000, 20_000
# What the catalogues of AWS, Google Cloud, Azure and Kubernetes hold together.
ROLES, GRANTS, CODES = 5_038, 238_113, 56_000
# Format → files of roles (the second: the name that the committed excerpts have), file of all known actions.
FILES = {
    "aws": (("aws_moto.json", "aws.json"), "aws_actions.json"),
    "gcp": (("gcp.json",), None),
    "azure": (("azure.json",), None),
    "kubernetes": (("k8s.json", "kubernetes.json"), None),
}


def build(seed: int = 2, *, subjects: int = SUBJECTS, checks: int = CHECKS, catalogues: str = "", roles: int = ROLES) -> World:
    draw = random.Random(seed)
    model = from_catalogues(Path(catalogues)) if catalogues else drawn(draw, roles)
    names = [role.name for role in model.roles]
    held = [tuple(draw.sample(names, draw.randint(1, 4))) for _ in range(subjects)]
    codes = [fact.code for fact in model.permissions]
    asked = [(draw.randrange(subjects), draw.choice(codes)) for _ in range(checks)]
    return World(model, held, asked)


def from_catalogues(folder: Path) -> ModelFacts:
    """Through the importers, as `import_roles` reads them; a role's name begins with its catalogue's."""
    from permissions.importers import FORMATS  # noqa: PLC0415 - reads Django's settings

    permissions: set[str] = set()
    roles: list[RoleFact] = []
    for kind, (files, actions) in FILES.items():
        path = next((folder / name for name in files if (folder / name).exists()), None)
        if path is None:
            raise SystemExit(f"{folder} has none of {', '.join(files)}: it is no folder of role catalogues")
        catalogue = json.loads((folder / actions).read_text()) if actions else None
        bundle: Bundle = FORMATS[kind](json.loads(path.read_text()), catalogue=catalogue)
        permissions |= {spec.code for spec in bundle.permissions or ()}
        for spec in bundle.roles or ():
            lines = [RoleLineFact("allow", line.code) for line in spec.permissions]
            lines += [RoleLineFact("exclude", pattern) for pattern in spec.exclude]
            lines += [RoleLineFact("deny", line.code) for line in spec.deny]
            permissions |= {line.pattern for line in lines if not is_pattern(line.pattern)}
            roles.append(RoleFact(f"{kind} {spec.name}", lines=tuple(dict.fromkeys(lines))))
    return ModelFacts("w2", permissions=tuple(PermissionFact(c) for c in sorted(permissions)), roles=tuple(roles))


def drawn(draw: random.Random, roles: int) -> ModelFacts:
    """The catalogues' size: a few roles that hold thousands of codes, many that hold ten; one in four has a pattern."""
    share = roles / ROLES
    services = [f"service{s}" for s in range(max(4, int(280 * share)))]
    codes = [f"{service}.kind{k}:verb{v}" for service in services for k in range(20) for v in range(10)]
    weights = [draw.paretovariate(1.1) for _ in range(roles)]
    sizes = [max(1, min(len(codes), int(GRANTS * share * weight / sum(weights)))) for weight in weights]
    facts = []
    for number, size in enumerate(sizes):
        lines = [RoleLineFact("allow", code) for code in draw.sample(codes, size)]
        if number % 4 == 0:
            lines.append(RoleLineFact("allow", f"{draw.choice(services)}.*:verb{draw.randrange(10)}"))
        facts.append(RoleFact(f"role{number}", lines=tuple(lines)))
    return ModelFacts("w2", permissions=tuple(PermissionFact(c) for c in codes), roles=tuple(facts))


def as_realm(world: World, realm: str) -> World:
    return dataclasses.replace(world, model=dataclasses.replace(world.model, realm=realm))
