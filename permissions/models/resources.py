"""Resource: a node of the tree that bindings hang on."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from permissions.engine import names
from permissions.models.fields import validate_attributes, validate_ref
from permissions.models.realm import Realm


class Resource(models.Model):
    """`inherit` False makes a node private: no allow from above reaches it or what lies below; denies from above still do."""

    # No index of its own: (realm, ref) has one, and a planner without statistics would take the shorter and read the whole realm.
    realm = models.ForeignKey(Realm, on_delete=models.CASCADE, related_name="resources", db_index=False, verbose_name=_("realm"))
    ref = models.CharField(_("id"), max_length=names.MAX_REF, validators=[validate_ref])
    # PROTECT: deleting a node must not silently hand what lies below it to the realm; move or delete the children first.
    parent = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="children", verbose_name=_("parent")
    )
    inherit = models.BooleanField(_("inherits from above"), default=True)
    attributes = models.JSONField(_("attributes"), default=dict, blank=True, validators=[validate_attributes])

    class Meta:
        verbose_name = _("resource")
        verbose_name_plural = _("resources")
        default_permissions = ()
        ordering: ClassVar = ["ref"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["realm", "ref"], name="resource_ref_unique"),
            models.CheckConstraint(name="resource_ref_form", condition=Q(ref__contains=":") & ~Q(ref__endswith=":*")),
            models.CheckConstraint(
                name="resource_not_its_own_parent",
                condition=Q(parent__isnull=True) | ~Q(parent=F("id")),
                violation_error_message=_("a resource cannot be its own parent"),
            ),
        ]

    def __str__(self) -> str:
        return self.ref

    @property
    def type(self) -> str:
        return names.split_ref(self.ref)[0]
