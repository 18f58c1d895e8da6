"""Which guards stand before a view: by its own word, and by the rules of PERMISSION_RULES. Everything declared is enforced.

PERMISSION_RULES = [
    {"view": "blog:*", "permission": "blog:view"},
    {"path": r"^/reports/", "permission": "report:view", "resource": "report:{pk}", "methods": ["GET"]},
    {"view": "admin:*", "open": "the admin asks the PDP itself"},
]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from permissions.pep.decorators import GUARDS, OPEN
from permissions.pep.guard import Guard
from permissions.pep.requirement import Requirement

SETTING: Final = "PERMISSION_RULES"
STRICT: Final = "PERMISSION_STRICT"
_KEYS: Final = {"view", "path", "methods", "permission", "resource", "realm", "full", "open"}


@dataclass(frozen=True, slots=True)
class Rule:
    """`view`: a pattern of the name of the route, namespaces included. `path`: a regular expression, matched from the start."""

    view: str
    path: re.Pattern[str] | None
    methods: frozenset[str]
    guard: Guard | None
    why_open: str

    def matches(self, view_name: str, path: str, method: str) -> bool:
        if self.methods and method not in self.methods and not (method == "HEAD" and "GET" in self.methods):
            return False
        if self.path is not None and self.path.match(path) is None:
            return False
        return not self.view or fnmatchcase(view_name, self.view)


@dataclass(frozen=True, slots=True)
class Found:
    """`guards`: those the middleware asks. `is_declared`: whether anything was said of the view at all."""

    guards: tuple[Guard, ...]
    is_declared: bool


def is_strict() -> bool:
    return bool(getattr(settings, STRICT, False))


@lru_cache(maxsize=1)
def rules() -> tuple[Rule, ...]:
    """Raises ImproperlyConfigured naming the rule."""
    given = getattr(settings, SETTING, ())
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
        raise ImproperlyConfigured(f"{SETTING} is a list of rules, not {type(given).__name__}")
    return tuple(_rule(item, f"{SETTING}[{place}]") for place, item in enumerate(given))


def _forget(*, setting: str, **_given: object) -> None:
    if setting == SETTING:
        rules.cache_clear()


setting_changed.connect(_forget, dispatch_uid="permissions.pep.rules")


def _rule(item: object, where: str) -> Rule:
    if not isinstance(item, Mapping):
        raise ImproperlyConfigured(f"{where} is a mapping, not {type(item).__name__}")
    unknown = set(item) - _KEYS
    if unknown:
        raise ImproperlyConfigured(f"{where} has the unknown key {', '.join(map(repr, sorted(unknown, key=str)))}")
    if not item.get("view") and not item.get("path"):
        raise ImproperlyConfigured(f"{where} names no view and no path")
    if bool(item.get("permission")) == bool(item.get("open")):
        raise ImproperlyConfigured(f"{where} names either a permission, or why the view is open")
    methods = item.get("methods", ())
    if isinstance(methods, str):
        raise ImproperlyConfigured(f"{where}.methods is a list, such as ['GET']")
    try:
        path = re.compile(item["path"]) if item.get("path") else None
        needed = {key: item[key] for key in ("resource", "realm", "full") if key in item}
        guard = Guard(Requirement(item["permission"], **needed)) if item.get("permission") else None
    except (re.error, TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"{where}: {error}") from error
    return Rule(str(item.get("view", "")), path, frozenset(str(one).upper() for one in methods), guard, str(item.get("open", "")))


def of(view: Callable[..., Any], view_name: str, path: str, method: str) -> Found:
    """Of a request: the view's own declaration, and the first rule that matches; neither makes the other superfluous."""
    guards: tuple[Guard, ...] = ()
    is_declared = speaks(view)
    declared = own(view)
    if declared is not None:
        guards += (_guard_of(declared),)
        is_declared = True
    for rule in rules():
        if rule.matches(view_name, path, method):
            guards += (rule.guard,) if rule.guard is not None else ()
            is_declared = True
            break
    return Found(guards, is_declared)


def own(view: Callable[..., Any]) -> str | None:
    """The permission that a view names by its attribute `required_permission`, for the middleware to ask."""
    where: Any = getattr(view, "view_class", view)
    if guards_itself(view):
        return None
    found = getattr(where, "required_permission", None)
    if found is not None and not isinstance(found, str):
        raise ImproperlyConfigured(f"{where}: required_permission is a text such as 'post:view', not {type(found).__name__}")
    return found


def guards_itself(view: Callable[..., Any]) -> bool:
    """A view of REST framework with a permission class of ours: it knows its user only inside."""
    view_class: Any = getattr(view, "cls", None) or getattr(view, "view_class", None)
    classes = getattr(view_class, "permission_classes", ())
    return any(_is_ours(one) for one in classes)


def _is_ours(permission_class: Any) -> bool:
    if getattr(permission_class, "asks_the_pdp", False):
        return True
    # `A & B` asks both; `A | B` and `~A` may let someone in without asking.
    operator = getattr(permission_class, "operator_class", None)
    if operator is None or operator.__name__ != "AND":
        return False
    return _is_ours(permission_class.op1_class) or _is_ours(permission_class.op2_class)


def speaks(view: Callable[..., Any]) -> bool:
    """Whether the view itself says what it needs, or why it needs nothing."""
    if getattr(view, GUARDS, ()) or guards_itself(view) or own(view) is not None:
        return True
    return any(OPEN in vars(where) for where in (view, getattr(view, "view_class", None)) if where is not None)


@lru_cache(maxsize=1_000)
def _guard_of(permission: str) -> Guard:
    return Guard(Requirement(permission))
