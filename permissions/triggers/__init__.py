"""Triggers: they write the changelog and raise the revision, whoever writes and however; and they hold the laws of the data."""

from permissions.triggers.installed import differences, install, lifted_unsafe, remove
from permissions.triggers.marks import mark
from permissions.triggers.upkeep import (
    is_there,
    keep_default_realm,
    keep_history,
    keep_triggers,
    lift_for_rebuild,
    link_users,
    models_without_triggers,
)

__all__ = [
    "differences",
    "install",
    "is_there",
    "keep_default_realm",
    "keep_history",
    "keep_triggers",
    "lift_for_rebuild",
    "lifted_unsafe",
    "link_users",
    "mark",
    "models_without_triggers",
    "remove",
]
