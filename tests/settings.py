"""Settings of the tests: the site's own, on servers named or started for tests alone.

TEST_DATABASE=sqlite runs the suite on an SQLite file; otherwise `tests.servers` fills in the PostgreSQL server once it is up,
since pytest-django reads the settings before any hook of ours.
"""

from __future__ import annotations

import os
import tempfile

# A shell set up for production is never hit; nor do its other settings bend a test.
for _name in ("DATABASE_URL", "REDIS_URL", "PUBLIC_URL", "ALLOWED_HOSTS", "ADMIN_THEME", "NUM_PROXIES", "STRICT_WRITES"):
    os.environ.pop(_name, None)
for _name in (
    "ROW_HISTORY",
    "DECISION_LOG_FILE",
    "SECRET_KEY_FILE",
    "SECRET_KEY_FALLBACKS",
    "AUDIT_KEY",
    "SUPERUSER_ON_WIRE",
    "SUBJECT_ATTRIBUTE",
    "DJANGO_REALM",
):
    os.environ.pop(_name, None)
os.environ["SECRET_KEY"] = "for-tests-only-" + "k" * 50
# Nothing a test keeps may end up in the clone's own folder: a later `make run` would start with it.
_var = tempfile.TemporaryDirectory(prefix="permsite-tests-var-")
os.environ["PERMSITE_VAR"] = _var.name

from permsite.settings import *  # noqa: E402, F403 - read after the environment is put right
from permsite.settings import ALLOWED_HOSTS, database  # noqa: E402 - the same

TEST_DATABASE = os.environ.get("TEST_DATABASE", "postgresql")
if TEST_DATABASE not in {"postgresql", "sqlite"}:
    raise SystemExit(f"TEST_DATABASE is {TEST_DATABASE!r}; it takes postgresql or sqlite")
_url = "sqlite:///not-started.sqlite3" if TEST_DATABASE == "sqlite" else "postgresql://postgres@not-started.invalid/permsite"
# No pool: its threads outlive a test, and a test's database can only be dropped once nobody is connected.
DATABASES = {"default": database(_url, pooled=False)}
if TEST_DATABASE == "sqlite":
    # Durability of SQLite is not ours to test; waiting for the disk at each commit made the suite three times slower.
    DATABASES["default"]["OPTIONS"]["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA foreign_keys=ON;"

ALLOWED_HOSTS = [*ALLOWED_HOSTS, "testserver"]
# Fast and unsafe: passwords of tests protect nothing.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
