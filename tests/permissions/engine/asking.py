"""Small realms in a few lines, and questions to the engine about them. The conditions are real CEL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from permissions.conditions import cel
from permissions.engine.compile import compile_table
from permissions.engine.evaluate import allowed_codes, evaluate
from permissions.engine.explain import Explanation, explain
from permissions.engine.names import is_pattern
from permissions.engine.scopes import build_resource, build_subject
from permissions.engine.table import RoleTable
from permissions.engine.types import (
    BindingFact,
    Decision,
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

ALICE, BOB, CHARLIE = "user:alice", "user:bob", "user:charlie"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def at(text: str) -> int:
    """Microseconds of a day or an instant, such as 2026-01-31 or 2026-01-31T12:00."""
    return (dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC) - _EPOCH) // dt.timedelta(microseconds=1)


NOW = at("2026-06-01T12:00")


def role(
    name: str,
    *allow: str | tuple[str, str],
    inherits: Sequence[str] = (),
    groups: Sequence[str] = (),
    exclude: Sequence[str] = (),
    deny: Sequence[str | tuple[str, str]] = (),
    start: str | None = None,
    end: str | None = None,
    obligations: Sequence[Mapping[str, Any]] = (),
) -> RoleFact:
    """A line is a pattern, or (pattern, condition)."""
    lines = [
        RoleLineFact(effect, *((line, "") if isinstance(line, str) else line))  # type: ignore[arg-type]  # effect is one of three
        for effect, given in (("allow", allow), ("exclude", exclude), ("deny", deny))
        for line in given
    ]
    window = (at(start) if start else None, at(end) if end else None)
    return RoleFact(name, tuple(inherits), tuple(groups), tuple(lines), *window, tuple(obligations))


class Realm:
    """Facts collected line by line; every question builds table and snapshots anew."""

    def __init__(
        self,
        *roles: RoleFact,
        codes: Iterable[str] = (),
        groups: Mapping[str, Sequence[str]] | None = None,
        requires: Mapping[str, Sequence[str]] | None = None,
        **settings: Any,
    ) -> None:
        requires = requires or {}
        groups = groups or {}
        named = {line.pattern for given in roles for line in given.lines} | {p for given in groups.values() for p in given}
        registered = {code for code in {*named, *codes, *requires} if not is_pattern(code) and not code.startswith("permsite.")}
        self.model: dict[str, Any] = {
            "permissions": tuple(PermissionFact(code, tuple(requires.get(code, ()))) for code in sorted(registered)),
            "roles": roles,
            "groups": tuple(GroupFact(name, tuple(given)) for name, given in groups.items()),
            **settings,
        }
        self.bindings: list[BindingFact] = []
        self.memberships: list[MembershipFact] = []
        self.parents: dict[str, str | None] = {}
        self.private: set[str] = set()
        self.subjects: dict[str, dict[str, Any]] = {}
        self.resources: dict[str, Mapping[str, Any]] = {}

    def bind(self, holder: str, role: str | None = None, start: str | None = None, end: str | None = None, **more: Any) -> Realm:
        more |= {"valid_from_us": at(start) if start else None, "valid_until_us": at(end) if end else None}
        self.bindings.append(BindingFact(len(self.bindings) + 1, holder, role, **more))
        return self

    def member(self, member: str, team: str, start: str | None = None, end: str | None = None) -> Realm:
        self.memberships.append(MembershipFact(member, team, at(start) if start else None, at(end) if end else None))
        return self

    def tree(self, child: str, parent: str | None = None, *, inherit: bool = True, **attributes: Any) -> Realm:
        self.parents[child] = parent
        self.resources[child] = attributes
        if not inherit:
            self.private.add(child)
        return self

    def subject(self, ref: str, **more: Any) -> Realm:
        self.subjects[ref] = more
        return self

    def table(self) -> RoleTable:
        everyone = tuple(binding for binding in self.bindings if binding.holder.endswith(":*"))
        return compile_table(ModelFacts("default", everyone=everyone, **self.model), cel.language())

    def facts(self, ref: str) -> SubjectFacts:
        above, todo = {ref}, [ref]
        while todo:
            member = todo.pop()
            for edge in self.memberships:
                if edge.member == member and edge.team not in above:
                    above.add(edge.team)
                    todo.append(edge.team)
        return SubjectFacts(
            ref,
            memberships=tuple(edge for edge in self.memberships if edge.member in above),
            bindings=tuple(binding for binding in self.bindings if binding.holder in above),
            **self.subjects.get(ref, {}),
        )

    def resource(self, ref: str | None) -> ResourceFacts | None:
        if ref is None:
            return None
        chain: list[ResourceNodeFact] = []
        node: str | None = ref if ref in self.parents else None
        while node is not None:
            chain.insert(0, ResourceNodeFact(node, node not in self.private))
            node = self.parents[node]
        return ResourceFacts(ref, ref in self.parents, self.resources.get(ref, {}), tuple(chain))

    def _asked(self, ref: str, code: str, resource: str | None, now_us: int, more: dict[str, Any]) -> tuple[Any, ...]:
        facts = self.resource(resource)
        return (
            self.table(),
            build_subject(self.facts(ref), now_us),
            build_resource(facts) if facts is not None else None,
            Request(ref, code, resource, **more),
            now_us,
        )

    def ask(
        self, ref: str, code: str, resource: str | None = None, *, now: int = NOW, superuser: bool = False, **more: Any
    ) -> Decision:
        return evaluate(*self._asked(ref, code, resource, now, more), superuser_allowed=superuser)

    def reason(self, ref: str, code: str, resource: str | None = None, **more: Any) -> str:
        return self.ask(ref, code, resource, **more).reason

    def allowed(self, ref: str, resource: str | None = None, *, now: int = NOW, codes: Iterable[str] | None = None) -> list[str]:
        table, subject, node, request, instant = self._asked(ref, "any:any", resource, now, {})
        return allowed_codes(table, subject, node, request, instant, codes)

    def explain(self, ref: str, code: str, resource: str | None = None, *, now: int = NOW, **more: Any) -> Explanation:
        return explain(*self._asked(ref, code, resource, now, more))
