"""Settings as a fresh process reads them: what follows from what is named, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from permsite.settings import cache, channel_layer, database, permission_cache

ROOT = Path(__file__).resolve().parents[2]
NAMED = {"SECRET_KEY": "s3cret-" * 10, "PUBLIC_URL": "https://permsite.example.org", "NUM_PROXIES": "1"}


def run(arguments: list[str], tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "PERMSITE_VAR": str(tmp_path), **environment}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def read(tmp_path: Path, *names: str, **environment: str) -> dict[str, Any]:
    values = f"{{n: getattr(settings, n) for n in {names!r}}}"
    script = f"import json; from permsite import settings; print(json.dumps({values}, default=str))"
    done = run(["-c", script], tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_nothing_needs_to_be_named(tmp_path):
    found = read(tmp_path, "ALLOWED_HOSTS", "REDIS_URL", "SECRET_KEY", "DATABASES", "SESSION_COOKIE_SECURE", "ADMIN_THEME")
    assert found["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
    assert found["REDIS_URL"] == "" and found["ADMIN_THEME"] == "unfold" and found["SESSION_COOKIE_SECURE"] is False
    assert found["DATABASES"]["default"]["NAME"] == str(tmp_path / "permsite.sqlite3")


def test_a_kept_secret_key_stays_the_same_and_is_its_owners_alone(tmp_path):
    first, second = (read(tmp_path, "SECRET_KEY")["SECRET_KEY"] for _ in range(2))
    assert first == second and len(first) >= 50
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600


def test_https_in_the_public_address_makes_cookies_secure_and_names_the_host(tmp_path):
    names = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_HSTS_SECONDS", "SECURE_SSL_REDIRECT", "ALLOWED_HOSTS")
    found = read(tmp_path, *names, "CSRF_TRUSTED_ORIGINS", **NAMED)
    assert all(found[name] for name in names)
    assert "permsite.example.org" in found["ALLOWED_HOSTS"]
    assert found["CSRF_TRUSTED_ORIGINS"] == ["https://permsite.example.org"]


def test_without_a_trusted_proxy_nothing_is_redirected_for_ever(tmp_path):
    assert read(tmp_path, "SECURE_SSL_REDIRECT", **{**NAMED, "NUM_PROXIES": "0"}) == {"SECURE_SSL_REDIRECT": False}


def test_a_wrong_value_stops_the_start_by_name(tmp_path):
    done = run(["manage.py", "check"], tmp_path, STRICT_WRITES="perhaps")
    assert done.returncode != 0 and "STRICT_WRITES is 'perhaps'; it takes 1 or 0" in done.stderr


def test_the_deployment_check_is_clean_for_a_server_that_names_its_own(tmp_path):
    urls = {"DATABASE_URL": "postgresql://p@db.example.org/p", "REDIS_URL": "rediss://cache.example.org:6380/0"}
    for theme in ("unfold", "plain"):
        done = run(["manage.py", "check", "--deploy", "--fail-level", "WARNING"], tmp_path, **NAMED, **urls, ADMIN_THEME=theme)
        assert done.returncode == 0, done.stderr


def test_the_deployment_check_refuses_a_server_that_the_demo_started(tmp_path):
    done = run(["manage.py", "check", "--deploy"], tmp_path, **NAMED, REDIS_URL=f"unix://{tmp_path}/valkey/valkey.sock")
    assert done.returncode != 0 and "permsite.E002" in done.stderr


def test_the_deployment_check_names_a_secret_key_that_is_not_set(tmp_path):
    assert "permsite.W002" in run(["manage.py", "check", "--deploy"], tmp_path).stderr


@pytest.mark.parametrize("name", ["CACHES", "CHANNEL_LAYERS"])
def test_without_a_store_each_process_has_its_own(tmp_path, name):
    assert "InMemory" in str(read(tmp_path, name)[name]) or "LocMem" in str(read(tmp_path, name)[name])


@pytest.mark.parametrize(
    "url", ["redis://h:6379/0", "unix:///run/v.sock", "redis+cluster://h1:1,h2:2/", "redis+sentinel://h1:1,h2:2/m/0"]
)
def test_any_store_holds_djangos_cache_and_never_hangs_it(url):
    found = cache(url)
    assert found["LOCATION"] == [url] and found["OPTIONS"]["TIMEOUT_S"] == 0.1 and found["OPTIONS"]["IGNORE_EXCEPTIONS"] is True
    assert channel_layer(url)["CONFIG"]["url"] == url


def test_the_permission_cache_tells_its_faults_soon_and_reads_no_pickle():
    found = permission_cache("redis://h:6379/0")
    assert found["LOCATION"] == ["redis://h:6379/0"] and found["OPTIONS"]["IGNORE_EXCEPTIONS"] is False
    assert 0.05 <= found["OPTIONS"]["TIMEOUT_S"] <= 0.1 and "json" in found["OPTIONS"]["SERIALIZER"]
    assert found["KEY_PREFIX"] != cache("redis://h:6379/0")["KEY_PREFIX"]
    assert "redis" not in permission_cache("")["BACKEND"]


def test_a_store_that_cannot_be_read_stops_the_start_without_its_password(tmp_path):
    done = run(["manage.py", "check"], tmp_path, REDIS_URL="redis://user:hidden@h:notaport/0")
    assert done.returncode != 0 and "REDIS_URL: the port of host 1" in done.stderr and "hidden" not in done.stderr


def test_sqlite_begins_immediate_and_postgresql_is_pooled():
    assert database("sqlite:////tmp/x.sqlite3")["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    found = database("postgresql://p@h/p")
    assert found["CONN_MAX_AGE"] == 0 and found["CONN_HEALTH_CHECKS"] and found["OPTIONS"]["pool"]["max_size"] == 10
