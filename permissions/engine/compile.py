"""Rows of a realm's model -> RoleTable: codes numbered, patterns, groups, inheritance, exclusions and `requires` expanded.

How exclusions meet conditions: an exclusion takes its codes from everything its role gives: own lines, groups and inherited
roles, lines under a condition or in a window included. It never takes a deny away. It is local: a role that inherits this one,
or another role of the same subject, may still give the code by a way that does not pass here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from operator import attrgetter
from typing import TypeAlias, TypeVar

from permissions.engine import platform
from permissions.engine.names import EVERYONE_ID, is_pattern, split_ref
from permissions.engine.patterns import Index, matches
from permissions.engine.scopes import holdings_of
from permissions.engine.table import (
    NOTHING,
    PLAIN,
    CompiledRole,
    Holdings,
    Line,
    LineKey,
    RoleSet,
    RoleSetMasks,
    RoleTable,
    remembered,
    roles_in,
)
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
_pattern = attrgetter("pattern")
Fact = TypeVar("Fact")


def compile_table(model: ModelFacts, language: ConditionLanguage, previous: RoleTable | None = None) -> RoleTable:
    """Compile from nothing, or from `previous` of the same realm: what did not change is taken over, the memo of role sets too.

    A role refers to groups and roles by name; a name nobody has gives nothing.
    """
    if previous is not None and previous.language is not language:
        previous = None
    if previous is not None and previous.model is model:
        return previous
    # What a text means does not change with the table: old and new one fill the same memo.
    conditions = {} if previous is None else previous._conditions
    index, added, previous = _index(model, previous)
    compiler = _Compiler(model, index, previous, language=language, conditions=conditions, added=added)
    roles = compiler.roles()
    required, quick, critical = _flags(model, index, previous)
    return RoleTable(
        model=model,
        language=language,
        index=index,
        roles=roles,
        everyone=_everyone(model.everyone),
        required=required,
        quick=quick,
        is_uniform=not model.type_combining,
        is_plain_realm=model.combining == "deny_overrides",
        obligations={fact.name: fact.obligations for fact in model.roles if fact.obligations},
        role_facts=compiler.role_facts,
        group_facts=compiler.group_facts,
        critical=critical,
        memo=_kept_memo(previous, index, compiler.stale),
        _direct=previous._direct if previous is not None and previous.index is index else {},
        _conditions=conditions,
    )


def _index(model: ModelFacts, previous: RoleTable | None) -> tuple[Index, frozenset[str], RoleTable | None]:
    """The numbered codes, those new since `previous`, and `previous` if its masks fit this numbering."""
    if previous is not None and model.permissions is previous.model.permissions:
        return previous.index, frozenset(), previous
    codes = {fact.code for fact in model.permissions} | platform.CODES
    if previous is not None:
        added, gone = codes - previous.index.bits.keys(), previous.index.bits.keys() - codes
        index = previous.index.changed(added, gone) if added or gone else previous.index
        if index is not None:
            return index, frozenset(added), previous
    return Index(codes), frozenset(), None


def _flags(
    model: ModelFacts, index: Index, previous: RoleTable | None
) -> tuple[Mapping[str, tuple[str, ...]], Mapping[str, tuple[int, int]], frozenset[str]]:
    """What each code requires, the places of those that require nothing, and the critical ones."""
    if previous is not None and model.permissions is previous.model.permissions:
        required, critical = previous.required, previous.critical
    else:
        required = required_closure(model.permissions)
        critical = frozenset(fact.code for fact in model.permissions if fact.critical)
    if model.suspended:
        return required, {}, critical
    if previous is not None and not previous.model.suspended and previous.index is index and previous.required == required:
        return required, previous.quick, critical
    return required, {code: place for code, place in index.places.items() if code not in required}, critical


def _kept_memo(previous: RoleTable | None, index: Index, stale: Set[str]) -> dict[RoleSet, RoleSetMasks]:
    """Masks of the role sets that hold none of the stale roles. The old memo is copied in one step: readers still add to it."""
    if previous is None or previous.index.size_bytes != index.size_bytes:
        return {}
    memo = previous.memo.copy()
    for roles in [roles for roles in memo if not stale.isdisjoint(roles_in(roles))]:
        del memo[roles]
    return memo


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
    nothing changes: masks only grow, so this ends, and the answer does not depend on where the walk began.

    `stale`: the roles that `previous` has not as they are now: changed, gone, or made of something that is. Whoever inherits from
    a stale role is stale, so a cycle is stale as a whole or not at all.
    """

    def __init__(
        self,
        model: ModelFacts,
        index: Index,
        previous: RoleTable | None,
        *,
        language: ConditionLanguage,
        conditions: dict[str, Condition],
        added: frozenset[str],
    ) -> None:
        self.index = index
        self.language = language
        self.previous = previous
        self.conditions = conditions
        self.role_facts: Mapping[str, RoleFact] = {fact.name: fact for fact in model.roles}
        self.group_facts: Mapping[str, GroupFact] = {fact.name: fact for fact in model.groups}
        self.group_masks: dict[str, int] = {}
        self.done: dict[str, CompiledRole] = {}
        self.stale: Set[str] = self.role_facts.keys() if previous is None else self._stale(previous, added)

    def roles(self) -> Mapping[str, CompiledRole]:
        if self.previous is not None:
            if not self.stale:
                return self.previous.roles
            self.done = {name: role for name, role in self.previous.roles.items() if name not in self.stale}
        order, is_cyclic = self._order()
        has_grown = True
        while has_grown:
            has_grown = False
            for name in order:
                role = self._compose(self.role_facts[name])
                has_grown |= is_cyclic and self.done.get(name) != role
                self.done[name] = role
        return self.done

    def _stale(self, previous: RoleTable, added: frozenset[str]) -> set[str]:
        stale = _changed(previous.role_facts, self.role_facts)
        groups = _changed(previous.group_facts, self.group_facts)
        if added:
            reached = self._reaching(added)
            groups |= {name for name, fact in self.group_facts.items() if not reached.isdisjoint(fact.patterns)}
            stale |= {name for name, fact in self.role_facts.items() if not reached.isdisjoint(map(_pattern, fact.lines))}
        if groups:
            stale |= {name for name, fact in self.role_facts.items() if not groups.isdisjoint(fact.groups)}
        heirs: dict[str, list[str]] = {}
        if stale:
            for name, fact in self.role_facts.items():
                for parent in fact.inherits:
                    heirs.setdefault(parent, []).append(name)
        todo = list(stale)
        while todo:
            following = [heir for heir in heirs.get(todo.pop(), ()) if heir not in stale]
            stale.update(following)
            todo += following
        return stale

    def _reaching(self, codes: frozenset[str]) -> Set[str]:
        """Those patterns in use that reach any of the codes. Few lines of a catalogue differ: each pattern is asked once."""
        patterns: set[str] = set()
        for group in self.group_facts.values():
            patterns.update(group.patterns)
        for role in self.role_facts.values():
            patterns.update(map(_pattern, role.lines))
        wild = {pattern for pattern in patterns if is_pattern(pattern) and any(matches(pattern, code) for code in codes)}
        return wild | codes

    def _order(self) -> tuple[list[str], bool]:
        """Stale names, parents first; and whether any is its own ancestor. Not recursive: inheritance may be thousands deep."""
        order: list[str] = []
        finished: dict[str, bool] = {}
        is_cyclic = False
        for root in self.stale:
            if root in finished or root not in self.role_facts:
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
        return [parent for parent in self.role_facts[name].inherits if parent in self.stale and parent in self.role_facts]

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
            _add(allow, PLAIN, self._group(group))
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

    def _group(self, name: str) -> int:
        if name not in self.group_masks:
            fact = self.group_facts.get(name)
            self.group_masks[name] = 0 if fact is None else self.index.mask_of(fact.patterns)
        return self.group_masks[name]

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
        return remembered(self.conditions, self.language, text) if text else None


def _changed(old: Mapping[str, Fact], new: Mapping[str, Fact]) -> set[str]:
    """Names whose fact is new, another or gone."""
    changed = {name for name, fact in new.items() if (known := old.get(name)) is not fact and known != fact}
    return changed | (old.keys() - new.keys())


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
