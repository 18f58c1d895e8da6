"""Tables of the permission domain, one noun a module."""

from __future__ import annotations

from permissions.models.assertions import Assertion
from permissions.models.audit import AuditEvent
from permissions.models.bindings import RoleBinding
from permissions.models.catalog import (
    GroupLine,
    Permission,
    PermissionGroup,
    PermissionRequirement,
    Role,
    RoleGroup,
    RoleInheritance,
    RoleLine,
)
from permissions.models.history import HistoryFloor, RowHistory
from permissions.models.hot import HotItem
from permissions.models.identity import ApiKey, KeyUse
from permissions.models.realm import Changelog, Realm
from permissions.models.resources import Resource
from permissions.models.subjects import Membership, Subject, Team

__all__ = [
    "ApiKey",
    "Assertion",
    "AuditEvent",
    "Changelog",
    "GroupLine",
    "HistoryFloor",
    "HotItem",
    "KeyUse",
    "Membership",
    "Permission",
    "PermissionGroup",
    "PermissionRequirement",
    "Realm",
    "Resource",
    "Role",
    "RoleBinding",
    "RoleGroup",
    "RoleInheritance",
    "RoleLine",
    "RowHistory",
    "Subject",
    "Team",
]
