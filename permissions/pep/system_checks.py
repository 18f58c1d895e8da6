"""System checks of enforcement: views that nobody declared, REST views without a permission, models whose rows share a name."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RegexPattern

from permissions.entities import kind_of
from permissions.pep import rules

MIDDLEWARE: Final = "permissions.pep.middleware.PermissionMiddleware"
# More are counted, not listed.
MOST_NAMED: Final = 30


# Values of Django's own converters: paths that a route has, so a rule that misses one leaves the view without a word there.
SAMPLES: Final = {
    "int": ("1", "23"),
    "str": ("x", "y-2"),
    "slug": ("x", "y-2"),
    "uuid": ("00000000-0000-4000-8000-000000000001", "ffffffff-ffff-4fff-bfff-fffffffffffe"),
    "path": ("x", "y/2"),
}
_ARGUMENT: Final = re.compile(r"<(?:([^>:]+):)?[^>]+>")


@dataclass(frozen=True, slots=True)
class Paths:
    """`samples`: paths that a route has; where they are not `whole`, what all its paths begin with, and more cannot be told."""

    samples: tuple[str, ...] = ("/",)
    whole: bool = True

    def then(self, pattern: Any) -> Paths:
        if not self.whole:
            return self
        if isinstance(pattern, RegexPattern):
            text = str(pattern)
            known, rest = _literal(text) if text.startswith(("^", r"\A")) else ("", text)
            return Paths(tuple(path + known.removeprefix("/") for path in self.samples), rest in _ENDS)
        text, found, end = str(pattern).removeprefix("/"), self.samples, 0
        for argument in _ARGUMENT.finditer(text):
            found = tuple(path + text[end : argument.start()] for path in found)
            values = SAMPLES.get(argument[1] or "str")
            if values is None:
                return Paths(found, whole=False)
            if len(found) == 1:
                found *= len(values)
            found = tuple(path + value for path, value in zip(found, values, strict=True))
            end = argument.end()
        return Paths(tuple(path + text[end:] for path in found))


ROOT: Final = Paths()
# What may be left of an expression that is a text otherwise.
_ENDS: Final = ("", "$", r"\Z")


def _literal(regex: str) -> tuple[str, str]:
    """The text that whatever matches `regex` from the start begins with, and what of the expression is left."""
    left = regex.removeprefix("^").removeprefix(r"\A")
    if "|" in left:
        return "", left
    found: list[str] = []
    while left:
        if left[0] == "\\" and len(left) > 1 and not left[1].isalnum():
            found.append(left[1])
            left = left[2:]
        elif left[0] in "\\.^$*+?{}[]()":
            break
        else:
            found.append(left[0])
            left = left[1:]
    if found and left.startswith(("*", "?", "{")):
        found.pop()
    return "".join(found), left


def routes(resolver: URLResolver, names: str = "", path: str = "/", paths: Paths = ROOT) -> Iterator[tuple[str, str, Any, Paths]]:
    """(name of the route with its namespaces, path as written, view, paths it has) of every route."""
    for pattern in resolver.url_patterns:
        here, known = path + str(pattern.pattern).lstrip("^/"), paths.then(pattern.pattern)
        if isinstance(pattern, URLResolver):
            space = f"{names}{pattern.namespace}:" if pattern.namespace else names
            yield from routes(pattern, space, here, known)
        elif isinstance(pattern, URLPattern):
            yield f"{names}{pattern.name or ''}", here, pattern.callback, known


@register(Tags.urls)
def every_view_says_what_it_needs(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    if MIDDLEWARE not in settings.MIDDLEWARE:
        return []
    try:
        declared = rules.rules()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="permissions.E010")]
    silent = [
        f"{path} ({name or getattr(view, '__qualname__', view)})"
        for name, path, view, paths in routes(get_resolver())
        if not rules.speaks(view) and not _are_matched(declared, name, paths)
    ]
    if not silent:
        return []
    what = "is refused to everybody" if rules.is_strict() else "is open to everybody"
    more = f" … and {len(silent) - MOST_NAMED} more" if len(silent) > MOST_NAMED else ""
    return [
        Warning(
            f"{len(silent)} views say nothing of what they need, so each {what}: {', '.join(silent[:MOST_NAMED])}{more}",
            hint="Use @require_permission, required_permission, @open_view, or a rule of PERMISSION_RULES.",
            id="permissions.W010",
        )
    ]


def _are_matched(declared: Sequence[rules.Rule], name: str, paths: Paths) -> bool:
    """Whether a rule stands before every path of the route, whatever the method; assumed only where it cannot be told."""
    if paths.whole:
        return all(any(rule.matches(name, path, "") for rule in declared) for path in paths.samples)
    return all(any(_may_match(rule, name, path) for rule in declared) for path in paths.samples)


def _may_match(rule: rules.Rule, name: str, begins: str) -> bool:
    """Whether the rule might match a path that begins so."""
    if rule.path is None:
        return rule.matches(name, begins, "")
    if not dataclasses.replace(rule, path=None).matches(name, begins, ""):
        return False
    known, rest = _literal(rule.path.pattern)
    if begins.startswith(known):
        return rest not in _ENDS[1:]  # which would match one path of many
    return known.startswith(begins)


@register(Tags.urls)
def every_rest_view_names_a_permission(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    return [
        Warning(
            f"{view.cls.__name__} at {path} has HasPermission and no required_permission: every request is refused.",
            hint='Set required_permission = "post:view", or a mapping by action or method.',
            id="permissions.W011",
        )
        for _, path, view, _paths in routes(get_resolver())
        if hasattr(view, "cls") and rules.guards_itself(view) and getattr(view.cls, "required_permission", None) is None
    ]


@register(Tags.models)
def no_two_models_share_a_name(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """`blog.Post` and `forum.Post` would both be called `post:7`: a grant for one would open the other."""
    named: dict[str, list[Any]] = defaultdict(list)
    for model in apps.get_models():
        if not model._meta.proxy and not hasattr(model, "permission_resource"):
            named[kind_of(model)].append(model)
    return [
        Warning(
            f"{' and '.join(model._meta.label for model in models)} would both be called {kind}:<pk>.",
            hint="Give all but one of them permission_resource = ResourceRef('type:{pk}') with a type of its own.",
            id="permissions.W012",
        )
        for kind, models in named.items()
        if len(models) > 1 and any(hasattr(model._default_manager, "permitted") for model in models)
    ]
