"""Cycles in the graphs that a bundle states: roles, teams, resources, requirements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def cycle_of(edges: Mapping[str, Iterable[str]]) -> list[str]:
    """The nodes of one cycle, in order, the first repeated at the end; empty where there is none.

    Iterative, so that a chain of a hundred thousand nodes cannot exhaust the stack.
    """
    done: set[str] = set()
    for start in edges:
        if start in done:
            continue
        path: list[str] = [start]
        on_path = {start}
        waiting = [iter(edges.get(start, ()))]
        while waiting:
            child = next(waiting[-1], None)
            if child is None:
                waiting.pop()
                left = path.pop()
                on_path.discard(left)
                done.add(left)
            elif child in on_path:
                return [*path[path.index(child) :], child]
            elif child not in done:
                path.append(child)
                on_path.add(child)
                waiting.append(iter(edges.get(child, ())))
    return []


def after_their_needs(wanted: Iterable[str], edges: Mapping[str, Iterable[str]]) -> list[str]:
    """The names of `wanted`, each after those of them it reaches over `edges`, through names that are not wanted as well.

    Otherwise their order is kept. A circle is left as it comes: whoever writes the rows refuses it.
    """
    names = dict.fromkeys(wanted)
    done: set[str] = set()
    order: list[str] = []
    for start in names:
        if start in done:
            continue
        done.add(start)
        waiting = [(start, iter(edges.get(start, ())))]
        while waiting:
            node, needs = waiting[-1]
            need = next((n for n in needs if n not in done), None)
            if need is None:
                waiting.pop()
                if node in names:
                    order.append(node)
            else:
                done.add(need)
                waiting.append((need, iter(edges.get(need, ()))))
    return order
