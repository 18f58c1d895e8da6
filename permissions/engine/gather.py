"""Rows as they were read, in any order -> what the engine's records hold: a subject's closure, a resource's chain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from permissions.engine.types import MembershipFact, ResourceNodeFact


def closure_above(
    ref: str, above: Mapping[str, Iterable[MembershipFact]], asserted: Iterable[str] = ()
) -> tuple[list[MembershipFact], set[str]]:
    """Every edge on a way up from `ref`, whatever its window, and all that is met, `ref` included. `above`: by member.

    `asserted`: teams that count as holding `ref` directly. The visited set ends a cycle that slipped past the write's check.
    """
    memberships = [MembershipFact(ref, team) for team in asserted if team != ref]
    frontier = [ref, *(membership.team for membership in memberships)]
    seen = set(frontier)
    while frontier:
        for edge in above.get(frontier.pop(), ()):
            memberships.append(edge)
            if edge.team not in seen:
                seen.add(edge.team)
                frontier.append(edge.team)
    return memberships, seen


def chain_of(node: int | None, nodes: Mapping[int, tuple[str, bool, int | None]]) -> tuple[ResourceNodeFact, ...]:
    """From the root to `node`. `nodes`: key -> (ref, inherit, key of the parent)."""
    chain: list[ResourceNodeFact] = []
    seen: set[int] = set()
    while node is not None and node not in seen:
        seen.add(node)
        ref, inherit, parent = nodes[node]
        chain.append(ResourceNodeFact(ref, inherit))
        node = parent
    chain.reverse()
    return tuple(chain)
