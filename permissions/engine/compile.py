"""Rows of a realm's model -> RoleTable: codes numbered, patterns, groups, inheritance, exclusions and `requires` expanded.

How exclusions meet conditions: an exclusion takes its codes from everything its role gives: own lines, groups and inherited
roles, lines under a condition or in a window included. It never takes a deny away. It is local: a role that inherits this one,
or another role of the same subject, may still give the code by a way that does not pass here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from permissions.engine import platform
from permissions.engine.names import EVERYONE_ID, split_ref
from permissions.engine.patterns import Index
from permissions.engine.scopes import holdings_of
from permissions.engine.table import NOTHING, PLAIN, CompiledRole, Holdings, Line, LineKey, RoleTable, compiled
from permissions.engine.types import (
    BindingFact,
    Condition,
    ConditionLanguage,
    GroupFact,
    ModelFacts,
    PermissionFact,
    RoleFact,
)

# What a role gives, by the key under which it gives it.
_Masks: TypeAlias = dict[LineKey, int]


def compile_table(model: ModelFacts, language: ConditionLanguage, previous: RoleTable | None = None) -> RoleTable:
    """Compile from nothing, or from `previous` of the same realm: what did not change is taken over.

    A role refers to groups and roles by name; a name nobody has gives nothing.
    """
    codes = {fact.code for fact in model.permissions} | platform.CODES
    if previous is not None and len(previous.index.codes) == len(codes) and codes.issuperset(previous.index.codes):
        index = previous.index
    else:
        index, previous = Index(codes), None
    role_facts = {fact.name: fact for fact in model.roles}
    group_facts = {fact.name: fact for fact in model.groups}
    roles = _Compiler(index, role_facts, group_facts, language, previous).roles()
    required = required_closure(model.permissions)
    return RoleTable(
        model=model,
        language=language,
        index=index,
        roles=roles,
        everyone=_everyone(model.everyone),
        required=required,
        quick=_quick(index.codes, required, model, previous),
        is_uniform=not model.type_combining,
        is_plain_realm=model.combining == "deny_overrides",
        obligations={fact.name: fact.obligations for fact in model.roles if fact.obligations},
        role_facts=role_facts,
        group_facts=group_facts,
    )


def _quick(
    codes: Iterable[str], required: Mapping[str, tuple[str, ...]], model: ModelFacts, previous: RoleTable | None
) -> Mapping[str, tuple[int, int]]:
    if model.suspended:
        return {}
    if previous is not None and previous.required == required and not previous.model.suspended:
        return previous.quick
    return {code: (n >> 3, 1 << (n & 7)) for n, code in enumerate(codes) if code not in required}


def _everyone(bindings: Iterable[BindingFact]) -> dict[str, Holdings]:
    by_type: dict[str, list[BindingFact]] = {}
    for binding in bindings:
        kind, ident = split_ref(binding.holder)
        if ident == EVERYONE_ID:
            by_type.setdefault(kind, []).append(binding)
    # No time: a table outlives the boundaries of these bindings, so windows are looked at when a check asks.
    return {kind: holdings_of(held, now_us=None) for kind, held in by_type.items()}


def required_closure(permissions: Iterable[PermissionFact]) -> dict[str, tuple[str, ...]]:
    """code -> every code it requires, directly or not, but itself. A cycle, which a write refuses, ends at the visited set."""
    direct = {fact.code: fact.requires for fact in permissions if fact.requires}
    closure: dict[str, tuple[str, ...]] = {}
    for code, needs in direct.items():
        reached: set[str] = set()
        todo = list(needs)
        while todo:
            needed = todo.pop()
            if needed not in reached:
                reached.add(needed)
                todo.extend(direct.get(needed, ()))
        reached.discard(code)
        if reached:
            closure[code] = tuple(sorted(reached))
    return closure


class _Compiler:
    """The roles of one table, parents before children. In a cycle, which a write refuses, everything is composed again until
    nothing changes: masks only grow, so this ends, and the answer does not depend on where the walk began."""

    def __init__(
        self,
        index: Index,
        role_facts: Mapping[str, RoleFact],
        group_facts: Mapping[str, GroupFact],
        language: ConditionLanguage,
        previous: RoleTable | None,
    ) -> None:
        self.index = index
        self.role_facts = role_facts
        self.group_facts = group_facts
        self.language = language
        self.previous = previous
        self.conditions: dict[str, Condition] = {}
        self.group_masks = {name: index.mask_of(fact.patterns) for name, fact in group_facts.items()}
        self.done: dict[str, CompiledRole] = {}

    def roles(self) -> dict[str, CompiledRole]:
        order, is_cyclic = self._order()
        if is_cyclic:
            while True:
                before = dict(self.done)
                for name in order:
                    self.done[name] = self._compose(self.role_facts[name])
                if before == self.done:
                    return self.done
        fresh: set[str] = set()
        for name in order:
            fact = self.role_facts[name]
            kept = self._kept(fact, fresh)
            if kept is None:
                fresh.add(name)
            self.done[name] = self._compose(fact) if kept is None else kept
        return self.done

    def _kept(self, fact: RoleFact, fresh: set[str]) -> CompiledRole | None:
        """The role as `previous` has it, when nothing it is made of has changed."""
        previous = self.previous
        if previous is None or previous.role_facts.get(fact.name) != fact or not fresh.isdisjoint(fact.inherits):
            return None
        same_groups = all(previous.group_facts.get(name) == self.group_facts.get(name) for name in fact.groups)
        same_parents = all((name in previous.roles) == (name in self.role_facts) for name in fact.inherits)
        return previous.roles.get(fact.name) if same_groups and same_parents else None

    def _order(self) -> tuple[list[str], bool]:
        """Names, parents first; and whether any role is its own ancestor. Not recursive: inheritance may be thousands deep."""
        order: list[str] = []
        finished: dict[str, bool] = {}
        is_cyclic = False
        for root in self.role_facts:
            if root in finished:
                continue
            finished[root] = False
            stack = [(root, iter(self._parents(root)))]
            while stack:
                name, parents = stack[-1]
                for parent in parents:
                    if parent not in finished:
                        finished[parent] = False
                        stack.append((parent, iter(self._parents(parent))))
                        break
                    is_cyclic |= not finished[parent]
                else:
                    finished[name] = True
                    order.append(name)
                    stack.pop()
        return order, is_cyclic

    def _parents(self, name: str) -> list[str]:
        return [parent for parent in self.role_facts[name].inherits if parent in self.role_facts]

    def _compose(self, fact: RoleFact) -> CompiledRole:
        patterns: dict[tuple[str, str], list[str]] = {}
        for line in fact.lines:
            patterns.setdefault((line.effect, line.condition), []).append(line.pattern)
        allow: _Masks = {}
        deny: _Masks = {}
        excluded = 0
        for (effect, condition), lines in patterns.items():
            mask = self.index.mask_of(lines)
            if effect == "exclude":
                excluded |= mask
            else:
                _add(allow if effect == "allow" else deny, LineKey(condition), mask)
        for group in fact.groups:
            _add(allow, PLAIN, self.group_masks.get(group, 0))
        for parent in fact.inherits:
            self._inherit(self.done.get(parent, NOTHING), allow, deny)
        allowed: _Masks = {}
        denied: _Masks = {}
        for key, mask in allow.items():
            obliging = tuple(sorted({*key.obliging, fact.name})) if fact.obligations else key.obliging
            _add(allowed, _within(key, fact)._replace(obliging=obliging), mask & ~excluded)
        for key, mask in deny.items():
            _add(denied, _within(key, fact), mask)
        return CompiledRole(
            allow=_certain(allowed),
            deny=_certain(denied),
            allow_lines=self._lines(allowed),
            deny_lines=self._lines(denied),
        )

    def _inherit(self, parent: CompiledRole, allow: _Masks, deny: _Masks) -> None:
        _add(allow, PLAIN, parent.allow)
        _add(deny, PLAIN, parent.deny)
        for line in parent.allow_lines:
            _add(allow, line.key, line.mask)
        for line in parent.deny_lines:
            _add(deny, line.key, line.mask)

    def _lines(self, masks: _Masks) -> tuple[Line, ...]:
        # Sorted, so that tables of the same rows in another order are equal.
        keys = sorted((key for key in masks if key != PLAIN), key=repr)
        return tuple(Line(masks[key], key, self._condition(key.condition)) for key in keys)

    def _condition(self, text: str) -> Condition | None:
        if not text:
            return None
        if text not in self.conditions:
            self.conditions[text] = compiled(self.language, text)
        return self.conditions[text]


def _add(masks: _Masks, key: LineKey, mask: int) -> None:
    if mask:
        masks[key] = masks.get(key, 0) | mask


def _certain(masks: _Masks) -> int:
    total = 0
    for key, mask in masks.items():
        if key.is_certain:
            total |= mask
    return total


def _within(key: LineKey, fact: RoleFact) -> LineKey:
    """The key narrowed to the role's own window: what it gives, it gives only while it is valid itself."""
    from_us, until_us = key.from_us, key.until_us
    if fact.valid_from_us is not None:
        from_us = fact.valid_from_us if from_us is None else max(from_us, fact.valid_from_us)
    if fact.valid_until_us is not None:
        until_us = fact.valid_until_us if until_us is None else min(until_us, fact.valid_until_us)
    return key._replace(from_us=from_us, until_us=until_us)
