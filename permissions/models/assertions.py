"""Assertion: a question with the answer it must have. It grants nothing and stands in no bundle: no trigger, no revision."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from permissions.engine import names
from permissions.models.fields import validate_name
from permissions.models.realm import Realm


class Assertion(models.Model):
    """`resource` empty: the realm itself. `at` empty: whenever it is run."""

    realm = models.ForeignKey(Realm, on_delete=models.CASCADE, related_name="assertions", verbose_name=_("realm"))
    name = models.CharField(_("name"), max_length=names.MAX_NAME, validators=[validate_name])
    subject = models.CharField(_("subject"), max_length=names.MAX_REF)
    permission = models.CharField(_("permission"), max_length=names.MAX_CODE)
    resource = models.CharField(_("resource"), max_length=names.MAX_REF, blank=True, default="")
    context = models.JSONField(_("context"), default=dict, blank=True)
    at = models.DateTimeField(_("at"), null=True, blank=True)
    expected = models.BooleanField(_("must be allowed"))
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    created_by = models.CharField(_("created by"), max_length=600, blank=True, default="")

    class Meta:
        verbose_name = _("assertion")
        verbose_name_plural = _("assertions")
        default_permissions = ()
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["realm", "name"], name="assertion_name_unique")]

    def __str__(self) -> str:
        return self.name
