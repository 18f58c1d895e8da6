"""A rule of the queryset filter as SQL: the refs for which it is decided otherwise than elsewhere, found in the resource tree.

The tree may be newer than the revision that was decided at, by milliseconds or by the realm's bound, and old grants on a new tree
would allow what no revision ever did. So what the changelog names since is a wall: a resource that was moved in between, and all
below it, is left out until the next question.
"""
# The SQL is put together from constants of this module; whatever comes from outside is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connections

from permissions.lookup.queryset import Rule
from permissions.models import Changelog, Realm, Resource

RESOURCE: Final = Resource._meta.db_table
CHANGELOG: Final = Changelog._meta.db_table
REALM: Final = Realm._meta.db_table
# A ref that no row can have: the tree is not one that the rule can be laid upon.
NO_TREE: Final = "*"


class Sql(NamedTuple):
    text: str
    params: list[Any]


def texts(vendor: str, values: Sequence[str]) -> Sql:
    """A subquery of texts, as `ref`, all in one parameter: a statement takes 32,766 or 65,535 of them."""
    if vendor == "postgresql":
        return Sql("(SELECT unnest(%s::text[]) AS ref)", [list(values)])
    return Sql("(SELECT value AS ref FROM json_each(%s))", [json.dumps(list(values))])


def exceptions(rule: Rule, vendor: str) -> Sql:
    """A SELECT of the refs that are allowed, where elsewhere none is; else of those that are not."""
    if rule.rows:
        return _by_rows(rule, vendor)
    return _not_below(rule, vendor) if rule.is_open else _below(rule, vendor)


def tree_is_newer(rule: Rule) -> Sql:
    """Whether the tree that the statement sees is the rule's or a newer one, of which the changelog tells every difference.

    It is older in a transaction that reads an old snapshot.
    """
    return Sql(
        f"(EXISTS (SELECT 1 FROM {REALM} m WHERE m.id = %s AND m.rev >= %s) AND NOT EXISTS "
        f"(SELECT 1 FROM {CHANGELOG} g WHERE g.realm_id = %s AND g.rev > %s AND g.kind = '*'))",
        [rule.realm_id, rule.revision, rule.realm_id, rule.revision],
    )


def read(rule: Rule, most: int | None) -> list[str] | None:
    """The refs of `exceptions`; None where there are more than `most`. `[NO_TREE]` where they cannot be told."""
    connection = connections[DEFAULT_DB_ALIAS]
    found, newer = exceptions(rule, connection.vendor), tree_is_newer(rule)
    text = (
        f"SELECT t.ref FROM ({found.text}) t WHERE {newer.text} UNION ALL SELECT '{NO_TREE}' WHERE NOT {newer.text}"
        f"{'' if most is None else f' LIMIT {most + 1:d}'}"
    )
    with connection.cursor() as cursor:
        cursor.execute(text, [*found.params, *newer.params, *newer.params])
        refs = [row[0] for row in cursor.fetchall()]
    return None if most is not None and len(refs) > most else refs


def stored(rule: Rule, refs: Sequence[str]) -> set[str]:
    """Those of `refs` that have a row, or had one at the rule's revision."""
    connection = connections[DEFAULT_DB_ALIAS]
    wanted = texts(connection.vendor, refs)
    text = (
        f"SELECT r.ref FROM {RESOURCE} r WHERE r.realm_id = %s AND r.ref IN {wanted.text} "
        f"UNION ALL SELECT g.object_id FROM {CHANGELOG} g WHERE g.realm_id = %s AND g.rev > %s AND g.kind = 'r'"
    )
    with connection.cursor() as cursor:
        cursor.execute(text, [rule.realm_id, *wanted.params, rule.realm_id, rule.revision])
        return {row[0] for row in cursor.fetchall()}


def _changed(rule: Rule, ref: str) -> Sql:
    return Sql(
        f"EXISTS (SELECT 1 FROM {CHANGELOG} g WHERE g.realm_id = %s AND g.rev > %s AND g.kind = 'r' AND g.object_id = {ref})",
        [rule.realm_id, rule.revision],
    )


