"""What a role gives by the source's own rules, worked out slowly and by other means than the importers'.

A role's answer is (allowed, denied): sets of source codes in lower case where the source ignores case.
"""

from __future__ import annotations

import bisect
import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

from permissions.bundle.specs import Bundle
from permissions.engine.patterns import matches
from permissions.engine.platform import PREFIX

Answer = tuple[frozenset[str], frozenset[str]]


class _Codes:
    """Known codes, and those of them that match a pattern."""

    def __init__(self, codes: Iterable[str], match: Callable[[str, str], bool]) -> None:
        self._sorted = sorted(codes)
        self._match = match
        self._found: dict[str, frozenset[str]] = {}

    def matched(self, *patterns: str) -> frozenset[str]:
        return frozenset().union(*map(self._one, patterns))

    def _one(self, pattern: str) -> frozenset[str]:
        if pattern not in self._found:
            fixed = re.split(r"[*?]", pattern, maxsplit=1)[0]
            first, last = (bisect.bisect_left(self._sorted, text) for text in (fixed, fixed + "\U0010ffff"))
            self._found[pattern] = frozenset(code for code in self._sorted[first:last] if self._match(pattern, code))
        return self._found[pattern]


@functools.cache
def _wild(pattern: str) -> re.Pattern[str]:
    return re.compile("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern), re.DOTALL)


def _anything(pattern: str, code: str) -> bool:
    """As AWS and Azure have it: a star runs over everything."""
    return _wild(pattern).fullmatch(code) is not None


def _lower(texts: Iterable[str]) -> list[str]:
    return [text.strip().lower() for text in texts]


def aws(data: dict[str, Any], catalogue: list[str]) -> dict[str, Answer]:
    """Allowed are actions the policy lists; a NotAction statement denies the rest, in PowerUserAccess it allows them."""
    keys = ("permissions", "denied", "not_actions")
    named = {c for role in data["roles"] for key in keys for c in _lower(role[key]) if "*" not in c and "?" not in c}
    codes = _Codes({*_lower(catalogue), *named}, _anything)
    answers = {}
    for role in data["roles"]:
        allow, deny, but = (codes.matched(*_lower(role[key])) for key in keys)
        rest = codes.matched("*") - but if role["not_actions"] else frozenset()
        allows = role["name"] == "PowerUserAccess"
        answers[role["name"]] = (allow | rest, deny) if allows else (allow, deny | rest)
    return answers


def azure(data: dict[str, Any]) -> dict[str, Answer]:
    """Each plane for itself: what is listed minus what is excluded. Conditions are passed over."""

    def known(*keys: str) -> set[str]:
        return {c for r in data["roles"] for k in keys for c in _lower(r[k]) if "*" not in c and not c.endswith("/")}

    control = _Codes(known("permissions", "excluded"), _anything)
    plane = _Codes(known("data_permissions", "data_excluded"), _anything)
    return {
        role["name"].strip(): (
            (control.matched(*_lower(role["permissions"])) - control.matched(*_lower(role["excluded"])))
            | (plane.matched(*_lower(role["data_permissions"])) - plane.matched(*_lower(role["data_excluded"]))),
            frozenset(),
        )
        for role in data["roles"]
    }


def gcp(data: dict[str, Any]) -> dict[str, Answer]:
    return {role["name"]: (frozenset(role["permissions"]), frozenset()) for role in data["roles"]}


def kubernetes(data: dict[str, Any]) -> dict[str, Answer]:
    """Rules of RBAC: a `*` for a whole part, `*/sub` for a subresource of anything, a name narrows, a path's `*` is a prefix."""
    codes = {c for role in data["roles"] for c in role["permissions"] if "*" not in c}
    return {
        role["name"]: (frozenset(c for c in codes if any(_rule(p, c) for p in role["permissions"])), frozenset())
        for role in data["roles"]
    }


def _rule(rule: str, code: str) -> bool:
    what, _, verb = rule.rpartition(":")
    asked, _, asked_verb = code.rpartition(":")
    if verb not in ("*", asked_verb) or what.startswith("url:") != asked.startswith("url:"):
        return False
    if what.startswith("url:"):
        path, asked_path = what[4:], asked[4:]
        return path == asked_path or (path.endswith("*") and asked_path.startswith(path[:-1]))
    (group, _, resource), (asked_group, _, asked_resource) = what.partition("/"), asked.partition("/")
    resource, _, name = resource.partition("@")
    asked_resource, _, asked_name = asked_resource.partition("@")
    if group not in ("*", asked_group) or (name and name != asked_name):
        return False
    if resource in ("*", asked_resource):
        return True
    return resource.startswith("*/") and asked_resource.partition("/")[2] == resource[2:]


def given_by(bundle: Bundle) -> dict[str, Answer]:
    """What the imported roles give by our law, over every code the bundle registers."""
    roles = {role.name: role for role in bundle.roles or ()}
    codes = {p.code for p in bundle.permissions or ()}
    for role in roles.values():
        named = [line.code for line in (*role.permissions, *role.deny)] + list(role.exclude)
        codes |= {text for text in named if "*" not in text and "?" not in text and not text.startswith(PREFIX)}
    known = _Codes(codes, matches)

    @functools.cache
    def answer(name: str) -> Answer:
        role = roles[name]
        own = known.matched(*(line.code for line in role.permissions)) - known.matched(*role.exclude)
        inherited = [answer(parent) for parent in role.inherits]
        deny = known.matched(*(line.code for line in role.deny))
        return own.union(*(allowed for allowed, _ in inherited)), deny.union(*(denied for _, denied in inherited))

    return {name: answer(name) for name in roles}
