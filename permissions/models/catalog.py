"""Permission, PermissionGroup and Role: what can be granted, and under which names.

Lines carry patterns as text (a concrete code is a pattern that matches itself): expansion belongs to the engine.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from permissions.engine import names
from permissions.models.fields import (
    end_index,
    validate_code,
    validate_name,
    validate_obligations,
    validate_pattern,
    window_constraint,
)
from permissions.models.realm import Realm

MAX_CONDITION = 1024
EFFECTS = [("allow", _("allow")), ("exclude", _("exclude")), ("deny", _("deny"))]


class Permission(models.Model):
    """A concrete code `resource_type:action`. The platform's own codes (`permsite.*`) are constants, not rows."""

    realm = models.ForeignKey(Realm, on_delete=models.CASCADE, related_name="permissions", verbose_name=_("realm"))
    code = models.CharField(_("code"), max_length=names.MAX_CODE, validators=[validate_code])
    title = models.CharField(_("title"), max_length=255, blank=True, default="")
    description = models.TextField(_("description"), blank=True, default="")
    menu = models.CharField(
        _("menu"), max_length=255, blank=True, default="", help_text=_("Path in a front end's menu, such as content/posts.")
    )
    critical = models.BooleanField(
        _("critical"), default=False, help_text=_("Every check asks the database for the newest state.")
    )
    high_risk = models.BooleanField(_("high risk"), default=False, help_text=_("Shown first wherever access is given."))
    requires = models.ManyToManyField(
        "self",
        through="PermissionRequirement",
        symmetrical=False,
        related_name="required_by",
        blank=True,
        verbose_name=_("requires"),
    )

    class Meta:
        verbose_name = _("permission")
        verbose_name_plural = _("permissions")
        default_permissions = ()
        ordering: ClassVar = ["code"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["realm", "code"], name="permission_code_unique"),
            models.CheckConstraint(
                name="permission_code_concrete",
                condition=Q(code__contains=":") & ~Q(code__contains="*") & ~Q(code__contains="?"),
                violation_error_message=_("a permission's code is concrete: resource_type:action without wildcards"),
            ),
            models.CheckConstraint(
                name="permission_code_not_platform",
                condition=~Q(code__startswith="permsite."),
                violation_error_message=_("codes that begin with permsite. belong to the platform"),
            ),
        ]

    def __str__(self) -> str:
        return self.code


class PermissionRequirement(models.Model):
    """`permission` is allowed only where `required` is allowed too."""

    permission = models.ForeignKey(
        Permission, on_delete=models.CASCADE, related_name="requirements", verbose_name=_("permission")
    )
    required = models.ForeignKey(Permission, on_delete=models.CASCADE, related_name="required_in", verbose_name=_("required"))

    class Meta:
        verbose_name = _("required permission")
        verbose_name_plural = _("required permissions")
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["permission", "required"], name="requirement_unique"),
            models.CheckConstraint(
                name="requirement_not_itself",
                condition=~Q(permission=F("required")),
                violation_error_message=_("a permission cannot require itself"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.permission} requires {self.required}"


class PermissionGroup(models.Model):
    realm = models.ForeignKey(Realm, on_delete=models.CASCADE, related_name="groups", verbose_name=_("realm"))
    name = models.CharField(_("name"), max_length=names.MAX_NAME, validators=[validate_name])
    title = models.CharField(_("title"), max_length=255, blank=True, default="")
    description = models.TextField(_("description"), blank=True, default="")

    class Meta:
        verbose_name = _("permission group")
        verbose_name_plural = _("permission groups")
        default_permissions = ()
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["realm", "name"], name="group_name_unique")]

    def __str__(self) -> str:
        return self.name


class GroupLine(models.Model):
    group = models.ForeignKey(PermissionGroup, on_delete=models.CASCADE, related_name="lines", verbose_name=_("group"))
    pattern = models.CharField(_("permission"), max_length=names.MAX_CODE, validators=[validate_pattern])

    class Meta:
        verbose_name = _("permission of the group")
        verbose_name_plural = _("permissions of the group")
        default_permissions = ()
        ordering: ClassVar = ["pattern"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["group", "pattern"], name="group_line_unique")]

    def __str__(self) -> str:
        return self.pattern


