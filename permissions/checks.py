"""System checks of the database: a table whose triggers are missing or altered changes behind every cache's back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import FieldDoesNotExist
from django.db import connections

from permissions import conf, triggers

_healing: ContextVar[bool] = ContextVar("permissions_triggers_healing", default=False)
_MIGRATE = "Run `manage.py migrate`: it reinstalls the triggers of this version, with the settings of this environment."


@contextmanager
def healing() -> Iterator[None]:
    """Inside, missing or altered triggers are no error: migrate, which mends them, must not be stopped by them."""
    reset = _healing.set(True)
    try:
        yield
    finally:
        _healing.reset(reset)


@register(Tags.models)
def every_model_has_triggers(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    return [
        Error(
            f"The table {table} has no triggers: its changes would make no revision and reach no cache.",
            hint="Describe it in permissions/triggers/tables.py.",
            id="permissions.E001",
        )
        for table in triggers.models_without_triggers()
    ]


@register(Tags.models)
def subject_attribute_names_one_subject(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    user, name = get_user_model(), conf.subject_attribute()
    try:
        field = user._meta.get_field(name)
    except FieldDoesNotExist:
        field = None
    if field is not None and getattr(field, "unique", False) and getattr(field, "column", None):
        return []
    return [
        Error(
            f"SUBJECT_ATTRIBUTE is {name!r}, which is no unique field of {settings.AUTH_USER_MODEL}: "
            "two users could share one subject.",
            hint="Name a column of the user model that is unique, such as 'username'.",
            id="permissions.E003",
        )
    ]


@register(Tags.database)
def triggers_are_installed(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **_: Any
) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for alias in () if _healing.get() else databases or ():
        if triggers.is_there(alias):
            found += [
                Error(f"In the database {alias!r} the {said}.", hint=_MIGRATE, id="permissions.E002")
                for said in triggers.differences(connections[alias])
            ]
    return found
