"""Triggers: they write the changelog and raise the revision, whoever writes and however; and they hold the laws of the data."""

from permissions.triggers.installed import audit_unsealed_unsafe, differences, install, remove
from permissions.triggers.upkeep import (
    is_there,
    keep_default_realm,
    keep_triggers,
    lift_for_rebuild,
    link_users,
    models_without_triggers,
)

__all__ = [
    "audit_unsealed_unsafe",
    "differences",
    "install",
    "is_there",
    "keep_default_realm",
    "keep_triggers",
    "lift_for_rebuild",
    "link_users",
    "models_without_triggers",
    "remove",
]
