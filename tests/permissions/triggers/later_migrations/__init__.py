"""The app's own migrations, from their own folder, and one more after the newest, which alters columns of two tables."""

from __future__ import annotations

import pkgutil

from permissions import migrations

__path__ = [*__path__, *migrations.__path__]
NEWEST = max(module.name for module in pkgutil.iter_modules(migrations.__path__))
