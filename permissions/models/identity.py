"""ApiKey: an enforcement point or a management client, known by the hash of its key; KeyUse: when it was last seen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from permissions.engine import names
from permissions.models.fields import end_index, validate_name
from permissions.models.realm import Realm
from permissions.models.subjects import Subject

ASSERTED = [("override", _("override")), ("fill", _("fill")), ("ignore", _("ignore"))]


class ApiKey(models.Model):
    """The key itself is printed once and never stored. `prefix` is its public part, `digest` the SHA-256 of the whole, hex.

    A plain digest is enough: the key carries 256 random bits, so there is nothing to guess or to stretch.
    """

    realm = models.ForeignKey(Realm, on_delete=models.CASCADE, related_name="keys", verbose_name=_("realm"))
    name = models.CharField(_("name"), max_length=names.MAX_NAME, validators=[validate_name])
    prefix = models.CharField(_("prefix"), max_length=16, unique=True, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    asserted = models.CharField(_("asserted properties"), max_length=10, choices=ASSERTED, default="fill")
    subject = models.ForeignKey(
        Subject, on_delete=models.CASCADE, null=True, blank=True, related_name="keys", verbose_name=_("subject")
    )
    is_admin = models.BooleanField(_("administrator"), default=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    created_by = models.CharField(_("created by"), max_length=600, blank=True, default="", editable=False)
    valid_until = models.DateTimeField(_("valid until"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        default_permissions = ()
        ordering: ClassVar = ["name", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["realm", "name"], condition=Q(revoked_at__isnull=True), name="key_name_unique_while_alive"
            ),
            models.CheckConstraint(name="key_asserted", condition=Q(asserted__in=[a for a, _label in ASSERTED])),
            models.CheckConstraint(
                name="key_admin_without_subject",
                condition=Q(is_admin=False) | Q(subject__isnull=True),
                violation_error_message=_("a key acts as a subject or as an administrator, not both"),
            ),
        ]
        indexes: ClassVar = [end_index("key_end")]

    def __str__(self) -> str:
        return self.name


class KeyUseManager(models.Manager["KeyUse"]):
    def seen(self, key_ids: Iterable[int]) -> int:
        """They were used just now; how many rows were written. Keys that are gone are passed over."""
        alive = ApiKey.objects.filter(pk__in=set(key_ids)).values_list("pk", flat=True)
        # In one order for everybody: two processes that wrote the same rows in two orders would deadlock.
        rows = [KeyUse(key_id=pk, last_used_at=timezone.now()) for pk in sorted(alive)]
        self.bulk_create(rows, update_conflicts=True, unique_fields=["key"], update_fields=["last_used_at"])
        return len(rows)


class KeyUse(models.Model):
    """Beside the key and not in it: a key's row makes a revision whenever it changes, and being used is no change."""

    key = models.OneToOneField(ApiKey, on_delete=models.CASCADE, primary_key=True, related_name="use", verbose_name=_("API key"))
    last_used_at = models.DateTimeField(_("last used"))

    objects = KeyUseManager()

    class Meta:
        verbose_name = _("use of an API key")
        verbose_name_plural = _("uses of API keys")
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.key_id)
