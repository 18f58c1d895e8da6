"""The queryset filter's rule: where in the resource tree a check for one subject and code says yes, at one revision.

What decides on a resource are the nodes on its chain at which anything is held: few, whatever the number of resources. Each such
node is decided on by the engine, itself and what lies below it; `below.py` then says in SQL which resources lie below which, so
that no list of ids is as long as the table. Only where a condition looks at the resource itself is each stored one asked about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from permissions.cache import reader
from permissions.cache.pinned import Pinned
from permissions.engine.evaluate import evaluate
from permissions.engine.scopes import ResourceSnapshot, SubjectSnapshot, build_resource
from permissions.engine.table import NOTHING, CompiledRole, Holdings, Line, RoleTable, roles_in
from permissions.engine.types import REALM, Request, ResourceFacts, ResourceNodeFact
from permissions.lookup import browsing, giving, resources
from permissions.revisions import Token

# Nodes that are asked for through the cache; more are read past it, so that a filter evicts nothing that checks need.
MOST_PINNED: Final = 1_000
ATTEMPTS: Final = 3
# The id of nothing: no resource may have it, so no binding hangs there and no row equals it.
_NO_ID: Final = "*"
_RESOURCE: Final = re.compile(r"\bresource\b")
_UNIFORM: Final = re.compile(r"\bresource\s*\.\s*(?:attributes|type)\b")


@dataclass(slots=True)
class Rule:
    """`is_open`: what is decided wherever nothing below says otherwise, for resources the platform has never seen as well.

    `nodes`: where anything is held. `roots`: those below which it is decided otherwise. `named`: those of the type that are
    themselves. `walls`: a private node below them keeps allows from above away.

    With `rows` each stored resource was asked about; `allowed` are those with a yes, and the other lists are empty.
    `decide_unseen`: what to ask about each other one, where its id alone may matter.
    """

    realm_id: int
    revision: int
    kind: str
    is_open: bool
    nodes: list[str] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)
    named: list[str] = field(default_factory=list)
    walls: bool = True
    rows: bool = False
    allowed: list[str] = field(default_factory=list)
    decide_unseen: Callable[[str], bool] | None = None

    @property
    def is_constant(self) -> bool:
        """Whether `is_open` is all there is to say."""
        if self.rows:
            return not self.is_open and not self.allowed and self.decide_unseen is None
        return not (self.roots or self.named or (self.is_open and self.walls))


def rule(
    request: Request,
    kind: str,
    *,
    realm: str,
    token: Token | None = None,
    full: bool = False,
    superuser: bool = False,
    obligations: Collection[str] = (),
) -> Rule:
    """For `request.subject` and resources of `kind`; `request.resource` is ignored. Raises what a check raises.

    `obligations`: the types that whoever shows the rows complies with. A yes with another one is a no, as at every point.
    """
    handled = frozenset(obligations)
    question = replace(request, resource=None)
    asked = [question]
    for _ in range(ATTEMPTS):
        pinned = reader.pin(realm, asked, token=token, full=full)
        subject = pinned.of(0, question)[0]
        nodes = _nodes(pinned.table, subject)
        if len(nodes) > MOST_PINNED or _conditions_on_resources(pinned.table, subject, question.permission):
            break
        if nodes <= pinned.resources.keys():
            return _Asking(pinned, subject, question, kind, superuser, handled).by_nodes(nodes)
        asked = [question, *(replace(question, resource=node) for node in nodes)]

    def browsed(pinned: Pinned) -> Rule:
        subject = resources.subject_of(pinned, question)
        asking = _Asking(pinned, subject, question, kind, superuser, handled)
        conditions = _conditions_on_resources(pinned.table, subject, question.permission)
        if conditions:
            return asking.by_rows(conditions)
        nodes = _nodes(pinned.table, subject)
        pinned.resources.update(resources.resources_of(pinned, sorted(nodes)))
        return asking.by_nodes(nodes)

    return reader.browse(realm, browsed, token=token, full=full)


class _Asking:
    """One subject and code, at one revision."""

    def __init__(  # noqa: PLR0917 - all of what is asked
        self,
        pinned: Pinned,
        subject: SubjectSnapshot,
        question: Request,
        kind: str,
        superuser: bool,
        handled: frozenset[str],
    ) -> None:
        self.pinned = pinned
        self.subject = subject
        self.question = question
        self.kind = kind
        self.superuser = superuser
        self.handled = handled
        self.is_superior = superuser and subject.superuser

    def decides(self, resource: ResourceSnapshot) -> bool:
        pinned, asked = self.pinned, replace(self.question, resource=resource.ref)
        decision = evaluate(
            pinned.table,
            self.subject,
            resource,
            asked,
            pinned.now_us,
            superuser_allowed=self.superuser,
            slack_us=pinned.slack_us,
        )
        return decision.allowed and all(duty.get("type") in self.handled for duty in decision.obligations)

    def unseen(self, ref: str) -> bool:
        return self.decides(build_resource(ResourceFacts(ref, known=False, chain=(ResourceNodeFact(ref),))))

    def by_nodes(self, nodes: Iterable[str]) -> Rule:
        nobody = f"{self.kind}:{_NO_ID}"
        found = Rule(self.pinned.head.realm_id, self.pinned.head.rev, self.kind, self.unseen(nobody), sorted(nodes))
        # A superuser is kept out by denies alone.
        found.walls = not self.is_superior
        for node in found.nodes:
            at = self.pinned.resources[node]
            chain = tuple(
                ResourceNodeFact(ref, inherit=place != at.open_from) for place, ref in enumerate((*at.nodes, nobody), 1)
            )
            if self.decides(build_resource(ResourceFacts(nobody, chain=chain))) is not found.is_open:
                found.roots.append(node)
            if at.type == self.kind and self.decides(at) is not found.is_open:
                found.named.append(node)
        return found

    def by_rows(self, conditions: set[str]) -> Rule:
        pinned, question = self.pinned, self.question
        uniform = all(len(_RESOURCE.findall(text)) == len(_UNIFORM.findall(text)) for text in conditions)
        is_open = uniform and self.unseen(f"{self.kind}:{_NO_ID}")
        mask = giving.mask_of(pinned.table, question.permission)
        parts = resources.parts_for(pinned, self.subject, self.kind, mask, after="", limit=None, everything=self.is_superior)

        def allowed(refs: list[str]) -> Iterator[str]:
            return (ref for ref, resource in resources.resources_of(pinned, refs) if self.decides(resource))

        listed, _ = browsing.collect(parts, allowed, None, browsing.for_list())
        found = Rule(pinned.head.realm_id, pinned.head.rev, self.kind, is_open, rows=True, allowed=listed)
        found.decide_unseen = None if uniform else self.unseen
        return found


def _nodes(table: RoleTable, subject: SubjectSnapshot) -> set[str]:
    """Every node at which the subject or everyone of its type holds anything, whatever its window."""
    found: set[str] = set()
    for holdings in _holdings(table, subject):
        found.update(holdings.scopes, holdings.lines, (held.binding.scope for held in holdings.apart))
    return found - {REALM}


def _holdings(table: RoleTable, subject: SubjectSnapshot) -> list[Holdings]:
    everyone = table.everyone.get(subject.type)
    return [subject] if everyone is None else [subject, everyone]


def _conditions_on_resources(table: RoleTable, subject: SubjectSnapshot, code: str) -> set[str]:
    """Conditions that could count for the code, or for one it requires, and that speak of the resource."""
    mask = 0
    for wanted in (code, *table.required.get(code, ())):
        mask |= giving.mask_of(table, wanted)
    texts: set[str] = set()
    roles: set[str] = set()
    for holdings in _holdings(table, subject):
        for held in (*(held for lines in holdings.lines.values() for held in lines), *holdings.apart):
            binding = held.binding
            if binding.role is not None:
                roles.add(binding.role)
                concerns = _mask_of(table.roles.get(binding.role, NOTHING)) & mask
            else:
                concerns = (table.direct(binding.allow) | table.direct(binding.deny)) & mask
            if concerns and binding.condition:
                texts.add(binding.condition)
        for held_roles in (holdings.realm_roles, *holdings.scopes.values()):
            if held_roles is not None:
                roles.update(roles_in(held_roles))
    for name in roles:
        texts.update(line.key.condition for line in _lines(table.roles.get(name, NOTHING)) if line.mask & mask)
    return {text for text in texts if _RESOURCE.search(text)}


def _lines(role: CompiledRole) -> tuple[Line, ...]:
    return (*role.allow_lines, *role.deny_lines)


def _mask_of(role: CompiledRole) -> int:
    mask = role.allow | role.deny
    for line in _lines(role):
        mask |= line.mask
    return mask