class Role(models.Model):
    """allow = own lines, groups, inherited roles, minus its own exclusions; deny = own deny lines and the inherited ones."""

    realm = models.ForeignKey(Realm, on_delete=models.CASCADE, related_name="roles", verbose_name=_("realm"))
    name = models.CharField(_("name"), max_length=names.MAX_NAME, validators=[validate_name])
    title = models.CharField(_("title"), max_length=255, blank=True, default="")
    description = models.TextField(_("description"), blank=True, default="")
    inherits = models.ManyToManyField(
        "self", through="RoleInheritance", symmetrical=False, related_name="inherited_by", blank=True, verbose_name=_("inherits")
    )
    groups = models.ManyToManyField(
        PermissionGroup, through="RoleGroup", related_name="roles", blank=True, verbose_name=_("groups")
    )
    obligations = models.JSONField(_("obligations"), default=list, blank=True, validators=[validate_obligations])
    valid_from = models.DateTimeField(_("valid from"), null=True, blank=True)
    valid_until = models.DateTimeField(_("valid until"), null=True, blank=True)

    class Meta:
        verbose_name = _("role")
        verbose_name_plural = _("roles")
        default_permissions = ()
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["realm", "name"], name="role_name_unique"),
            window_constraint("role_window"),
        ]
        indexes: ClassVar = [end_index("role_end")]

    def __str__(self) -> str:
        return self.name


class RoleLine(models.Model):
    role = models.ForeignKey(Role, on_delete=models.CASCADE, related_name="lines", verbose_name=_("role"))
    effect = models.CharField(_("effect"), max_length=10, choices=EFFECTS, default="allow")
    pattern = models.CharField(_("permission"), max_length=names.MAX_CODE, validators=[validate_pattern])
    condition = models.CharField(
        _("condition"), max_length=MAX_CONDITION, blank=True, default="", help_text=_("CEL; empty means always.")
    )

    class Meta:
        verbose_name = _("permission line")
        verbose_name_plural = _("permission lines")
        default_permissions = ()
        ordering: ClassVar = ["effect", "pattern", "condition"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["role", "effect", "pattern", "condition"], name="role_line_unique"),
            models.CheckConstraint(name="role_line_effect", condition=Q(effect__in=[e for e, _label in EFFECTS])),
            models.CheckConstraint(
                name="role_line_exclude_unconditional",
                condition=~Q(effect="exclude") | Q(condition=""),
                violation_error_message=_("an exclusion takes no condition"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.effect} {self.pattern}"


class RoleInheritance(models.Model):
    role = models.ForeignKey(Role, on_delete=models.CASCADE, related_name="parents", verbose_name=_("role"))
    parent = models.ForeignKey(Role, on_delete=models.CASCADE, related_name="children", verbose_name=_("parent"))

    class Meta:
        verbose_name = _("inherited role")
        verbose_name_plural = _("inherited roles")
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["role", "parent"], name="role_inheritance_unique"),
            models.CheckConstraint(
                name="role_inheritance_not_itself",
                condition=~Q(role=F("parent")),
                violation_error_message=_("a role cannot inherit from itself"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} inherits {self.parent}"


class RoleGroup(models.Model):
    role = models.ForeignKey(Role, on_delete=models.CASCADE, related_name="role_groups", verbose_name=_("role"))
    group = models.ForeignKey(PermissionGroup, on_delete=models.CASCADE, related_name="role_groups", verbose_name=_("group"))

    class Meta:
        verbose_name = _("group of the role")
        verbose_name_plural = _("groups of the role")
        default_permissions = ()
        constraints: ClassVar = [models.UniqueConstraint(fields=["role", "group"], name="role_group_unique")]

    def __str__(self) -> str:
        return f"{self.role} has {self.group}"
