"""Realm: one tenant with its law, and the head of its revisions. Changelog: what each revision touched."""

from __future__ import annotations

import math
import uuid
from typing import ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from permissions.engine import names
from permissions.models.fields import validate_name

COMBINING = [("deny_overrides", _("deny overrides")), ("overlay", _("overlay"))]
UNKNOWN_SUBJECTS = [("deny", _("deny")), ("everyone", _("everyone"))]
MAX_STALENESS_S = 0.5
MAX_STATIC_GRACE_S = 60.0


def validate_resource_types(value: object) -> None:
    """{type: {"combining": "deny_overrides" | "overlay"}}"""
    if not isinstance(value, dict):
        raise ValidationError(f"must be a JSON object, not {type(value).__name__}", code="invalid")
    for kind, options in value.items():
        try:
            names.check_type(kind, "resource type")
        except names.BadNameError as error:
            raise ValidationError(str(error), code="invalid") from error
        if not isinstance(options, dict) or set(options) != {"combining"} or options["combining"] not in dict(COMBINING):
            raise ValidationError(
                f"resource type {kind!r} must be given as {{'combining': 'deny_overrides' or 'overlay'}}", code="invalid"
            )


class Realm(models.Model):
    """`epoch`, `rev`, `stamp` and `write_state` belong to the triggers (consistency, section 3); nothing else writes them."""

    name = models.CharField(_("name"), max_length=names.MAX_NAME, unique=True, validators=[validate_name])
    combining = models.CharField(_("combining"), max_length=20, choices=COMBINING, default="deny_overrides")
    resource_types = models.JSONField(_("resource types"), default=dict, blank=True, validators=[validate_resource_types])
    unknown_subjects = models.CharField(_("unknown subjects"), max_length=20, choices=UNKNOWN_SUBJECTS, default="deny")
    staleness_s = models.FloatField(
        _("staleness (s)"),
        default=MAX_STALENESS_S,
        validators=[MinValueValidator(0.0), MaxValueValidator(MAX_STALENESS_S)],
        help_text=_("Seconds: how old an answer without a token may be."),
    )
    static_grace_s = models.FloatField(
        _("static grace (s)"),
        default=0.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(MAX_STATIC_GRACE_S)],
        help_text=_("Seconds: how much older answers may be while the database is away. 0 fails closed."),
    )
    suspended = models.BooleanField(_("suspended"), default=False, help_text=_("A suspended realm denies every check."))

    epoch = models.UUIDField(default=uuid.uuid4, editable=False)
    rev = models.BigIntegerField(_("revision"), default=0, editable=False)
    stamp = models.IntegerField(default=0, editable=False)
    write_state = models.SmallIntegerField(default=0, editable=False)

    class Meta:
        verbose_name = _("realm")
        verbose_name_plural = _("realms")
        default_permissions = ()
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(name="realm_name_not_empty", condition=~Q(name="")),
            models.CheckConstraint(name="realm_combining", condition=Q(combining__in=[c for c, _label in COMBINING])),
            models.CheckConstraint(
                name="realm_unknown_subjects", condition=Q(unknown_subjects__in=[c for c, _label in UNKNOWN_SUBJECTS])
            ),
            models.CheckConstraint(
                name="realm_staleness", condition=Q(staleness_s__gte=0.0) & Q(staleness_s__lte=MAX_STALENESS_S)
            ),
            models.CheckConstraint(
                name="realm_static_grace", condition=Q(static_grace_s__gte=0.0) & Q(static_grace_s__lte=MAX_STATIC_GRACE_S)
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Not-a-number passes every comparison of the validators, and SQLite keeps it as NULL."""
        for field in ("staleness_s", "static_grace_s"):
            value = getattr(self, field)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValidationError({field: f"must be a finite number of seconds, not {value}"})


class Changelog(models.Model):
    """One row for each object a revision touched; written by triggers, and by `triggers.mark` for a flush.

    `kind`: m model, s subject, t team, r resource, k key, * everything, f flush: no row has changed, but whatever memories keep
    of `object_id` is to go. There it is `<tag>:<value>`: `subject:` or `resource:` and a pattern of ids, `role:`, `team:` or
    `scope:` and a name. `realm_id` is no foreign key: deleting a realm fires triggers that write here after Django has collected
    what to delete.
    """

    pk = models.CompositePrimaryKey("realm_id", "rev", "kind", "object_id")
    realm_id = models.BigIntegerField(_("realm"))
    rev = models.BigIntegerField(_("revision"))
    kind = models.CharField(_("kind"), max_length=1)
    object_id = models.CharField(_("object"), max_length=names.MAX_REF)
    stamp = models.IntegerField()
    at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("changed object")
        verbose_name_plural = _("revisions")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.realm_id}@{self.rev} {self.kind} {self.object_id}"
