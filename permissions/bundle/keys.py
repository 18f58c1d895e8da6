"""The keys of each kind of line, in the order they are written, and how long their texts may be."""

from __future__ import annotations

from typing import Final

VERSION: Final = 1
MAX_TITLE: Final = 255
MAX_REASON: Final = 1000
MAX_DESCRIPTION: Final = 10_000

PERMISSION_KEYS: Final = ("code", "title", "description", "menu", "requires", "critical", "high_risk")
GROUP_KEYS: Final = ("name", "title", "description", "permissions")
ROLE_KEYS: Final = (
    "name",
    "title",
    "description",
    "inherits",
    "groups",
    "permissions",
    "exclude",
    "deny",
    "obligations",
    "valid_from",
    "valid_until",
)
SUBJECT_KEYS: Final = ("id", "attributes", "active", "locked")
TEAM_KEYS: Final = ("id", "members", "attributes", "active", "locked")
MEMBER_KEYS: Final = ("id", "valid_from", "valid_until")
RESOURCE_KEYS: Final = ("id", "parent", "inherit", "attributes")
BINDING_KEYS: Final = (
    "subject",
    "role",
    "allow",
    "deny",
    "scope",
    "condition",
    "valid_from",
    "valid_until",
    "propagate",
    "reason",
    "obligations",
)
SETTINGS_KEYS: Final = ("staleness_s", "static_grace_s", "suspended")
REALM_KEYS: Final = ("name", "combining", "resource_types", "unknown_subjects", "settings")
SECTIONS: Final = ("permissions", "groups", "roles", "subjects", "teams", "resources", "bindings")
BUNDLE_KEYS: Final = ("version", "realm", *REALM_KEYS[1:], *SECTIONS)
