"""Every setting, from the environment. Names and defaults: the reference page of settings; readers: `permsite.env`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import dj_database_url

from permsite import env, keep, logging
from permsite import version as _version
from resilience import address

BASE_DIR: Final = Path(__file__).resolve().parent.parent
# Where the site keeps what it makes for itself: the demo's database, keys and store.
VAR: Final = Path(env.text("PERMSITE_VAR") or BASE_DIR / "var").resolve()

# What runs, for those who may not import this package.
VERSION: Final = _version.VERSION

# Who may talk to us, and under which address.
DEBUG = False
PUBLIC_URL = env.origin("PUBLIC_URL")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", ("localhost", "127.0.0.1", "[::1]"))
if PUBLIC_URL and urlsplit(PUBLIC_URL).hostname not in ALLOWED_HOSTS:
    ALLOWED_HOSTS.append(str(urlsplit(PUBLIC_URL).hostname))
CSRF_TRUSTED_ORIGINS = [*env.words("CSRF_TRUSTED_ORIGINS"), *([PUBLIC_URL] if PUBLIC_URL else [])]
NUM_PROXIES = env.number("NUM_PROXIES", 0, max_value=10)


# Secrets.
def _kept_key() -> str:
    """For everything but `serve`, which wants one named: commands and the demo share a key kept beside the database."""
    try:
        return keep.kept(VAR / "secret_key")
    except OSError:
        return ""  # Django then refuses at the first use of the key, and says that SECRET_KEY is empty


_named_key = env.secret("SECRET_KEY")
SECRET_KEY_NAMED = bool(_named_key)
SECRET_KEY = _named_key or _kept_key()
SECRET_KEY_FALLBACKS = env.secrets("SECRET_KEY_FALLBACKS")
AUDIT_KEY = env.secret("AUDIT_KEY")

# Transport: all of it follows from PUBLIC_URL.
_HTTPS: Final = PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = _HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = LANGUAGE_COOKIE_SAMESITE = "Lax"
SECURE_HSTS_SECONDS = 31_536_000 if _HTTPS else 0  # a year, what browsers' preload lists ask for
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Our server speaks plain HTTP behind a proxy that ends TLS. Only a proxy counted in NUM_PROXIES is believed about the scheme;
# without one every request looks plain, and a redirect to https would never end.
if NUM_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = _HTTPS and NUM_PROXIES > 0
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]  # probes call the process, not the proxy
SILENCED_SYSTEM_CHECKS = [
    # Subdomains and the browsers' preload list concern hosts that are not ours to decide about.
    "security.W005",
    "security.W021",
    *(["security.W008"] if _HTTPS and not NUM_PROXIES else []),  # see the redirect above
]

# What runs.
ADMIN_THEME = env.choice("ADMIN_THEME", "unfold", ("unfold", "plain"))
INSTALLED_APPS = [
    # Before django.contrib.admin, whose templates it replaces.
    *(["unfold.apps.BasicAppConfig", "unfold.contrib.filters", "unfold.contrib.forms"] if ADMIN_THEME == "unfold" else []),
    "permsite.apps.AdminSiteConfig",  # Django's admin, on our site
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_tasks",
    "django_tasks_db",
    "permissions.apps.PermissionsConfig",
    "controlplane.apps.ControlPlaneConfig",
    "permsite.apps.PermsiteConfig",
]
MIDDLEWARE = [
    "permsite.middleware.RequestIDMiddleware",
    "resilience.drf.RateLimitMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "permsite.middleware.PolicyMiddleware",
    "controlplane.middleware.SessionNotes",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "permsite.urls"
ASGI_APPLICATION = "permsite.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "permsite",
    "SITE_HEADER": "permsite",
    "SITE_SYMBOL": "key",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "/static/permissions/icon.svg"}],
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_HISTORY": False,  # it is a tab of each object
    "COLORS": {
        # Darker than Unfold's own, so that small grey text keeps a contrast of 4.5 to 1.
        "font": {"subtle-light": "var(--color-base-600)", "subtle-dark": "var(--color-base-300)"},
        "primary": {
            "50": "oklch(97% .014 254.6)",
            "100": "oklch(93.2% .032 255.6)",
            "200": "oklch(88.2% .059 254.1)",
            "300": "oklch(80.9% .105 251.8)",
            "400": "oklch(70.7% .165 254.6)",
            "500": "oklch(62.3% .214 259.8)",
            "600": "oklch(48.8% .243 264.4)",
            "700": "oklch(42.4% .199 265.6)",
            "800": "oklch(37.9% .146 265.5)",
            "900": "oklch(33% .12 266)",
            "950": "oklch(28.2% .091 267.9)",
        },
    },
    "SIDEBAR": {"navigation": "permissions.admin.navigation.sidebar", "show_search": True, "command_search": True},
    # Ctrl+K finds objects by name already; this adds the control plane's pages.
    "COMMAND": {"search_callback": "controlplane.pages.menu.found"},
}

# What was decided, and what the rows were then.
DECISION_LOG_FILE = env.text("DECISION_LOG_FILE") or str(VAR / "decisions.jsonl")
ROW_HISTORY = env.flag("ROW_HISTORY", default=True)

# Stores.
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASE_URL = env.url(
    "DATABASE_URL",
    schemes=("postgres", "postgresql", "sqlite"),
    default=f"sqlite:///{VAR / 'permsite.sqlite3'}",
)


def database(url: str, *, pooled: bool = True) -> dict[str, Any]:
    """The connection parameters of a database URL, with what our transactions need on each of the two kinds."""
    parameters: dict[str, Any] = dict(dj_database_url.parse(url))
    options = parameters.setdefault("OPTIONS", {})
    if parameters["ENGINE"] == "django.db.backends.sqlite3":
        # IMMEDIATE: a deferred transaction that has read cannot become a writer once another has written (SQLITE_BUSY at once,
        # whatever the timeout). WAL: readers go on while one writes. FULL: a commit that was answered survives a power cut.
        options.setdefault("transaction_mode", "IMMEDIATE")
        options.setdefault("timeout", 20)
        options.setdefault("init_command", "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;")
    else:
        # Under ASGI a connection kept per thread is never given back when the thread goes: a pool per process instead.
        parameters["CONN_MAX_AGE"] = 0
        parameters["CONN_HEALTH_CHECKS"] = True
        options.setdefault("application_name", "permsite")
        options.setdefault("connect_timeout", 5)
        # Over TCP: a server that went without a word is noticed within half a minute, not within hours.
        options.setdefault("keepalives_idle", 10)
        options.setdefault("keepalives_interval", 5)
        options.setdefault("keepalives_count", 3)
        options.setdefault("tcp_user_timeout", 20_000)
        if pooled:
            # Seconds. The pool waits twice as long before each new attempt. One given up after a second lets the next caller
            # begin anew, so that a database that comes back is used again within three.
            options.setdefault("pool", {"min_size": 1, "max_size": 10, "timeout": 3, "reconnect_timeout": 1})
    return parameters


DATABASES = {"default": database(DATABASE_URL)}
if not env.text("DATABASE_URL"):
    VAR.mkdir(parents=True, exist_ok=True, mode=0o700)

REDIS_URL = env.redis_url("REDIS_URL")


def cache(url: str) -> dict[str, Any]:
    """Django's cache: on any Redis, whose loss or silence is a miss and breaks no page; without one each process has its own."""
    if not url:
        return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "permsite"}
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        # A list: django-redis splits a text at its commas, which in a cluster's URL stand between the nodes.
        "LOCATION": [url],
        "KEY_PREFIX": "permsite",
        "OPTIONS": {
            "CONNECTION_FACTORY": "resilience.django_cache.ConnectionFactory",
            "CLIENT_CLASS": "resilience.django_cache.CacheClient",
            # Seconds. A store that hangs must not hang the page: 0.1 is far above a local round trip (under 1 ms).
            "TIMEOUT_S": 0.1,
            "IGNORE_EXCEPTIONS": True,
        },
    }


