"""The app's own."""

from __future__ import annotations

from importlib import import_module

Migration = import_module("permissions.migrations.0002_triggers").Migration
