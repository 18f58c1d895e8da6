"""Settings of the tests: the site's own, on servers named for tests alone."""

from __future__ import annotations

import os

os.environ.pop("DATABASE_URL", None)
os.environ.pop("REDIS_URL", None)
os.environ.setdefault("SECRET_KEY", "tests-only-" + "k" * 60)

from permsite.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
