"""RoleBinding: subject or team + role (or direct allow and deny) + scope."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from permissions.models.catalog import MAX_CONDITION, Role
from permissions.models.fields import end_index, validate_obligations, validate_patterns, window_constraint
from permissions.models.realm import Realm
from permissions.models.resources import Resource
from permissions.models.subjects import Subject


class RoleBinding(models.Model):
    """A role, or direct `allow` and `deny` patterns, for a subject, a team or `type:*`. No scope means the realm."""

    realm = models.ForeignKey(Realm, on_delete=models.CASCADE, related_name="bindings", verbose_name=_("realm"))
    subject = models.ForeignKey(Subject, on_delete=models.CASCADE, related_name="bindings", verbose_name=_("subject"))
    role = models.ForeignKey(
        Role, on_delete=models.CASCADE, null=True, blank=True, related_name="bindings", verbose_name=_("role")
    )
    allow = models.JSONField(_("allow"), default=list, blank=True, validators=[validate_patterns])
    deny = models.JSONField(_("deny"), default=list, blank=True, validators=[validate_patterns])
    scope = models.ForeignKey(
        Resource, on_delete=models.CASCADE, null=True, blank=True, related_name="bindings", verbose_name=_("scope")
    )
    condition = models.CharField(
        _("condition"), max_length=MAX_CONDITION, blank=True, default="", help_text=_("CEL; empty means always.")
    )
    valid_from = models.DateTimeField(_("valid from"), null=True, blank=True)
    valid_until = models.DateTimeField(_("valid until"), null=True, blank=True)
    propagate = models.BooleanField(_("reaches below"), default=True, help_text=_("Reaches what lies below its scope, too."))
    reason = models.CharField(_("reason"), max_length=1000, blank=True, default="")
    obligations = models.JSONField(_("obligations"), default=list, blank=True, validators=[validate_obligations])
    granted_by = models.CharField(_("granted by"), max_length=600, blank=True, default="", editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("role binding")
        verbose_name_plural = _("role bindings")
        default_permissions = ()
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="binding_role_or_lists",
                condition=(Q(role__isnull=False) & Q(allow=[]) & Q(deny=[]))
                | (Q(role__isnull=True) & (~Q(allow=[]) | ~Q(deny=[]))),
                violation_error_message=_("a binding names a role, or direct allow or deny permissions, not both"),
            ),
            window_constraint("binding_window"),
        ]
        indexes: ClassVar = [models.Index(fields=["realm", "subject"], name="binding_realm_subject"), end_index("binding_end")]

    def __str__(self) -> str:
        what = self.role.name if self.role else "direct"
        return f"{self.subject} {what} on {self.scope or self.realm}"
