"""Permission, PermissionGroup and Role: what can be granted, and under which names.

Lines carry patterns as text (a concrete code is a pattern that matches itself): expansion belongs to the engine.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from permissions.engine import names
from permissions.models.fields import (
    validate_code,
    validate_name,
    validate_obligations,
    validate_pattern,
    window_constraint,
)
from permissions.models.realm import Realm

MAX_CONDITION = 1024
EFFECTS = [("allow", "allow"), ("exclude", "exclude"), ("deny", "deny")]


class Permission(models.Model):
    """A concrete code `resource_type:action`. The platform's own codes (`permsite.*`) are constants, not rows."""

    realm = models.ForeignKey(Realm, on_delete=models.CASCADE, related_name="permissions")
    code = models.CharField(max_length=names.MAX_CODE, validators=[validate_code])
    title = models.CharField(max_length=255, blank=True, default="")
    description = models.TextField(blank=True, default="")
    menu = models.CharField(max_length=255, blank=True, default="", help_text="Path in a front end's menu, such as content/posts.")
    critical = models.BooleanField(default=False, help_text="Every check asks the database for the newest state.")
    high_risk = models.BooleanField(default=False, help_text="Shown first wherever access is given.")
    requires = models.ManyToManyField(
        "self", through="PermissionRequirement", symmetrical=False, related_name="required_by", blank=True
    )

    class Meta:
        default_permissions = ()
        ordering: ClassVar = ["code"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["realm", "code"], name="permission_code_unique"),
            models.CheckConstraint(
                name="permission_code_concrete",
                condition=Q(code__contains=":") & ~Q(code__contains="*") & ~Q(code__contains="?"),
                violation_error_message="a permission's code is concrete: resource_type:action without wildcards",
            ),
            models.CheckConstraint(
                name="permission_code_not_platform",
                condition=~Q(code__startswith="permsite."),
                violation_error_message="codes that begin with permsite. belong to the platform",
            ),
        ]

    def __str__(self) -> str:
        return self.code


class PermissionRequirement(models.Model):
    """`permission` is allowed only where `required` is allowed too."""

    permission = models.ForeignKey(Permission, on_delete=models.CASCADE, related_name="requirements")
    required = models.ForeignKey(Permission, on_delete=models.CASCADE, related_name="required_in")

    class Meta:
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["permission", "required"], name="requirement_unique"),
            models.CheckConstraint(
                name="requirement_not_itself",
                condition=~Q(permission=F("required")),
                violation_error_message="a permission cannot require itself",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.permission} requires {self.required}"


class PermissionGroup(models.Model):
    realm = models.ForeignKey(Realm, on_delete=models.CASCADE, related_name="groups")
    name = models.CharField(max_length=names.MAX_NAME, validators=[validate_name])
    title = models.CharField(max_length=255, blank=True, default="")
    description = models.TextField(blank=True, default="")

    class Meta:
        default_permissions = ()
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["realm", "name"], name="group_name_unique")]

    def __str__(self) -> str:
        return self.name


class GroupLine(models.Model):
    group = models.ForeignKey(PermissionGroup, on_delete=models.CASCADE, related_name="lines")
    pattern = models.CharField(max_length=names.MAX_CODE, validators=[validate_pattern])

    class Meta:
        default_permissions = ()
        ordering: ClassVar = ["pattern"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["group", "pattern"], name="group_line_unique")]

    def __str__(self) -> str:
        return self.pattern


class Role(models.Model):
    """allow = own lines, groups, inherited roles, minus its own exclusions; deny = own deny lines and the inherited ones."""

    realm = models.ForeignKey(Realm, on_delete=models.CASCADE, related_name="roles")
    name = models.CharField(max_length=names.MAX_NAME, validators=[validate_name])
    title = models.CharField(max_length=255, blank=True, default="")
    description = models.TextField(blank=True, default="")
    inherits = models.ManyToManyField(
        "self", through="RoleInheritance", symmetrical=False, related_name="inherited_by", blank=True
    )
    groups = models.ManyToManyField(PermissionGroup, through="RoleGroup", related_name="roles", blank=True)
    obligations = models.JSONField(default=list, blank=True, validators=[validate_obligations])
    valid_from = models.DateTimeField(null=True, blank=True)
    valid_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["realm", "name"], name="role_name_unique"),
            window_constraint("role_window"),
        ]

    def __str__(self) -> str:
        return self.name


class RoleLine(models.Model):
    role = models.ForeignKey(Role, on_delete=models.CASCADE, related_name="lines")
    effect = models.CharField(max_length=10, choices=EFFECTS, default="allow")
    pattern = models.CharField(max_length=names.MAX_CODE, validators=[validate_pattern])
    condition = models.CharField(max_length=MAX_CONDITION, blank=True, default="", help_text="CEL; empty means always.")

    class Meta:
        default_permissions = ()
        ordering: ClassVar = ["effect", "pattern", "condition"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["role", "effect", "pattern", "condition"], name="role_line_unique"),
            models.CheckConstraint(name="role_line_effect", condition=Q(effect__in=[e for e, _ in EFFECTS])),
            models.CheckConstraint(
                name="role_line_exclude_unconditional",
                condition=~Q(effect="exclude") | Q(condition=""),
                violation_error_message="an exclusion takes no condition",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.effect} {self.pattern}"


class RoleInheritance(models.Model):
    role = models.ForeignKey(Role, on_delete=models.CASCADE, related_name="parents")
    parent = models.ForeignKey(Role, on_delete=models.CASCADE, related_name="children")

    class Meta:
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["role", "parent"], name="role_inheritance_unique"),
            models.CheckConstraint(
                name="role_inheritance_not_itself",
                condition=~Q(role=F("parent")),
                violation_error_message="a role cannot inherit from itself",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} inherits {self.parent}"


class RoleGroup(models.Model):
    role = models.ForeignKey(Role, on_delete=models.CASCADE, related_name="role_groups")
    group = models.ForeignKey(PermissionGroup, on_delete=models.CASCADE, related_name="role_groups")

    class Meta:
        default_permissions = ()
        constraints: ClassVar = [models.UniqueConstraint(fields=["role", "group"], name="role_group_unique")]

    def __str__(self) -> str:
        return f"{self.role} has {self.group}"
