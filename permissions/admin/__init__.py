"""The admin: a module a noun. Django imports this package, and each module registers its objects."""

from __future__ import annotations

from permissions.admin import bindings, catalog, history, keys, realms, resources, roles, subjects, users

__all__ = ["bindings", "catalog", "history", "keys", "realms", "resources", "roles", "subjects", "users"]
