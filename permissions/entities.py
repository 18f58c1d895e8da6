"""Django's objects as entities of the law: a user is a subject, an instance of a model a resource."""

from __future__ import annotations

import string
from typing import Any, Final
from uuid import UUID

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError
from django.db.models.signals import post_init, post_save

from permissions import conf
from permissions.engine import names

# Where an account keeps the name it was loaded with.
_LOADED: Final = "_permission_loaded"


class NamelessError(ValueError):
    """What was given names no resource. Whoever asks must deny: a question without a resource would ask about the realm."""


def subject_of(user: object) -> str | None:
    """The subject that a user of Django is; None for nobody in particular (anonymous, not saved, a name no subject can have).

    `permission_subject` of the user object comes first, for accounts that are no rows of the user table.
    """
    named = getattr(user, "permission_subject", None)
    if isinstance(named, str) and named:
        return named if is_legal(named) else None
    if not getattr(user, "is_authenticated", False) or getattr(user, "pk", None) is None:
        return None
    attribute = conf.subject_attribute()
    # A form that was refused leaves what was typed in the instance: without the name as loaded, whoever edits their own account
    # would be asked about as anybody they type, until the page is rendered.
    name, loaded = getattr(user, attribute, None), vars(user).get(_LOADED)
    if loaded and name != loaded:
        name = _stored_name(user, attribute)  # typed, or fetched anew: only the row can tell
    return None if name is None or not is_legal(f"user:{name}") else f"user:{name}"


def _stored_name(user: Any, attribute: str) -> str | None:
    """None where there is no such row any more, or it cannot be read here (on an event loop)."""
    try:
        found = type(user)._base_manager.filter(pk=user.pk).values_list(attribute, flat=True).first()
    except (SynchronousOnlyOperation, DatabaseError):
        return None
    return None if found is None else str(found)


def realm_of(user: object, realm: str | None) -> str | None:
    """Where `user` is asked about; None where the one asked for is not theirs (an API key belongs to one realm)."""
    wanted = conf.django_realm() if realm is None else realm
    own = getattr(user, "permission_realm", None)
    return wanted if own is None or own == wanted else None


def watch_users() -> None:
    """Once, at the app's start."""
    user = get_user_model()
    for model in apps.get_models():
        if issubclass(model, user):
            post_init.connect(_remember, sender=model, dispatch_uid=f"permissions.entities.{model._meta.label}")
            post_save.connect(_remember_new, sender=model, dispatch_uid=f"permissions.entities.{model._meta.label}")


def _remember(instance: Any, **_given: object) -> None:
    # By __dict__: a deferred field must not be fetched for this.
    vars(instance)[_LOADED] = vars(instance).get(conf.subject_attribute())


def _remember_new(instance: Any, created: bool = False, **_given: object) -> None:
    if created:
        _remember(instance)


def code_of(perm: str) -> str:
    """`app.codename`, as Django writes permissions, is the code `app:codename`; a text with a colon is a code already."""
    return perm if ":" in perm else perm.replace(".", ":", 1)


def spellings(code: str) -> tuple[str, ...]:
    """Every text by which `code_of` finds the code."""
    kind, _, rest = code.partition(":")
    return (code,) if "." in kind or ":" in rest else (code, f"{kind}.{rest}")


def resource_of(obj: object) -> str:
    """The resource that an object is: its `permission_resource`, else `<model name>:<pk>`; a text is one by itself.

    Raises NamelessError for anything else. A proxy is what it stands for, so that no rule is passed by through another class.
    """
    if isinstance(obj, str):
        return _legal(str(obj))
    named = getattr(obj, "permission_resource", None)
    if named is not None:
        return _legal(named() if callable(named) else named)
    # Declared, and None: nothing to fall back to, or a row without a channel would be asked about as a row.
    if hasattr(obj, "permission_resource"):
        raise NamelessError(f"permission_resource of this {type(obj).__name__} is None")
    meta = getattr(obj, "_meta", None)
    if meta is None or isinstance(obj, type):
        raise NamelessError(f"{type(obj).__name__} is no instance of a model and has no permission_resource")
    return _legal(f"{kind_of(type(obj))}:{id_text(obj.pk)}")  # type: ignore[attr-defined]  # a model's instance


def kind_of(model: Any) -> str:
    """The resource type of a model that names none."""
    return str(model._meta.concrete_model._meta.model_name)


def id_text(value: object) -> str:
    """How a value stands in an id. Raises NamelessError for a kind whose text databases and Python write differently."""
    if isinstance(value, bool) or not isinstance(value, int | str | UUID):
        raise NamelessError(f"a {type(value).__name__} cannot be part of a resource's id")
    return str(value)


def is_legal(ref: str) -> bool:
    try:
        names.check_ref(ref, "resource")
    except names.BadNameError:
        return False
    return True


def _legal(ref: object) -> str:
    try:
        return names.check_ref(str(ref) if isinstance(ref, str) else ref, "resource")
    except names.BadNameError as error:
        raise NamelessError(str(error)) from error


class ResourceRef:
    """What a model calls its instances: `permission_resource = ResourceRef("channel:{channel_id}")`.

    A constant type, then texts and fields of the model (`{slug}`, `{blog__slug}` through a relation). On an instance it gives the
    resource, or None where a field is empty; the queryset filter makes the same text in the database.
    """

    def __init__(self, template: str) -> None:
        self.template = template
        try:
            parsed = list(string.Formatter().parse(template))
        except ValueError as error:
            raise ValueError(f"{template!r} is no template such as 'channel:{{channel_id}}': {error}") from error
        head, colon, first = (parsed[0][0] if parsed else "").partition(":")
        if not colon:
            raise ValueError(f"{template!r} must begin with a resource type and a colon, such as 'channel:{{channel_id}}'")
        self.kind = names.check_type(head, "resource type")
        # (text, field); the field "" stands for none.
        self.parts: tuple[tuple[str, str], ...] = tuple(
            (first if place == 0 else text, field or "") for place, (text, field, _, _) in enumerate(parsed)
        )
        if any(spec or conversion for _, _, spec, conversion in parsed) or not any(field for _, field in self.parts):
            raise ValueError(f"{template!r} must name at least one field, in braces and without a format")
        if any(field and not field.isidentifier() for _, field in self.parts):
            raise ValueError(f"{template!r} may name fields only, such as {{slug}} or {{blog__slug}}")

    def __repr__(self) -> str:
        return f"ResourceRef({self.template!r})"

    def __get__(self, obj: object | None, owner: type | None = None) -> Any:
        return self if obj is None else self.of(obj)

    def of(self, obj: object) -> str | None:
        made = []
        for text, field in self.parts:
            made.append(text)
            if field:
                value: Any = obj
                for name in field.split("__"):
                    value = None if value is None else getattr(value, name)
                if value is None:
                    return None
                made.append(id_text(value))
        return f"{self.kind}:{''.join(made)}"