def permission_cache(url: str) -> dict[str, Any]:
    """The second layer of the permission cache: raw values of `permissions/cache/l2.py`; without Redis there is none.

    Its breaker must see every fault, and a check waits for it: hence errors are raised, and the time-out is short.
    """
    if not url:
        return {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
    options = {
        # Whoever reaches for this cache itself must not read pickles from a store that others may write to.
        "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
        "TIMEOUT_S": 0.08,  # seconds; the design's 50-100 ms
        "IGNORE_EXCEPTIONS": False,
    }
    found = cache(url)
    return {**found, "KEY_PREFIX": "permissions", "OPTIONS": {**found["OPTIONS"], **options}}


def channel_layer(url: str) -> dict[str, Any]:
    """What carries news to open pages: any Redis; without one it reaches the pages of this process alone."""
    if url:
        return {"BACKEND": "permsite.channel_layer.ChannelLayer", "CONFIG": {"url": url, "prefix": "permsite"}}
    return {"BACKEND": "channels.layers.InMemoryChannelLayer"}


CHANNEL_LAYERS = {"default": channel_layer(REDIS_URL)}
CACHES = {"default": cache(REDIS_URL), "permissions": permission_cache(REDIS_URL)}
# A server below our own folder is the demo's child (`check --deploy` refuses it).
SERVERS_LAUNCHED = bool(REDIS_URL) and Path(address.parse(REDIS_URL).path).is_relative_to(VAR)

# People.
AUTHENTICATION_BACKENDS = ["permissions.backends.PermissionBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

# The domain.
SUPERUSER_ON_WIRE = env.flag("SUPERUSER_ON_WIRE")
SUBJECT_ATTRIBUTE = env.text("SUBJECT_ATTRIBUTE", "username") or "username"
DJANGO_REALM = env.text("DJANGO_REALM", "default") or "default"
CONTROL_REALM = env.text("CONTROL_REALM", "default") or "default"
STRICT_WRITES = env.flag("STRICT_WRITES")
METRICS_KEY = env.flag("METRICS_KEY")
RESILIENCE_X_RATELIMIT = env.flag("RESILIENCE_X_RATELIMIT")
# Bytes. The wire's limit on a body; the AuthZEN application holds the same.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576
# An admin form with a long inline (members of a team, lines of a role) has several fields a row; Django's 1,000 is too few.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 20_000

# Alerts: how mail leaves, which private hosts webhooks may call, and handlers of the site's own.
_mail: Final = env.mail("EMAIL_URL")
EMAIL_URL = str(_mail.get("EMAIL_URL", ""))  # without what is secret in it; empty: no mail leaves
EMAIL_HOST = str(_mail.get("EMAIL_HOST", "localhost"))
EMAIL_PORT = int(str(_mail.get("EMAIL_PORT", 25)))
EMAIL_HOST_USER = str(_mail.get("EMAIL_HOST_USER", ""))
EMAIL_HOST_PASSWORD = str(_mail.get("EMAIL_HOST_PASSWORD", ""))
EMAIL_USE_TLS = bool(_mail.get("EMAIL_USE_TLS"))
EMAIL_USE_SSL = bool(_mail.get("EMAIL_USE_SSL"))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.text("EMAIL_FROM") or "permsite@localhost"
ALERT_WEBHOOK_ALLOW = env.words("ALERT_WEBHOOK_ALLOW")
ALERT_HANDLERS = env.words("ALERT_HANDLERS")

# API.
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "permissions.identity.authentication.KeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.LimitOffsetPagination",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "permissions.api.base.problem_handler",
    "PAGE_SIZE": 100,
    "NUM_PROXIES": NUM_PROXIES,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "permsite",
    "DESCRIPTION": "Manage permissions, and ask for decisions. The AuthZEN endpoints stand beside this API, under /access/v1/.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],  # it describes the interface and holds no data
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "persistAuthorization": False},
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
}

# Language, time, files.
LANGUAGE_CODE = "en"
# Seconds: a year. Without an age the choice would end with the browser, and the browser's own language come back.
LANGUAGE_COOKIE_AGE = 31_536_000
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LOCALE_PATHS = [BASE_DIR / "permsite" / "locale"]
USE_I18N = True
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [path for path in (BASE_DIR / "static",) if path.is_dir()]

# Jobs: a queue in the database, so that one asked for in a transaction that is rolled back was never asked for.
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["jobs"]}}

# Traces. A collector that is named is enough, as platforms do it; OTEL=1 insists, OTEL=0 forbids.
OTEL_ASKED = env.flag("OTEL")
OTEL = env.flag(
    "OTEL", default=bool(env.text("OTEL_EXPORTER_OTLP_ENDPOINT") or env.text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
) and not env.flag("OTEL_SDK_DISABLED")
SQL_COMMENTS = env.choice("SQL_COMMENTS", "off", ("off", "sampled", "all"))

# Logs.
LOGGING = logging.configuration(
    level=env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")), on_terminal=sys.stderr.isatty()
)
