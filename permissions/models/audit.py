"""AuditEvent: who changed what, in the writer's transaction, as a hash chain a realm.

UPDATE and DELETE are refused by trigger. `realm_name` is the chain's name and no foreign key: history outlives its realm; the
empty name is the platform's own chain.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from permissions.engine import names


class AuditEvent(models.Model):
    realm_name = models.CharField(_("realm"), max_length=names.MAX_NAME, blank=True)
    seq = models.BigIntegerField(_("number"))
    at = models.DateTimeField(_("at"))
    actor = models.CharField(_("actor"), max_length=600)
    actor_kind = models.CharField(_("kind of actor"), max_length=20)
    action = models.CharField(_("action"), max_length=100)
    object_type = models.CharField(_("object type"), max_length=50)
    object_id = models.CharField(_("object"), max_length=600)
    before = models.JSONField(_("before"), null=True, blank=True)
    after = models.JSONField(_("after"), null=True, blank=True)
    reason = models.CharField(_("reason"), max_length=1000, blank=True, default="")
    request_id = models.CharField(_("request id"), max_length=200, blank=True, default="")
    revision = models.BigIntegerField(_("revision"), null=True, blank=True)
    payload_hash = models.CharField(max_length=64)
    prev_hash = models.CharField(max_length=64, blank=True)
    hash = models.CharField(max_length=64)

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        default_permissions = ()
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["realm_name", "seq"], name="audit_seq_unique")]
        indexes: ClassVar = [
            models.Index(fields=["realm_name", "object_type", "object_id"], name="audit_object"),
            models.Index(fields=["realm_name", "actor"], name="audit_actor"),
        ]

    def __str__(self) -> str:
        return f"{self.realm_name}#{self.seq} {self.action} {self.object_id}"
