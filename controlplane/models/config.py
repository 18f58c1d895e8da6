"""ConfigRevision: every version of the live configuration, whole, with who wrote it and why; rows are added, never changed."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class ConfigRevision(models.Model):
    """`sections` is the whole snapshot. `section` is what this version changed; empty: more than one.

    The only change a row ever sees is `is_active` from true to false, when the next version comes; triggers hold to that.
    """

    epoch = models.BigIntegerField(_("epoch"))
    version = models.BigIntegerField(_("version"))
    sections = models.JSONField(_("values"))
    section = models.CharField(_("section"), max_length=100, blank=True, default="")
    author = models.CharField(_("author"), max_length=600)
    reason = models.CharField(_("reason"), max_length=1000, blank=True, default="")
    created_at = models.DateTimeField(_("at"), default=timezone.now)
    rolled_back_from = models.BigIntegerField(_("goes back to version"), null=True, blank=True)
    is_active = models.BooleanField(_("in force"), default=True)

    class Meta:
        verbose_name = _("configuration version")
        verbose_name_plural = _("configuration versions")
        default_permissions = ()
        ordering: ClassVar = ["-epoch", "-version"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version"], name="config_version_unique"),
            models.UniqueConstraint(fields=["is_active"], condition=models.Q(is_active=True), name="config_one_active"),
        ]

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} {self.version}"

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("a configuration version is never removed")
