"""BrowserSession: what Django's session store does not tell of a login, kept beside its row and gone with it."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import models
from django.utils.translation import gettext_lazy as _


class BrowserSession(models.Model):
    """`id` is what pages and links name: the session's own key is as good as a password. `last_seen_at` is exact to a minute."""

    session = models.OneToOneField(Session, on_delete=models.CASCADE, related_name="+", verbose_name=_("session"))
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", verbose_name=_("user"))
    begun_at = models.DateTimeField(_("since"))
    last_seen_at = models.DateTimeField(_("last seen"), db_index=True)
    address = models.CharField(_("address"), max_length=64, blank=True, default="")
    browser = models.CharField(_("browser"), max_length=200, blank=True, default="")

    class Meta:
        verbose_name = _("browser session")
        verbose_name_plural = _("browser sessions")
        default_permissions = ()
        ordering: ClassVar = ["-last_seen_at"]

    def __str__(self) -> str:
        return str(self.pk)
