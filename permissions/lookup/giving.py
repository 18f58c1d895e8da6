"""What could give a code, read off the role table: the roles, the scopes and the types whose everyone holds something.

Only what could: conditions, windows, denies, exclusions by a private node and requirements are the engine's to judge. Whoever is
named by nothing here is certain to be refused, so a search need not ask about them (`walk.py`: without an allow, no).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from permissions.engine.scopes import ResourceSnapshot, SubjectSnapshot
from permissions.engine.table import NOTHING, CompiledRole, Holdings, RoleTable, roles_in
from permissions.engine.types import REALM

EVERY_CODE = -1


def mask_of(table: RoleTable, code: str) -> int:
    """0 for a code that is not registered: nothing gives it."""
    number = table.index.bits.get(code)
    return 0 if number is None else 1 << number


def _gives(role: CompiledRole, mask: int) -> bool:
    return bool(role.allow & mask) or any(line.mask & mask for line in role.allow_lines)


def roles_giving(table: RoleTable, mask: int) -> list[str]:
    return [name for name, role in table.roles.items() if _gives(role, mask)]


def open_chain(resource: ResourceSnapshot | None) -> tuple[str, ...]:
    """The nodes from which an allow reaches the resource, the realm among them unless a private node keeps it away."""
    if resource is None:
        return (REALM,)
    return (REALM, *resource.nodes)[resource.open_from :]


def types_given(table: RoleTable, nodes: Iterable[str], mask: int) -> frozenset[str]:
    """Types of which everyone holds something at one of the nodes that gives the code."""
    chain = tuple(nodes)
    return frozenset(
        kind for kind, holdings in table.everyone.items() if any(_gives_at(table, holdings, node, mask) for node in chain)
    )


def nodes_giving(table: RoleTable, subject: SubjectSnapshot, mask: int) -> set[str]:
    """The nodes at which the subject holds something that gives the code to what lies there."""
    found: set[str] = set()
    everyone = table.everyone.get(subject.type)
    for holdings in (subject, everyone):
        if holdings is not None:
            found.update(node for node in _nodes(holdings) if _gives_at(table, holdings, node, mask, below_realm=True))
    return found


def _nodes(holdings: Holdings) -> Iterator[str]:
    if holdings.realm_roles is not None:
        yield REALM
    yield from holdings.scopes
    yield from holdings.lines


def _gives_at(table: RoleTable, holdings: Holdings, node: str, mask: int, *, below_realm: bool = False) -> bool:
    """`below_realm`: for a resource, which a binding at the realm that does not propagate never reaches."""
    roles = holdings.realm_roles if node == REALM else holdings.scopes.get(node)
    if roles is not None and any(_gives(table.roles.get(name, NOTHING), mask) for name in roles_in(roles)):
        return True
    for held in holdings.lines.get(node, ()):
        binding = held.binding
        if below_realm and node == REALM and not binding.propagate:
            continue
        if binding.role is None:
            if table.direct(binding.allow) & mask:
                return True
        elif _gives(table.roles.get(binding.role, NOTHING), mask):
            return True
    return False