def _all_changed(rule: Rule) -> Sql:
    return Sql(
        f"SELECT g.object_id AS ref FROM {CHANGELOG} g WHERE g.realm_id = %s AND g.rev > %s AND g.kind = 'r'",
        [rule.realm_id, rule.revision],
    )


def _of_kind(rule: Rule, ref: str) -> Sql:
    prefix = f"{rule.kind}:"
    return Sql(f"substr({ref}, 1, {len(prefix):d}) = %s", [prefix])


def _below(rule: Rule, vendor: str) -> Sql:
    nodes, roots, named = (texts(vendor, refs) for refs in (rule.nodes, rule.roots, rule.named))
    changed, of_kind = _changed(rule, "c.ref"), _of_kind(rule, "b.ref")
    enters = f"c.ref NOT IN {nodes.text} AND NOT {changed.text}{' AND c.inherit' if rule.walls else ''}"
    enters_params = [*nodes.params, *changed.params]
    text = (
        "WITH RECURSIVE below(id, ref) AS ("
        f"SELECT c.id, c.ref FROM {RESOURCE} p JOIN {RESOURCE} c ON c.parent_id = p.id "
        f"WHERE p.realm_id = %s AND p.ref IN {roots.text} AND {enters} "
        f"UNION SELECT c.id, c.ref FROM below b JOIN {RESOURCE} c ON c.parent_id = b.id WHERE {enters}) "
        f"SELECT b.ref FROM below b WHERE {of_kind.text} UNION ALL {named.text[1:-1]}"
    )
    return Sql(text, [rule.realm_id, *roots.params, *enters_params, *enters_params, *of_kind.params, *named.params])


def _not_below(rule: Rule, vendor: str) -> Sql:
    nodes, roots, named = (texts(vendor, refs) for refs in (rule.nodes, rule.roots, rule.named))
    changed, of_kind = _all_changed(rule), _of_kind(rule, "b.ref")
    # Three ways in, each by an index of its own, save that of private nodes.
    private = f"UNION SELECT c.id, c.ref FROM {RESOURCE} c WHERE c.realm_id = %s AND NOT c.inherit AND c.ref NOT IN {nodes.text} "
    text = (
        "WITH RECURSIVE below(id, ref) AS ("
        f"SELECT c.id, c.ref FROM {RESOURCE} p JOIN {RESOURCE} c ON c.parent_id = p.id "
        f"WHERE p.realm_id = %s AND p.ref IN {roots.text} AND c.ref NOT IN {nodes.text} "
        f"{private if rule.walls else ''}"
        f"UNION SELECT c.id, c.ref FROM {RESOURCE} c WHERE c.realm_id = %s AND c.ref IN ({changed.text}) "
        f"UNION SELECT c.id, c.ref FROM below b JOIN {RESOURCE} c ON c.parent_id = b.id WHERE c.ref NOT IN {nodes.text}) "
        f"SELECT b.ref FROM below b WHERE {of_kind.text} UNION ALL {named.text[1:-1]} UNION ALL {changed.text}"
    )
    params: list[Any] = [rule.realm_id, *roots.params, *nodes.params]
    if rule.walls:
        params += [rule.realm_id, *nodes.params]
    params += [rule.realm_id, *changed.params, *nodes.params, *of_kind.params, *named.params, *changed.params]
    return Sql(text, params)


def _by_rows(rule: Rule, vendor: str) -> Sql:
    allowed = texts(vendor, rule.allowed)
    if not rule.is_open:
        return Sql(allowed.text[1:-1], allowed.params)
    changed, of_kind = _all_changed(rule), _of_kind(rule, "r.ref")
    return Sql(
        f"SELECT r.ref FROM {RESOURCE} r WHERE r.realm_id = %s AND {of_kind.text} AND r.ref NOT IN {allowed.text} "
        f"UNION ALL {changed.text}",
        [rule.realm_id, *of_kind.params, *allowed.params, *changed.params],
    )
