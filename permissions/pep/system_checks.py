"""System checks of enforcement: views that nobody declared, REST views without a permission, models whose rows share a name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver, get_resolver

from permissions.entities import kind_of
from permissions.pep import rules

MIDDLEWARE: Final = "permissions.pep.middleware.PermissionMiddleware"
# More are counted, not listed.
MOST_NAMED: Final = 30


def routes(resolver: URLResolver, names: str = "", path: str = "/") -> Iterator[tuple[str, str, Any]]:
    """(name of the route with its namespaces, path as written, view) of every route."""
    for pattern in resolver.url_patterns:
        here = path + str(pattern.pattern).lstrip("^/")
        if isinstance(pattern, URLResolver):
            space = f"{names}{pattern.namespace}:" if pattern.namespace else names
            yield from routes(pattern, space, here)
        elif isinstance(pattern, URLPattern):
            yield f"{names}{pattern.name or ''}", here, pattern.callback


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
        for name, path, view in routes(get_resolver())
        if not rules.speaks(view) and not any(_may_match(rule, name) for rule in declared)
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


def _may_match(rule: rules.Rule, name: str) -> bool:
    """By name; a rule for a path may match any route, for only a request has a path."""
    return rule.path is not None or rule.matches(name, "", "")


@register(Tags.urls)
def every_rest_view_names_a_permission(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    return [
        Warning(
            f"{view.cls.__name__} at {path} has HasPermission and no required_permission: every request is refused.",
            hint='Set required_permission = "post:view", or a mapping by action or method.',
            id="permissions.W011",
        )
        for _, path, view in routes(get_resolver())
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
